"""A repeated import keeps what is here, and does not bring back what was removed."""

from typing import Any

import pytest

from analyst.access import Caller, Role
from analyst.state import Actor, State
from analyst.state.grants import NewPermission, PermissionQuery, create_permission, delete_permission, list_permissions
from analyst.state.registry import NewTable, TableChange, deregister, get_table, register, update_table
from analyst.state.sources import NewSource, create_source
from analyst.state.users import NewUser, UserChange, create_user, delete_user, get_user, list_users, update_user
from tests.doubles.memory_store import MemoryStore
from tests.unit.imports.conftest import PRIVATE, V3, VERSIONS, Take, altered, published, reasons, rows
from tests.unit.state import legacy

pytestmark = pytest.mark.slow


@VERSIONS
def test_a_repeated_import_changes_nothing(take: Take, store: MemoryStore, statements: tuple[str, ...]) -> None:
    first = take(*statements)
    before = {entry.key: entry.version for entry in store.list("state/")}
    again = take(*statements)
    assert {entry.key: entry.version for entry in store.list("state/")} == before
    assert (again.taken, again.there) == ({}, {k: n for k, n in first.taken.items() if k != "source"})
    assert again.left == first.left


def test_existing_users_are_not_changed(take: Take, state: State, actor: Actor) -> None:
    ours = state.edit(lambda db: create_user(db, actor, NewUser(email="ann@example.com", role=Role.VIEWER)))
    state.edit(lambda db: update_user(db, actor, UserChange(id=ours.id, active=False)))
    report = take(*V3, PRIVATE)
    with state.read() as db:
        ann = get_user(db, "ann@example.com")
    assert (ann.id, ann.role, ann.active) == (ours.id, Role.VIEWER, False)
    assert report.there == {"user": 1}
    assert altered(report)["ann@example.com"] == "the user keeps the role viewer (it was admin)"


def test_a_grant_finds_its_user_by_their_address(take: Take, state: State, actor: Actor, store: MemoryStore) -> None:
    ours = state.edit(lambda db: create_user(db, actor, NewUser(email="bob@example.com")))
    take(*V3, PRIVATE)
    bob = Caller(ours.id, None, Role.ANALYST)
    assert published(store).readable(bob) == {
        "keboola.orders",
        "keboola.in_c_old_orders",
        "keboola.in_c_old_orders_2",
    }


def test_an_id_that_another_user_has_here_is_not_reused(take: Take, state: State, actor: Actor) -> None:
    take(legacy.V2, "insert into users (id, email, role) values ('u1', 'ann@example.com', 'admin')")
    take(legacy.V2, "insert into users (id, email, role) values ('u1', 'bob@example.com', 'analyst')")
    with state.read() as db:
        found = {user.email: user.id for user in list_users(db)}
    assert found["ann@example.com"] == "u1" != found["bob@example.com"]
    assert actor


def test_an_existing_table_is_not_changed(take: Take, state: State, actor: Actor) -> None:
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
        "keboola.orders": "another table is already registered under this id: orders of in.c-salaries"
    }
    assert reasons(report, "grant")["bob@example.com on keboola.orders"] == "its table is not imported"
    assert "keboola.orders" not in published(store).readable(Caller("u-bob", None, Role.ANALYST))


@pytest.mark.parametrize("statements", [V3, (*V3, PRIVATE)])
def test_removed_rows_are_not_imported_again(
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
    gone = "an earlier import added it, and it has since been removed here"
    assert reasons(report, "user")["eve@example.com"] == gone
    assert reasons(report, "grant")["bob@example.com on keboola.orders"] == gone
    assert reasons(report, "table") == {"bigquery.visits": "it was deregistered here"}


def test_later_rows_are_imported_by_the_next_import(take: Take, state: State) -> None:
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


def test_an_existing_grant_is_not_duplicated(take: Take, state: State, actor: Actor) -> None:
    take(*V3[:-1], legacy.TABLES.partition("insert into dataset_permissions")[0])
    new = NewPermission(user="bob@example.com", table="keboola.orders")
    state.edit(lambda db: create_permission(db, actor, new))
    assert take(*V3).there["grant"] == 1
    with state.read() as db:
        assert len(list_permissions(db, PermissionQuery(user="bob@example.com", table="keboola.orders"))) == 1


def test_texts_of_people_are_imported_once(take: Take, state: State) -> None:
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
    assert reasons(report, "telegram_links") == {"1 row of u-gone": "the user is not imported"}
