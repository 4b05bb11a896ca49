"""The registry of a source of files: makes its connector from the registered tables, and registers new ones."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from analyst.connectors.files.connector import CsvConnector
from analyst.connectors.files.options import CsvSource, CsvTableOptions
from analyst.connectors.files.table_files import Planned, Wanted, source_table
from analyst.errors import InvalidInputError
from analyst.names import is_name
from analyst.settings import Settings
from analyst.state import Actor, State, registry
from analyst.state.registry import NewTable, RegisteredTable, Source
from analyst.state.source_types import problems_of

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

TYPE = "csv"

M = TypeVar("M", CsvSource, CsvTableOptions)


@dataclass(frozen=True, slots=True)
class Registered:
    """A source and its tables, as registered."""

    source: Source
    tables: tuple[RegisteredTable, ...]


@dataclass(frozen=True, slots=True)
class Discovery:
    """One source of files, and the registry of its tables."""

    state: State
    settings: Settings
    source: str
    actor: Actor
    registrations: dict[str, str] = field(default_factory=dict, init=False)
    """The uuids of the tables by name, including those registered since they were looked up."""

    def look_up(self) -> Registered:
        """Read the source and its tables from the registry.

        Raises:
            NotFoundError: the source does not exist.
        """
        with self.state.read() as db:
            found = Registered(registry.get_source(db, self.source), tuple(registry.list_tables(db, self.source)))
        self.registrations.update({table.name: table.uuid for table in found.tables})
        return found

    def connector(self, registered: Registered) -> CsvConnector:
        """Register new tables, in one edit if there are any, and return the connector of the source.

        Raises:
            InvalidInputError: it is of another type, or its config can't be used.
            SourceError: its files can't be listed.
        """
        connector = self._open(registered.source, registered.tables)
        new = self._new(connector)
        if new:
            for table in self.state.edit(lambda db: self._register(db, new)):
                self.registrations.setdefault(table.name, table.uuid)
        return connector

    def _register(self, db: "DuckDBPyConnection", new: list[NewTable]) -> list[RegisteredTable]:
        public = self.settings.tables_public
        registry.register_discovered(db, self.actor, self.source, new, public=public)
        return registry.list_tables(db, self.source)

    def _open(self, source: Source, tables: Iterable[RegisteredTable]) -> CsvConnector:
        if source.type != TYPE:
            raise InvalidInputError(f"the source '{self.source}' is of type '{source.type}', not '{TYPE}'")
        return connector_of(self.source, source.config, source.excluded, tables, self.settings)

    def _new(self, connector: CsvConnector) -> list[NewTable]:
        found: Iterable[Planned] = connector.plan()
        known = connector.wanted.registered
        return [new_table(self.source, table) for table in found if table.name not in known and _is_sound(table)]


def new_table(source: str, table: Planned) -> NewTable:
    """Return how a table of a source of files is registered."""
    options = table.options
    return NewTable(
        id=f"{source}.{table.name}",
        source_table=source_table(table.original),
        sync_strategy=options.sync_strategy,
        primary_key=options.primary_key,
        cursor_column=options.cursor_column,
    )


def connector_of(
    source: str,
    config: Mapping[str, Any],
    excluded: Iterable[str],
    tables: Iterable[RegisteredTable],
    settings: Settings,
) -> CsvConnector:
    """Return the connector of a source with this config, whether it is registered or not.

    Raises:
        InvalidInputError: the config can't be used.
    """
    read = _read(CsvSource, dict(config), f"the config of the source '{source}'")
    wanted = _wanted(read, frozenset(excluded), tables)
    return CsvConnector(wanted, settings.source_roots, settings.memory_limit, settings.scratch_dir)


def _is_sound(table: Planned) -> bool:
    return table.problem is None and is_name(table.name)


def _wanted(config: CsvSource, excluded: frozenset[str], tables: Iterable[RegisteredTable]) -> Wanted:
    """Combine the config with the registered tables; one whose options can't be used has a problem."""
    registered: dict[str, CsvTableOptions] = {}
    unusable: dict[str, str] = {}
    sources: dict[str, str] = {}
    for table in tables:
        sources[table.name] = table.source_table
        try:
            registered[table.name] = _read(CsvTableOptions, _options(table), f"what {table.id} is registered with")
        except InvalidInputError as error:
            registered[table.name] = CsvTableOptions()
            unusable[table.name] = str(error)
    return Wanted(config, registered, excluded, unusable, sources)


def _options(table: RegisteredTable) -> dict[str, Any]:
    """Return the options of a table; they override the registered strategy, key and cursor."""
    columns = {
        "sync_strategy": None if table.sync_strategy == "full_refresh" else table.sync_strategy,
        "primary_key": table.primary_key,
        "cursor_column": table.cursor_column,
    }
    return {**{name: value for name, value in columns.items() if value}, **table.options}


def _read(model: type[M], values: dict[str, Any], what: str) -> M:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise InvalidInputError(f"{what} can't be used: {'; '.join(problems_of(error, model))}") from None
