"""The tables of a snapshot that a caller may read. A hidden table is answered like one that does not exist: with a 404."""

from analyst.access import AccessList, Caller, Role
from analyst.catalog import Table
from analyst.errors import NotFoundError
from analyst.names import did_you_mean
from analyst.snapshots import Snapshot


def visible(snapshot: Snapshot, access: AccessList, caller: Caller) -> list[Table]:
    """List the tables of a snapshot that the caller may read, by id."""
    readable = None if caller.role is Role.ADMIN else access.readable(caller)
    return [
        table
        for table in snapshot.catalog.tables
        if (readable is None or table.id in readable) and access.is_of_now(table, snapshot.catalog.built_at)
    ]


def find(snapshot: Snapshot, access: AccessList, caller: Caller, table_id: str) -> Table | None:
    """Find a table of a snapshot that the caller may read."""
    table = snapshot.by_id.get(table_id)
    if table is None or not access.may_read(caller, table_id):
        return None
    return table if access.is_of_now(table, snapshot.catalog.built_at) else None


def require(snapshot: Snapshot, access: AccessList, caller: Caller, table_id: str) -> Table:
    """Find a table of a snapshot that the caller may read.

    Raises:
        NotFoundError: the table does not exist or the caller may not read it; the error does not say which.
    """
    table = find(snapshot, access, caller, table_id)
    if table is None:
        raise missing(snapshot, access, caller, table_id)
    return table


def missing(snapshot: Snapshot, access: AccessList, caller: Caller, table_id: str) -> NotFoundError:
    """Return the error for a table that does not exist or is hidden; it suggests only tables that the caller may read."""
    near = did_you_mean(table_id, (table.id for table in visible(snapshot, access, caller)))
    return NotFoundError(f"there is no table {table_id!r}{near}")
