"""What an import did: for people in lines, for programs as JSON."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

from da.text import bytes_text, count_text


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


_NAMES: Final = {
    "user": "user",
    "source": "source",
    "table": "table",
    "grant": "grant",
    "access_request": "request for access",
    "telegram_links": "Telegram link",
    "user_sync_settings": "sync setting",
    "knowledge_items": "item of knowledge",
    "knowledge_votes": "vote",
    "audit_log": "audit event",
}
_PLURALS: Final = {"request for access": "requests for access", "item of knowledge": "items of knowledge"}
_NAMED: Final = 10


@dataclass(frozen=True, slots=True)
class TableOutcome:
    """What became of the files of a table: `published`, `there` already, `wanted` in a dry run, or `failed`.

    `extracted` is one that this server extracted itself meanwhile. `id` is what it is called here.
    """

    id: str
    status: str
    rows: int
    size_bytes: int
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Write it as a JSON object."""
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
        """What the command ends with: 0 when all that can be taken was."""
        return 1 if self.problems or any(table.status == "failed" for table in self.tables) else 0

    def to_json(self) -> dict[str, Any]:
        """Write it as a JSON object."""
        lists = ("altered", "left", "tables")
        plain = {name: getattr(self, name) for name in self.__slots__ if name not in lists}
        return {**plain, **{name: [each.to_json() for each in getattr(self, name)] for name in lists}}

    def lines(self) -> Iterator[str]:
        """Write it as lines of text; failures are not among them."""
        verb = "Would take" if self.dry_run else "Took"
        yield f"{verb} {_counts(self.taken) or 'nothing new'}."
        if self.there:
            yield f"Here already: {_counts(self.there)}."
        yield from self._files()
        if self.public_tables:
            shown = ", ".join(self.public_tables[:_NAMED]) + (", …" if len(self.public_tables) > _NAMED else "")
            yield f"Readable by everybody who can sign in, as before: {shown}."
        if self.unconfigured:
            yield f"Sources to be configured before their next sync: {', '.join(self.unconfigured)}."
        yield from _listed("Taken with a change", self.altered)
        yield from _listed("Not taken", self.left)
        if self.snapshot is not None:
            yield f"Snapshot {self.snapshot} has what was published."

    def _files(self) -> Iterator[str]:
        for status, verb in (
            ("wanted", "Would publish"),
            ("published", "Published"),
            ("there", "Published before:"),
            ("extracted", "Extracted here since, and left alone:"),
        ):
            tables = [table for table in self.tables if table.status == status]
            if tables:
                rows, size = sum(table.rows for table in tables), sum(table.size_bytes for table in tables)
                files = f"the files of {count_text(len(tables), 'table')}"
                yield f"{verb} {files}: {count_text(rows, 'row')}, {bytes_text(size)}."


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(_count(kind, number) for kind, number in counts.items())


def _count(kind: str, number: int) -> str:
    noun = _NAMES.get(kind, kind)
    return f"{number:,} {_PLURALS[noun]}" if noun in _PLURALS and number != 1 else count_text(number, noun)


def _listed(title: str, left: Iterable[Left]) -> Iterator[str]:
    listed = [*left]
    if listed:
        yield f"{title}:"
        yield from (f"  {_NAMES.get(each.kind, each.kind)} {each.name}: {each.reason}" for each in listed)
