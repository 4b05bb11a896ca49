"""What a source contains, without extracting it: its tables with columns and types, and what is ignored and why.

A preview changes nothing. It reads a registered config, or one that somebody is about to register.
"""

import gzip
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from analyst import duckdb_files
from analyst.catalog import Column
from analyst.connectors.bigquery import discovery as bigquery
from analyst.connectors.bigquery.columns import planned_columns as bigquery_columns
from analyst.connectors.files.connector import CsvConnector
from analyst.connectors.files.discovery import connector_of
from analyst.connectors.files.formats.compression import opened
from analyst.connectors.files.increments import Increment
from analyst.connectors.files.places import open_place
from analyst.connectors.files.places.local import LocalPlace, Place, SourceFile
from analyst.connectors.files.table_files import Planned, data_file
from analyst.connectors.jira.api.issues import client_of
from analyst.connectors.jira.issue.custom_fields import TransformOptions
from analyst.connectors.jira.source import JiraSource, Scope
from analyst.connectors.keboola.columns import planned_columns
from analyst.connectors.keboola.discovery import project_of_source
from analyst.connectors.materialized.options import TYPE as MATERIALIZED
from analyst.connectors.source_types import SOURCE_TYPES, check_connector
from analyst.context import Context
from analyst.contract.connector import SourceTable
from analyst.contract.extract_edit import read_extract
from analyst.errors import AnalystError, NotFoundError, SourceError
from analyst.names import Name, did_you_mean, quote_text
from analyst.state import registry, sources
from analyst.state.fields import Input
from analyst.state.registry import RegisteredTable, Source
from analyst.state.source_types import EXTERNAL, check_config

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_SECONDS: Final = 20.0
"""Seconds after which tables are listed without columns, so that a preview of many large files is answered in time."""
_FILES: Final = 20
_SAMPLED_FROM: Final = 16 << 20
_SAMPLE: Final = 2 << 20
_LARGEST_COPY: Final = 256 << 20
_IGNORED: Final = 200


class FoundColumn(BaseModel):
    """A column. `original` is its name at the source, if it is different."""

    model_config = ConfigDict(frozen=True)

    name: str
    type: str
    original: str | None = None


class FoundTable(BaseModel):
    """A table. `source_table` is its name at the source, `files` the number of its files.

    `columns` is null if the table was not read: because of a `problem`, or because there was no time. The types of a
    table that `is_sampled` were inferred from the beginning of its files; `rows` is null then. A table that is not
    `is_registered` is registered by the next sync.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    source_table: str
    files: int | None = None
    size_bytes: int | None = None
    columns: tuple[FoundColumn, ...] | None = None
    rows: int | None = None
    is_sampled: bool = False
    is_registered: bool = False
    notes: tuple[str, ...] = ()
    problem: str | None = None


class Ignored(BaseModel):
    """A file or table that is not read, and the reason."""

    model_config = ConfigDict(frozen=True)

    name: str
    reason: str


class Check(BaseModel):
    """One check, and its result."""

    model_config = ConfigDict(frozen=True)

    what: str
    ok: bool
    message: str


class SourcePreview(BaseModel):
    """What a source contains. `problem` says why nothing can be read.

    `no_longer_read` are registered tables that the config does not find. At most 200 files are `ignored` by name;
    `ignored_count` counts all.
    """

    model_config = ConfigDict(frozen=True)

    source: str
    type: str
    checks: tuple[Check, ...] = ()
    tables: tuple[FoundTable, ...] = ()
    ignored: tuple[Ignored, ...] = ()
    ignored_count: int = 0
    no_longer_read: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    problem: str | None = None


class PreviewOrder(Input):
    """What to preview: a `type` and `config` that may differ from those registered, or be registered later.

    `tables` limits whose columns are read. Without `columns`, only names, and what can be checked quickly, are
    reported.
    """

    type: str | None = None
    config: dict[str, Any] | None = None
    tables: tuple[Name, ...] | None = Field(default=None, max_length=10_000)
    columns: bool = True


class PreviewRequest(PreviewOrder):
    """Which source to preview, and with which config."""

    source: Name


def preview(ctx: Context, request: PreviewRequest) -> SourcePreview:
    """Report what a source contains.

    Raises:
        NotFoundError: no such source exists, and the request has no config.
        InvalidInputError: this version has no connector of this type, or the config can't be used.
    """
    source, tables = _registered(ctx, request.source)
    if source is None and request.type is None:
        raise NotFoundError(
            f"there is no source '{request.source}'{_nearest_source(ctx, request.source)}; to preview a new one, give its "
            "type and config (da: --path)"
        )
    kind = request.type or (source.type if source else "")
    config = request.config if request.config is not None else (source.config if source else {})
    if source is None or kind != source.type or request.config is not None:
        check_connector(kind)
        check_config(SOURCE_TYPES, kind, config)
    asked = _Asked(ctx, request, kind, config, frozenset(source.excluded if source else ()), tuple(tables))
    try:
        if kind == "csv" and "path" in config:
            return _files(asked)
        if kind == "jira":
            return _jira(asked)
        if kind == "keboola":
            return _keboola(asked)
        if kind == "bigquery":
            return _bigquery(asked)
        return _published(asked)
    except AnalystError as error:
        return asked.answer(problem=str(error), checks=[Check(what="source", ok=False, message=str(error))])


def _nearest_source(ctx: Context, name: str) -> str:
    with ctx.state.read() as db:
        return did_you_mean(name, [source.name for source in sources.list_sources(db)])


def _registered(ctx: Context, name: str) -> tuple[Source | None, list[RegisteredTable]]:
    with ctx.state.read() as db:
        try:
            return registry.get_source(db, name), registry.list_tables(db, name)
        except NotFoundError:
            return None, []


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request, and what the registry says about its source."""

    ctx: Context
    request: PreviewRequest
    type: str
    config: Mapping[str, Any]
    excluded: frozenset[str]
    registered: tuple[RegisteredTable, ...]

    @property
    def known(self) -> frozenset[str]:
        return frozenset(table.name for table in self.registered)

    def answer(
        self,
        tables: Iterable[FoundTable] = (),
        *,
        checks: Iterable[Check] = (),
        ignored: Sequence[Ignored] = (),
        notes: Iterable[str] = (),
        problem: str | None = None,
    ) -> SourcePreview:
        found = tuple(tables)
        lost = () if problem else sorted(self.known - {table.name for table in found})
        return SourcePreview(
            source=self.request.source,
            type=self.type,
            checks=tuple(checks),
            tables=found,
            ignored=tuple(ignored[:_IGNORED]),
            ignored_count=len(ignored),
            no_longer_read=tuple(f"{self.request.source}.{name}" for name in lost),
            notes=tuple(notes),
            problem=problem,
        )

    def wants_columns(self, table: str) -> bool:
        return self.request.columns and (self.request.tables is None or table in self.request.tables)


def _files(asked: _Asked) -> SourcePreview:
    """Preview a source of files. Large files are sampled."""
    source, settings = asked.request.source, asked.ctx.settings
    connector = connector_of(source, asked.config, asked.excluded, asked.registered, settings)
    planned = connector.plan()
    until = time.monotonic() + _SECONDS
    tables = []
    for table in planned:
        found = _described(table, is_registered=table.name in asked.known)
        if table.problem is None and asked.wants_columns(table.name) and time.monotonic() < until:
            found = _read(connector, table, found)
        tables.append(found)
    ignored = [Ignored(name=name, reason=reason) for name, reason in connector.ignored()]
    late = (
        [table.name for table in tables if table.columns is None and not table.problem] if asked.request.columns else []
    )
    notes = list[str]()
    if late and asked.request.tables is None:
        notes.append(f"{len(late)} tables were not read within {_SECONDS:.0f} s; name one to see its columns")
    count = sum(table.files or 0 for table in tables)
    what = f"{count} {'file' if count == 1 else 'files'} in {len(tables)} {'table' if len(tables) == 1 else 'tables'}"
    inside = _sources_within(asked, connector)
    if inside:
        what = (
            f"'{asked.config['path']}' contains the folders of other sources ({', '.join(inside)}), each of which would "
            f"become one table; give this source a folder of its own, such as 'sources/{source}'"
        )
    check = Check(what="path", ok=bool(planned) and not inside, message=what if planned else connector.nothing())
    return asked.answer(tables, checks=[check, *_failures(tables)], ignored=ignored, notes=notes)


def _sources_within(asked: _Asked, connector: CsvConnector) -> list[str]:
    """List other sources whose folder is below that of this one."""
    place = open_place(str(asked.config["path"]), connector.roots)
    if not isinstance(place, LocalPlace) or place.pattern is not None:
        return []
    with asked.ctx.state.read() as db:
        others = [one for one in sources.list_sources(db) if one.name != asked.request.source and one.type == "csv"]
    found = []
    for other in others:
        with suppress(SourceError):
            theirs = open_place(str(other.config.get("path", "")), connector.roots)
            if isinstance(theirs, LocalPlace) and place.home in theirs.home.parents:
                found.append(other.name)
    return found


def _failures(tables: Sequence[FoundTable]) -> list[Check]:
    failed = [f"{table.name}: {table.problem}" for table in tables if table.problem]
    if not failed:
        return []
    return [
        Check(what="tables", ok=False, message=f"{len(failed)} of {len(tables)} can't be read: {'; '.join(failed[:5])}")
    ]


def _described(table: Planned, *, is_registered: bool) -> FoundTable:
    sizes = [item.file.size for item in table.files]
    return FoundTable(
        name=table.name,
        source_table=table.original,
        files=len(table.files),
        size_bytes=None if None in sizes else sum(size or 0 for size in sizes),
        is_registered=is_registered,
        problem=table.problem,
    )


def _read(connector: CsvConnector, table: Planned, found: FoundTable) -> FoundTable:
    size = found.size_bytes
    is_sampled = size is None or size > _SAMPLED_FROM or len(table.files) > _FILES
    if is_sampled:
        # the cut may go through a quoted value, which is not an error of the file: malformed rows of a sample are
        # ignored
        options = table.options.model_copy(update={"on_error": "collect"})
        table = replace(table, files=table.files[:_FILES], options=options)
        if any((item.file.size or 0) > _LARGEST_COPY and "://" in item.file.path for item in table.files):
            return found
    place = open_place(connector.wanted.source.path, connector.roots)
    origin = SourceTable(
        name=table.name,
        original=table.original,
        fingerprint=table.fingerprint,
        primary_key=table.options.primary_key,
        sync_strategy=table.options.sync_strategy,
        cursor_column=table.options.cursor_column,
    )
    increment = Increment(origin, None, frozenset(table.options.types), table.options.cursor_lag)
    try:
        with duckdb_files.scratch(connector.scratch) as folder:
            into = folder / "read"
            into.mkdir()
            extracted = connector.read(table, increment, _Sampled(place) if is_sampled else place, into)
            rows = None if is_sampled else _rows(extracted.files, connector.memory_limit)
    except SourceError as error:
        return found.model_copy(update={"problem": str(error)})
    rejected = "" if is_sampled or not extracted.rejected else f"{extracted.rejected:,} rows would be set aside: "
    notes = (*extracted.notes, *(f"{rejected}{reason}" for reason in extracted.rejects[:1] if rejected))
    return found.model_copy(
        update={"columns": _columns(extracted.columns), "rows": rows, "is_sampled": is_sampled, "notes": notes}
    )


def _rows(files: Iterable[Path], memory_limit: str) -> int:
    listed = ", ".join(quote_text(str(file)) for file in files)
    with duckdb_files.lent(memory_limit=memory_limit) as con:
        row = con.execute(
            f"select count(*) from read_parquet([{listed}], union_by_name = true, hive_partitioning = false)"
        ).fetchone()
    return int(row[0]) if row else 0


def _columns(columns: Iterable[Column]) -> tuple[FoundColumn, ...]:
    return tuple(FoundColumn(name=one.name, type=one.type, original=one.description) for one in columns)


@dataclass(frozen=True, slots=True)
class _Sampled:
    """A place whose large files are cut after their first lines. Parquet is not cut: its footer is at its end."""

    place: Place

    def files(self) -> list[SourceFile]:
        return self.place.files()

    def mark(self, file: SourceFile) -> str:
        return self.place.mark(file)

    def local(self, file: SourceFile, scratch: Path) -> Path:
        path = self.place.local(file, scratch)
        name = file.name.lower()
        if name.endswith((".parquet", ".json", ".json.gz", ".json.zst")) or path.stat().st_size <= _SAMPLE:
            return path
        item = data_file(file)
        compression = "none" if item is None else item.compression
        with opened(path, compression, file.name) as source:
            data = source.read(_SAMPLE)
        data = data[: data.rfind(b"\n") + 1] or data
        if compression != "none":
            data = gzip.compress(data) if compression == "gzip" else zstd.compress(data)
        cut = scratch / f"sample{sum(1 for _ in scratch.iterdir())}"
        cut.write_bytes(data)
        return cut


def _jira(asked: _Asked) -> SourcePreview:
    """Preview a Jira source: the credential, the number of issues, and the tables with their columns."""
    settings, config = asked.ctx.settings, JiraSource.model_validate(asked.config)
    client, hooks = client_of(settings), settings.jira_webhook_secret is not None
    checks, catalog = [], list[Any]()
    if client is None:
        message = (
            "no connection to Jira is configured, so only webhooks fill the tables; to read issues, set JIRA_DOMAIN, JIRA_EMAIL and "
            "JIRA_API_TOKEN"
        )
        checks.append(Check(what="credential", ok=hooks, message=message))
    else:
        client.prove()
        checks.append(Check(what="credential", ok=True, message=f"works at {settings.jira_domain}"))
        scope = Scope(settings.jira_projects, config.jql)
        count = client.count(scope.and_("created >= 0"))  # Jira refuses a query without a condition
        where = f" in {', '.join(settings.jira_projects)}" if settings.jira_projects else ""
        found = (
            f"about {count:,} visible{where}"
            if count
            else (
                f"Jira shows no issue{where} to the account; check its permissions, jira.projects and the option 'jql'"
            )
        )
        checks.append(Check(what="issues", ok=count > 0, message=found))
        catalog = client.fields()
        client.settle()  # an expired token would show no issues and few fields
    accepted = (
        "accepted" if hooks else "not accepted: JIRA_WEBHOOK_SECRET is not set; set it, and the same secret in Jira"
    )
    checks.append(Check(what="webhooks", ok=hooks or client is not None, message=accepted))
    options = TransformOptions.of(
        settings.jira_domain or "", settings.jira_custom_fields, catalog, privacy=config.privacy
    )
    tables = [
        FoundTable(
            name=name,
            source_table=name,
            columns=tuple(FoundColumn(name=one, type=kind) for one, kind in table.types.items())
            if asked.wants_columns(name)
            else None,
            is_registered=name in asked.known,
        )
        for name, table in options.tables.items()
        if name not in asked.excluded
    ]
    removed = "it was removed by an administrator; register it to read it again"
    ignored = [Ignored(name=name, reason=removed) for name in options.tables if name in asked.excluded]
    notes = [f"Jira has no field '{name}'; check jira.custom_fields in the settings" for name in options.unresolved]
    return asked.answer(tables, checks=checks, ignored=ignored, notes=notes)


def _keboola(asked: _Asked) -> SourcePreview:
    """Preview a Keboola source: the token, and the tables of the project with the columns that they would have."""
    source, ctx = asked.request.source, asked.ctx
    project = project_of_source(
        ctx.settings,
        source,
        asked.config,
        tables=asked.registered,
        http=ctx.process.http,
        environ=os.environ,
    )
    checks = [Check(what="token", ok=True, message=project.check(ctx.settings))]
    found = project.found(project.api.tables())
    count = len(found)
    what = f"{count:,} {'table' if count == 1 else 'tables'} in the configured buckets"
    hint = "" if count else "; give the token access to their buckets, and check the option 'buckets'"
    checks.append(Check(what="tables", ok=count > 0, message=f"{what}{hint}"))
    tables = [
        FoundTable(
            name=one.name,
            source_table=one.info.id,
            size_bytes=one.info.size_bytes,
            rows=one.info.rows,
            columns=_columns(each.column for each in planned_columns(one.info))
            if asked.wants_columns(one.name)
            else None,
            is_registered=one.is_registered,
        )
        for one in found
    ]
    new = sum(not one.is_registered for one in found)
    notes = [f"{new:,} of them are not registered; to register tables, run: da admin discover {source} --register"]
    return asked.answer(tables, checks=checks, notes=notes if new and not project.config.discover else [])


def _bigquery(asked: _Asked) -> SourcePreview:
    """Preview a BigQuery source: the credentials, and the tables of the project with the columns that they would have."""
    source, ctx = asked.request.source, asked.ctx
    project = bigquery.project_of_source(
        ctx.settings,
        source,
        asked.config,
        tables=asked.registered,
        http=ctx.process.http,
        environ=os.environ,
    )
    found = project.found()
    checks = [Check(what="credentials", ok=True, message=f"work for the project '{project.api.project}'")]
    count = len(found)
    what = f"{count:,} {'table' if count == 1 else 'tables'} in the configured datasets"
    hint = "" if count else "; give the account the role BigQuery Data Viewer, and check the option 'datasets'"
    checks.append(Check(what="tables", ok=count > 0, message=f"{what}{hint}"))
    tables = []
    for one in project.detailed(found) if asked.request.columns else found:
        described = FoundTable(
            name=one.name,
            source_table=one.info.id,
            size_bytes=one.info.size_bytes,
            rows=one.info.rows,
            is_registered=one.is_registered,
        )
        if asked.wants_columns(one.name):
            try:
                listed = bigquery_columns(one.info.schema, one.info.id)
                described = described.model_copy(update={"columns": _columns(each.column for each in listed)})
            except SourceError as error:
                described = described.model_copy(update={"problem": str(error)})
        tables.append(described)
    new = sum(not one.is_registered for one in found)
    notes = [f"{new:,} of them are not registered; to register tables, run: da admin discover {source} --register"]
    return asked.answer(tables, checks=checks, notes=notes if new and not project.config.discover else [])


def _published(asked: _Asked) -> SourcePreview:
    """Preview a source that this version does not read: its imported tables, or those of an external process."""
    ctx, source = asked.ctx, asked.request.source
    with duckdb_files.scratch(ctx.settings.scratch_dir) as folder:
        extract, version = read_extract(ctx.store, source, folder)
    catalog, tables = ctx.snapshots.current(), []
    for name, meta in sorted(extract.meta.items()):
        shown, files = catalog.by_id.get(f"{source}.{name}"), extract.files.get(name, ())
        tables.append(
            FoundTable(
                name=name,
                source_table=name,
                files=len(files),
                size_bytes=sum(file.size_bytes for file in files),
                columns=_columns(shown.columns) if shown is not None and asked.wants_columns(name) else None,
                rows=meta.rows,
                is_registered=name in asked.known,
            )
        )
    problems = [Ignored(name=name or source, reason=reason) for name, reason in sorted(extract.refused.items())]
    if asked.type == EXTERNAL:
        where = f"extracts/{source}/extract.duckdb"
        found = (
            f"'{where}' has {len(tables)} tables" if version else f"'{where}' does not exist; write it to the bucket"
        )
        check = Check(what="extract", ok=version is not None, message=found)
    elif asked.type == MATERIALIZED:
        found = f"{len(asked.registered)} tables are registered, and {len(tables)} published"
        check = Check(what="tables", ok=True, message=found)
    elif asked.type in SOURCE_TYPES:
        message = (
            "its tables were imported, and it has no path yet; to sync it, run: da admin sources update "
            f"{source} --path FOLDER"
        )
        check = Check(what="path", ok=False, message=message)
    else:
        message = (
            f"this version has no connector for sources of type '{asked.type}', so they are not synced; their imported "
            "tables stay readable"
        )
        check = Check(what="connector", ok=False, message=message)
    return asked.answer(tables, checks=[check], ignored=problems)
