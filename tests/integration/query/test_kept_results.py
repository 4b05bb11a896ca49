"""Results that are kept: found again by those who can read all of their tables, and by nobody else."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from analyst.query import CACHED
from tests.integration.query.shop import ORDERS, Shop, open_shop
from tests.integration.world import Begun

pytestmark = [pytest.mark.server, pytest.mark.slow]

SQL = "select customer, sum(amount) as total from orders group by customer order by customer"


@pytest.fixture
def shop(begun: Begun, tmp_path: Path, at_once: None) -> Iterator[Shop]:  # noqa: ARG001
    with open_shop(tmp_path, begun) as made:
        yield made


def ask(shop: Shop, sql: str = SQL, **more: Any) -> tuple[bool, Any]:
    answer = shop.ask(sql, **more)
    assert answer.status_code == 200, answer.text
    document = answer.get_json()
    return document["cached"], document["rows"]


def written(shop: Shop) -> int:
    shop.process.background._pool.shutdown()  # waits for what is written after an answer
    return len(list(shop.process.store.list(CACHED)))


def test_a_repeated_query_is_answered_from_the_cache(shop: Shop) -> None:
    first, again = ask(shop), ask(shop)
    assert (first[0], again[0], first[1]) == (False, True, again[1])
    assert ask(shop, SQL + " ; -- the same") == (True, first[1])
    assert ask(shop, limit=2)[0] is False
    assert ask(shop, format="json", limit=2)[0] is True
    assert ask(shop, "select $a as x", parameters={"a": 1})[0] is False
    assert ask(shop, "select $a as x", parameters={"a": 2}) == (False, [[2]])
    assert ask(shop, "select $a as x", parameters={"a": 1}) == (True, [[1]])
    assert ask(shop, "select $a as x", parameters={"a": True}) == (False, [[True]])


def test_another_process_finds_a_cached_result_in_the_bucket(shop: Shop) -> None:
    rows = ask(shop)[1]
    assert written(shop) == 1
    shop.process.queries.results._memory.clear()
    assert ask(shop) == (True, rows)


@pytest.mark.parametrize(
    "sql", ["select random()", "select now()", "select current_date", "select uuid()", "from orders using sample 3"]
)
def test_volatile_results_are_not_cached(shop: Shop, sql: str) -> None:
    assert [ask(shop, sql)[0], ask(shop, sql)[0], written(shop)] == [False, False, 0]


def test_a_changed_table_invalidates_cached_results(shop: Shop, tmp_path: Path) -> None:
    sql = "select count(*) from orders"
    assert [ask(shop, sql), ask(shop, sql)] == [(False, [[100]]), (True, [[100]])]
    (tmp_path / "sources/shop/orders.csv").write_text(ORDERS + "100,c9,1.5,2026-03-01\n")
    shop.world.ask("POST", "/extract/csv", {"source": "shop"})
    assert [ask(shop, sql), ask(shop, sql)] == [(False, [[101]]), (True, [[101]])]
    assert ask(shop, sql, snapshot=2) == (True, [[100]])


def test_cached_results_require_access_to_the_tables(shop: Shop) -> None:
    sql = "select o.id, p.budget from shop.orders o, shop.plans p order by 1 limit 1"
    for _ in range(2):
        assert shop.ask(sql, token=shop.world.admin).status_code == 200
    assert shop.ask(sql).get_json(force=True)["kind"] == "unknown_table"
    granted = shop.world.ask("POST", "/api/admin/permissions", {"user": "ann@example.com", "table": "shop.plans"})
    assert ask(shop, sql) == (True, [[0, 9000]])
    shop.world.send("DELETE", f"/api/admin/permissions/{granted['id']}")
    assert shop.ask(sql).get_json(force=True)["kind"] == "unknown_table"


def test_errors_and_large_results_are_not_cached(shop: Shop) -> None:
    shop.ask("select nope from orders")
    assert shop.ask("select repeat('x', 3000000)").status_code == 200
    assert written(shop) == 0


def test_a_damaged_object_is_ignored(shop: Shop) -> None:
    rows = ask(shop)[1]
    assert written(shop) == 1
    [entry] = shop.process.store.list(CACHED)
    shop.process.store.put(entry.key, b"damaged", if_version=entry.version)
    shop.process.queries.results._memory.clear()
    shop.process.background._pool = ThreadPoolExecutor(1)
    assert ask(shop) == (False, rows)
