"""The table registry: which tables there are, and how each is synced."""

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from analyst.errors import ConflictError, NotFoundError
from analyst.state.audit import Actor, record, record_all
from analyst.state.fields import check_schedule
from analyst.state.registrations import NewTable, RegisteredTable, TableChange, changed, coherent
from analyst.state.rows import execute, fetch, fetch_one, insert, insert_all, update
from analyst.state.source_types import SourceTypes, check_options
from analyst.state.sources import Source, exclude, get_source

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

__all__ = [
    "NewTable",
    "RegisteredTable",
    "Source",
    "TableChange",
    "deregister",
    "find_table",
    "get_source",
    "get_table",
    "list_tables",
    "register",
    "register_discovered",
    "update_table",
]


def list_tables(db: "DuckDBPyConnection", source: str | None = None) -> list[RegisteredTable]:
    """List the registered tables, of one source or of all, by id."""
    where = "" if source is None else "where source = ?"
    values = [] if source is None else [source]
    return [_table(row) for row in fetch(db, f"from table_registry {where} order by id", values)]


def find_table(db: "DuckDBPyConnection", table_id: str) -> RegisteredTable | None:
    """Find a registered table, `None` if there is none."""
    row = fetch_one(db, "from table_registry where id = ?", [table_id])
    return None if row is None else _table(row)


def get_table(db: "DuckDBPyConnection", table_id: str) -> RegisteredTable:
    """Find a registered table.

    Raises:
        NotFoundError: there is none.
    """
    table = find_table(db, table_id)
    if table is None:
        raise NotFoundError(f"there is no table {table_id!r} in the registry")
    return table


def register(
    db: "DuckDBPyConnection", actor: Actor, new: NewTable, types: SourceTypes, *, public: bool
) -> RegisteredTable:
    """Register a table; one that discovery left alone is discovered again. `public` is what the instance says.

    Raises:
        NotFoundError: there is no such source.
        ConflictError: it is registered already.
        InvalidInputError: its settings contradict each other, or its options or schedule can't be used.
    """
    source_name, _, name = new.id.partition(".")
    source = get_source(db, source_name)
    if find_table(db, new.id):
        raise ConflictError(f"{new.id} is registered already")
    table = coherent(_new_table(actor, new, public=public))
    check_options(types, source.type, table.options)
    check_schedule(table.sync_schedule)
    _add(db, actor, [table])
    exclude(db, source, set(source.excluded) - {name})
    return table


def register_discovered(
    db: "DuckDBPyConnection", actor: Actor, source_name: str, found: Iterable[NewTable], *, public: bool
) -> list[RegisteredTable]:
    """Register tables that discovery found, but for those that are registered already or excluded.

    Raises:
        NotFoundError: there is no such source.
    """
    excluded = {f"{source_name}.{name}" for name in get_source(db, source_name).excluded}
    known = excluded | {table.id for table in list_tables(db, source_name)}
    new = {table.id: _new_table(actor, table, public=public) for table in found if table.id not in known}
    tables = [coherent(table) for table in new.values() if table.source == source_name]
    _add(db, actor, tables)
    return tables


def update_table(db: "DuckDBPyConnection", actor: Actor, change: TableChange, types: SourceTypes) -> RegisteredTable:
    """Change what is named of a table.

    Raises:
        NotFoundError: it is not registered.
        InvalidInputError: its settings would contradict each other, or its options or schedule can't be used.
    """
    before = get_table(db, change.id)
    after = changed(before, change)
    if after == before:
        return before
    after = after.model_copy(update={"updated_at": actor.at})
    check_options(types, get_source(db, after.source).type, after.options)
    check_schedule(change.sync_schedule)
    update(db, "table_registry", {"id": after.id}, _differences(before, after))
    record(db, actor, "table.update", f"table:{after.id}", uuid=after.uuid, **_audited(before, after))
    return after


def deregister(db: "DuckDBPyConnection", actor: Actor, table_id: str) -> RegisteredTable:
    """Take a table out of the registry, and what was granted on it with it; discovery leaves it alone from now on.

    Its data stays where it is: see `analyst.state.withdrawal`.

    Raises:
        NotFoundError: it is not registered.
    """
    table = get_table(db, table_id)
    execute(db, "delete from grants where table_uuid = ?", [table.uuid])
    execute(db, "delete from table_registry where id = ?", [table.id])
    insert(db, "withdrawn", {"uuid": table.uuid, "id": table.id, "at": actor.at})
    # a request that was made when there was no such table yet ends with it as well
    execute(
        db,
        "update access_requests set table_uuid = ? where table_id = ? and table_uuid is null",
        [table.uuid, table.id],
    )
    source = get_source(db, table.source)
    exclude(db, source, {*source.excluded, table.name})
    record(db, actor, "table.deregister", f"table:{table.id}", uuid=table.uuid)
    return table


def _add(db: "DuckDBPyConnection", actor: Actor, tables: Sequence[RegisteredTable]) -> None:
    insert_all(db, "table_registry", [_values(table) for table in tables])
    audited = {f"table:{table.id}": {"uuid": table.uuid, "is_public": table.is_public} for table in tables}
    record_all(db, actor, "table.register", audited)


def _new_table(actor: Actor, new: NewTable, *, public: bool) -> RegisteredTable:
    source, _, name = new.id.partition(".")
    said = new.model_dump()
    said["source_table"] = new.source_table or name
    said["is_public"] = public if new.is_public is None else new.is_public
    made = {"registered_by": actor.user_id, "registered_at": actor.at, "updated_at": actor.at}
    return RegisteredTable(**said, **made, uuid=str(uuid4()), source=source, name=name)


def _values(table: RegisteredTable) -> dict[str, Any]:
    return {
        **table.model_dump(),
        "primary_key": json.dumps(table.primary_key),
        "options": json.dumps(table.options),
    }


def _differences(before: RegisteredTable, after: RegisteredTable) -> dict[str, Any]:
    old = _values(before)
    return {name: value for name, value in _values(after).items() if value != old[name]}


def _audited(before: RegisteredTable, after: RegisteredTable) -> dict[str, Any]:
    """Say what changed; of the options and texts only that they did."""
    names = [name for name in _differences(before, after) if name != "updated_at"]
    telling = {name: getattr(after, name) for name in names if name in ("is_public", "server_only", "bucket")}
    return {"fields": names, **telling}


def _table(row: dict[str, Any]) -> RegisteredTable:
    parsed = {"primary_key": json.loads(row["primary_key"]), "options": json.loads(row["options"])}
    return RegisteredTable.model_validate({**row, **parsed})
