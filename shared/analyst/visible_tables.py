"""The tables of a snapshot that a caller may read. A hidden table is answered like one that does not exist: with a 404."""

from collections.abc import Mapping

from analyst.access import AccessList, Caller, Role
from analyst.catalog import Table
from analyst.errors import NotFoundError
from analyst.names import did_you_mean
from analyst.snapshots import Snapshot


def of_now(snapshot: Snapshot, access: AccessList) -> Mapping[str, Table]:
    """Return the tables of a snapshot that still have the registration they were published for, by id, regardless of access.

    The result is kept until the access list changes, so it must not be changed.
    """
    return snapshot.derived.of(_of_now, snapshot, access)


def _of_now(snapshot: Snapshot, access: AccessList) -> Mapping[str, Table]:
    built_at = snapshot.catalog.built_at
    return {id_: table for id_, table in snapshot.by_id.items() if access.is_of_now(table, built_at)}


def visible_by_id(snapshot: Snapshot, access: AccessList, caller: Caller) -> Mapping[str, Table]:
    """Return the tables of a snapshot that the caller may read, by id and in their order. It must not be changed."""
    known = of_now(snapshot, access)
    if caller.role is Role.ADMIN:
        return known
    readable = access.readable(caller)
    return {id_: table for id_, table in known.items() if id_ in readable}


def visible(snapshot: Snapshot, access: AccessList, caller: Caller) -> list[Table]:
    """List the tables of a snapshot that the caller may read, by id."""
    return list(visible_by_id(snapshot, access, caller).values())


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
    near = did_you_mean(table_id, visible_by_id(snapshot, access, caller))
    return NotFoundError(f"there is no table {table_id!r}{near}")
