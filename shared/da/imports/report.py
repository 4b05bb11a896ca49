"""The result of an import, as text or JSON."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

from da.text import bytes_text, count_text


@dataclass(frozen=True, slots=True)
class Left:
    """Something that was not imported, or was changed."""

    kind: str
    name: str
    reason: str

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Self:
        """Read an entry of the server's answer."""
        return cls(document["kind"], document["name"], document["reason"])

    def to_json(self) -> dict[str, str]:
        """Return it as a JSON object."""
        return {"kind": self.kind, "name": self.name, "reason": self.reason}


_NAMES: Final = {
    "user": "user",
    "source": "source",
    "table": "table",
    "grant": "grant",
    "access_request": "access request",
    "telegram_links": "Telegram link",
    "user_sync_settings": "sync setting",
    "knowledge_items": "knowledge item",
    "knowledge_votes": "vote",
    "audit_log": "audit event",
}
_NAMED: Final = 10


@dataclass(frozen=True, slots=True)
class TableOutcome:
    """The outcome for the files of a table: `published`, `there` (before), `wanted` (dry run) or `failed`.

    `extracted` means that this server has since extracted the table itself. `id` is its ID on this server.
    """

    id: str
    status: str
    rows: int
    size_bytes: int
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(slots=True)
class Report:
    """What an import did, or in a dry run would do."""

    dry_run: bool = False
    version: int = 0
    taken: Mapping[str, int] = field(default_factory=dict)
    there: Mapping[str, int] = field(default_factory=dict)
    altered: list[Left] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)
    public_tables: list[str] = field(default_factory=list)
    unconfigured: list[str] = field(default_factory=list)
    tables: list[TableOutcome] = field(default_factory=list)
    snapshot: int | None = None
    problems: list[Mapping[str, Any]] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """The exit code of the command: 0 if everything that can be imported was imported."""
        return 1 if self.problems or any(table.status == "failed" for table in self.tables) else 0

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        lists = ("altered", "left", "tables")
        plain = {name: getattr(self, name) for name in self.__slots__ if name not in lists}
        return {**plain, **{name: [each.to_json() for each in getattr(self, name)] for name in lists}}

    def lines(self) -> Iterator[str]:
        """Return the report as lines of text, without failures."""
        verb = "Would import" if self.dry_run else "Imported"
        yield f"{verb} {_counts(self.taken) or 'nothing new'}."
        if self.there:
            yield f"Already on the server: {_counts(self.there)}."
        yield from self._files()
        if self.public_tables:
            shown = ", ".join(self.public_tables[:_NAMED]) + (", …" if len(self.public_tables) > _NAMED else "")
            yield f"Readable by every user, as before: {shown}."
        if self.unconfigured:
            yield f"Configure these sources before their next sync: {', '.join(self.unconfigured)}."
        yield from _listed("Imported with changes", self.altered)
        yield from _listed("Not imported", self.left)
        if self.snapshot is not None:
            yield f"Published in snapshot {self.snapshot}."

    def _files(self) -> Iterator[str]:
        for status, verb in (
            ("wanted", "Would publish"),
            ("published", "Published"),
            ("there", "Already published:"),
            ("extracted", "Kept, because this server has since extracted them:"),
        ):
            tables = [table for table in self.tables if table.status == status]
            if tables:
                rows, size = sum(table.rows for table in tables), sum(table.size_bytes for table in tables)
                files = f"the files of {count_text(len(tables), 'table')}"
                yield f"{verb} {files}: {count_text(rows, 'row')}, {bytes_text(size)}."


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(count_text(number, _NAMES.get(kind, kind)) for kind, number in counts.items())


def _listed(title: str, left: Iterable[Left]) -> Iterator[str]:
    listed = [*left]
    if listed:
        yield f"{title}:"
        yield from (f"  {_NAMES.get(each.kind, each.kind)} {each.name}: {each.reason}" for each in listed)
