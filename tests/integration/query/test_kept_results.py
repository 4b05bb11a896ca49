"""Results that are kept: found again by those who can read all of their tables, and by nobody else."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from analyst.query import CACHED
from tests.integration.query.shop import ORDERS, Shop, shop
from tests.integration.world import Begun

pytestmark = [pytest.mark.server, pytest.mark.slow]

SQL = "select customer, sum(amount) as total from orders group by customer order by customer"


@pytest.fixture
def it(begun: Begun, tmp_path: Path, at_once: None) -> Iterator[Shop]:  # noqa: ARG001
    with shop(tmp_path, begun) as made:
        yield made


def ask(it: Shop, sql: str = SQL, **more: Any) -> tuple[bool, Any]:
    answer = it.ask(sql, **more)
    assert answer.status_code == 200, answer.text
    document = answer.get_json()
    return document["cached"], document["rows"]


def written(it: Shop) -> int:
    it.process.background._pool.shutdown()  # waits for what is written after an answer
    return len(list(it.process.store.list(CACHED)))


def test_a_repeated_query_is_answered_from_what_is_kept(it: Shop) -> None:
    first, again = ask(it), ask(it)
    assert (first[0], again[0], first[1]) == (False, True, again[1])
    assert ask(it, SQL + " ; -- the same") == (True, first[1])
    assert ask(it, limit=2)[0] is False
    assert ask(it, format="json", limit=2)[0] is True
    assert ask(it, "select $a as x", parameters={"a": 1})[0] is False
    assert ask(it, "select $a as x", parameters={"a": 2}) == (False, [[2]])
    assert ask(it, "select $a as x", parameters={"a": 1}) == (True, [[1]])
    assert ask(it, "select $a as x", parameters={"a": True}) == (False, [[True]])


def test_another_process_finds_it_in_the_bucket(it: Shop) -> None:
    rows = ask(it)[1]
    assert written(it) == 1
    it.process.queries.results._memory.clear()
    assert ask(it) == (True, rows)


@pytest.mark.parametrize(
    "sql", ["select random()", "select now()", "select current_date", "select uuid()", "from orders using sample 3"]
)
def test_volatile_results_are_not_cached(it: Shop, sql: str) -> None:
    assert [ask(it, sql)[0], ask(it, sql)[0], written(it)] == [False, False, 0]


def test_a_change_of_a_table_is_seen(it: Shop, tmp_path: Path) -> None:
    sql = "select count(*) from orders"
    assert [ask(it, sql), ask(it, sql)] == [(False, [[100]]), (True, [[100]])]
    (tmp_path / "sources/shop/orders.csv").write_text(ORDERS + "100,c9,1.5,2026-03-01\n")
    it.world.ask("POST", "/extract/csv", {"source": "shop"})
    assert [ask(it, sql), ask(it, sql)] == [(False, [[101]]), (True, [[101]])]
    assert ask(it, sql, snapshot=2) == (True, [[100]])


def test_cached_results_require_access_to_the_tables(it: Shop) -> None:
    sql = "select o.id, p.budget from shop.orders o, shop.plans p order by 1 limit 1"
    for _ in range(2):
        assert it.ask(sql, token=it.world.admin).status_code == 200
    assert it.ask(sql).get_json(force=True)["kind"] == "unknown_table"
    granted = it.world.ask("POST", "/api/admin/permissions", {"user": "ann@example.com", "table": "shop.plans"})
    assert ask(it, sql) == (True, [[0, 9000]])
    it.world.send("DELETE", f"/api/admin/permissions/{granted['id']}")
    assert it.ask(sql).get_json(force=True)["kind"] == "unknown_table"


def test_errors_and_large_results_are_not_kept(it: Shop) -> None:
    it.ask("select nope from orders")
    assert it.ask("select repeat('x', 3000000)").status_code == 200
    assert written(it) == 0


def test_a_damaged_object_is_ignored(it: Shop) -> None:
    rows = ask(it)[1]
    assert written(it) == 1
    [entry] = it.process.store.list(CACHED)
    it.process.store.put(entry.key, b"damaged", if_version=entry.version)
    it.process.queries.results._memory.clear()
    it.process.background._pool = ThreadPoolExecutor(1)
    assert ask(it) == (False, rows)
