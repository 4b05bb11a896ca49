"""The access list has the content of the state, whatever texts are in it."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from duckdb import DuckDBPyConnection

from analyst.access import AccessList, Granted, Scope, digest
from analyst.state import Actor
from analyst.state.grants import NewPermission, create_permission
from analyst.state.groups import NewGroup, add_member, create_group
from analyst.state.projection import project
from analyst.state.registry import NewTable, register
from analyst.state.rows import update
from analyst.state.sources import NewSource, create_source
from analyst.state.tokens import issue
from analyst.state.users import NewUser, create_user

ODD = 'O\'Neil "the\\Bear" Žluťoučký 漢字 {} %s'


def listed(db: DuckDBPyConnection, now: datetime) -> AccessList:
    return AccessList.model_validate_json(project(db, 7, now))


def test_an_empty_state_makes_an_empty_list(db: DuckDBPyConnection, now: datetime) -> None:
    assert listed(db, now) == AccessList(version=7, withdrawn={})


def test_names_and_times_are_projected_unchanged(db: DuckDBPyConnection, now: datetime, actor: Actor) -> None:
    user = create_user(db, actor, NewUser(email="o'neil@example.com", name=ODD))
    group = create_group(db, actor, NewGroup(name=ODD))
    add_member(db, actor, group.id, user.id)
    create_source(db, actor, NewSource(name="shop", type="csv"), {})
    register(db, actor, NewTable(id="shop.orders", bucket=ODD, description=f"{ODD}\n\t"), {}, public=False)
    create_permission(db, actor, NewPermission(group=ODD, source="shop", bucket=ODD))
    began = now - timedelta(microseconds=1)
    update(db, "users", {"id": user.id}, {"sessions_valid_from": began})
    made = issue(db, actor, user.id, ODD, days=1, scopes=[Scope.READ])
    access = listed(db, now)
    found = access.users[user.id]
    assert (found.email, found.name, found.groups) == ("o'neil@example.com", ODD, (group.id,))
    assert found.sessions_valid_from == began
    assert access.groups == {group.id: ODD}
    token = access.tokens[digest(made.token)]
    assert (token.name, token.expires, token.scopes) == (ODD, made.expires_at, (Scope.READ,))
    table = access.tables["shop.orders"]
    assert (table.bucket, table.description, table.registered_at) == (ODD, f"{ODD}\n\t", now)
    assert access.grants.groups == {group.id: Granted(places=(("shop", ODD),))}


@pytest.mark.slow
def test_the_same_state_makes_the_same_bytes(db: DuckDBPyConnection, now: datetime, actor: Actor) -> None:
    create_source(db, actor, NewSource(name="shop", type="csv"), {})
    for number in range(20):
        user = create_user(db, actor, NewUser(email=f"u{number}@example.com"))
        group = create_group(db, actor, NewGroup(name=f"g{number}"))
        register(db, actor, NewTable(id=f"shop.t{number}", bucket=f"b{number}"), {}, public=False)
        add_member(db, actor, group.id, user.id)
    targets: list[dict[str, Any]] = [{"table": f"shop.t{number}"} for number in range(5)]
    targets += [{"source": "shop", "bucket": f"b{number}"} for number in range(5)]
    for number in range(20):
        for target in targets:
            create_permission(db, actor, NewPermission(user=f"u{number}@example.com", **target))
    before = project(db, 1, now)
    for name in ("users", "groups", "group_members", "grants", "table_registry"):
        db.execute(f"create temp table turned as from {name} order by random()")
        db.execute(f"delete from {name}")
        db.execute(f"insert into {name} from turned")
        db.execute("drop table turned")
    assert project(db, 1, now) == before


def test_tables_are_in_the_order_of_their_registration(db: DuckDBPyConnection, now: datetime, actor: Actor) -> None:
    create_source(db, actor, NewSource(name="shop", type="csv"), {})
    for number, name in enumerate(("c", "a", "b")):
        later = Actor(None, now + timedelta(seconds=number))
        register(db, later, NewTable(id=f"shop.{name}"), {}, public=True)
    assert list(listed(db, now).tables) == ["shop.c", "shop.a", "shop.b"]
