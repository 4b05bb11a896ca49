"""The server's manifest, validated before use.

The manifest is the JSON of `GET /api/sync/manifest`; the mirror's own state stores tables in the same format.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from da.errors import DaError
from da.text import clean

NO_TABLES = "You can't read any table yet; to request access, run: da request SOURCE.TABLE --reason WHY"

_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_ID = re.compile(rf"{_NAME.pattern}\.{_NAME.pattern}")
_ETAG = re.compile(r"[!-~]{1,200}")
_SMALLEST = 12
"""Bytes of the smallest file that can be Parquet: its two marks, and the length of its footer."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_GREATEST = 2**63 - 1
_LONGEST_NAME = 1000
_LONGEST_TEXT = 200_000


class _InvalidError(ValueError):
    """A part of the manifest is invalid; the message says which."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column. `type` is the name of a DuckDB type."""

    name: str
    type: str
    description: str | None = None


@dataclass(frozen=True, slots=True)
class File:
    """One parquet file. `path` identifies it on the server and is never used as a local path; `sha256` is hex."""

    path: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Table:
    """One table of the manifest.

    `updated` is an ISO 8601 time; `notice` is a remark, e.g. that its files are gone; `about` has tags, owners, tier, grain
    and notes, as far as people have named any. `left_out` is what the user does not want on laptops.
    """

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
    about: Mapping[str, Any] = field(default_factory=dict)
    left_out: bool = False

    @property
    def is_mirrored(self) -> bool:
        """Whether its data is mirrored to this machine."""
        return self.query_mode != "remote" and not self.server_only and not self.left_out

    @property
    def place(self) -> str:
        """Where it can be queried: `local`, `remote` or `server_only`, as a table that is left out can."""
        is_only_there = self.server_only or self.left_out
        return "server_only" if is_only_there else "remote" if self.query_mode == "remote" else "local"

    def to_json(self) -> dict[str, Any]:
        """Return the table in the format that `from_json` reads."""
        document = {name: getattr(self, name) for name in self.__slots__}
        document["columns"] = [{"name": c.name, "type": c.type, "description": c.description} for c in self.columns]
        document["files"] = [{"path": f.path, "sha256": f.sha256, "size_bytes": f.size_bytes} for f in self.files]
        return document

    @classmethod
    def from_json(cls, table_id: str, document: object) -> Self:
        """Read one table.

        Raises:
            ValueError: a part of it is invalid; the message says which.
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
            about=_about(entry.get("about") or {}),
            left_out=bool(entry.get("left_out", False)),
        )


@dataclass(frozen=True, slots=True)
class Manifest:
    """All tables the user can read. `refused` are invalid entries: `{id as given: reason}`.

    `sources` are the ETags of the manifests of sources; older servers send none. If only the sources in `changed` may
    differ from those of the mirror, `tables` are theirs; if it is `None`, all tables.
    """

    snapshot: int
    tables: Mapping[str, Table]
    refused: Mapping[str, str]
    sources: Mapping[str, str] = field(default_factory=dict)
    changed: frozenset[str] | None = None

    @classmethod
    def from_json(cls, document: object) -> Self:
        """Read a manifest; invalid tables are refused without affecting the others.

        Raises:
            DaError: the document is not a manifest.
        """
        try:
            top = _mapping(document, "the manifest")
            snapshot = _count(top.get("snapshot"), "snapshot")
            entries = _mapping(top.get("tables"), "tables")
        except _InvalidError as error:
            raise DaError(f"the server's manifest is invalid: {error}; check the address of the server") from None
        return cls(snapshot, *_tables(entries), _etags(top.get("sources")))

    @classmethod
    def of_changes(
        cls,
        listed: "SourceList",
        documents: Iterable[object],
        known: Iterable[tuple[str, str]],
        changed: Collection[str],
    ) -> Self:
        """Combine the manifests of changed sources; it has their tables only.

        `known` are the IDs and views of the tables that the mirror has.

        Raises:
            DaError: a document is not a manifest.
        """
        parts = [cls.from_json(document) for document in documents]
        refused = {table_id: reason for part in parts for table_id, reason in part.refused.items()}
        same = listed.sources.keys() - set(changed)
        views, gone = dict[str, str](), set[str]()
        for table_id, view in known:
            if (source := source_of(table_id)) in same:
                views[view] = table_id
            elif source not in listed.sources:
                gone.add(source)
        tables = dict[str, Table]()
        for table_id, table in sorted((key, table) for part in parts for key, table in part.tables.items()):
            owner = views.setdefault(table.view, table_id)
            if owner == table_id and source_of(table_id) in changed:
                tables[table_id] = table
            else:
                refused[table_id] = _already_used(table.view, owner)
        etags = {source: etag for part in parts for source, etag in part.sources.items() if source in changed}
        etags |= {source: listed.sources[source] for source in same}
        return cls(listed.snapshot, tables, refused, etags, frozenset(changed) | gone)

    def whole(self, known: Mapping[str, Table]) -> Self:
        """Add the `known` tables of the sources that have not changed."""
        if self.changed is None:
            return self
        same = {table_id: table for table_id, table in known.items() if source_of(table_id) not in self.changed}
        return replace(self, tables=dict(sorted({**same, **self.tables}.items())), changed=None)


@dataclass(frozen=True, slots=True)
class SourceList:
    """The sources of which the user can read tables, with the ETag of the manifest of each."""

    snapshot: int
    sources: Mapping[str, str]

    @classmethod
    def from_json(cls, document: object) -> Self:
        """Read a list of sources.

        Raises:
            DaError: the document is not one.
        """
        try:
            top = _mapping(document, "the list of sources")
            return cls(_count(top.get("snapshot"), "snapshot"), _etags(_mapping(top.get("sources"), "sources")))
        except _InvalidError as error:
            raise DaError(
                f"the server's list of sources is invalid: {error}; check the address of the server"
            ) from None


def source_of(table_id: str) -> str:
    """Return the source of a table."""
    return table_id.partition(".")[0]


def noticed(tables: Iterable[Table]) -> list[str]:
    """List the server's notices about tables, such as that files are gone from the source."""
    return [clean(f"{table.id}: {table.notice}") for table in tables if table.notice]


def _etags(document: object) -> dict[str, str]:
    """Read ETags of sources; a name or ETag that is not valid is left out, and its source counts as changed."""
    if not isinstance(document, dict):
        return {}
    return {
        source: etag
        for source, etag in document.items()
        if _NAME.fullmatch(source) and isinstance(etag, str) and _ETAG.fullmatch(etag)
    }


def _already_used(view: str, owner: str) -> str:
    return f"its view name '{view}' is already used by {owner}"


def _tables(entries: Mapping[str, Any]) -> tuple[dict[str, Table], dict[str, str]]:
    tables: dict[str, Table] = {}
    refused: dict[str, str] = {}
    views: dict[str, str] = {}
    for table_id, entry in entries.items():
        try:
            table = Table.from_json(table_id, entry)
        except ValueError as error:
            refused[table_id] = f"its description in the manifest is invalid: {error}"
            continue
        owner = views.setdefault(table.view, table_id)
        if owner == table_id:
            tables[table_id] = table
        else:
            refused[table_id] = _already_used(table.view, owner)
    return tables, refused


def _about(value: object) -> dict[str, Any]:
    """Read what is said of a table; fields of a newer server are ignored."""
    document = _mapping(value, "about")
    made: dict[str, Any] = {}
    for name in ("tier", "grain"):
        if text := _optional_text(document.get(name), name):
            made[name] = text
    for name in ("tags", "owners", "notes"):
        if listed := _list(document.get(name) or [], name):
            made[name] = [_text(each, name) for each in listed]
    return made


def _column(document: object) -> Column:
    entry = _mapping(document, "a column")
    description = _optional_text(entry.get("description"), "a column's description")
    name, kind = _text(entry.get("name"), "a column's name"), _text(entry.get("type"), "a column's type")
    if len(name) > _LONGEST_NAME or not kind.isprintable():
        raise _InvalidError(f"a column is {name[:100]!r}, {kind[:100]!r}")
    return Column(name, kind, description)


def _files(documents: list[Any]) -> tuple[File, ...]:
    """Read the files of a table. Different files must not have the same local name."""
    files = tuple(map(_file, documents))
    hashes: dict[str, str] = {}
    for file in files:
        if hashes.setdefault(file.sha256[:32], file.sha256) != file.sha256:
            raise _InvalidError(f"two files have sha256 values with the same prefix: {file.sha256}")
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
