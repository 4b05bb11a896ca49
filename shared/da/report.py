"""The result of a sync, as text or JSON."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from da.text import bytes_text, count_text, seconds_text

_NAMED = 5
"""Tables that are listed by name."""


@dataclass(slots=True)
class Report:
    """What a sync did, or in a dry run would do.

    `files` and `size_bytes` count what was fetched; `not_mirrored` counts tables that can only be queried on the server.
    """

    workspace: str
    snapshot: int = 0
    dry_run: bool = False
    interrupted: bool = False
    updated: list[str] = field(default_factory=list)
    unchanged: int = 0
    removed: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    not_mirrored: int = 0
    files: int = 0
    size_bytes: int = 0
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """The exit code of `da sync`."""
        return 130 if self.interrupted else 1 if self.failed else 0

    def to_json(self) -> dict[str, Any]:
        """Return the report as a JSON object."""
        document = {name: getattr(self, name) for name in self.__slots__}
        failed = [{"table": table_id, "error": error} for table_id, error in self.failed.items()]
        return {**document, "failed": failed, "seconds": round(self.seconds, 3)}

    def lines(self) -> Iterator[str]:
        """Return the lines of a summary, without failures and notes."""
        did = ("Would update", "would remove") if self.dry_run else ("Updated", "removed")
        parts = []
        if self.updated:
            parts.append(f"{did[0]} {_tables(self.updated)}: {self._fetched()}")
        if self.removed:
            parts.append(f"{did[1]} {_tables(self.removed)}")
        if not parts and not self.failed and not self.interrupted:
            parts.append("Already up to date")
        if self.unchanged:
            parts.append(f"{count_text(self.unchanged, 'table')} unchanged")
        if parts:
            text = "; ".join(parts)
            yield f"{text[0].upper()}{text[1:]}. Snapshot {self.snapshot}."
        if self.not_mirrored:
            yield f"{count_text(self.not_mirrored, 'table')} can only be queried on the server."
        if self.interrupted:
            yield "Interrupted. Downloaded data is kept; run da sync to resume."

    def failures(self) -> Iterator[str]:
        """Return the failures, one line per cause."""
        causes: dict[str, list[str]] = {}
        for table_id, error in self.failed.items():
            causes.setdefault(error, []).append(table_id)
        for error, names in causes.items():
            more = len(names) - _NAMED
            count = f"{len(names):,} tables ({', '.join(names[:_NAMED])}{f' and {more:,} more' if more > 0 else ''})"
            yield f"{names[0] if len(names) == 1 else count}: {error}"

    def _fetched(self) -> str:
        text = f"{count_text(self.files, 'file')}, {bytes_text(self.size_bytes)}"
        return text if self.dry_run else f"{text} in {seconds_text(self.seconds)}"


def _tables(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= _NAMED else count_text(len(names), "table")
