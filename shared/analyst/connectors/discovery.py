"""Discovery: the tables that a source could offer, and the registration of those that are not registered."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from analyst.connectors.bigquery import discovery as bigquery
from analyst.connectors.files import discovery as files
from analyst.connectors.jira import source as jira
from analyst.connectors.jira.issue.tables import TABLES
from analyst.connectors.keboola import discovery as keboola
from analyst.context import Context
from analyst.errors import AnalystError, InvalidInputError
from analyst.names import Name, did_you_mean
from analyst.state import actor, registry, sources
from analyst.state.fields import Input
from analyst.state.registry import NewTable, RegisteredTable, Source

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

Project = TypeVar("Project", keboola.Project, bigquery.Project)


class DiscoveredTable(BaseModel):
    """A table of a source. `id` is the one that it has, or would get when it is registered.

    `source_table` and `bucket` are its names at the source; `columns` are those of its columns, if the source lists
    them without reading the table. A table that `is_removed` was removed by an administrator, and is registered only by
    name.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    source: str
    name: str
    source_table: str
    bucket: str | None = None
    description: str | None = None
    columns: tuple[str, ...] = ()
    primary_key: tuple[str, ...] = ()
    rows: int | None = None
    size_bytes: int | None = None
    last_change: str | None = None
    is_registered: bool = False
    is_removed: bool = False
    problem: str | None = None


class SourceProblem(BaseModel):
    """A source whose tables can't be listed, and the reason."""

    model_config = ConfigDict(frozen=True)

    source: str
    error: str


class Discovered(BaseModel):
    """The tables of sources by id; `registered` are the ids that were registered, or would be after a dry run."""

    model_config = ConfigDict(frozen=True)

    tables: tuple[DiscoveredTable, ...]
    count: int
    registered: tuple[str, ...] = ()
    dry_run: bool = False
    problems: tuple[SourceProblem, ...] = ()


class DiscoveryOrder(Input):
    """The source to list; by default, all sources whose tables can be listed."""

    source: Name | None = None


class RegistrationOrder(DiscoveryOrder):
    """Which discovered tables to register, by name; by default, all new ones. A `dry_run` only lists them."""

    tables: tuple[Name, ...] | None = Field(default=None, max_length=10_000)
    dry_run: bool = False


class DiscoveryRequest(RegistrationOrder):
    """A discovery, with or without registering the tables."""

    register_new: bool = False


@dataclass(frozen=True, slots=True)
class _Look:
    """A source to look at, as it is registered."""

    ctx: Context
    source: Source
    registered: tuple[RegisteredTable, ...]

    @property
    def known(self) -> frozenset[str]:
        return frozenset(table.name for table in self.registered)

    def project(self, of: Callable[..., Project]) -> Project:
        """Return the project of the source, made with `of`."""
        source, ctx = self.source, self.ctx
        return of(
            ctx.settings,
            source.name,
            source.config,
            tables=self.registered,
            http=ctx.process.http,
            environ=os.environ,
        )


_Found = tuple[DiscoveredTable, NewTable]
"""A table, and how it would be registered."""


def _files(look: _Look) -> list[_Found]:
    source, settings = look.source, look.ctx.settings
    if "path" not in source.config:
        raise InvalidInputError(f"the source '{source.name}' has no path yet; set one: da admin sources update")
    connector = files.connector_of(source.name, source.config, (), look.registered, settings)
    found = []
    for table in connector.plan():
        sizes = [item.file.size for item in table.files]
        shown = DiscoveredTable(
            id=f"{source.name}.{table.name}",
            source=source.name,
            name=table.name,
            source_table=table.original,
            primary_key=table.options.primary_key,
            size_bytes=None if None in sizes else sum(size or 0 for size in sizes),
            problem=table.problem,
        )
        found.append((shown, files.new_table(source.name, table)))
    return found


def _jira(look: _Look) -> list[_Found]:
    made = [jira.new_table(look.source.name, name) for name in TABLES]
    return [
        (
            DiscoveredTable(
                id=new.id,
                source=look.source.name,
                name=name,
                source_table=name,
                description=new.description,
                columns=tuple(TABLES[name].types),
            ),
            new,
        )
        for name, new in zip(TABLES, made, strict=True)
    ]


def _keboola(look: _Look) -> list[_Found]:
    project = look.project(keboola.project_of_source)
    return [
        _offered(
            look,
            found,
            bucket=found.info.bucket,
            columns=found.info.columns,
            primary_key=found.info.primary_key,
            last_change=found.info.changed,
        )
        for found in project.found(project.api.tables())
    ]


def _bigquery(look: _Look) -> list[_Found]:
    project = look.project(bigquery.project_of_source)
    return [
        _offered(
            look,
            found,
            bucket=found.info.dataset,
            columns=tuple(field.name for field in found.info.schema),
            last_change=found.info.modified and found.info.modified.isoformat(),
        )
        for found in project.detailed(project.found())
    ]


def _offered(look: _Look, found: keboola.FoundTable | bigquery.FoundTable, **more: Any) -> _Found:
    """Return a table of a project, and how it would be registered; `more` are the fields that differ by type."""
    source, info = look.source.name, found.info
    shown = DiscoveredTable(
        id=f"{source}.{found.name}",
        source=source,
        name=found.name,
        source_table=info.id,
        description=info.description,
        rows=info.rows,
        size_bytes=info.size_bytes,
        **more,
    )
    return shown, found.registration(source)


_LISTED: Final[Mapping[str, Callable[[_Look], list[_Found]]]] = MappingProxyType(
    {"csv": _files, "jira": _jira, "keboola": _keboola, "bigquery": _bigquery}
)
"""How the tables of a source are listed, by its type."""


def discover(ctx: Context, request: DiscoveryRequest) -> Discovered:
    """List the tables of one source or of all, and register those that are new if the request says so.

    A source that can't be listed does not affect the others.

    Raises:
        NotFoundError: no such source exists.
        InvalidInputError: sources of this type can't be listed, or a table to register was not found.
    """
    looks = _looks(ctx, request.source)
    tables, problems = dict[str, list[_Found]](), list[SourceProblem]()
    for look in looks:
        try:
            tables[look.source.name] = [(_placed(look, shown), new) for shown, new in _LISTED[look.source.type](look)]
        except AnalystError as error:
            problems.append(SourceProblem(source=look.source.name, error=str(error)))
    wanted = _wanted(request, tables) if request.register_new else {}
    if wanted and not request.dry_run:
        for source, new in wanted.items():
            _register(ctx, source, new)
    found = sorted((shown for listed in tables.values() for shown, _ in listed), key=lambda one: one.id)
    registered = tuple(sorted(new.id for group in wanted.values() for new in group))
    return Discovered(
        tables=tuple(found),
        count=len(found),
        registered=registered,
        dry_run=request.register_new and request.dry_run,
        problems=tuple(problems),
    )


def _looks(ctx: Context, name: str | None) -> list[_Look]:
    with ctx.state.read() as db:
        listed = sources.list_sources(db) if name is None else (sources.get_source(db, name),)
        looks = [_Look(ctx, source, tuple(registry.list_tables(db, source.name))) for source in listed]
    if name is not None and looks[0].source.type not in _LISTED:
        known = ", ".join(sorted(_LISTED))
        raise InvalidInputError(
            f"the tables of '{name}', a source of type '{looks[0].source.type}', can't be listed; only those of sources of "
            f"the types {known} can"
        )
    return [look for look in looks if look.source.type in _LISTED]


def _placed(look: _Look, shown: DiscoveredTable) -> DiscoveredTable:
    return shown.model_copy(
        update={"is_registered": shown.name in look.known, "is_removed": shown.name in look.source.excluded}
    )


def _wanted(request: DiscoveryRequest, tables: Mapping[str, Sequence[_Found]]) -> dict[str, list[NewTable]]:
    """Return the tables to register: named ones, or all that are new, sound and not removed."""
    every = [shown for listed in tables.values() for shown, _ in listed]
    for name in request.tables or ():
        if not any(shown.name == name for shown in every):
            raise InvalidInputError(
                f"no table '{name}' was found{did_you_mean(name, [shown.name for shown in every])}; to list all, run: da "
                "admin discover"
            )
    wanted: dict[str, list[NewTable]] = {}
    for source, listed in tables.items():
        for shown, new in listed:
            is_named = request.tables is not None and shown.name in request.tables
            is_new = request.tables is None and not shown.is_removed
            if not shown.is_registered and shown.problem is None and (is_named or is_new):
                wanted.setdefault(source, []).append(new)
    return wanted


def _register(ctx: Context, source: str, new: Sequence[NewTable]) -> None:
    """Register tables in one edit; those that were removed before are no longer excluded."""

    def change(db: "DuckDBPyConnection") -> None:
        found = registry.get_source(db, source)
        names = {table.id.partition(".")[2] for table in new}
        if names & set(found.excluded):
            sources.exclude(db, found, set(found.excluded) - names)
        registry.register_discovered(db, actor(ctx), source, new, public=ctx.settings.tables_public)

    ctx.state.edit(change)
