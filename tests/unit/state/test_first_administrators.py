"""Whom the settings name becomes an administrator once, and is like any other afterwards."""

import pytest
from duckdb import DuckDBPyConnection

from analyst.access import Role
from analyst.state import Actor
from analyst.state.users import (
    NewUser,
    UserChange,
    create_user,
    delete_user,
    get_user,
    list_users,
    seed_admin,
    update_user,
)


@pytest.fixture
def root(db: DuckDBPyConnection, actor: Actor) -> str:
    return create_user(db, actor, NewUser(email="root@example.com", role=Role.ADMIN)).id


def role(db: DuckDBPyConnection, email: str = "seed@example.com") -> Role:
    return get_user(db, email).role


def test_a_missing_administrator_is_added(db: DuckDBPyConnection, actor: Actor) -> None:
    seeded = seed_admin(db, actor, " Seed@Example.com")
    assert seeded == get_user(db, "seed@example.com")
    assert (seeded.role, seeded.active) == (Role.ADMIN, True)


@pytest.mark.parametrize("before", Role)
def test_an_existing_user_is_promoted_and_otherwise_unchanged(
    db: DuckDBPyConnection, actor: Actor, before: Role
) -> None:
    known = create_user(db, actor, NewUser(email="seed@example.com", name="Seed", role=before))
    assert seed_admin(db, actor, "seed@example.com") == known.model_copy(update={"role": Role.ADMIN})


@pytest.mark.parametrize("before", [None, Role.VIEWER, Role.ADMIN])
def test_a_user_demoted_afterwards_is_not_promoted_again(
    db: DuckDBPyConnection, actor: Actor, root: str, before: Role | None
) -> None:
    assert root
    if before is not None:
        create_user(db, actor, NewUser(email="seed@example.com", role=before))
    seed_admin(db, actor, "seed@example.com")
    update_user(db, actor, UserChange(id=get_user(db, "seed@example.com").id, role=Role.ANALYST))
    assert seed_admin(db, actor, "seed@example.com") is None
    assert role(db) is Role.ANALYST


def test_a_user_removed_afterwards_is_not_added_again(db: DuckDBPyConnection, actor: Actor, root: str) -> None:
    seed_admin(db, actor, "seed@example.com")
    delete_user(db, actor, get_user(db, "seed@example.com").id)
    assert seed_admin(db, actor, "seed@example.com") is None
    assert [user.id for user in list_users(db)] == [root]


def test_a_deactivated_user_stays_deactivated_until_an_administrator_changes_that(
    db: DuckDBPyConnection, actor: Actor
) -> None:
    known = create_user(db, actor, NewUser(email="seed@example.com", role=Role.VIEWER))
    update_user(db, actor, UserChange(id=known.id, active=False))
    assert seed_admin(db, actor, "seed@example.com") is None
    assert (role(db), get_user(db, known.id).active) == (Role.VIEWER, False)
    update_user(db, actor, UserChange(id=known.id, active=True))
    assert seed_admin(db, actor, "seed@example.com")


def test_each_email_is_promoted_independently(db: DuckDBPyConnection, actor: Actor) -> None:
    seed_admin(db, actor, "first@example.com")
    seed_admin(db, actor, "second@example.com")
    assert [user.role for user in list_users(db)] == [Role.ADMIN, Role.ADMIN]


def test_adding_an_administrator_is_audited(db: DuckDBPyConnection, actor: Actor) -> None:
    seed_admin(db, actor, "seed@example.com")
    seed_admin(db, actor, "seed@example.com")
    found = db.execute("select params->>'email' from audit_log where action = 'user.seed_admin'").fetchall()
    assert found == [("seed@example.com",)]
