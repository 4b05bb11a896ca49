"""The metadata of a table: the ids of its fields and its versions, which grow as versions are read, and what readers get.

Whoever first asks for a new version of a table writes its manifest and adds it to the table's record, by
compare-and-swap. Nothing is written for tables that nobody reads this way, and no rebuild waits. All objects are below
`iceberg/<uuid>/`, with the uuid of the registration, and everything but the record is named by its content.

Source: the Iceberg table spec, 'Table Metadata' and 'Snapshots'.
"""

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby, islice
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from analyst.catalog import Table
from analyst.errors import UnavailableError
from analyst.iceberg.manifests import Numbered, manifest, manifest_list
from analyst.iceberg.schema import Json, UnsupportedTypeError, is_retyped, name_mapping, schema_fields, with_docs
from analyst.sharing.served_statistics import FileStatistics, Hidden
from analyst.sharing.shares import table_id
from analyst.store import ABSENT, Entry, Store, StoreConflictError
from analyst.store.compare_and_swap import put_once

PREFIX: Final = "iceberg/"
BUCKET: Final = "iceberg-files"
"""The name of the bucket in the addresses of files: the first part of the path of our own endpoint, see `file_endpoint`."""

METADATA: Final = "metadata/"
RECORD: Final = "table.json"
DOCUMENT: Final = ".metadata.json"
_LOOKED_AT: Final = 10
"""Snapshots that are searched for versions which nobody has read yet."""

_ATTEMPTS: Final = 10
_MOST_KEPT: Final = 500
_MOST_WRITTEN: Final = 5000
_NO_VERSION: Final = 1 << 40
"""Added to the number of a snapshot whose table has none, or one that is taken, as after a rollback."""


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Version(_Value):
    """A version of a table as readers see it. `published` is that of the snapshot that it was first found in."""

    snapshot_id: int
    sequence: int
    digest: str
    published: datetime
    replaced: datetime | None = None
    schema_id: int
    manifest_list: str
    manifest: str | None = None
    files: int
    rows: int
    size_bytes: int


class TableRecord(_Value):
    """What stays the same for readers: the ids of fields, schemas and versions, oldest first. Its object is swapped."""

    ids: dict[str, int] = Field(default_factory=dict)
    hidden: tuple[str, ...] | None = None
    """Columns without bounds in the manifests; unknown in records of earlier versions of the software."""
    schemas: tuple[tuple[Json, ...], ...] = ()
    versions: tuple[Version, ...] = ()

    @property
    def digest(self) -> str | None:
        """The digest of the last version."""
        return self.versions[-1].digest if self.versions else None


def location_of(uuid: str) -> str:
    """Return the address below which all files of a table lie."""
    return f"s3://{BUCKET}/{uuid}"


def digest_of(table: Table) -> str:
    """Return a hash of what makes a version: files and columns."""
    columns = [(column.name, column.type) for column in table.columns]
    made_of = [table.hash, columns, [file.path for file in table.files]]
    return hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Current:
    """A table as it is in the newest snapshot, published at a time, and where earlier versions are found.

    `history` yields these with the time of their snapshot, newest first; it is read only for a version that is new.
    Those that were replaced before `kept_since` are forgotten. Sensitive columns are `hidden`: there are no bounds of
    their values.
    """

    table: Table
    published: datetime
    history: Callable[[], Iterable[tuple[datetime, Table]]]
    kept_since: datetime
    hidden: Hidden = frozenset()


@dataclass(slots=True)
class TableRecords:
    """The records of tables, and those read last. Thread-safe."""

    store: Store
    statistics: FileStatistics
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _known: "OrderedDict[str, TableRecord]" = field(default_factory=OrderedDict)
    _written: "OrderedDict[str, None]" = field(default_factory=OrderedDict)

    def of(self, current: Current) -> TableRecord:
        """Return the record of a table, whose last version is the current one.

        Raises:
            UnsupportedTypeError: Iceberg has no counterpart of a column's type.
            UnavailableError: the store does not respond.
        """
        uuid, digest, hidden = table_id(current.table), digest_of(current.table), tuple(sorted(current.hidden))
        with self._lock:
            known = self._known.get(uuid)
        if known is not None and (known.digest, known.hidden) == (digest, hidden):
            return known
        key = f"{PREFIX}{uuid}/{RECORD}"
        for _ in range(_ATTEMPTS):
            found = self.store.read(key)
            record = TableRecord() if found is None else parsed(found.data)
            if record.hidden != hidden:  # what was written with other bounds is not shown any more
                record = TableRecord(ids=record.ids, hidden=hidden)
            if record.digest != digest:
                record = self._extended(record, current)
                data = record.model_dump_json().encode()
                try:
                    self.store.put(key, data, if_version=ABSENT if found is None else found.version)
                except StoreConflictError:  # somebody else was faster, and has probably written the same
                    continue
            with self._lock:
                self._known[uuid] = record
                self._known.move_to_end(uuid)
                while len(self._known) > _MOST_KEPT:
                    self._known.popitem(last=False)
            return record
        raise UnavailableError("the Iceberg metadata of the table is being changed by other requests; try again")

    def _extended(self, record: TableRecord, current: Current) -> TableRecord:
        """Add the current version, and those since the last known one that are still kept."""
        known = {version.digest for version in record.versions}
        missing, history = [(current.published, current.table)], iter(current.history())
        for at, earlier in islice(history, _LOOKED_AT):
            digest = digest_of(earlier)
            if digest == record.digest:
                break
            if digest == digest_of(missing[-1][1]):
                missing[-1] = (at, missing[-1][1])  # the same version, in an earlier snapshot
            elif digest not in known:
                missing.append((at, earlier))
        else:
            if next(history, None) is None:  # no kept snapshot has the last known version, so its files may be gone
                record = _without_last(record)
        for at, table in reversed(missing):
            try:
                record = self._with(record, table, at, current.kept_since)
            except UnsupportedTypeError:
                if table is current.table:
                    raise
        return record

    def _with(self, record: TableRecord, table: Table, at: datetime, kept_since: datetime) -> TableRecord:
        uuid = table_id(table)
        columns, ids = schema_fields(table.columns, record.ids)
        fields = tuple(columns)
        schemas = record.schemas if fields in record.schemas else (*record.schemas, fields)
        before = record.versions[-1] if record.versions else None
        sequence = 1 if before is None else before.sequence + 1
        taken = {version.snapshot_id for version in record.versions}
        numbered = Numbered(
            table.version if table.version > 0 and table.version not in taken else _NO_VERSION + sequence,
            sequence,
            None if before is None else before.snapshot_id,
        )
        files = list({file.path: file for file in table.files}.values())
        schema_id = schemas.index(fields)
        name, length = None, 0
        if files:
            schema = {"type": "struct", "schema-id": schema_id, "fields": columns}
            data = manifest(
                schema, files, self.statistics.of(table, frozenset(record.hidden or ())), location_of(uuid), numbered
            )
            name, length = self.put(uuid, data, "-m0.avro"), len(data)
        path = None if name is None else f"{location_of(uuid)}/{METADATA}{name}"
        version = Version(
            snapshot_id=numbered.snapshot_id,
            sequence=sequence,
            digest=digest_of(table),
            # Never before the one that it follows: readers refuse such a log. A request that began before the last snapshot
            # was published adds the version before it once more, and builders' clocks differ.
            published=_utc(at) if before is None else max(_utc(at), before.published),
            schema_id=schema_id,
            manifest_list=self.put(uuid, manifest_list(path, length, files, numbered), "-list.avro"),
            manifest=name,
            files=len(files),
            rows=sum(file.rows for file in files),
            size_bytes=sum(file.size_bytes for file in files),
        )
        earlier = (each.model_copy(update={"replaced": each.replaced or version.published}) for each in record.versions)
        kept = [each for each in earlier if each.replaced is not None and each.replaced >= kept_since]
        return record.model_copy(update={"ids": ids, "schemas": schemas, "versions": (*kept, version)})

    def put(self, uuid: str, data: bytes, suffix: str) -> str:
        """Write an object of a table's metadata, named by its content; return its name."""
        name = hashlib.sha256(data).hexdigest()[:32] + suffix
        key = f"{PREFIX}{uuid}/{name}"
        with self._lock:
            is_known = key in self._written
        if not is_known:
            put_once(self.store, key, data)
            with self._lock:
                self._written[key] = None
                while len(self._written) > _MOST_WRITTEN:
                    self._written.popitem(last=False)
        return name


def _without_last(record: TableRecord) -> TableRecord:
    """Return a record whose last version counts as replaced as soon as it was published; the next one still follows it."""
    if not record.versions:
        return record
    *earlier, last = record.versions
    return record.model_copy(update={"versions": (*earlier, last.model_copy(update={"replaced": last.published}))})


def parsed(data: bytes) -> TableRecord:
    """Return the record that an object contains."""
    try:
        return TableRecord.model_validate_json(data)
    except ValidationError:  # damaged, or written by a later version: start again from nothing
        return TableRecord()


def unneeded(store: Store, tables: Iterable[Table]) -> Iterator[Entry]:
    """List the objects that no reader needs any more, for the sweep: those of other tables, and of versions that are gone.

    Young ones are among them, which may be about to be referenced.
    """
    uuids = {table_id(table) for table in tables}
    for folder, group in groupby(store.list(PREFIX), lambda entry: entry.key.rpartition("/")[0]):
        entries = list(group)
        names: set[str] = set()
        if folder.rpartition("/")[2] in uuids:
            found = store.read(f"{folder}/{RECORD}")
            versions = () if found is None else parsed(found.data).versions
            names = {RECORD, *(name for each in versions for name in (each.manifest, each.manifest_list) if name)}
            documents = [entry for entry in entries if entry.key.endswith(DOCUMENT)]
            names |= {_name(min(documents, key=lambda entry: entry.age).key)} if documents else set()
        yield from (entry for entry in entries if _name(entry.key) not in names)


def _name(key: str) -> str:
    return key.rpartition("/")[2]


def table_metadata(record: TableRecord, table: Table, *, kept_since: datetime, comment: str | None) -> Json:
    """Return the metadata of a table as the protocol has it, with the versions that were current since a time.

    Versions in which a column had another type are not listed: pyiceberg reads the bounds of the files of all versions
    as values of the newest type, and would skip files that have the rows.
    """
    uuid = table_id(table)
    newest = record.versions[-1]
    versions = [
        version
        for version in record.versions
        if (version.replaced is None or version.replaced > kept_since)
        and not is_retyped(record.schemas[version.schema_id], record.schemas[newest.schema_id])
    ]
    current = with_docs(record.schemas[newest.schema_id], table.columns)
    shown = sorted({version.schema_id for version in versions})
    schemas = [
        {
            "type": "struct",
            "schema-id": id_,
            "fields": current if id_ == newest.schema_id else list(record.schemas[id_]),
        }
        for id_ in shown
    ]
    properties = {
        "schema.name-mapping.default": json.dumps(name_mapping(record.ids), ensure_ascii=False, separators=(",", ":")),
        "write.format.default": "parquet",
        **({"comment": comment} if comment else {}),
    }
    return {
        "format-version": 2,
        "table-uuid": uuid,
        "location": location_of(uuid),
        "last-sequence-number": newest.sequence,
        "last-updated-ms": _ms(newest.published),
        "last-column-id": max(record.ids.values(), default=0),
        "schemas": schemas,
        "current-schema-id": newest.schema_id,
        "partition-specs": [{"spec-id": 0, "fields": []}],
        "default-spec-id": 0,
        "last-partition-id": 999,
        "sort-orders": [{"order-id": 0, "fields": []}],
        "default-sort-order-id": 0,
        "properties": properties,
        "current-snapshot-id": newest.snapshot_id,
        "snapshots": [
            _snapshot(uuid, version, before) for before, version in _pairs(record.versions) if version in versions
        ],
        "snapshot-log": [
            {"snapshot-id": version.snapshot_id, "timestamp-ms": _ms(version.published)} for version in versions
        ],
        "metadata-log": [],
        "refs": {"main": {"type": "branch", "snapshot-id": newest.snapshot_id}},
        "statistics": [],
        "partition-statistics": [],
    }


def _pairs(versions: Sequence[Version]) -> Iterator[tuple[Version | None, Version]]:
    return zip((None, *versions), versions, strict=False)


def _snapshot(uuid: str, version: Version, before: Version | None) -> Json:
    summary = {
        "operation": "overwrite" if before else "append",
        "total-data-files": version.files,
        "total-records": version.rows,
        "total-files-size": version.size_bytes,
        "total-delete-files": 0,
        "total-position-deletes": 0,
        "total-equality-deletes": 0,
    }
    return {
        "snapshot-id": version.snapshot_id,
        **({"parent-snapshot-id": before.snapshot_id} if before else {}),
        "sequence-number": version.sequence,
        "timestamp-ms": _ms(version.published),
        "manifest-list": f"{location_of(uuid)}/{METADATA}{version.manifest_list}",
        "summary": {name: str(value) for name, value in summary.items()},
        "schema-id": version.schema_id,
    }


def _utc(time: datetime) -> datetime:
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _ms(time: datetime) -> int:
    return round(_utc(time).timestamp() * 1000)
