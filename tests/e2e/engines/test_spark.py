"""Materialized tables with the engine spark are computed by a Spark Connect server from Delta tables of the bucket."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clouds import Cloud
from tests.integration.query.shop import ORDERS, Shop, open_shop
from tests.integration.world import SERVICE_TOKEN, Begun, OneByOne, World
from tests.processes import ROOT

pytestmark = [pytest.mark.server, pytest.mark.slow]

PYTHON = ROOT / ".venv-engines/bin/python"
SERVER = Path(__file__).with_name("spark_server.py")

SAME = {
    "sums": "select customer, sum(amount) as total, count(*) as n from shop.orders group by customer",
    "aliased": "select o.id, orders.day from shop.orders o join shop.orders on o.id = orders.id where o.id < 20",
    "named": 'with orders as (select * from shop.orders where id > 90) select id from orders join "shop" . plans on true',
    "ordered": "select id from orders order by id desc limit 5",
    "empty": "select id, customer from shop.orders where false",
}


@pytest.fixture(scope="module")
def remote() -> Iterator[str]:
    if not PYTHON.exists():
        pytest.skip("needs .venv-engines, which make e2e creates")
    with subprocess.Popen(
        [str(PYTHON), str(SERVER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout
        yield f"sc://127.0.0.1:{int(server.stdout.readline())}"
        assert server.stdin
        server.stdin.close()


@pytest.fixture
def shop(cloud: Cloud, tmp_path: Path, remote: str) -> Iterator[Shop]:
    begun = Begun(cloud, World(tmp_path / "first", cloud).admin, tmp_path / "begun")
    with open_shop(tmp_path / "shop", begun, SPARK_REMOTE=remote, SPARK_PYTHON=str(PYTHON)) as made:
        made.process._made["background"] = OneByOne()
        made.world.ask("POST", "/api/admin/sources/marts", {"type": "materialized"})
        yield made


def wait(shop: Shop) -> None:
    """Wait for what follows an answer: a publish starts the materialized tables whose inputs it changed."""
    background = shop.process.background
    assert isinstance(background, OneByOne)
    background.wait()


def run(shop: Shop, *, code: int = 200) -> dict[str, dict[str, object]]:
    answer = shop.world.send("POST", "/extract/materialized", {"source": "marts"}, token=SERVICE_TOKEN)
    assert answer.status_code == code, answer.text
    wait(shop)
    return {each["table"]: each for each in answer.get_json()["tables"]}


def rows(shop: Shop, sql: str) -> list[object]:
    answer = shop.ask(sql, token=shop.world.admin, limit=None)
    assert answer.status_code == 200, answer.text
    found: list[object] = answer.get_json()["rows"]
    return found


def test_spark_computes_what_duckdb_computes(shop: Shop, tmp_path: Path) -> None:
    for name, sql in SAME.items():
        shop.world.ask("POST", f"/api/admin/tables/marts.{name}", {"options": {"sql": sql, "engine": "spark"}})
    done = run(shop)
    assert {name: each["status"] for name, each in done.items()} == dict.fromkeys(SAME, "ok"), done
    for name, sql in SAME.items():
        found, expected = rows(shop, f"from marts.{name}"), rows(shop, sql)
        assert found == expected if name == "ordered" else sorted(map(str, found)) == sorted(map(str, expected)), name
    table = shop.process.snapshots.current().by_id["marts.sums"]
    assert [each.table for each in table.inputs] == ["shop.orders"]
    assert "no rows" in str(done["empty"]["note"])
    assert {each["status"] for each in run(shop).values()} == {"unchanged"}
    assert [entry.key for entry in shop.process.store.list("query/results/")] == []
    (tmp_path / "shop/sources/shop/orders.csv").write_text(f"{ORDERS}1000,new,5.5,2026-03-01\n")
    shop.world.ask("POST", "/extract/csv", {"source": "shop"}, token=SERVICE_TOKEN)
    wait(shop)
    assert rows(shop, "select n from marts.sums where customer = 'new'") == [[1]]


def test_a_failure_of_spark_keeps_the_last_rows(shop: Shop) -> None:
    shop.world.ask("POST", "/api/admin/tables/marts.t", {"options": {"sql": "select 1 as x", "engine": "spark"}})
    assert run(shop)["t"]["rows"] == 1
    sql = "select list_sum([id]) as x from shop.orders"
    shop.world.ask("PUT", "/api/admin/tables/marts.t", {"options": {"sql": sql, "engine": "spark"}})
    assert "the SQL of 'marts.t' failed at Spark" in str(run(shop, code=422)["t"]["error"])
    assert rows(shop, "from marts.t") == [[1]]
