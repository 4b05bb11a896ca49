"""Importing an older system into the state in one edit: existing rows stay, missing rows are added."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import uuid4

from pydantic import ValidationError

from analyst.errors import InvalidInputError
from analyst.imports.migrated_rows import KEPT, Kept, Migrated, Row, migrated
from analyst.imports.old_system import OldSystem
from analyst.imports.report import Gathered, ImportReport, Memory, Placed
from analyst.names import normalise, quote
from analyst.state.audit import Actor, record, record_all
from analyst.state.database import State
from analyst.state.registry import NewTable
from analyst.state.rows import fetch, insert_all
from analyst.state.source_types import EXTERNAL

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_OTHER = "another table is already registered under this id: {}"
_OUT = "it was deregistered here"
_CHECKED = ("id", "source_table", "bucket", "description", "query_mode", "sync_strategy", "sync_schedule")


@dataclass(slots=True)
class TakenTables:
    """The current tables by the uuids of the older system, and the reasons for those not imported, by id."""

    here: dict[str, Row] = field(default_factory=dict)
    ids: set[str] = field(default_factory=set)
    reasons: dict[str, str] = field(default_factory=dict)
    unconfigured: set[str] = field(default_factory=set)
    """Sources that were added and are not configured yet."""

    def without_files(self, placed: frozenset[str]) -> list[str]:
        """List the tables that should have files, but to which none were assigned."""
        local = {row["id"] for row in self.here.values() if row["query_mode"] == "local"}
        return sorted(local - placed)


def take_tables(memory: Memory, tables: Sequence[Row], sources: Sequence[Row]) -> TakenTables:
    """Add missing tables and the sources that they need. Existing ones stay unchanged."""
    known = {row["id"]: row for row in fetch(memory.db, "from table_registry")}
    excluded = _excluded(memory)
    taken = TakenTables()
    added: list[Row] = []
    for table in tables:
        id_, here = table["id"], known.get(table["id"])
        if here is not None and not _is_same(here, table):
            taken.reasons[id_] = _OTHER.format(_place_of(here))
        elif here is None and id_ in excluded:
            taken.reasons[id_] = _OUT
        elif memory.admits("table", id_, is_there=here is not None):
            here = _usable(memory, table)
            added.append(here)
        if here is not None and id_ not in taken.reasons:
            taken.here[table["uuid"]] = here
            taken.ids.add(id_)
    for id_, reason in taken.reasons.items():
        memory.report.leave("table", id_, reason)
    needed = {row["source"] for row in added}
    taken.unconfigured |= _add_sources(memory, [source for source in sources if source["name"] in needed])
    _add(memory, added)
    return taken


def _add(memory: Memory, tables: Sequence[Row]) -> None:
    insert_all(memory.db, "table_registry", tables)
    audited = {
        f"table:{row['id']}": {"uuid": row["uuid"], "is_public": row["is_public"], "imported": True} for row in tables
    }
    record_all(memory.db, memory.actor, "table.register", audited)
    memory.report.public_tables += [row["id"] for row in tables if row["is_public"]]


def _add_sources(memory: Memory, sources: Sequence[Row]) -> set[str]:
    """Add missing sources; return those that still need a configuration."""
    here = {row["name"] for row in fetch(memory.db, "select name from sources")}
    added = [{**row, "created_by": memory.actor.user_id} for row in sources if row["name"] not in here]
    insert_all(memory.db, "sources", added)
    audited = {f"source:{row['name']}": {"type": row["type"], "imported": True} for row in added}
    record_all(memory.db, memory.actor, "source.create", audited)
    memory.report.taken["source"] += len(added)
    return {row["name"] for row in added if row["type"] != EXTERNAL}


def _excluded(memory: Memory) -> set[str]:
    """Return the ids of the tables that administrators deregistered."""
    rows = fetch(memory.db, "select name, excluded from sources")
    return {f"{row['name']}.{table}" for row in rows for table in json.loads(row["excluded"])}


def _is_same(here: Row, there: Row) -> bool:
    """Return whether a registered table may be the older system's table of the same id: its origin does not differ."""
    buckets = {row["bucket"] for row in (here, there) if row["bucket"]}
    names = {_plain(row["source_table"]) for row in (here, there)} | {_plain(there["name"])}
    return len(buckets) < 2 and _plain(here["source_table"]) in names  # noqa: PLR2004


def _plain(text: str) -> str:
    try:
        return normalise(text)
    except InvalidInputError:
        return text


def _place_of(table: Row) -> str:
    return f"{table['source_table']} of {table['bucket'] or table['source']}"


def _usable(memory: Memory, table: Row) -> Row:
    """Remove settings of a table that are not valid here."""
    row = {**table, "sync_schedule": (table["sync_schedule"] or "").strip() or None}
    row["source_table"] = " ".join(row["source_table"].split()) or row["name"]
    if row["query_mode"] == "remote":
        row["sync_strategy"] = "full_refresh"
    for name in _unusable(row):
        memory.report.alter("table", row["id"], f"its {name} is not valid here and was dropped: {row[name]!r:.200}")
        row[name] = {"primary_key": "[]", "source_table": row["name"]}.get(name)
    if row["primary_key"] == "[]":
        row["sync_strategy"] = "full_refresh"
    return row


def _unusable(row: Mapping[str, object]) -> list[str]:
    fields = {name: row[name] for name in _CHECKED} | {"primary_key": json.loads(str(row["primary_key"]))}
    try:
        NewTable.model_validate(fields)
    except ValidationError as error:
        return sorted({str(problem["loc"][0]) for problem in error.errors() if problem["loc"]})
    return []


def take_kept(memory: Memory, old: Migrated, users: Mapping[str, Row]) -> None:
    """Add missing rows."""
    for table, kind in KEPT.items():
        columns = ", ".join(map(quote, kind.key))
        here = {_key(kind, row) for row in fetch(memory.db, f"select {columns} from {table}")}
        left, added = Counter[tuple[str, str]](), list[Row]()
        for row in old.kept[table]:
            user = users.get(row.get("user_id") or "")
            if kind.of_a_user and user is None:
                who = row.get("user_id") or "nobody"
                left[f" of {old.spelled.get(who, who)}", "the user is not imported"] += 1
            elif table == "audit_log" and row["timestamp"] is None:
                left["", "it has no timestamp"] += 1
            else:
                mine = row if user is None else {**row, "user_id": user["id"]}
                key = _key(kind, mine)
                if memory.admits(table, key, is_there=key in here):
                    added.append(mine)
                    here.add(key)
        insert_all(memory.db, table, added)
        for (whose, reason), count in left.items():
            memory.report.leave(table, f"{count} rows{whose}" if count > 1 else f"1 row{whose}", reason)


def _key(kind: Kept, row: Row) -> str:
    return json.dumps([row[name] for name in kind.key])


_STATUSES = ("pending", "approved", "denied")
_NOT_TAKEN = "its table is not imported"


def take_grants(memory: Memory, old: Migrated, users: Mapping[str, Row], tables: TakenTables) -> None:
    """Add grants on existing tables. The report lists permissions without a target."""
    same = {_granted(row) for row in fetch(memory.db, "from grants where user_id is not null")}
    buckets = {(row["source"], row["bucket"]) for row in tables.here.values()}
    names = {row["uuid"]: row["id"] for row in old.tables}
    added: list[Row] = []
    for grant in old.grants:
        user, table = users.get(grant["user_id"]), tables.here.get(grant["table_uuid"])
        where = names.get(grant["table_uuid"]) or f"{grant['source']}.* of bucket {grant['bucket']}"
        name = f"{user['email'] if user else grant['user_id']} on {where}"
        if user is None:
            memory.report.leave("grant", name, "the user is not imported")
        elif table is None and (grant["source"], grant["bucket"]) not in buckets:
            memory.report.leave("grant", name, _NOT_TAKEN)
        else:
            uuid = None if table is None else table["uuid"]
            row = {"user_id": user["id"], "table_uuid": uuid, "source": grant["source"], "bucket": grant["bucket"]}
            if memory.admits("grant", name, is_there=_granted(row) in same):
                made = {"created_at": memory.actor.at, "created_by": memory.actor.user_id}
                added.append({"id": str(uuid4()), **row, **made})
                same.add(_granted(row))
    insert_all(memory.db, "grants", added)
    record_all(memory.db, memory.actor, "grant.create", {f"grant:{row['id']}": _audited_right(row) for row in added})
    for row in old.meaningless:
        user = users.get(row["user_id"])
        name = f"{user['email'] if user else row['user_id']} on {row['dataset']}"
        memory.report.leave("grant", name, row["reason"])


def take_requests(memory: Memory, old: Migrated, users: Mapping[str, Row], tables: TakenTables) -> None:
    """Add requests for access to existing tables."""
    here = fetch(memory.db, "select id, user_id, table_id, status from access_requests")
    ids, open_ = {row["id"] for row in here}, {_asked(row) for row in here if row["status"] == "pending"}
    added: list[Row] = []
    for request in old.requests:
        user, name = users.get(request["user_id"]), f"{request['user_email']} for {request['table_id']}"
        if user is None:
            memory.report.leave("access_request", name, "the user is not imported")
        elif request["table_id"] not in tables.ids:
            memory.report.leave("access_request", name, _NOT_TAKEN)
        elif request["status"] not in _STATUSES:
            memory.report.leave("access_request", name, f"the status {request['status']!r} does not exist here")
        else:
            row = {**request, "user_id": user["id"], "user_email": user["email"], "table_uuid": None}
            is_there = row["id"] in ids or (row["status"] == "pending" and _asked(row) in open_)
            if memory.admits("access_request", row["id"], is_there=is_there, name=name):
                added.append(row)
                open_ |= {_asked(row)} if row["status"] == "pending" else set()
    insert_all(memory.db, "access_requests", added)


def _granted(row: Row) -> Sequence[str | None]:
    return tuple(row[name] for name in ("user_id", "table_uuid", "source", "bucket"))


def _asked(row: Row) -> Sequence[str]:
    return (row["user_id"], row["table_id"])


def _audited_right(row: Row) -> Row:
    fields = {name: row[name] for name in ("user_id", "table_uuid", "source", "bucket") if row[name] is not None}
    return {**fields, "imported": True}


_LONGEST_NAME = 200


def take_users(memory: Memory, old: Migrated) -> Mapping[str, Row]:
    """Add users with new e-mail addresses; return the users here by their ids there. Existing users stay unchanged."""
    rows = fetch(memory.db, "from users")
    by_email, ids = {row["email"]: row for row in rows}, {row["id"] for row in rows}
    found: dict[str, Row] = {}
    added: list[Row] = []
    for user in old.users:
        email = user["email"]
        if not user["active"]:
            kept, _, _ = email.rpartition("#")
            memory.report.leave(
                "user", old.spelled[user["id"]], f"it is a different spelling of {kept}, which is imported"
            )
        elif memory.admits("user", email, is_there=email in by_email):
            id_ = user["id"] if user["id"] and user["id"] not in ids else str(uuid4())
            ids.add(id_)
            added.append({**user, "id": id_, "name": _name(user["name"])})
            found[user["id"]] = added[-1]
        elif email in by_email:
            found[user["id"]] = _here(memory, user, by_email[email])
    insert_all(memory.db, "users", added)
    record_all(
        memory.db,
        memory.actor,
        "user.create",
        {f"user:{row['id']}": {"email": row["email"], "role": row["role"], "imported": True} for row in added},
    )
    return found


def _here(memory: Memory, there: Row, here: Row) -> Row:
    if there["role"] != here["role"]:
        reason = f"the user keeps the role {here['role']} (it was {there['role']})"
        memory.report.alter("user", here["email"], reason)
    return here


def _name(text: str | None) -> str | None:
    """Return a name as one line."""
    return " ".join((text or "").split())[:_LONGEST_NAME].strip() or None


class _Unpublished(Exception):  # noqa: N818 - it ends an edit that has nothing to publish
    def __init__(self, report: ImportReport) -> None:
        super().__init__()
        self.report = report


def import_system(state: State, actor: Actor, old: OldSystem) -> ImportReport:
    """Import what is missing here, unless it is a dry run. Repeating an import changes nothing.

    Raises:
        UnavailableError: the store does not respond, or others were always faster.
    """
    gathered = Gathered()
    today = migrated(old, actor.at, gathered)

    def change(db: "DuckDBPyConnection") -> ImportReport:
        memory = Memory.open(db, actor, gathered.copy())
        report = _take(memory, today, dry_run=old.dry_run)
        if not memory.keep() or old.dry_run:
            raise _Unpublished(report)
        record(db, actor, "state.import", "state", taken=report.taken, left=len(report.left))
        return report

    try:
        return state.edit(change)
    except _Unpublished as unpublished:
        return unpublished.report


def _take(memory: Memory, old: Migrated, *, dry_run: bool) -> ImportReport:
    users = take_users(memory, old)
    tables = take_tables(memory, old.tables, old.sources)
    take_grants(memory, old, users, tables)
    take_requests(memory, old, users, tables)
    take_kept(memory, old, users)
    places = _placed(old, tables)
    gathered = memory.report
    for id_ in tables.without_files(frozenset(place.id for place in places if place.id is not None)):
        gathered.leave("file", id_, "no Parquet files were found; the next sync of its source publishes it")
    return ImportReport(
        dry_run=dry_run,
        taken=dict(+gathered.taken),
        there=dict(+gathered.there),
        altered=tuple(gathered.altered),
        left=tuple(gathered.left),
        public_tables=tuple(gathered.public_tables),
        unconfigured=tuple(sorted(tables.unconfigured)),
        found=places,
    )


def _placed(old: Migrated, tables: TakenTables) -> tuple[Placed, ...]:
    placed = []
    for found, place in zip(old.found, old.places, strict=True):
        id_ = None if place.id is None else old.names.get(place.id)
        reason = place.reason or tables.reasons.get(id_ or "")
        if id_ in tables.ids:
            placed.append(Placed(source=found.source, table=found.table, id=id_))
        else:
            placed.append(Placed(source=found.source, table=found.table, reason=reason or "its table is not imported"))
    return tuple(placed)
