"""What is left in the older system's folder, and why."""

from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Left:
    """Something that was not taken, or not as it was."""

    kind: str
    name: str
    reason: str

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Self:
        """Read it as the server says it."""
        return cls(document["kind"], document["name"], document["reason"])

    def to_json(self) -> dict[str, str]:
        """Write it as a JSON object."""
        return {"kind": self.kind, "name": self.name, "reason": self.reason}
