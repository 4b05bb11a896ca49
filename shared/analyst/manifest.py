"""The manifest: every table that a caller can read, with its files, as JSON documents with ETags.

`da sync` compares it with the mirror. The manifest of each source has an ETag of its own, and one ETag covers all of
these, so a laptop fetches only the sources that have changed. ETags depend only on the caller's own tables, so a change
elsewhere does not invalidate them.
"""

import gzip
import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from itertools import groupby

from pydantic import BaseModel, ConfigDict

from analyst.access import AccessList, Caller
from analyst.catalog import Column, File, QueryMode, Table
from analyst.descriptions import Description, Texts
from analyst.snapshots import Snapshot
from analyst.table_choices import EVERYTHING, TableChoice, mirrored
from analyst.visible_tables import visible

_KEPT = 64
_KEPT_BYTES = 64 << 20
"""Manifests that are kept, and bytes of their documents."""

Edition = tuple[int, datetime]
"""The identity of a snapshot; in a new bucket, numbers start again."""


class ManifestAbout(BaseModel):
    """What people wrote about a table besides its description; empty fields are omitted."""

    model_config = ConfigDict(frozen=True)

    tags: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()
    tier: str | None = None
    grain: str | None = None
    notes: tuple[str, ...] = ()


class ManifestTable(BaseModel):
    """A table. Equal hashes mean equal data. Remote and server-only tables have no files.

    `notice` is present only if there is something to report, such as missing files at the source, `about` if people
    wrote something about the table, and `left_out` if the caller does not mirror it. Such a table is also server-only:
    versions of `da` that don't know `left_out` would show it as an empty table.
    """

    model_config = ConfigDict(frozen=True)

    view: str
    description: str | None
    query_mode: QueryMode
    server_only: bool
    hash: str
    rows: int | None
    size_bytes: int | None
    updated: datetime | None
    columns: tuple[Column, ...]
    files: tuple[File, ...]
    notice: str | None = None
    about: ManifestAbout | None = None
    left_out: bool = False


class ManifestDocument(BaseModel):
    """The manifest: the number of the snapshot, its tables by id, and the ETag of the manifest of each source."""

    snapshot: int
    tables: dict[str, ManifestTable]
    sources: dict[str, str]


class SourceList(BaseModel):
    """The sources of which the caller can read tables, with the ETag of the manifest of each."""

    snapshot: int
    sources: dict[str, str]


@dataclass(frozen=True, slots=True)
class Encoding:
    """A document: its bytes, plain and gzipped, and its ETag without quotes."""

    body: bytes
    gzipped: bytes
    etag: str


@dataclass(frozen=True)
class Manifest:
    """The manifest of one caller. `sources` are the encoded tables of each source, `etags` those of the sources."""

    snapshot: int
    sources: Mapping[str, Sequence[bytes]]

    @cached_property
    def etags(self) -> Mapping[str, str]:
        """The ETag of each source."""
        return {source: _digest(b",".join(tables)) for source, tables in self.sources.items()}

    @cached_property
    def etag(self) -> str:
        """The ETag of all sources.

        It does not depend on the number of the snapshot: a publish of tables that this caller can't read must not make
        every laptop ask again.
        """
        return _digest(_json(self.etags))

    @cached_property
    def whole(self) -> Encoding:
        """All tables."""
        return self._encoded(b'"tables":{%b},"sources":%b' % (self._tables(self.sources), _json(self.etags)), self.etag)

    @cached_property
    def listed(self) -> Encoding:
        """The list of sources."""
        return self._encoded(b'"sources":' + _json(self.etags), self.etag)

    def of(self, sources: Collection[str]) -> Encoding:
        """Return the tables of some sources; those of which the caller can read no table are left out."""
        etags = {source: self.etags[source] for source in sorted(set(sources) & self.sources.keys())}
        members = b'"tables":{%b},"sources":%b' % (self._tables(etags), _json(etags))
        return self._encoded(members, _digest(_json(etags)))

    def _tables(self, sources: Collection[str]) -> bytes:
        return b",".join(table for source in sources for table in self.sources[source])

    def _encoded(self, members: bytes, etag: str) -> Encoding:
        body = b'{"snapshot":%d,%b}' % (self.snapshot, members)
        return Encoding(body, gzip.compress(body, compresslevel=1, mtime=0), etag)


@dataclass(slots=True)
class Manifests:
    """Makes manifests, and keeps those made last. Safe to share between threads."""

    _lock: threading.Lock = field(default_factory=threading.Lock)
    _texts: Texts = field(default_factory=Texts)
    _made: "OrderedDict[tuple[Edition, int, Caller, str], Manifest]" = field(default_factory=OrderedDict)
    _tables: dict[tuple[str, bool], tuple[Table, bool, str | None, Description, bytes]] = field(default_factory=dict)
    """The encoded tables by id, and whether they are wanted. A table that has not changed is the same object in the next snapshot."""

    def manifest(
        self, snapshot: Snapshot, access: AccessList, caller: Caller, texts: Texts, choice: TableChoice = EVERYTHING
    ) -> Manifest:
        """Make the caller's manifest of a snapshot."""
        key = ((snapshot.number, snapshot.catalog.built_at), access.version, caller, choice.key)
        with self._lock:
            if texts is not self._texts:
                self._texts = texts
                self._made.clear()
            made = self._made.get(key)
            if made is None:
                made = self._make(snapshot, access, caller, choice)
                self._made[key] = made
                while len(self._made) > 1 and self._are_too_many():
                    self._made.popitem(last=False)
            else:
                self._made.move_to_end(key)
            return made

    def _are_too_many(self) -> bool:
        size = sum(len(each.whole.body) for each in self._made.values() if "whole" in each.__dict__)
        return len(self._made) > _KEPT or size > _KEPT_BYTES

    def _make(self, snapshot: Snapshot, access: AccessList, caller: Caller, choice: TableChoice) -> Manifest:
        if len(self._tables) > 4 * len(snapshot.by_id) + _KEPT:
            self._tables.clear()  # of tables that are gone
        tables = visible(snapshot, access, caller)
        by_source = groupby(tables, lambda table: table.source)
        made = {
            source: [self._encoded(table, access, is_wanted=choice.wants(table.id)) for table in group]
            for source, group in by_source
        }
        return Manifest(snapshot.number, made)

    def _encoded(self, table: Table, access: AccessList, *, is_wanted: bool) -> bytes:
        registration = access.tables.get(table.id)
        server_only = registration is not None and registration.server_only
        description, people = self._texts.description(table, access), self._texts.of(table)
        known = self._tables.get((table.id, is_wanted))
        if known is not None and known[0] is table and known[1:4] == (server_only, description, people):
            return known[4]
        is_left_out = not is_wanted and mirrored(table, access)
        described = table.model_copy(update={"columns": self._texts.columns(table), "description": description})
        encoded = (
            _json(table.id) + b":" + _json(_entry(described, people, server_only=server_only, is_left_out=is_left_out))
        )
        self._tables[table.id, is_wanted] = (table, server_only, description, people, encoded)
        return encoded


def _entry(table: Table, description: Description, *, server_only: bool, is_left_out: bool) -> dict[str, object]:
    """Lay out one table of the manifest; only files that may be downloaded are in it."""
    entry = ManifestTable(
        view=table.view,
        description=table.description,
        query_mode=table.query_mode,
        server_only=server_only or is_left_out,
        hash=table.hash,
        rows=table.rows,
        size_bytes=table.size_bytes,
        updated=table.extracted_at,
        columns=table.columns,
        files=() if server_only or is_left_out else table.files,
        notice=table.notice,
    ).model_dump(mode="json", exclude={"about", "notice", "left_out"})
    about = description.model_dump(mode="json", include=set(ManifestAbout.model_fields), exclude_defaults=True)
    optional = {"notice": table.notice, "about": about, "left_out": is_left_out}
    return {**entry, **{name: value for name, value in optional.items() if value}}


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]
