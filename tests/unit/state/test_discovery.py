"""Discovery registers what is new, and nothing that an administrator decided otherwise about."""

from datetime import timedelta
from typing import Any

import pytest
from duckdb import DuckDBPyConnection

from analyst.errors import NotFoundError
from analyst.state import Actor
from analyst.state.registry import (
    NewTable,
    TableChange,
    deregister,
    list_tables,
    register_discovered,
    update_table,
)
from analyst.state.sources import NewSource, create_source


@pytest.fixture
def shop(db: DuckDBPyConnection, actor: Actor) -> DuckDBPyConnection:
    create_source(db, actor, NewSource(name="shop", type="csv", config={}), {})
    return db


def discovered(*ids: str, **fields: Any) -> list[NewTable]:
    return [NewTable(id=id_, **fields) for id_ in ids]


def test_new_tables_are_registered_and_audited(shop: DuckDBPyConnection, actor: Actor) -> None:
    fields = {"source_table": "Orders ř.csv", "primary_key": ("id",), "sync_strategy": "incremental"}
    made = register_discovered(shop, actor, "shop", discovered("shop.b", "shop.a", **fields), public=True)
    assert list_tables(shop, "shop") == sorted(made, key=lambda table: table.id)
    assert {(table.source_table, table.primary_key, table.is_public) for table in made} == {
        ("Orders ř.csv", ("id",), True)
    }
    audited = shop.execute("select resource from audit_log where action = 'table.register' order by all").fetchall()
    assert audited == [("table:shop.a",), ("table:shop.b",)]


def test_registered_tables_are_not_changed(shop: DuckDBPyConnection, actor: Actor) -> None:
    (first,) = register_discovered(shop, actor, "shop", discovered("shop.a"), public=False)
    changed = update_table(shop, actor, TableChange(id="shop.a", description="mine"), {})
    again = Actor(None, actor.at + timedelta(days=1))
    assert register_discovered(shop, again, "shop", discovered("shop.a", description="theirs"), public=True) == []
    assert list_tables(shop) == [changed]
    assert changed.uuid == first.uuid


def test_deregistered_tables_are_not_registered_again(shop: DuckDBPyConnection, actor: Actor) -> None:
    register_discovered(shop, actor, "shop", discovered("shop.a", "shop.b"), public=False)
    deregister(shop, actor, "shop.a")
    assert (
        register_discovered(shop, actor, "shop", discovered("shop.a", "shop.b", "shop.c"), public=False)[0].name == "c"
    )
    assert [table.name for table in list_tables(shop)] == ["b", "c"]


def test_a_source_registers_its_own_tables_only(shop: DuckDBPyConnection, actor: Actor) -> None:
    assert register_discovered(shop, actor, "shop", discovered("crm.a"), public=False) == []
    with pytest.raises(NotFoundError):
        register_discovered(shop, actor, "crm", discovered("crm.a"), public=False)
