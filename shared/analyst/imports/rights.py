"""Taking what the users of an older system might read, and what they asked for."""

from collections.abc import Mapping, Sequence
from uuid import uuid4

from analyst.imports.memory import Memory
from analyst.imports.migrated import Migrated, Row
from analyst.imports.tables import TakenTables
from analyst.state.audit import record_all
from analyst.state.rows import fetch, insert_all

_STATUSES = ("pending", "approved", "denied")
_NOT_TAKEN = "what it is on is not taken"


def take_grants(memory: Memory, old: Migrated, users: Mapping[str, Row], tables: TakenTables) -> None:
    """Add grants on what is here; what a permission meant that meant nothing is told in the report."""
    same = {_what(row) for row in fetch(memory.db, "from grants where user_id is not null")}
    buckets = {(row["source"], row["bucket"]) for row in tables.here.values()}
    names = {row["uuid"]: row["id"] for row in old.tables}
    added: list[Row] = []
    for grant in old.grants:
        user, table = users.get(grant["user_id"]), tables.here.get(grant["table_uuid"])
        where = names.get(grant["table_uuid"]) or f"{grant['source']}.* of bucket {grant['bucket']}"
        name = f"{user['email'] if user else grant['user_id']} on {where}"
        if user is None:
            memory.report.leave("grant", name, "the user is not taken")
        elif table is None and (grant["source"], grant["bucket"]) not in buckets:
            memory.report.leave("grant", name, _NOT_TAKEN)
        else:
            uuid = None if table is None else table["uuid"]
            row = {"user_id": user["id"], "table_uuid": uuid, "source": grant["source"], "bucket": grant["bucket"]}
            if memory.admits("grant", name, is_there=_what(row) in same):
                made = {"created_at": memory.actor.at, "created_by": memory.actor.user_id}
                added.append({"id": str(uuid4()), **row, **made})
                same.add(_what(row))
    insert_all(memory.db, "grants", added)
    record_all(memory.db, memory.actor, "grant.create", {f"grant:{row['id']}": _audited(row) for row in added})
    for row in old.meaningless:
        user = users.get(row["user_id"])
        name = f"{user['email'] if user else row['user_id']} on {row['dataset']}"
        memory.report.leave("grant", name, row["reason"])


def take_requests(memory: Memory, old: Migrated, users: Mapping[str, Row], tables: TakenTables) -> None:
    """Add requests for access to tables that are here."""
    here = fetch(memory.db, "select id, user_id, table_id, status from access_requests")
    ids, open_ = {row["id"] for row in here}, {_asked(row) for row in here if row["status"] == "pending"}
    added: list[Row] = []
    for request in old.requests:
        user, name = users.get(request["user_id"]), f"{request['user_email']} for {request['table_id']}"
        if user is None:
            memory.report.leave("access_request", name, "the user is not taken")
        elif request["table_id"] not in tables.ids:
            memory.report.leave("access_request", name, _NOT_TAKEN)
        elif request["status"] not in _STATUSES:
            memory.report.leave("access_request", name, f"there is no status {request['status']!r}")
        else:
            row = {**request, "user_id": user["id"], "user_email": user["email"], "table_uuid": None}
            is_there = row["id"] in ids or (row["status"] == "pending" and _asked(row) in open_)
            if memory.admits("access_request", row["id"], is_there=is_there, name=name):
                added.append(row)
                open_ |= {_asked(row)} if row["status"] == "pending" else set()
    insert_all(memory.db, "access_requests", added)


def _what(row: Row) -> Sequence[str | None]:
    return tuple(row[name] for name in ("user_id", "table_uuid", "source", "bucket"))


def _asked(row: Row) -> Sequence[str]:
    return (row["user_id"], row["table_id"])


def _audited(row: Row) -> Row:
    said = {name: row[name] for name in ("user_id", "table_uuid", "source", "bucket") if row[name] is not None}
    return {**said, "imported": True}
