"""An older system is taken in once: what is here stays as it is, and what was taken away does not come back."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import argon2
import pytest

from analyst.access import CURRENT, AccessList, AccessReader, Caller, Role
from analyst.imports.old import OldSystem
from analyst.imports.report import ImportReport
from analyst.state import Actor, State
from analyst.state.files import LEGACY
from analyst.state.grants import NewPermission, PermissionQuery, create_permission, delete_permission, list_permissions
from analyst.state.registry import NewTable, TableChange, deregister, get_table, list_tables, register, update_table
from analyst.state.sources import NewSource, create_source
from analyst.state.users import NewUser, UserChange, create_user, delete_user, get_user, list_users, update_user
from analyst.store import ABSENT
from analyst.store.memory import MemoryStore
from tests.unit.imports.conftest import NOW, old_system
from tests.unit.state import legacy

Take = Callable[..., ImportReport]

V3 = (legacy.V2, legacy.V3, legacy.PEOPLE, legacy.TABLES)
PRIVATE = "update table_registry set is_public = false"

VERSIONS = pytest.mark.parametrize(
    "statements",
    [
        pytest.param((legacy.V2, legacy.PEOPLE, legacy.TABLES), id="v2"),
        pytest.param(V3, id="v3"),
        pytest.param((*V3, PRIVATE), id="v3 private"),
    ],
)


def published(store: MemoryStore) -> AccessList:
    return AccessReader(store, 0, lambda: 0.0).current()


def rows(state: State, sql: str) -> list[Any]:
    with state.read() as db:
        return db.execute(sql).fetchall()


def reasons(report: ImportReport, kind: str) -> dict[str, str]:
    return {left.name: left.reason for left in report.left if left.kind == kind}


def altered(report: ImportReport) -> dict[str, str]:
    return {it.name: it.reason for it in report.altered}


@VERSIONS
def test_what_is_taken_is_what_a_migration_makes_of_it(
    take: Take, store: MemoryStore, tmp_path: Path, statements: tuple[str, ...]
) -> None:
    take(*statements)
    migrated = MemoryStore()
    migrated.put(LEGACY, legacy.make(tmp_path / "system.duckdb", *statements).read_bytes(), if_version=ABSENT)
    State(migrated, lambda: NOW).edit(lambda _: None)
    ours, theirs = published(store), published(migrated)
    assert ours.users == theirs.users
    assert ours.tables.keys() == theirs.tables.keys()
    assert [table.is_public for table in ours.tables.values()] == [table.is_public for table in theirs.tables.values()]
    for id_, user in ours.users.items():
        caller = Caller(id_, user.email, user.role)
        assert ours.readable(caller) == theirs.readable(caller)


@VERSIONS
def test_taken_twice_is_taken_once(take: Take, store: MemoryStore, statements: tuple[str, ...]) -> None:
    first = take(*statements)
    before = {entry.key: entry.version for entry in store.list("state/")}
    again = take(*statements)
    assert {entry.key: entry.version for entry in store.list("state/")} == before
    assert (again.taken, again.there) == ({}, {k: n for k, n in first.taken.items() if k != "source"})
    assert again.left == first.left


def test_a_dry_run_tells_the_same_and_writes_nothing(take: Take, store: MemoryStore) -> None:
    dry = take(*V3, dry_run=True)
    assert list(store.list("")) == []
    assert take(*V3).model_copy(update={"dry_run": True}) == dry


def test_it_is_told_what_is_taken(take: Take) -> None:
    report = take(*V3)
    assert report.taken == {
        "user": 3,
        "source": 4,
        "table": 7,
        "grant": 3,
        "knowledge_items": 1,
        "knowledge_votes": 1,
        "audit_log": 1,
    }
    assert len(report.public_tables) == 7
    assert report.unconfigured == ("bigquery", "keboola", "local")
    without = "no parquet of it was found; the next sync of its source brings it"
    assert reasons(report, "file")["keboola.orders"] == without
    assert "bigquery.visits" not in reasons(report, "file")
    assert reasons(report, "user") == {"BOB@example.com": "it is bob@example.com in another spelling, who is taken"}
    assert reasons(report, "grant") == {
        "bob@example.com on finance": "there is no such table or bucket",
        "bob@example.com on visits": "it grants nothing",
        "u-gone on orders": "there is no such user",
    }
    assert altered(report) == {
        "Ann@Example.com": "their password is not kept as argon2id: they need a new one",
        "eve@example.com": "there is no role 'superuser': they become a viewer",
    }


def test_each_import_is_audited(take: Take, state: State) -> None:
    take(*V3)
    take(*V3)
    found = dict(rows(state, "select action, count(*) from audit_log where user_id = 'u-root' group by all"))
    assert found == {"user.create": 3, "source.create": 4, "table.register": 7, "grant.create": 3, "state.import": 1}


def test_who_is_here_stays_as_they_are(take: Take, state: State, actor: Actor) -> None:
    ours = state.edit(lambda db: create_user(db, actor, NewUser(email="ann@example.com", role=Role.VIEWER)))
    state.edit(lambda db: update_user(db, actor, UserChange(id=ours.id, active=False)))
    report = take(*V3, PRIVATE)
    with state.read() as db:
        ann = get_user(db, "ann@example.com")
    assert (ann.id, ann.role, ann.active) == (ours.id, Role.VIEWER, False)
    assert report.there == {"user": 1}
    assert altered(report)["ann@example.com"] == "they are viewer here and were admin: that stays as it is"


def test_a_grant_finds_its_user_by_their_address(take: Take, state: State, actor: Actor, store: MemoryStore) -> None:
    ours = state.edit(lambda db: create_user(db, actor, NewUser(email="bob@example.com")))
    take(*V3, PRIVATE)
    bob = Caller(ours.id, None, Role.ANALYST)
    assert published(store).readable(bob) == {
        "keboola.orders",
        "keboola.in_c_old_orders",
        "keboola.in_c_old_orders_2",
    }


def test_an_id_that_is_somebody_elses_here_is_not_given_again(take: Take, state: State, actor: Actor) -> None:
    take(legacy.V2, "insert into users (id, email, role) values ('u1', 'ann@example.com', 'admin')")
    take(legacy.V2, "insert into users (id, email, role) values ('u1', 'bob@example.com', 'analyst')")
    with state.read() as db:
        found = {user.email: user.id for user in list_users(db)}
    assert found["ann@example.com"] == "u1" != found["bob@example.com"]
    assert actor


def test_a_table_that_is_here_stays_as_it_is(take: Take, state: State, actor: Actor) -> None:
    state.edit(lambda db: create_source(db, actor, NewSource(name="keboola", type="keboola"), {}))
    new = NewTable(id="keboola.orders", bucket="in.c-main", description="Ours", is_public=False)
    ours = state.edit(lambda db: register(db, actor, new, {}, public=False))
    report = take(*V3)
    with state.read() as db:
        assert get_table(db, "keboola.orders") == ours
    assert report.there == {"table": 1}
    assert "keboola.orders" not in report.public_tables


def test_another_table_of_the_same_name_is_not_mixed_up_with_it(
    take: Take, state: State, actor: Actor, store: MemoryStore
) -> None:
    state.edit(lambda db: create_source(db, actor, NewSource(name="keboola", type="keboola"), {}))
    new = NewTable(id="keboola.orders", bucket="in.c-salaries", is_public=False)
    state.edit(lambda db: register(db, actor, new, {}, public=False))
    report = take(*V3, PRIVATE, found=[{"source": "keboola", "table": "orders"}])
    assert reasons(report, "table") == {
        "keboola.orders": "another table is registered under this name here: orders of in.c-salaries"
    }
    assert reasons(report, "grant")["bob@example.com on keboola.orders"] == "what it is on is not taken"
    assert "keboola.orders" not in published(store).readable(Caller("u-bob", None, Role.ANALYST))


@pytest.mark.parametrize("statements", [V3, (*V3, PRIVATE)])
def test_what_was_taken_away_here_does_not_come_back(
    take: Take, state: State, actor: Actor, store: MemoryStore, statements: tuple[str, ...]
) -> None:
    take(*statements)

    def take_away(db: Any) -> None:
        delete_user(db, actor, get_user(db, "eve@example.com").id)
        deregister(db, actor, "bigquery.visits")
        (grant,) = list_permissions(db, PermissionQuery(user="bob@example.com", table="keboola.orders"))
        delete_permission(db, actor, grant.id)
        update_table(db, actor, TableChange(id="local.cas", is_public=False), {})

    state.edit(take_away)
    before = published(store)
    report = take(*statements)
    assert published(store) == before
    assert report.taken == {}
    gone = "an import brought it before, and it was taken away here since"
    assert reasons(report, "user")["eve@example.com"] == gone
    assert reasons(report, "grant")["bob@example.com on keboola.orders"] == gone
    assert reasons(report, "table") == {"bigquery.visits": "it was taken out of the registry here"}


def test_what_is_new_there_since_is_taken_by_the_next_one(take: Take, state: State) -> None:
    take(*V3)
    report = take(
        *V3,
        "insert into users (id, email) values ('u-zoe', 'zoe@example.com')",
        "insert into table_registry (id, name, source_type, registered_at) values ('new', 'new', 'keboola', now())",
        "insert into dataset_permissions values ('u-zoe', 'new', 'read')",
    )
    assert report.taken == {"user": 1, "table": 1, "grant": 1}
    with state.read() as db:
        (grant,) = list_permissions(db, PermissionQuery(user="zoe@example.com"))
    assert grant.table == "keboola.new"


def test_a_grant_that_is_here_is_not_made_twice(take: Take, state: State, actor: Actor) -> None:
    take(*V3[:-1], legacy.TABLES.partition("insert into dataset_permissions")[0])
    new = NewPermission(user="bob@example.com", table="keboola.orders")
    state.edit(lambda db: create_permission(db, actor, new))
    assert take(*V3).there["grant"] == 1
    with state.read() as db:
        assert len(list_permissions(db, PermissionQuery(user="bob@example.com", table="keboola.orders"))) == 1


HASHER = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
HASHES = {
    HASHER.hash("secret", salt=b"s" * 16): True,
    argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1, type=argon2.Type.I).hash(
        "secret", salt=b"s" * 16
    ): False,
    "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8": False,
    "$2b$12$abcdefghijklmnopqrstuv": False,
    "$argon2id$v=19$m=99999999,t=1,p=1$c29tZXNhbHQ$aGFzaA": False,
    "$argon2id$": False,
    "": False,
}


@pytest.mark.parametrize("password_hash", HASHES)
def test_only_passwords_that_can_be_checked_are_taken(take: Take, state: State, password_hash: str) -> None:
    report = take(
        legacy.V2, f"insert into users (id, email, password_hash) values ('u', 'a@example.com', '{password_hash}')"
    )
    taken = HASHES[password_hash]
    assert rows(state, "select password_hash from users") == [(password_hash if taken else None,)]
    assert ("a@example.com" in altered(report)) is not taken


@pytest.mark.parametrize("email", ["", "no address", "a@b@c", "@example.com", "a@example..com", "x" * 250 + "@a.com"])
def test_who_has_no_address_is_left_with_what_is_theirs(take: Take, email: str) -> None:
    report = take(
        legacy.V2,
        legacy.V3,
        legacy.TABLES,
        f"insert into users (id, email) values ('u', '{email}')",
        "insert into dataset_permissions values ('u', 'orders', 'read')",
        "insert into telegram_links values ('u', 1, null)",
        "insert into access_requests (id, user_id, user_email, table_id) values ('r', 'u', 'e', 'orders')",
    )
    assert reasons(report, "user") == {email: "this is no e-mail address"}
    assert reasons(report, "grant")["u on orders"] == "there is no such user"
    assert reasons(report, "telegram_links") == {"1 row": "the user is not taken"}
    assert reasons(report, "access_request") == {"e for keboola.orders": "the user is not taken"}
    assert "user" not in report.taken


def test_a_setting_of_a_table_that_can_not_be_used_is_left_out(take: Take, state: State) -> None:
    report = take(
        legacy.V2,
        """insert into table_registry
               (id, name, source_type, sync_schedule, bucket, source_table, query_mode, sync_strategy, primary_key)
           values
               ('a', 'a', 'keboola', 'each day', e'two\\nlines', '  odd   name ', 'local', 'incremental', 'id'),
               ('b', 'b', 'bigquery', '', 'web', 'b', 'remote', 'incremental', 'id')""",
    )
    with state.read() as db:
        a, b = (get_table(db, id_) for id_ in ("keboola.a", "bigquery.b"))
    assert (a.sync_schedule, a.bucket, a.source_table, a.sync_strategy) == (None, None, "odd name", "incremental")
    assert (b.sync_schedule, b.query_mode, b.sync_strategy) == (None, "remote", "full_refresh")
    assert [(it.name, it.reason.partition(",")[0]) for it in report.altered] == [
        ("keboola.a", "its bucket can't be used here"),
        ("keboola.a", "its sync_schedule can't be used here"),
    ]


def test_requests_follow_their_user_and_table(take: Take, state: State) -> None:
    values = (
        "('r1', 'u-bob', 'Bob', 'visits', 'pending'), ('r2', 'u-bob', 'Bob', 'visits', 'pending'), "
        "('r3', 'u-bob', 'Bob', 'no such', 'denied'), ('r4', 'u-bob', 'Bob', 'orders', 'odd')"
    )
    request = f"insert into access_requests (id, user_id, user_email, table_id, status) values {values}"
    report = take(*V3, request)
    found = rows(state, "select id, user_id, user_email, table_id, status from access_requests")
    assert found == [("r1", "u-bob", "bob@example.com", "bigquery.visits", "pending")]
    assert reasons(report, "access_request") == {
        "Bob for no such": "what it is on is not taken",
        "Bob for keboola.orders": "there is no status 'odd'",
    }
    assert report.there["access_request"] == 1


def test_what_people_wrote_is_taken_once(take: Take, state: State) -> None:
    more = (
        "insert into telegram_links values ('u-bob', 42, '2025-01-01'), ('u-gone', 43, null)",
        "insert into user_sync_settings values ('u-bob', 'orders', true, 'all', '[\"a\"]', null)",
    )
    take(*V3, *more)
    state.edit(lambda db: db.execute("update knowledge_items set title = 'Ours'") and None)
    report = take(*V3, *more)
    assert rows(state, "select user_id, chat_id from telegram_links") == [("u-bob", 42)]
    assert rows(state, "select title from knowledge_items") == [("Ours",)]
    assert rows(state, "select user_id, tables from user_sync_settings") == [("u-bob", '["a"]')]
    assert rows(state, "select params from audit_log where id = 'a1'") == [('{"batch": true}',)]
    assert reasons(report, "telegram_links") == {"1 row": "the user is not taken"}


ODD = {
    "users": ({"email": "a@example.com"}, "its id can't be read: Field required"),
    "table_registry": ({"id": None, "name": "orders"}, "its id can't be read: Input should be a valid string"),
    "telegram_links": (
        {"user_id": "u", "chat_id": str(2**63)},
        "its chat_id can't be read: Input should be less than 9223372036854775808",
    ),
    "knowledge_votes": ({"item_id": "k", "user_id": "u", "vote": "1.5"}, None),
}


def test_a_permission_on_a_table_that_nobody_registered_is_kept(take: Take, store: MemoryStore) -> None:
    permission = "insert into dataset_permissions values ('u-bob', 'issues', 'read')"
    report = take(*V3, PRIVATE, permission, found=[{"source": "jira", "table": "issues"}])
    assert [place.id for place in report.found] == ["jira.issues"]
    assert "jira.issues" in published(store).readable(Caller("u-bob", None, Role.ANALYST))
    assert "jira.issues" not in published(store).readable(Caller("u-eve", None, Role.ANALYST))


@pytest.mark.parametrize("table", ODD)
def test_an_odd_row_stops_no_other(take: Take, table: str) -> None:
    row, reason = ODD[table]
    good = {"id": "u-zoe", "email": "zoe@example.com", "created_at": "300000-01-01 (BC)", "new_column": "x"}
    more = [row] if table == "users" else []
    rows_ = {"unheard_of": [{"a": "b"}], table: [row], "users": [good, good, *more]}
    report = take(old=OldSystem.model_validate({"rows": rows_}))
    assert report.taken == {"user": 1}
    found = {left.reason for left in report.left if left.kind == table}
    assert reason is None or reason in found
    assert "it is there twice" in {left.reason for left in report.left if left.kind == "users"}


def test_nothing_of_an_empty_system_is_taken(take: Take, store: MemoryStore) -> None:
    assert take(old=old_system()).taken == {}
    assert store.read(CURRENT) is None


def test_tables_are_listed_as_they_are_registered(take: Take, state: State) -> None:
    take(*V3)
    with state.read() as db:
        found = {table.id: (table.source_table, table.registered_by) for table in list_tables(db, "keboola")}
    assert found["keboola.orders"] == ("orders", "ann@example.com")
