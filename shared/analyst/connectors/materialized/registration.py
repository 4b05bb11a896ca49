"""The registration of tables: the SQL of a materialized one is checked, and its inputs and their cycles are found.

Its SQL is checked like that of a query, in a worker process. The administrator who registers it is trusted with all
data, but not with the server.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from analyst.access import Caller, Role
from analyst.connectors.materialized.lineage import Graph, cycle_through
from analyst.connectors.materialized.options import TYPE, MaterializedOptions
from analyst.connectors.source_types import SOURCE_TYPES
from analyst.context import Context
from analyst.errors import InvalidInputError
from analyst.query.engine import Reader, Sources
from analyst.query.statement import Statement, StatementError, position, refused
from analyst.rebuild.view_names import TAKEN_SCHEMAS
from analyst.state import actor, registry, sources
from analyst.state.registry import NewTable, RegisteredTable, TableChange
from analyst.state.source_types import problems_of

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

EVERYTHING: Final = Caller(user_id=None, email=None, role=Role.ADMIN)
"""The caller with whose rights SQL runs: it may read every table of the snapshot, whoever registered the SQL."""


def register(ctx: Context, new: NewTable) -> RegisteredTable:
    """Register a table of a source of any type.

    A materialized table is readable by users with a grant, unless it is registered as public: it may contain what its
    inputs hide.

    Raises:
        NotFoundError: the source does not exist.
        ConflictError: it is registered already.
        InvalidInputError: its settings contradict each other, its options, schedule or SQL can't be used, or it would
            depend on itself.
    """
    public = ctx.settings.tables_public
    if not _is_materialized(ctx, new.id):
        return ctx.state.edit(lambda db: registry.register(db, actor(ctx), new, SOURCE_TYPES, public=public))
    new = new.model_copy(update={"options": _checked(ctx, new.id, new.options)})

    def change(db: "DuckDBPyConnection") -> RegisteredTable:
        table = registry.register(db, actor(ctx), new, SOURCE_TYPES, public=False)
        return _sound(db, table)

    return ctx.state.edit(change)


def update(ctx: Context, change: TableChange) -> RegisteredTable:
    """Change a registered table of a source of any type.

    Raises:
        NotFoundError: it is not registered.
        InvalidInputError: as `register`.
    """
    is_materialized = _is_materialized(ctx, change.id)
    if is_materialized and "options" in change.model_fields_set:
        change = change.model_copy(update={"options": _checked(ctx, change.id, change.options or {})})

    def edit(db: "DuckDBPyConnection") -> RegisteredTable:
        table = registry.update_table(db, actor(ctx), change, SOURCE_TYPES)
        return _sound(db, table) if is_materialized else table

    return ctx.state.edit(edit)


def _is_materialized(ctx: Context, table_id: str) -> bool:
    source = table_id.partition(".")[0]
    with ctx.state.read() as db:
        return any(each.name == source and each.type == TYPE for each in sources.list_sources(db))


def _sound(db: "DuckDBPyConnection", table: RegisteredTable) -> RegisteredTable:
    """Return a materialized table as it was just registered; checked in the same edit, so two can't close a cycle."""
    if table.sync_strategy != "full_refresh":
        raise InvalidInputError(
            f"{table.id!r} can't be incremental: its SQL computes all of its rows; set sync_strategy to full_refresh"
        )
    if table.query_mode == "remote":
        raise InvalidInputError(f"{table.id!r} can't be remote: its rows are in the bucket; set query_mode to local")
    cycle = cycle_through(graph(registry.list_tables(db), materialized_sources(db)), table.id)
    if cycle is not None:
        raise InvalidInputError(
            f"{table.id!r} would be computed from itself: {' → '.join(cycle)}; change the SQL of one of these tables"
        )
    return table


def materialized_sources(db: "DuckDBPyConnection") -> frozenset[str]:
    """Return the names of the sources of materialized tables."""
    return frozenset(source.name for source in sources.list_sources(db) if source.type == TYPE)


def graph(tables: list[RegisteredTable], names: frozenset[str]) -> Graph:
    """Return the registered materialized tables, those of the sources `names`, with their inputs."""
    return {table.id: table.options.get("inputs") or () for table in tables if table.source in names}


def options_of(table_id: str, options: Mapping[str, Any]) -> MaterializedOptions:
    """Read the options of a table.

    Raises:
        InvalidInputError: they can't be used.
    """
    try:
        return MaterializedOptions.model_validate(options)
    except ValidationError as error:
        reasons = "; ".join(problems_of(error, MaterializedOptions))
        raise InvalidInputError(f"the options of {table_id!r} can't be used: {reasons}") from None


def _checked(ctx: Context, table_id: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Check the SQL of a table, and return its options with what is derived from it."""
    given = options_of(table_id, options)
    if given.engine == "bigquery":
        return _native(ctx, table_id, given)
    statement = ctx.queries.check(given.sql, ctx.caller)
    with ctx.state.read() as db:
        registered = frozenset({table_id, *(table.id for table in registry.list_tables(db))})
    reader = Reader(ctx.snapshots.current(), ctx.access.current(), EVERYTHING)
    inputs = Inputs.of(statement, reader, registered)
    if statement.parameters:
        raise refused("the SQL of a materialized table can't have parameters; write their values")
    columns: dict[str, tuple[str, ...]] = {}
    if not inputs.missing:
        seen = Sources.of(statement, reader)
        if given.engine == "duckdb":  # Spark has other functions
            ctx.queries.bind(statement, seen, ctx.caller)
        if statement.columns is not None:
            for table in seen.tables:
                names = tuple(column.name for column in table.columns if column.name.lower() in statement.columns)
                columns[table.id] = names
    checked = given.model_copy(update={"inputs": inputs.ids, "columns": columns, "is_volatile": statement.volatile})
    return checked.model_dump(mode="json", exclude_none=True)


def _native(ctx: Context, table_id: str, given: MaterializedOptions) -> dict[str, Any]:
    """Return the options of a table that BigQuery computes: when its tables change is not known, so it is volatile.

    Raises:
        InvalidInputError: its connection is not a BigQuery source.
    """
    with ctx.state.read() as db:
        known = sorted(source.name for source in sources.list_sources(db) if source.type == "bigquery")
    if given.connection not in known:
        raise InvalidInputError(
            f"the connection {given.connection!r} of {table_id!r} is not a BigQuery source; use one of: {', '.join(known) or 'none'}"
        )
    checked = given.model_copy(update={"inputs": (), "columns": {}, "is_volatile": True})
    return checked.model_dump(mode="json", exclude_none=True)


@dataclass(frozen=True, slots=True)
class Inputs:
    """The tables that SQL names, by id; those that are `missing` are registered but not published yet."""

    ids: tuple[str, ...]
    missing: frozenset[str]

    @classmethod
    def of(cls, statement: Statement, reader: Reader, registered: frozenset[str] = frozenset()) -> "Inputs":
        """Look up the tables of a statement.

        Raises:
            StatementError: one does not exist.
        """
        found, missing = set[str](), set[str]()
        for name in statement.tables:
            schema, plain = name.schema.lower(), name.name.lower()
            table_id = f"{schema}.{plain}"
            if (table := reader.find(name)) is not None:
                found.add(table.id)
            elif table_id in registered and schema not in TAKEN_SCHEMAS:
                missing.add(table_id)
            elif not (schema in {"", "recurring"} and plain in statement.local):
                where = {} if name.at is None else position(statement.text, name.at)
                raise reader.missing(name.text, where)
        return cls(tuple(sorted(found | missing)), frozenset(missing))


__all__ = [
    "EVERYTHING",
    "Inputs",
    "StatementError",
    "graph",
    "materialized_sources",
    "options_of",
    "register",
    "update",
]
