"""The registry of a Keboola source: makes its connector from the registered tables, and lists tables of the project."""

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from pydantic import SecretStr

from analyst.connectors.keboola.api import Project as TokenProject
from analyst.connectors.keboola.api import StorageApi, TableInfo
from analyst.connectors.keboola.connector import KeboolaConnector, WantedTable, utc_now
from analyst.connectors.keboola.extension import Extension, is_installed
from analyst.connectors.keboola.http import TOKEN, Connection
from analyst.connectors.keboola.options import KeboolaSource, KeboolaTableOptions
from analyst.connectors.registered_source import RegisteredSource, read_model
from analyst.connectors.unique_names import unique_names
from analyst.contract.checkpoints import Checkpoints
from analyst.contract.source_jobs import SourceJobs
from analyst.errors import InvalidInputError, SourceError
from analyst.http_client import HttpClient
from analyst.names import name_of
from analyst.settings import Settings
from analyst.state.registry import NewTable, RegisteredTable, Source

TYPE: Final = "keboola"
_LONGEST_NAME: Final = 63


@dataclass(frozen=True, slots=True)
class Project:
    """A Keboola source as registered: its config, and its tables."""

    source: str
    config: KeboolaSource
    api: StorageApi
    tables: tuple[RegisteredTable, ...]

    def connector(
        self,
        settings: Settings,
        http: HttpClient,
        only: Iterable[str] | None = None,
        now: Callable[[], datetime] = utc_now,
        jobs: SourceJobs | None = None,
        *,
        checkpoints: Checkpoints | None = None,
    ) -> KeboolaConnector:
        """Return the connector of the registered tables, or of some of them."""
        return KeboolaConnector(
            self.api,
            [_wanted(table) for table in self.tables],
            http,
            settings.memory_limit,
            None if only is None else frozenset(only),
            self.config.parallel,
            self.config.file_endpoint,
            now,
            Extension(self.api.connection) if self.config.extension == "auto" and is_installed() else None,
            jobs,
            checkpoints,
        )

    def check(self, settings: Settings) -> str:
        """Check the token; return for which project it is.

        Raises:
            SourceError: it is not accepted, or is for another project than the configured one.
        """
        project = _project_of(self.api, self.config.project_id or settings.keboola_project_id)
        until = f", expires {project.expires}" if project.expires else ""
        return f"works for the project {project.name!r} ({project.id}){until}"

    def found(self, infos: Iterable[TableInfo]) -> list["FoundTable"]:
        """Name the tables of the project that are in the configured buckets: registered ones as they are registered."""
        seen = [info for info in infos if self.config.has_bucket(info.bucket)]
        known = {keboola_id(table): table.name for table in self.tables}
        taken = {table.name for table in self.tables}
        spellings = {info.id: [spell(info) for spell in _SPELLINGS] for info in seen if info.id not in known}
        names = unique_names(spellings, taken)
        return [FoundTable(known.get(info.id) or names[info.id], info, is_registered=info.id in known) for info in seen]


@dataclass(frozen=True, slots=True)
class FoundTable:
    """A table of the project, and the name that it has or would get."""

    name: str
    info: TableInfo
    is_registered: bool

    def registration(self, source: str) -> NewTable:
        """Return how the table is registered. Its description stays Keboola's, so that it follows changes there."""
        return NewTable(id=f"{source}.{self.name}", source_table=self.info.name, bucket=self.info.bucket)


def _project_of(api: StorageApi, expected: str | None) -> TokenProject:
    """Return the project of the token.

    Raises:
        SourceError: it is another project than expected.
    """
    project = api.verify()
    if expected is not None and project.id != expected:
        raise SourceError(
            f"the token is for the project {project.id} ({project.name!r}), not {expected}; set KEBOOLA_PROJECT_ID or the "
            "token to the same project"
        )
    return project


def connector_of(
    registered: RegisteredSource,
    looked_up: tuple[Source, Sequence[RegisteredTable]],
    settings: Settings,
    only: Iterable[str] | None,
    *,
    http: HttpClient,
    now: Callable[[], datetime] = utc_now,
    jobs: SourceJobs | None = None,
    checkpoints: Checkpoints | None = None,
) -> KeboolaConnector:
    """Return the connector of a source as it was looked up, after registering new tables if its config says so.

    Raises:
        InvalidInputError: its config can't be used.
        SourceError: the stack or the token is missing, or the token is not accepted.
    """
    source, tables = looked_up
    project = project_of_source(settings, source.name, source.config, tables=tables, http=http, environ=os.environ)
    if not project.config.discover or only is not None:
        return project.connector(settings, http, only, now, jobs, checkpoints=checkpoints)
    listed = project.api.tables()
    found = [one for one in project.found(listed) if not one.is_registered and one.name not in source.excluded]
    if new := [one.registration(source.name) for one in found]:
        project = Project(source.name, project.config, project.api, tuple(registered.register(new)))
    connector = project.connector(settings, http, only, now, jobs, checkpoints=checkpoints)
    connector.use(listed)
    return connector


def project_of_source(
    settings: Settings,
    source: str,
    config: Mapping[str, Any],
    *,
    tables: Iterable[RegisteredTable],
    http: HttpClient,
    environ: Mapping[str, str],
) -> Project:
    """Return the project of a source with this config, whether it is registered or not.

    Raises:
        InvalidInputError: the config can't be used.
        SourceError: the stack or the token is missing.
    """
    read = read_model(KeboolaSource, dict(config), f"the config of the source '{source}'")
    stack = read.stack_url or settings.keboola_stack_url
    if stack is None:
        raise SourceError(
            "no Keboola stack is configured; set KEBOOLA_STACK_URL to its address, such as https://connection.keboola.com"
        )
    name = read.token_env or TOKEN
    token = settings.keboola_storage_token if read.token_env is None else _from_environment(environ, read.token_env)
    if token is None:
        raise SourceError(f"no Storage token is configured; create one in Keboola and set {name} to it")
    api = StorageApi(
        Connection(stack, token, name, read.project_id or settings.keboola_project_id, client=http), read.branch
    )
    return Project(source, read, api, tuple(tables))


def _from_environment(environ: Mapping[str, str], name: str) -> SecretStr | None:
    value = environ.get(name, "").strip()
    return SecretStr(value) if value else None


def keboola_id(table: RegisteredTable) -> str:
    """Return the id of a registered table at Keboola: its source table with its bucket, unless it is a whole id."""
    name = table.source_table
    if name.count(".") >= 2 or not table.bucket:  # noqa: PLR2004 - stage, bucket and table
        return name
    return f"{table.bucket}.{name}"


def _wanted(table: RegisteredTable) -> WantedTable:
    """Return a registered table; one whose options can't be used has a problem."""
    id_ = keboola_id(table)
    if id_.count(".") < 2:  # noqa: PLR2004
        problem = (
            f"'{id_}' is not the id of a Keboola table, such as in.c-crm.contacts; set its source_table to one, or its "
            "bucket"
        )
        return WantedTable(table.name, id_, problem=problem)
    columns = {
        "sync_strategy": None if table.sync_strategy == "full_refresh" else table.sync_strategy,
        "primary_key": table.primary_key,
    }
    values = {**{name: value for name, value in columns.items() if value}, **table.options}
    try:
        options = read_model(KeboolaTableOptions, values, f"what {table.id} is registered with")
    except InvalidInputError as error:
        return WantedTable(table.name, id_, problem=str(error))
    return WantedTable(table.name, id_, options)


def _short(info: TableInfo) -> str:
    return name_of(info.name, "table")


def _with_bucket(info: TableInfo) -> str:
    bucket = info.bucket.partition(".")[2].removeprefix("c-")
    return name_of(f"{bucket}_{info.name}", "table")


def _with_stage(info: TableInfo) -> str:
    return name_of(f"{info.bucket.partition('.')[0]}_{_with_bucket(info)}", "table")


def _with_hash(info: TableInfo) -> str:
    mark = hashlib.sha256(info.id.encode()).hexdigest()[:12]
    return f"{_short(info)[: _LONGEST_NAME - 13]}_{mark}"


_SPELLINGS: Final = (_short, _with_bucket, _with_stage, _with_hash)
"""The names that a table may get: its own; with its bucket, where several would share one; and so on."""
