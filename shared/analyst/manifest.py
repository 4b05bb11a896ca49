"""The manifest: every table that a caller can read, with its files, as one JSON document with an ETag.

`da sync` compares it with the mirror. The ETag depends only on the caller's own tables, so a change elsewhere does not
invalidate it.
"""

import gzip
import hashlib
import json
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime

from pydantic import BaseModel, ConfigDict

from analyst.access import AccessList, Caller
from analyst.catalog import Column, File, QueryMode, Table
from analyst.snapshots import Snapshot
from analyst.visible_tables import visible

_KEPT = 64

Edition = tuple[int, datetime]
"""What tells one snapshot from another; in a bucket that was made anew, numbers begin anew."""


class ManifestTable(BaseModel):
    """A table. Equal hashes mean equal data. Remote and server-only tables have no files.

    `notice` is present only if there is something to report, such as missing files at the source.
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


class ManifestDocument(BaseModel):
    """The manifest: the number of the snapshot, and its tables by id."""

    snapshot: int
    tables: dict[str, ManifestTable]


@dataclass(frozen=True, slots=True)
class Manifest:
    """The manifest of one caller: its bytes, plain and gzipped, and its ETag without quotes."""

    body: bytes
    gzipped: bytes
    etag: str


@dataclass(slots=True)
class Manifests:
    """Makes manifests, and keeps those made last. Safe to share between threads."""

    _lock: threading.Lock = field(default_factory=threading.Lock)
    _made: "OrderedDict[tuple[Edition, int, Caller], Manifest]" = field(default_factory=OrderedDict)
    _fragments: dict[tuple[str, bool, str | None], bytes] = field(default_factory=dict)
    _edition: Edition | None = None

    def manifest(self, snapshot: Snapshot, access: AccessList, caller: Caller) -> Manifest:
        """Make the caller's manifest of a snapshot."""
        key = (_edition(snapshot), access.version, caller)
        with self._lock:
            made = self._made.get(key)
            if made is None:
                made = self._make(snapshot, access, caller)
                self._made[key] = made
                if len(self._made) > _KEPT:
                    self._made.popitem(last=False)
            else:
                self._made.move_to_end(key)
            return made

    def _make(self, snapshot: Snapshot, access: AccessList, caller: Caller) -> Manifest:
        if self._edition != _edition(snapshot):
            self._edition, self._fragments = _edition(snapshot), {}
        tables = b",".join(self._fragment(table, access) for table in visible(snapshot, access, caller))
        body = b'{"snapshot":%d,"tables":{%b}}' % (snapshot.number, tables)
        # Over the tables alone, without the number of the snapshot: a publish of tables that this caller cannot read must
        # not make every laptop download its manifest again.
        etag = hashlib.sha256(tables).hexdigest()[:32]
        return Manifest(body, gzip.compress(body, compresslevel=1, mtime=0), etag)

    def _fragment(self, table: Table, access: AccessList) -> bytes:
        registration = access.tables.get(table.id)
        server_only = registration is not None and registration.server_only
        description = access.description(table.id, table.description)
        key = (table.id, server_only, description)
        made = self._fragments.get(key)
        if made is None:
            made = _json(table.id) + b":" + _json(_entry(table, description, server_only=server_only))
            self._fragments[key] = made
        return made


def _edition(snapshot: Snapshot) -> Edition:
    return snapshot.number, snapshot.catalog.built_at


def _entry(table: Table, description: str | None, *, server_only: bool) -> dict[str, object]:
    """Lay out one table of the manifest; only files that may be downloaded are in it."""
    entry = ManifestTable(
        view=table.view,
        description=description,
        query_mode=table.query_mode,
        server_only=server_only,
        hash=table.hash,
        rows=table.rows,
        size_bytes=table.size_bytes,
        updated=table.extracted_at,
        columns=table.columns,
        files=() if server_only else table.files,
        notice=table.notice,
    ).model_dump(mode="json")
    return entry if table.notice else {name: value for name, value in entry.items() if name != "notice"}


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
