"""The registry of a BigQuery source: makes its connector from registered tables, and lists tables of the project."""

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from analyst.connectors.bigquery.access import access_of
from analyst.connectors.bigquery.api import BigQueryApi, MissingError, TableInfo
from analyst.connectors.bigquery.connector import BigQueryConnector, Limits, WantedTable, utc_now
from analyst.connectors.bigquery.long_reads import LongReads
from analyst.connectors.bigquery.options import BigQuerySource, BigQueryTableOptions
from analyst.connectors.bigquery.reader_processes import Readers
from analyst.connectors.registered_source import RegisteredSource, read_model
from analyst.connectors.unique_names import unique_names
from analyst.errors import InvalidInputError, SourceError
from analyst.http_client import HttpClient
from analyst.names import name_of
from analyst.settings import Settings
from analyst.state.registry import NewTable, RegisteredTable, Source

TYPE: Final = "bigquery"
_LONGEST_NAME: Final = 63
_AT_ONCE: Final = 8


@dataclass(frozen=True, slots=True)
class FoundTable:
    """A table of the project, and the name that it has or would get."""

    name: str
    info: TableInfo
    is_registered: bool

    def registration(self, source: str) -> NewTable:
        """Return how the table is registered. Its description stays BigQuery's, so that it follows changes there."""
        return NewTable(id=f"{source}.{self.name}", source_table=self.info.name, bucket=self.info.dataset)


@dataclass(frozen=True, slots=True)
class Project:
    """A BigQuery source as registered: its config, and its tables."""

    source: str
    config: BigQuerySource
    api: BigQueryApi
    limits: Limits
    tables: tuple[RegisteredTable, ...]

    def connector(
        self,
        readers: Readers,
        only: Iterable[str] | None = None,
        now: Callable[[], datetime] = utc_now,
        long: LongReads | None = None,
    ) -> BigQueryConnector:
        """Return the connector of the registered tables, or of some of them."""
        wanted = [wanted_table(table) for table in self.tables]
        only = None if only is None else frozenset(only)
        alias = f"{self.source[:50]}_bigquery"
        return BigQueryConnector(self.api, wanted, readers, self.limits, only, now, alias, long)

    def datasets(self) -> list[str]:
        """List the datasets whose tables are discovered."""
        return [dataset for dataset in self.api.datasets() if self.config.has_dataset(dataset)]

    def found(self) -> list[FoundTable]:
        """List the tables of the configured datasets with their names: registered ones as they are registered.

        Raises:
            SourceError: the credentials are not accepted.
            UnavailableError: BigQuery does not respond.
        """
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            listed = [info for infos in pool.map(self.api.tables, self.datasets()) for info in infos]
        known = {_place(table): table.name for table in self.tables}
        spellings = {info.id: _spellings(info) for info in listed if (info.dataset, info.name) not in known}
        names = unique_names(spellings, {table.name for table in self.tables})
        return [
            FoundTable(known.get((info.dataset, info.name)) or names[info.id], info, (info.dataset, info.name) in known)
            for info in listed
        ]

    def detailed(self, found: Sequence[FoundTable]) -> list[FoundTable]:
        """Look up the schemas of tables, several at a time; tables deleted in the meantime are left out."""

        def detail(one: FoundTable) -> FoundTable | None:
            try:
                return FoundTable(one.name, self.api.table(one.info.dataset, one.info.name), one.is_registered)
            except MissingError:
                return None

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return [one for one in pool.map(detail, found) if one is not None]


def connector_of(
    registered: RegisteredSource,
    looked_up: tuple[Source, Sequence[RegisteredTable]],
    settings: Settings,
    only: Iterable[str] | None,
    readers: Readers,
    *,
    http: HttpClient,
    now: Callable[[], datetime] = utc_now,
    long: LongReads | None = None,
) -> BigQueryConnector:
    """Return the connector of a source as it was looked up, after registering new tables if its config says so.

    Raises:
        InvalidInputError: its config can't be used.
        SourceError: the project or the credentials are missing, or not accepted.
    """
    source, tables = looked_up
    project = project_of_source(settings, source.name, source.config, tables=tables, http=http, environ=os.environ)
    if project.config.discover and only is None:
        found = [one for one in project.found() if not one.is_registered and one.name not in source.excluded]
        if new := [one.registration(source.name) for one in found]:
            project = replace(project, tables=tuple(registered.register(new)))
    return project.connector(readers, only, now, long)


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
        SourceError: the project or the key file is missing.
    """
    read = read_model(BigQuerySource, dict(config), f"the config of the source '{source}'")
    project = read.project_id or settings.bigquery_project
    if project is None:
        raise SourceError(
            "no BigQuery project is configured; set BIGQUERY_PROJECT to the id of the project with your tables"
        )
    access = access_of(read.api_endpoint, read.storage_endpoint, read.key_env, environ)
    location = read.location or settings.bigquery_location
    limits = Limits(read.billing_project or project, location, read.max_bytes_billed, read.streams)
    return Project(source, read, BigQueryApi(project, access, http), limits, tuple(tables))


def _place(table: RegisteredTable) -> tuple[str, str]:
    """Return the dataset and the name of a registered table; its source table may have both."""
    dataset, _, name = table.source_table.rpartition(".")
    return dataset or table.bucket or "", name


def wanted_table(table: RegisteredTable, label: str = "") -> WantedTable:
    """Return a registered table, with a name for messages; one whose options can't be used has a problem."""
    dataset, name = _place(table)
    columns = {
        "sync_strategy": None if table.sync_strategy == "full_refresh" else table.sync_strategy,
        "primary_key": table.primary_key,
        "cursor_column": table.cursor_column,
    }
    values = {**{key: value for key, value in columns.items() if value}, **table.options}
    try:
        options = read_model(BigQueryTableOptions, values, f"what {table.id} is registered with")
    except InvalidInputError as error:
        return WantedTable(table.name, dataset, name, problem=str(error))
    problem = None
    if table.query_mode == "materialized" and options.sql is None:
        problem = f"{table.id} is materialized, but has no query; set its option sql"
    elif table.query_mode != "materialized" and options.sql is not None:
        problem = f"{table.id} has the option sql, but is not materialized; set its query_mode to materialized"
    elif options.sql is None and not dataset:
        problem = (
            f"{table.id} has no dataset; set its bucket to the dataset of the table, or source_table to dataset.table"
        )
    is_remote = table.query_mode == "remote"
    return WantedTable(table.name, dataset, name, options, problem, is_remote=is_remote, given_label=label)


def _spellings(info: TableInfo) -> list[str]:
    """Return the names that a table may get: its own; with its dataset, where several would share one; with a hash."""
    mark = hashlib.sha256(info.id.encode()).hexdigest()[:12]
    short = name_of(info.name, "table")
    return [short, name_of(f"{info.dataset}_{info.name}", "table"), f"{short[: _LONGEST_NAME - 13]}_{mark}"]
