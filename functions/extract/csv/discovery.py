"""Opening a source of files as the registry has it, and registering the tables that are new in it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from analyst.errors import InvalidInputError
from analyst.names import is_name
from analyst.settings import Settings
from analyst.state import Actor, State, registry
from analyst.state.registry import NewTable, RegisteredTable
from functions.extract.csv.connector import CsvConnector
from functions.extract.csv.listing import Planned, Wanted
from functions.extract.csv.options import CsvSource, CsvTableOptions

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

TYPE = "csv"


@dataclass(frozen=True, slots=True)
class Discovery:
    """One source of files, and the registry that its tables stand in."""

    state: State
    settings: Settings
    source: str
    actor: Actor

    def connector(self) -> CsvConnector:
        """Give the connector of the source, its new tables registered: in one edit, and none when there are none.

        Raises:
            NotFoundError: there is no such source.
            InvalidInputError: it is of another type, or its config can't be used.
            SourceError: its files can't be listed.
        """
        with self.state.read() as db:
            connector = self._open(db)
        new = self._new(connector)
        if new:
            public = self.settings.tables_public
            self.state.edit(lambda db: registry.register_discovered(db, self.actor, self.source, new, public=public))
        return connector

    def _open(self, db: "DuckDBPyConnection") -> CsvConnector:
        source = registry.get_source(db, self.source)
        if source.type != TYPE:
            raise InvalidInputError(f"the source {self.source!r} is of the type {source.type!r}, not {TYPE!r}")
        registered = {table.name: _options(table) for table in registry.list_tables(db, self.source)}
        wanted = Wanted(CsvSource.model_validate(source.config), registered, frozenset(source.excluded))
        settings = self.settings
        return CsvConnector(wanted, settings.source_roots, settings.memory_limit, settings.scratch_dir)

    def _new(self, connector: CsvConnector) -> list[NewTable]:
        found: Iterable[Planned] = connector.plan()
        known = connector.wanted.registered
        return [self._new_table(table) for table in found if table.name not in known and _is_sound(table)]

    def _new_table(self, table: Planned) -> NewTable:
        options = table.options
        return NewTable(
            id=f"{self.source}.{table.name}",
            source_table=table.original,
            sync_strategy=options.sync_strategy,
            primary_key=options.primary_key,
            cursor_column=options.cursor_column,
        )


def _is_sound(table: Planned) -> bool:
    return table.problem is None and is_name(table.name)


def _options(table: RegisteredTable) -> CsvTableOptions:
    """Put together what the registry says of a table; its options go before its columns."""
    columns = {
        "sync_strategy": None if table.sync_strategy == "full_refresh" else table.sync_strategy,
        "primary_key": table.primary_key,
        "cursor_column": table.cursor_column,
    }
    said = {name: value for name, value in columns.items() if value}
    return CsvTableOptions.model_validate({**said, **table.options})
