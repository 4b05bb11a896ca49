"""What the server says there is, checked before anything is done with it.

The manifest is the JSON of `GET /api/sync/manifest`; the mirror's own state keeps tables in the same form.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from da.errors import DaError

_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_ID = re.compile(rf"{_NAME.pattern}\.{_NAME.pattern}")
_SMALLEST = 12
"""Bytes of the smallest file that can be Parquet: its two marks, and the length of its footer."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_GREATEST = 2**63 - 1
_LONGEST_NAME = 1000
_LONGEST_TEXT = 200_000


class _InvalidError(ValueError):
    """A part of the manifest is not what it must be; the message says which."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column. `type` is DuckDB's name of it."""

    name: str
    type: str
    description: str | None = None


@dataclass(frozen=True, slots=True)
class File:
    """One parquet file. `path` is the server's word for it and never a path here; `sha256` is hex."""

    path: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Table:
    """One table as the manifest has it. `updated` is an ISO 8601 time; `notice` says that its files are gone, or the like."""

    id: str
    view: str
    hash: str
    description: str | None = None
    query_mode: str = "local"
    server_only: bool = False
    rows: int | None = None
    size_bytes: int | None = None
    updated: str | None = None
    columns: tuple[Column, ...] = ()
    files: tuple[File, ...] = ()
    notice: str | None = None

    @property
    def is_mirrored(self) -> bool:
        """Whether its data comes to this machine."""
        return self.query_mode != "remote" and not self.server_only

    @property
    def place(self) -> str:
        """Where it can be queried: `local`, `remote` or `server_only`."""
        return "server_only" if self.server_only else "remote" if self.query_mode == "remote" else "local"

    def to_json(self) -> dict[str, Any]:
        """Write it as the manifest does, so that `from_json` reads it back."""
        return asdict(self)

    @classmethod
    def from_json(cls, table_id: str, document: object) -> Self:
        """Read one table.

        Raises:
            ValueError: something in it is not as it must be; the message says what.
        """
        entry = _mapping(document, "the table")
        return cls(
            id=_matching(table_id, _ID, "id"),
            view=_matching(entry.get("view"), _NAME, "view"),
            hash=_optional_text(entry.get("hash"), "hash") or "",
            description=_optional_text(entry.get("description"), "description"),
            query_mode=_text(entry.get("query_mode", "local"), "query_mode"),
            server_only=bool(entry.get("server_only", False)),
            rows=_optional_count(entry.get("rows"), "rows"),
            size_bytes=_optional_count(entry.get("size_bytes"), "size_bytes"),
            updated=_optional_text(entry.get("updated"), "updated"),
            columns=tuple(_column(each) for each in _list(entry.get("columns", []), "columns")),
            files=_files(_list(entry.get("files", []), "files")),
            notice=_optional_text(entry.get("notice"), "notice"),
        )


@dataclass(frozen=True, slots=True)
class Manifest:
    """All tables the user may read. `refused` are entries that can't be used: `{id as given: why}`."""

    snapshot: int
    tables: Mapping[str, Table]
    refused: Mapping[str, str]

    @classmethod
    def from_json(cls, document: object) -> Self:
        """Read a manifest; a table that is not as it must be is refused and does not hurt the others.

        Raises:
            DaError: it is no manifest at all.
        """
        try:
            top = _mapping(document, "the manifest")
            snapshot = _count(top.get("snapshot"), "snapshot")
            entries = _mapping(top.get("tables"), "tables")
        except _InvalidError as error:
            raise DaError(f"The server's manifest can't be used: {error}; is it the right server?") from None
        return cls(snapshot, *_tables(entries))


def _tables(entries: Mapping[str, Any]) -> tuple[dict[str, Table], dict[str, str]]:
    tables: dict[str, Table] = {}
    refused: dict[str, str] = {}
    views: dict[str, str] = {}
    for table_id, entry in entries.items():
        try:
            table = Table.from_json(table_id, entry)
        except ValueError as error:
            refused[table_id] = f"the server describes it in a way that can't be used: {error}"
            continue
        owner = views.setdefault(table.view, table_id)
        if owner == table_id:
            tables[table_id] = table
        else:
            refused[table_id] = f"the server gives it the view {table.view}, which is that of {owner}"
    return tables, refused


def _column(document: object) -> Column:
    entry = _mapping(document, "a column")
    description = _optional_text(entry.get("description"), "a column's description")
    name, kind = _text(entry.get("name"), "a column's name"), _text(entry.get("type"), "a column's type")
    if len(name) > _LONGEST_NAME or not kind.isprintable():
        raise _InvalidError(f"a column is {name[:100]!r}, {kind[:100]!r}")
    return Column(name, kind, description)


def _files(documents: list[Any]) -> tuple[File, ...]:
    """Read the files of a table. Two of them may be the same, but may not share their place here without that."""
    files = tuple(map(_file, documents))
    hashes: dict[str, str] = {}
    for file in files:
        if hashes.setdefault(file.sha256[:32], file.sha256) != file.sha256:
            raise _InvalidError(f"a file's sha256 begins as another's does: {file.sha256}")
    return files


def _file(document: object) -> File:
    entry = _mapping(document, "a file")
    size = _count(entry.get("size_bytes"), "a file's size_bytes")
    if size < _SMALLEST:
        raise _InvalidError(f"a file has {size} bytes, which no Parquet file has")
    return File(
        path=_text(entry.get("path"), "a file's path"),
        sha256=_matching(entry.get("sha256"), _SHA256, "a file's sha256"),
        size_bytes=size,
    )


def _mapping(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _InvalidError(f"{what} is not an object")
    return value


def _list(value: object, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise _InvalidError(f"{what} is not a list")
    return value


def _text(value: object, what: str) -> str:
    if not isinstance(value, str) or not value or "\x00" in value or len(value) > _LONGEST_TEXT:
        raise _InvalidError(f"{what} is {value!r:.100}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _InvalidError(f"{what} is {value[:100]!r}, which is not a text") from None
    return value


def _optional_text(value: object, what: str) -> str | None:
    return None if value is None or value == "" else _text(value, what)


def _matching(value: object, pattern: re.Pattern[str], what: str) -> str:
    text = _text(value, what)
    if not pattern.fullmatch(text):
        raise _InvalidError(f"{what} is {text[:100]!r}")
    return text


def _count(value: object, what: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _GREATEST:
        raise _InvalidError(f"{what} is {value!r:.100}")
    return value


def _optional_count(value: object, what: str) -> int | None:
    return None if value is None else _count(value, what)
