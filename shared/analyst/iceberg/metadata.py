"""The metadata of a table: the ids of its fields and its versions, which grow as versions are read, and what readers get.

Whoever first asks for a new version of a table writes its manifest and adds it to the table's record, by compare-and-swap.
Nothing is written for tables that nobody reads this way, and no rebuild waits. All objects are below `iceberg/<uuid>/`, with
the uuid of the registration, and everything but the record is named by its content.

Source: the Iceberg table spec, 'Table Metadata' and 'Snapshots'.
"""

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from analyst.catalog import File, Table
from analyst.errors import UnavailableError
from analyst.iceberg.manifests import manifest, manifest_list
from analyst.iceberg.schema import Json, UnsupportedTypeError, name_mapping, schema_fields, with_docs
from analyst.sharing.shares import table_id
from analyst.sharing.statistics import FileStatistics
from analyst.store import ABSENT, Store, StoreConflictError
from analyst.store.compare_and_swap import put_once

PREFIX: Final = "iceberg/"
BUCKET: Final = "iceberg-files"
"""The name of the bucket in the addresses of files: the first part of the path of our own door, see `file_door`."""

METADATA: Final = "metadata/"
_RECORD: Final = "table.json"
_LOOKED_AT: Final = 10
"""Snapshots that are searched for versions which nobody has read yet."""

_ATTEMPTS: Final = 10
_MOST_KEPT: Final = 500


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
    files: int
    rows: int
    size_bytes: int


class TableRecord(_Value):
    """What stays the same for readers: the ids of fields, schemas and versions, oldest first. Its object is swapped."""

    ids: dict[str, int] = {}
    schemas: tuple[tuple[Json, ...], ...] = ()
    versions: tuple[Version, ...] = ()


def location_of(uuid: str) -> str:
    """Return the address below which all files of a table lie."""
    return f"s3://{BUCKET}/{uuid}"


def digest_of(table: Table) -> str:
    """Return a hash of what makes a version: files and columns."""
    columns = [(column.name, column.type) for column in table.columns]
    made_of = [table.hash, columns, [file.path for file in table.files]]
    return hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:32]


@dataclass(slots=True)
class TableRecords:
    """The records of tables, and those read last. Thread-safe."""

    store: Store
    statistics: FileStatistics
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _known: "OrderedDict[str, TableRecord]" = field(default_factory=OrderedDict)
    _written: "OrderedDict[str, None]" = field(default_factory=OrderedDict)

    def of(
        self, table: Table, history: Callable[[], Iterable[tuple[datetime, Table]]], published: datetime
    ) -> TableRecord:
        """Return the record of a table, whose last version is that of `table`.

        `history` yields earlier versions with the time of their snapshot, newest first; it is read only for a new version.

        Raises:
            UnsupportedTypeError: Iceberg has no counterpart of a column's type.
            UnavailableError: the store does not respond.
        """
        uuid, digest = table_id(table), digest_of(table)
        with self._lock:
            known = self._known.get(uuid)
        if known is not None and known.versions and known.versions[-1].digest == digest:
            return known
        key = f"{PREFIX}{uuid}/{_RECORD}"
        for _ in range(_ATTEMPTS):
            found = self.store.read(key)
            record = _parsed(found.data) if found is not None else TableRecord()
            if not record.versions or record.versions[-1].digest != digest:
                changed = self._extended(record, table, history, published)
                with suppress(StoreConflictError):
                    self.store.put(
                        key, changed.model_dump_json().encode(), if_version=ABSENT if found is None else found.version
                    )
                    self._keep(uuid, changed)
                    return changed
                continue
            self._keep(uuid, record)
            return record
        raise UnavailableError("the table's Iceberg metadata is being changed by others; try again")

    def _keep(self, uuid: str, record: TableRecord) -> None:
        with self._lock:
            self._known[uuid] = record
            self._known.move_to_end(uuid)
            while len(self._known) > _MOST_KEPT:
                self._known.popitem(last=False)

    def _extended(
        self,
        record: TableRecord,
        table: Table,
        history: Callable[[], Iterable[tuple[datetime, Table]]],
        published: datetime,
    ) -> TableRecord:
        """Add the version of a table, and those since the last one that are still kept."""
        known = {version.digest for version in record.versions}
        missing: list[tuple[datetime, Table]] = [(published, table)]
        for at, earlier in islice(history(), _LOOKED_AT):
            digest = digest_of(earlier)
            if record.versions and digest == record.versions[-1].digest:
                break
            if digest == digest_of(missing[-1][1]):
                missing[-1] = (at, earlier)  # the same version, in an earlier snapshot
            elif digest not in known:
                missing.append((at, earlier))
        for at, each in reversed(missing):
            is_last = each is missing[0][1] or digest_of(each) == digest_of(table)
            try:
                record = self._with(record, each, at)
            except UnsupportedTypeError:
                if is_last:
                    raise
        return record

    def _with(self, record: TableRecord, table: Table, published: datetime) -> TableRecord:
        uuid = table_id(table)
        fields, ids = schema_fields(table.columns, record.ids)
        schemas = record.schemas if tuple(fields) in record.schemas else (*record.schemas, tuple(fields))
        schema_id = schemas.index(tuple(fields))
        taken = {version.snapshot_id for version in record.versions}
        sequence = len(record.versions) + 1 if not record.versions else record.versions[-1].sequence + 1
        snapshot_id = table.version if table.version > 0 and table.version not in taken else (1 << 40) + sequence
        parent = record.versions[-1].snapshot_id if record.versions else None
        schema = {"type": "struct", "schema-id": schema_id, "fields": fields}
        path, length = None, 0
        if table.files:
            data = manifest(
                schema, _distinct(table.files), self.statistics.of(table), lambda key: address(uuid, key),
                snapshot_id=snapshot_id, sequence=sequence,
            )  # fmt: skip
            path, length = f"{location_of(uuid)}/{METADATA}{self.put(uuid, data, '-m0.avro')}", len(data)
        listed = manifest_list(path, length, table.files, snapshot_id=snapshot_id, parent=parent, sequence=sequence)
        version = Version(
            snapshot_id=snapshot_id,
            sequence=sequence,
            digest=digest_of(table),
            published=_utc(published),
            schema_id=schema_id,
            manifest_list=self.put(uuid, listed, "-list.avro"),
            files=len(table.files),
            rows=sum(file.rows for file in table.files),
            size_bytes=sum(file.size_bytes for file in table.files),
        )
        earlier = [
            each if each.replaced else each.model_copy(update={"replaced": version.published})
            for each in record.versions
        ]
        return TableRecord(ids=ids, schemas=schemas, versions=(*earlier, version))

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
                while len(self._written) > 10 * _MOST_KEPT:
                    self._written.popitem(last=False)
        return name


def _parsed(data: bytes) -> TableRecord:
    try:
        return TableRecord.model_validate_json(data)
    except ValidationError:  # damaged, or written by a later version: begin anew
        return TableRecord()


def address(uuid: str, key: str) -> str:
    """Return the address of a data file, by its key in the real bucket."""
    return f"{location_of(uuid)}/{key}"


def _distinct(files: Sequence[File]) -> list[File]:
    return list({file.path: file for file in files}.values())


def table_metadata(
    record: TableRecord, table: Table, *, kept_since: datetime, comment: str | None, whole_history: bool = True
) -> Json:
    """Return the metadata of a table as the protocol has it, with the versions that were current since a time."""
    uuid = table_id(table)
    newest = record.versions[-1]
    versions = [
        version
        for version in record.versions
        if version is newest or (whole_history and version.replaced is not None and version.replaced > kept_since)
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
