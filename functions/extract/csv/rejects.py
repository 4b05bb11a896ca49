"""Rows that were set aside."""

from dataclasses import dataclass

FIRST_FEW = 5
"""How many of them are told one by one."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """How many rows were set aside, and the first few as "file:line: reason"."""

    count: int = 0
    first: tuple[str, ...] = ()

    def __add__(self, other: "Rejected") -> "Rejected":
        """Take both together, the first few of this one first."""
        return Rejected(self.count + other.count, (self.first + other.first)[:FIRST_FEW])
