"""The Storage API of Keboola: the project of a token, its tables, exports, jobs and files.

Source: Keboola Storage API, https://keboola.docs.apiary.io. PHP encodes an empty object as `[]`, so every object may be
a list. An alias table has the data, and often the metadata, of its `sourceTable`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote as quote_url

from analyst.connectors.keboola.http import Connection
from analyst.errors import SourceError, UnavailableError
from analyst.json_values import mapping, whole

_LISTED: Final = "columns,columnMetadata,metadata,buckets"
DEFAULT_JOBS: Final = 4
"""The number of simultaneous exports if the token does not show how many jobs the project runs in parallel."""


class JobError(SourceError):
    """An export failed at Keboola."""

    code = "keboola_job"


@dataclass(frozen=True, slots=True)
class Project:
    """The project of a token. `jobs` is the number of jobs that it runs in parallel."""

    id: str
    name: str
    backend: str
    file_provider: str
    jobs: int
    buckets: Mapping[str, str]
    features: frozenset[str] = frozenset()
    expires: str | None = None
    sees_all_buckets: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of metadata; `at` is its timestamp as Keboola writes it."""

    key: str
    value: str
    provider: str
    at: str = ""

    @property
    def moment(self) -> datetime:
        """Return the time of the entry; the earliest if it is unknown."""
        return moment_of(self.at) or datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class DefinedColumn:
    """A column of a typed table, as its definition has it."""

    name: str
    type: str
    length: str | None
    is_nullable: bool
    basetype: str | None = None


@dataclass(frozen=True, slots=True)
class TableInfo:
    """A table of a project. `changed` is its `lastChangeDate`; `definition` is known of a single typed table only."""

    id: str
    name: str
    bucket: str
    columns: tuple[str, ...]
    primary_key: tuple[str, ...] = ()
    is_typed: bool = False
    is_alias: bool = False
    is_linked: bool = False
    backend: str = "snowflake"
    rows: int | None = None
    size_bytes: int | None = None
    created: str | None = None
    imported: str | None = None
    changed: str | None = None
    metadata: tuple[Entry, ...] = ()
    column_metadata: Mapping[str, tuple[Entry, ...]] = field(default_factory=dict)
    definition: tuple[DefinedColumn, ...] = ()

    @property
    def mark(self) -> str | None:
        """Return a mark that changes whenever the content of the table does; `None` if Keboola has none."""
        return self.changed or self.imported

    @property
    def description(self) -> str | None:
        """Return the description of the table, if it has one."""
        return description_in(self.metadata)


def description_in(entries: Sequence[Entry]) -> str | None:
    """Return the description that metadata gives: a person's, else the newest one."""
    found = [entry for entry in entries if entry.key == "KBC.description" and entry.value.strip()]
    best = max(found, key=lambda entry: (entry.provider == "user", entry.moment), default=None)
    return None if best is None else best.value


@dataclass(frozen=True, slots=True)
class StorageApi:
    """The calls that reading a project needs. `branch` is the id of a development branch, or `default`."""

    connection: Connection
    branch: str | None = None

    @property
    def _root(self) -> str:
        return "/v2/storage" + (f"/branch/{quote_url(self.branch, safe='')}" if self.branch else "")

    def verify(self) -> Project:
        """Return the project of the token, which proves that it is valid."""
        document = mapping(self.connection.get("/v2/storage/tokens/verify"))
        owner = mapping(document.get("owner"))
        limits = mapping(owner.get("limits"))
        jobs = mapping(limits.get("storage.jobsParallelism")).get("value")
        features = owner.get("features")
        return Project(
            id=str(owner.get("id") or ""),
            name=str(owner.get("name") or ""),
            backend=str(owner.get("defaultBackend") or "snowflake"),
            file_provider=str(owner.get("fileStorageProvider") or "aws"),
            jobs=max(whole(jobs) or DEFAULT_JOBS, 1),
            buckets={str(key): str(value) for key, value in mapping(document.get("bucketPermissions")).items()},
            features=frozenset(map(str, features)) if isinstance(features, list) else frozenset(),
            expires=document.get("expires") or None,
            sees_all_buckets=bool(document.get("canManageBuckets") or document.get("isMasterToken")),
        )

    def tables(self) -> list[TableInfo]:
        """List all tables of the project that the token can read, in one call.

        Raises:
            UnavailableError: the answer is not a list of tables.
        """
        response = self.connection.get(f"{self._root}/tables", {"include": _LISTED})
        if not isinstance(response, list):
            raise UnavailableError("Keboola's list of tables is not a list; try again later")
        raw = [one for one in map(mapping, response) if one.get("id")]
        by_id = {str(one["id"]): one for one in raw}
        return [_table(one, by_id) for one in raw]

    def table(self, table: str) -> TableInfo:
        """Return one table, with its definition if it is typed."""
        return _table(mapping(self.connection.get(f"{self._root}/tables/{quote_url(table, safe='')}")), {})

    def export(self, table: str, order: Mapping[str, Any]) -> str:
        """Start the export of a table and return the id of its job."""
        path = f"{self._root}/tables/{quote_url(table, safe='')}/export-async"
        job = mapping(self.connection.post(path, order)).get("id")
        if job is None:
            raise UnavailableError(f"Keboola started no export of {table!r}: its answer has no job; try again later")
        return str(job)

    def wait(self, job: str, table: str) -> str:
        """Wait for the end of an export and return the id of its file.

        Raises:
            JobError: it failed; the message is Keboola's, with its exception id.
            UnavailableError: it did not end in time.
        """
        patience = self.connection.patience
        deadline = patience.monotonic() + patience.job
        for pause in patience.polls():
            document = mapping(self.connection.get(f"/v2/storage/jobs/{quote_url(job, safe='')}"))
            status = document.get("status")
            if status == "success":
                file = mapping(mapping(document.get("results")).get("file")).get("id")
                if file is None:
                    raise UnavailableError(f"the export of {table!r} (job {job}) has no file; try again later")
                return str(file)
            if status in ("error", "cancelled", "terminated"):
                raise self._failed(mapping(document.get("error")), job, table, str(status))
            if patience.monotonic() + pause > deadline:
                raise UnavailableError(
                    f"the export of {table!r} (job {job}) is still {status!r} after {patience.job:.0f} s; the next sync "
                    "resumes it"
                )
            patience.sleep(pause)
        raise UnavailableError(f"the export of {table!r} (job {job}) did not end; the next sync resumes it")

    def _failed(self, error: Mapping[str, Any], job: str, table: str, status: str) -> JobError:
        reason = self.connection.hidden(str(error.get("message") or f"the job ended as {status!r}"))
        exception = f", exception {error['exceptionId']}" if error.get("exceptionId") else ""
        code = str(error.get("code") or "")
        return JobError(f"Keboola failed to export {table!r} (job {job}{exception}): {reason}", reason=code)

    def file(self, file: str) -> Mapping[str, Any]:
        """Return a file with new credentials for reading it."""
        path = f"{self._root}/files/{quote_url(file, safe='')}"
        return mapping(self.connection.get(path, {"federationToken": 1}))


def _table(raw: Mapping[str, Any], by_id: Mapping[str, Mapping[str, Any]]) -> TableInfo:
    source, bucket = mapping(raw.get("sourceTable")), mapping(raw.get("bucket"))
    is_linked = bool(
        bucket.get("sourceBucket") or bucket.get("isLinked")
    )  # then a table here may have the id of the source
    origin = {**({} if is_linked else by_id.get(str(source.get("id")), {})), **source}
    id_ = str(raw["id"]) if raw.get("id") else ""
    if id_.count(".") < 2:  # noqa: PLR2004 - stage, bucket and table
        raise UnavailableError(f"Keboola's answer has a table without an id such as in.c-main.orders: {id_!r}")
    definition = mapping(raw.get("definition")) or mapping(origin.get("definition"))
    defined = tuple(_defined(definition))
    columns = raw.get("columns") or [column.name for column in defined]
    return TableInfo(
        id=id_,
        name=str(raw.get("name") or id_.rpartition(".")[2]),
        bucket=str(bucket.get("id") or id_.rpartition(".")[0]),
        columns=tuple(map(str, columns)),
        primary_key=tuple(map(str, raw.get("primaryKey") or origin.get("primaryKey") or ())),
        is_typed=bool(raw.get("isTyped")),
        is_alias=bool(raw.get("isAlias")),
        is_linked=is_linked,
        backend=str(bucket.get("backend") or "snowflake").lower(),
        rows=whole(raw.get("rowsCount")),
        size_bytes=whole(raw.get("dataSizeBytes")),
        created=raw.get("created") or None,
        imported=raw.get("lastImportDate") or origin.get("lastImportDate") or None,
        changed=raw.get("lastChangeDate") or origin.get("lastChangeDate") or None,
        metadata=tuple(_entries(raw.get("metadata"))) or tuple(_entries(origin.get("metadata"))),
        column_metadata=_column_metadata(raw) or _column_metadata(origin),
        definition=defined,
    )


def _column_metadata(raw: Mapping[str, Any]) -> dict[str, tuple[Entry, ...]]:
    metadata = mapping(raw.get("columnMetadata"))
    return {column: entries for column, listed in metadata.items() if (entries := tuple(_entries(listed)))}


def _entries(listed: Any) -> Iterator[Entry]:
    for one in map(mapping, listed if isinstance(listed, list) else ()):
        if one.get("key") and one.get("value") is not None:
            yield Entry(
                str(one["key"]), str(one["value"]), str(one.get("provider") or ""), str(one.get("timestamp") or "")
            )


def moment_of(text: str | None) -> datetime | None:
    """Parse a time of the Storage API, such as `2026-03-01T12:00:00+0100`; `None` if it is not a time."""
    try:
        found = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)


def _defined(definition: Mapping[str, Any]) -> Iterator[DefinedColumn]:
    for column in map(mapping, definition.get("columns") or ()):
        fields = mapping(column.get("definition"))
        yield DefinedColumn(
            name=str(column.get("name")),
            type=str(fields.get("type") or column.get("basetype") or ""),
            length=None if fields.get("length") in (None, "") else str(fields["length"]),
            is_nullable=fields.get("nullable") in (None, True, 1, "1", "true"),
            basetype=column.get("basetype") or None,
        )
