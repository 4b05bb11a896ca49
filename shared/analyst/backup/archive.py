"""The archive of a backup: a zip file with the state, the pointers, and everything small that they need.

`index.json` lists its members with their SHA-256, and the data files that the pointers name. `state.duckdb` is the file of
the system state, `catalog.json` the newest snapshot as one catalog, `objects/<key>` are objects as they were.
"""

import hashlib
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ulid import ULID

from analyst import duckdb_files
from analyst.access import CURRENT as STATE_POINTER
from analyst.access import SCHEMA_VERSION, parse_pointer
from analyst.backup.contents import Kind, kind_of
from analyst.catalog import CURRENT, Catalog
from analyst.contract import extract_file
from analyst.contract.model import Extract
from analyst.errors import ConflictError, ContractError, InvalidInputError
from analyst.rebuild.contents import Contents
from analyst.snapshots import current_listed, read_pointer
from analyst.state.fields import Output
from analyst.state.files import fetch_file
from analyst.store import Entry, Object, Store, in_parallel, look_into_folders
from analyst.store.compare_and_swap import upload_once

PREFIX: Final = "uploads/backup/"
"""Where an archive waits to be fetched; a sweep deletes it after a day."""

DataKey = Annotated[str, Field(min_length=1, max_length=1024)]
"""The key of a data file, as a request names it."""

FORMAT: Final = 1
INDEX: Final = "index.json"
STATE: Final = "state.duckdb"
CATALOG: Final = "catalog.json"
OBJECTS: Final = "objects/"
_READ_AHEAD: Final = 128
_KEPT: Final = 86_400.0
_COMPRESSION: Final = 1
_DATE: Final = (1980, 1, 1, 0, 0, 0)


class Member(BaseModel):
    """A member of the archive."""

    model_config = ConfigDict(frozen=True)

    name: str
    size: int
    sha256: str


class DataFile(BaseModel):
    """A file that never changes. `sha256` is null if nothing records it. `is_needed` if a published table consists of it."""

    model_config = ConfigDict(frozen=True)

    key: str
    size: int
    sha256: str | None = None
    is_needed: bool = True


class Index(BaseModel):
    """The index of an archive. `program` and `schema_version` are those of the program that made it.

    `built_from` are the sources whose extract was part of the newest snapshot, `snapshot` is its number.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: int
    id: str
    program: str
    schema_version: int
    created_at: datetime
    url: str
    with_data: bool
    snapshot: int
    built_from: tuple[str, ...]
    members: tuple[Member, ...]
    data: tuple[DataFile, ...]


@dataclass(frozen=True, slots=True)
class Made:
    """An archive in the bucket, under `key`."""

    key: str
    size: int
    sha256: str
    index: Index


class BackupAnswer(Output):
    """An archive, to be fetched from `url` within `expires_in` seconds, and what it contains.

    `data_files` and `data_bytes` are the number and size of the files that its tables consist of, which are not in it.
    """

    id: str
    created_at: datetime
    program: str
    snapshot: int
    url: str
    expires_in: int
    size: int
    sha256: str
    objects: int
    data_files: int
    data_bytes: int

    @classmethod
    def of(cls, made: Made, url: str, expires_in: int) -> Self:
        """Return the answer for an archive that can be fetched from an address."""
        index = made.index
        return cls(
            id=index.id,
            created_at=index.created_at,
            program=index.program,
            snapshot=index.snapshot,
            url=url,
            expires_in=expires_in,
            size=made.size,
            sha256=made.sha256,
            objects=len(index.members),
            data_files=len(index.data),
            data_bytes=sum(file.size for file in index.data),
        )


def require_data_keys(keys: Iterable[str]) -> None:
    """Check that all keys are those of data files.

    Raises:
        InvalidInputError: one is not.
    """
    if wrong := [key for key in keys if kind_of(key) is not Kind.DATA]:
        raise InvalidInputError(f"{wrong[0][:200]!r} is not the key of a data file; request only files of a backup")


@dataclass(slots=True)
class _Writing:
    """An archive that is being written."""

    zip: zipfile.ZipFile
    members: list[Member] = field(default_factory=list)
    data: dict[str, DataFile] = field(default_factory=dict)

    def add(self, name: str, content: bytes) -> None:
        digest = hashlib.sha256(content).hexdigest()
        self.members.append(Member(name=name, size=len(content), sha256=digest))
        self.zip.writestr(zipfile.ZipInfo(name, _DATE), content, zipfile.ZIP_DEFLATED, _COMPRESSION)

    def add_objects(self, store: Store, entries: Iterable[Entry]) -> None:
        """Add objects as they are now; one that is gone was moved to an archive of records or deleted."""
        for batch in _batches([entry.key for entry in entries]):
            for key, found in zip(batch, in_parallel(store.read, batch), strict=True):
                if found is not None:
                    self.add(f"{OBJECTS}{key}", found.data)


@dataclass(frozen=True, slots=True)
class Backup:
    """The environment of a backup. `program` is the version of this program."""

    store: Store
    now: datetime
    program: str
    scratch: Path | None = None

    def make(self, *, with_data: bool) -> Made:
        """Write an archive to the bucket. `with_data`, it also lists the files that are not needed to publish tables.

        The snapshot is read first and the state last, so the state knows every table of the snapshot; the tables of
        registrations that ended meanwhile are not shown.

        Raises:
            ConflictError: there is no state yet.
            UnavailableError: the store does not respond, or something that a pointer names is damaged.
        """
        with duckdb_files.scratch(self.scratch) as folder:
            path, backup_id = folder / "backup.zip", str(ULID()).lower()
            with zipfile.ZipFile(path, "w") as archive:
                writing = _Writing(archive)
                snapshot, versions = self._add_snapshot(writing)
                extracts = self._add_extracts(writing, folder)
                self._add_records(writing, with_data=with_data)
                self._add_state(writing, folder)
                index = Index(
                    format=FORMAT,
                    id=backup_id,
                    program=self.program,
                    schema_version=SCHEMA_VERSION,
                    created_at=self.now,
                    url=self.store.url,
                    with_data=with_data,
                    snapshot=snapshot,
                    built_from=tuple(name for name, version in extracts.items() if versions.get(name) == version),
                    members=tuple(writing.members),
                    data=tuple(sorted(writing.data.values(), key=lambda file: file.key)),
                )
                info = zipfile.ZipInfo(INDEX, _DATE)
                archive.writestr(info, index.model_dump_json(), zipfile.ZIP_DEFLATED, _COMPRESSION)
            key = f"{PREFIX}{backup_id}.zip"
            upload_once(self.store, key, path)
            return Made(key, path.stat().st_size, _sha256(path), index)

    def _add_snapshot(self, writing: _Writing) -> tuple[int, Mapping[str, str]]:
        found = self.store.read(CURRENT)
        if found is None:
            return 0, {}
        pointer = read_pointer(found)
        catalog = Contents.of(self.store, current_listed(self.store, pointer)).catalog()
        writing.add(CATALOG, catalog.model_dump_json(exclude_defaults=True).encode())
        for table in catalog.tables:
            for file in table.files:
                writing.data[file.path] = DataFile(key=file.path, size=file.size_bytes, sha256=file.sha256)
        return pointer.snapshot, pointer.built_from

    def _add_extracts(self, writing: _Writing, folder: Path) -> dict[str, str]:
        """Add the extract of each source, and the files that it names; return their versions."""
        versions: dict[str, str] = {}
        for entry in look_into_folders(self.store, "extracts/", "extract.duckdb"):
            found = self.store.read(entry.key)
            if found is None:
                continue
            source = entry.key.split("/")[1]
            versions[source] = found.version
            writing.add(f"{OBJECTS}{entry.key}", found.data)
            with suppress(ContractError):  # a damaged extract is saved as it is; the snapshot has its last good tables
                for file in files_of(found, source, folder):
                    writing.data[file.key] = file
        return versions

    def _add_records(self, writing: _Writing, *, with_data: bool) -> None:
        """Add documents and records; `with_data`, Delta logs too, and the list of attachments and archived events."""
        for prefix in ("state/", "catalog/"):
            listed = self.store.list(prefix)
            writing.add_objects(self.store, (e for e in listed if kind_of(e.key) in (Kind.REPLACED, Kind.ADDED)))
        for source in sorted(self.store.list_folders("extracts/")):
            fields = self.store.head(f"extracts/{source}/fields.json")
            writing.add_objects(self.store, [] if fields is None else [fields])
            for folder in sorted(self.store.list_folders(f"extracts/{source}/")):
                if folder == "data" and not with_data:  # where the data stays, its Delta logs do too
                    continue
                entries = list(self.store.list(f"extracts/{source}/{folder}/"))
                writing.add_objects(self.store, (e for e in entries if kind_of(e.key) is Kind.ADDED))
                if with_data and folder != "data":
                    for entry in (e for e in entries if kind_of(e.key) is Kind.DATA):
                        writing.data[entry.key] = DataFile(key=entry.key, size=entry.size, is_needed=False)

    def _add_state(self, writing: _Writing, folder: Path) -> None:
        found = self.store.read(STATE_POINTER)
        if found is None:
            raise ConflictError("can't make a backup: this server has no users and no tables yet")
        path = fetch_file(self.store, parse_pointer(found.data), folder)
        if path is not None:
            writing.add(STATE, path.read_bytes())


def files_of(found: Object, source: str, folder: Path) -> list[DataFile]:
    """Return the data files that an extract names.

    Raises:
        ContractError: it can't be read.
    """
    extract = _opened(found.data, source, folder)
    rows = (row for files in extract.files.values() for row in files)
    return [DataFile(key=row.path, size=row.size_bytes, sha256=row.sha256) for row in rows]


def _opened(data: bytes, source: str, folder: Path) -> Extract:
    with duckdb_files.scratch(folder) as home, duckdb_files.connect(threads=1) as con:
        path = home / "extract.duckdb"
        path.write_bytes(data)
        return extract_file.open_extract(con, path, "extract", source=source)


@dataclass(frozen=True, slots=True)
class Archive:
    """An archive that was read and verified."""

    zip: zipfile.ZipFile
    index: Index

    def names(self) -> frozenset[str]:
        """Return the keys of the objects in it."""
        return frozenset(m.name.removeprefix(OBJECTS) for m in self.index.members if m.name.startswith(OBJECTS))

    def object(self, key: str) -> bytes:
        """Return an object as it was."""
        return self.zip.read(f"{OBJECTS}{key}")

    def catalog(self) -> Catalog | None:
        """Return the newest snapshot; `None` if there was none.

        Raises:
            InvalidInputError: it can't be read.
        """
        if not any(member.name == CATALOG for member in self.index.members):
            return None
        try:
            return Catalog.model_validate_json(self.zip.read(CATALOG))
        except ValidationError as error:
            raise InvalidInputError(f"the catalog in the backup can't be read: {error.errors()[0]['msg']}") from error


_DAMAGED: Final = (
    *(zipfile.BadZipFile, zlib.error, struct.error, KeyError, EOFError, ValueError),
    *(OSError, RuntimeError),  # a place before the beginning; a member that claims to be encrypted
)
"""What reading a damaged zip file raises."""


@contextmanager
def opened(path: Path) -> Iterator[Archive]:
    """Open an archive and verify each member of it.

    Raises:
        InvalidInputError: it is not an archive, is damaged, or names objects that no backup contains.
        ConflictError: a newer version of this program made it.
    """
    with ExitStack() as stack:
        try:
            archive = stack.enter_context(zipfile.ZipFile(path))
            index = Index.model_validate_json(archive.read(INDEX))
            if index.format > FORMAT or index.schema_version > SCHEMA_VERSION:
                raise ConflictError(
                    f"the backup was made by version {index.program} of the functions, with version "
                    f"{index.schema_version} of the state's schema, and this version supports up to {SCHEMA_VERSION}; "
                    "upgrade the functions and try again"
                )
            for member in index.members:
                _verify(archive, member)
        except _DAMAGED as error:
            raise InvalidInputError(
                f"the file is not a backup, or it is damaged: {error!s:.200}; use another backup"
            ) from error
        if STATE not in {member.name for member in index.members}:
            raise InvalidInputError("the backup is damaged: it contains no state; use another backup")
        yield Archive(archive, index)


def _verify(archive: zipfile.ZipFile, member: Member) -> None:
    content = archive.read(member.name)
    if len(content) != member.size or hashlib.sha256(content).hexdigest() != member.sha256:
        raise InvalidInputError(f"the backup is damaged: {member.name!r} has changed; use another backup")
    if member.name in (STATE, CATALOG):
        return
    key = member.name.removeprefix(OBJECTS)
    is_extract = kind_of(key) is Kind.POINTER and key.startswith("extracts/")
    if member.name == key or not (is_extract or kind_of(key) in (Kind.REPLACED, Kind.ADDED)):
        raise InvalidInputError(
            f"the backup contains {member.name[:200]!r}, which is never part of one; use another backup"
        )


def left_over(store: Store) -> list[Entry]:
    """List the archives that nobody fetches any more."""
    return [entry for entry in store.list(PREFIX) if entry.age > _KEPT]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _batches(keys: list[str]) -> Iterator[tuple[str, ...]]:
    most = _READ_AHEAD  # so that no more than these are in memory
    return (tuple(keys[start : start + most]) for start in range(0, len(keys), most))
