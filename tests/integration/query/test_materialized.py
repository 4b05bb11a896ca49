"""A materialized table is SQL whose result is published: computed when its inputs have changed, and read by grant."""

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from analyst.catalog import Table
from tests.integration.query.shop import ORDERS, Shop, open_shop
from tests.integration.world import SERVICE_TOKEN, Begun, OneByOne

pytestmark = [pytest.mark.server, pytest.mark.slow]

REVENUE = "select customer, sum(amount) as total from shop.orders group by customer"


@dataclass(frozen=True)
class Marts:
    """A shop, and the source `marts` of materialized tables."""

    shop: Shop
    background: OneByOne
    folder: Path

    def add(self, name: str, sql: str, *, code: int = 201, **more: Any) -> Any:
        options = {"sql": sql, **more.pop("options", {})}
        answer = self.shop.world.send("POST", f"/api/admin/tables/{name}", {"options": options, **more})
        assert answer.status_code == code, answer.text
        return answer.get_json()

    def change(self, name: str, *, code: int = 200, **fields: Any) -> Any:
        answer = self.shop.world.send("PUT", f"/api/admin/tables/{name}", fields)
        assert answer.status_code == code, answer.text
        return answer.get_json()

    def run(self, *names: str, source: str = "marts") -> dict[str, Mapping[str, Any]]:
        """Compute tables; return their results by name."""
        body = {"source": source, "tables": list(names) or None}
        answer = self.shop.world.send("POST", "/extract/materialized", body, token=SERVICE_TOKEN)
        self.background.wait()
        return {each["table"]: each for each in answer.get_json()["tables"]}

    def statuses(self, *names: str) -> dict[str, str]:
        return {name: str(each["status"]) for name, each in self.run(*names).items()}

    def table(self, name: str) -> Table:
        return self.shop.process.snapshots.current().by_id[name]

    def rows(self, sql: str) -> Any:
        answer = self.shop.ask(sql, token=self.shop.world.admin)
        assert answer.status_code == 200, answer.text
        return answer.get_json()["rows"]

    def orders(self, text: str) -> None:
        """Publish other orders, and wait until everything after them is done."""
        (self.folder / "sources/shop/orders.csv").write_text(text)
        self.shop.world.ask("POST", "/extract/csv", {"source": "shop"}, token=SERVICE_TOKEN)
        for _ in range(4):
            self.background.wait()


@pytest.fixture(scope="module")
def whole(begun: Begun, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Marts]:
    folder = tmp_path_factory.mktemp("marts")
    with open_shop(folder, begun) as made:
        background = OneByOne()
        made.process._made["background"] = background
        made.world.ask("POST", "/api/admin/sources/marts", {"type": "materialized"})
        yield Marts(made, background, folder)
        background.close()


@pytest.fixture
def marts(whole: Marts) -> Iterator[Marts]:
    """Without a table of an earlier test, and with the first orders."""
    yield whole
    for name in list(whole.shop.process.snapshots.current().by_id):
        if name.startswith("marts."):
            whole.shop.world.send("DELETE", f"/api/admin/tables/{name}")
    for each in whole.shop.world.ask("GET", "/api/admin/tables?source=marts")["tables"]:
        whole.shop.world.send("DELETE", f"/api/admin/tables/{each['id']}")
    if (whole.folder / "sources/shop/orders.csv").read_text() != ORDERS:
        whole.orders(ORDERS)


def test_the_result_of_the_sql_is_published_with_its_lineage(marts: Marts) -> None:
    made = marts.add("marts.revenue", REVENUE, description="What customers paid")
    assert made["options"]["inputs"] == ["shop.orders"]
    assert marts.statuses() == {"revenue": "ok"}
    table = marts.table("marts.revenue")
    assert [(each.name, each.type) for each in table.columns] == [("customer", "VARCHAR"), ("total", "DOUBLE")]
    assert (table.rows, table.description, table.query_mode) == (7, "What customers paid", "local")
    (lineage,) = table.inputs
    assert (lineage.table, lineage.hash) == ("shop.orders", marts.table("shop.orders").hash)
    assert lineage.columns == ("customer", "amount")
    assert marts.rows("from marts.revenue order by 1") == marts.rows(f"{REVENUE} order by 1")


def test_with_unchanged_inputs_no_sql_is_run(marts: Marts) -> None:
    marts.add("marts.revenue", REVENUE)
    marts.add("marts.today", "select count(*) n, current_date as day from shop.orders")
    assert marts.statuses() == {"revenue": "ok", "today": "ok"}
    assert marts.statuses() == {"revenue": "unchanged", "today": "unchanged"}
    files = marts.table("marts.revenue").files
    marts.change("marts.revenue", options={"sql": f"{REVENUE} -- the same"})
    assert marts.statuses() == {"revenue": "ok", "today": "unchanged"}
    assert marts.table("marts.revenue").files == files
    marts.change("marts.today", sync_schedule="daily 05:00")
    assert marts.statuses() == {"revenue": "unchanged", "today": "ok"}


def test_a_change_of_inputs_reaches_materialized_tables_of_all_levels(marts: Marts) -> None:
    marts.add("marts.a", REVENUE)
    marts.add(
        "marts.b", "select count(*) as n, sum(total) as total from marts.a", options={"inputs": ["vault.salaries"]}
    )
    marts.add("marts.c", "select n from marts.b, shop.plans", sync_schedule="daily 05:00")
    assert marts.statuses() == {"a": "ok", "b": "ok", "c": "ok"}
    marts.orders(ORDERS + "100,new,5.5,2026-03-01\n")
    assert marts.rows("from marts.b") == [[8, marts.rows("select sum(amount) from shop.orders")[0][0]]]
    assert marts.rows("from marts.c") == [[7]], "it has a schedule of its own"
    assert marts.statuses() == {"a": "unchanged", "b": "unchanged", "c": "ok"}
    before = marts.table("marts.b").version
    marts.orders(ORDERS + "100,new,5.5,2026-03-02\n")  # the revenue stays, so nothing after it runs
    assert marts.table("marts.a").inputs[0].hash == marts.table("shop.orders").hash
    assert marts.table("marts.b").version == before


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("select nope from shop.orders", 'column "nope" not found'),
        ("select * from shop.ordres", "there is no table 'shop.ordres'; did you mean 'shop.orders'?"),
        ("select * from marts.own", "'marts.own' would be computed from itself: marts.own → marts.own"),
        ("select 1; select 2", "only one statement"),
        ("delete from shop.orders", "only queries"),
        ("create table x as select 1", "only queries"),
        ("select $x as x", "can't have parameters"),
        ("select ? as x", "can't have parameters"),
        ("from read_csv('/etc/passwd')", "read_csv"),
        ("from '/etc/passwd'", "there is no table '/etc/passwd'"),
        ("from read_parquet('/dev/fd/3')", "read_parquet"),
        ("copy (select 1) to '/tmp/x.parquet'", "only queries"),
        ("attach '/tmp/x.db'", "only queries"),
        ("select getenv('SECRET_KEY')", "getenv"),
        ("from duckdb_settings()", "duckdb_settings"),
        ("from duckdb_secrets()", "duckdb_secrets"),
        ("select * from query('select 1')", "query"),
        ("from enable_logging(storage='file')", "enable_logging"),
        ("", "the option 'sql' must not be empty"),
        ("select", "can't be parsed"),
    ],
)
def test_sql_that_cannot_be_computed_is_refused_at_registration(whole: Marts, sql: str, says: str) -> None:
    answer = whole.add("marts.own", sql, code=422)
    assert says in answer["detail"], answer
    assert whole.shop.world.send("GET", "/api/admin/tables/marts.own").status_code == 404


def test_a_cycle_is_refused_and_named(marts: Marts) -> None:
    marts.add("marts.a", REVENUE)
    marts.add("marts.b", "from marts.a")
    marts.add("marts.c", "from marts.b")
    answer = marts.change("marts.a", options={"sql": "from marts.c"}, code=422)
    assert "marts.a → marts.b → marts.c → marts.a" in answer["detail"]
    assert marts.statuses("c", "a") == {"a": "ok", "c": "failed"}, "b was not asked for, so c has no input yet"
    assert marts.statuses() == {"a": "unchanged", "b": "ok", "c": "ok"}


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"sync_strategy": "incremental", "primary_key": ["customer"]}, "can't be incremental"),
        ({"query_mode": "remote"}, "can't be remote"),
        ({"options": {"sql": REVENUE, "enginge": "x"}}, "there is no option 'enginge'; did you mean 'engine'?"),
        ({"options": {}}, "the option 'sql' is missing"),
    ],
)
def test_settings_that_do_not_fit_are_refused(whole: Marts, fields: dict[str, Any], says: str) -> None:
    answer = whole.shop.world.send("POST", "/api/admin/tables/marts.x", {"options": {"sql": REVENUE}, **fields})
    assert (answer.status_code, says in answer.text) == (422, True), answer.text


def test_a_failing_table_keeps_its_last_version_and_is_reported(marts: Marts) -> None:
    marts.add("marts.ratio", "select sum(amount)::integer / 1 as whole, max(customer) as most from shop.orders")
    marts.add("marts.plain", "select count(*) as n from shop.orders")
    assert marts.statuses() == {"ratio": "ok", "plain": "ok"}
    rows = marts.rows("from marts.ratio")
    marts.orders(ORDERS.replace("amount", "amounts"))
    ran = marts.run()
    assert (ran["ratio"]["status"], ran["plain"]["status"]) == ("failed", "unchanged")
    assert 'column "amount" not found' in ran["ratio"]["error"].lower()
    assert marts.rows("from marts.ratio") == rows
    marts.orders(ORDERS.replace(",1.5,", ",lots,"))  # a column is text now
    assert "sum(VARCHAR)" in marts.run()["ratio"]["error"]
    marts.orders(ORDERS)
    assert marts.statuses()["ratio"] == "unchanged"


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("date 'infinity'", "column v: infinity is outside of the years 0001 to 9999 that all readers support"),
        ("[{'a': timestamp '10000-01-01'}]", "column v: 10000-01-01 00:00:00 is outside of the years"),
        ("timestamp_s '20000-01-01 00:00:00'", "column v: 20000-01-01 00:00:00 is outside of the years"),
        (
            "timestamp_ns '2020-01-01 00:00:00.123456789'",
            "column v: 2020-01-01 00:00:00.123456789 does not fit TIMESTAMP",
        ),
    ],
)
def test_a_value_that_not_all_readers_support_fails_the_table(marts: Marts, value: str, says: str) -> None:
    marts.add("marts.odd", f"select {value} as v from shop.orders")
    error = marts.run()["odd"]["error"]
    assert says in error
    assert "; round or correct it in the statement, or cast the column to VARCHAR" in error


def test_a_result_without_rows_is_published_with_a_warning(marts: Marts) -> None:
    marts.add("marts.none", "select id from shop.orders where false")
    ran = marts.run()["none"]
    assert (ran["status"], ran["rows"]) == ("ok", 0)
    assert "its SQL returned no rows" in ran["notes"]
    assert "no rows" in (marts.table("marts.none").notice or "")
    assert marts.rows("from marts.none") == []


def test_a_result_that_loses_all_its_rows_keeps_the_last_ones(marts: Marts) -> None:
    marts.add("marts.big", "select id, amount from shop.orders where amount is not null")
    marts.add("marts.now", "select id, current_date as day from shop.orders where amount is not null")
    marts.run()
    rows = marts.rows("select count(*) from marts.big")
    assert rows != [[0]]
    head, *lines = ORDERS.splitlines()
    place = head.split(",").index("amount")
    cut = [",".join("" if n == place else one for n, one in enumerate(line.split(","))) for line in lines]
    marts.orders("\n".join([head, *cut]) + "\n")
    ran = marts.run()
    assert ran["big"]["status"] == "failed"
    assert "allow_fewer" in ran["big"]["error"]
    assert marts.rows("select count(*) from marts.big") == rows
    assert marts.rows("select count(*) from marts.now") == [[0]], "rows may go with the time"
    sql = "select id, amount from shop.orders where amount is not null"
    marts.change("marts.big", options={"sql": sql, "allow_fewer": True})
    assert marts.statuses("big") == {"big": "ok"}
    assert marts.rows("select count(*) from marts.big") == [[0]]


def test_access_to_a_materialized_table_does_not_depend_on_its_inputs(marts: Marts) -> None:
    marts.add("marts.pay", "select count(*) as people from vault.salaries")
    marts.run()
    assert marts.shop.ask("from marts.pay").status_code == 422
    grant = marts.shop.world.ask("POST", "/api/admin/permissions", {"user": "ann@example.com", "table": "marts.pay"})
    answer = marts.shop.ask("from marts.pay")
    assert answer.get_json()["rows"] == [[2]]
    assert marts.shop.ask("from vault.salaries").status_code == 422
    entry = marts.shop.world.send("GET", "/api/catalog/tables/marts.pay", token=marts.shop.analyst).text
    assert "vault" not in entry
    marts.shop.world.send("DELETE", f"/api/admin/permissions/{grant['id']}")
    assert marts.shop.ask("from marts.pay").status_code == 422


def test_in_an_open_instance_a_materialized_table_is_private_unless_declared_public(
    begun: Begun, tmp_path: Path
) -> None:
    with open_shop(tmp_path, begun, TABLES_PUBLIC="true") as shop:
        shop.world.ask("POST", "/api/admin/sources/marts", {"type": "materialized"})
        made = [
            shop.world.ask("POST", f"/api/admin/tables/marts.{name}", {"options": {"sql": REVENUE}, **more})
            for name, more in (("a", {}), ("b", {"is_public": True}))
        ]
        assert [each["is_public"] for each in made] == [False, True]


def test_a_withdrawn_input_is_missing_until_another_table_replaces_it(marts: Marts) -> None:
    world = marts.shop.world
    marts.add("marts.plans", "select budget from shop.plans")
    assert marts.statuses() == {"plans": "ok"}
    world.ask("DELETE", "/api/admin/tables/shop.plans")
    marts.background.wait()
    ran = marts.run()["plans"]
    assert (ran["status"], "its input 'shop.plans' does not exist" in ran["error"]) == ("failed", True)
    assert marts.rows("from marts.plans") == [[9000]]
    world.ask("POST", "/api/admin/tables/shop.plans", {})
    assert "does not exist or has no data yet" in marts.run()["plans"]["error"]
    marts.orders(ORDERS)
    assert marts.statuses() in ({"plans": "ok"}, {"plans": "unchanged"})
    assert marts.rows("from marts.plans") == [[9000]]


def test_result_columns_get_valid_names_and_types_of_tables(marts: Marts) -> None:
    marts.add(
        "marts.odd",
        'select count(*), 1::hugeint as "Total Sales", [1] as l, null as n, interval 1 day as i from orders',
    )
    ran = marts.run()["odd"]
    assert ran["status"] == "ok", ran
    assert [column.name for column in marts.table("marts.odd").columns] == ["count_star", "total_sales", "l", "n", "i"]
    marts.change("marts.odd", options={"sql": 'select 1 as a, 2 as "A"'})
    assert marts.statuses() == {"odd": "ok"}
    assert [column.name for column in marts.table("marts.odd").columns] == ["a", "a_1"]


def test_sql_that_kills_its_process_fails_alone(marts: Marts) -> None:
    marts.add("marts.large", "select repeat('x', 10)::varchar as text")
    marts.add("marts.small", "select 1 as one")
    assert marts.statuses() == {"large": "ok", "small": "ok"}
    marts.change("marts.large", options={"sql": "select repeat('x', 4000000000 + n) as text from range(1) t(n)"})
    marts.change("marts.small", options={"sql": "select 2 as one"})
    ran = marts.run()
    assert (ran["large"]["status"], ran["small"]["status"]) == ("failed", "ok")
    assert "memory" in ran["large"]["error"]
    assert marts.rows("select text, one from marts.large, marts.small") == [["x" * 10, 2]]


def test_two_runs_at_once_publish_one_result(marts: Marts) -> None:
    marts.add("marts.revenue", REVENUE)
    results: list[str] = []
    threads = [threading.Thread(target=lambda: results.append(marts.statuses()["revenue"])) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert "ok" in results
    assert set(results) <= {"ok", "superseded", "unchanged"}
    assert marts.rows("select count(*) from marts.revenue") == [[7]]
    assert marts.statuses() == {"revenue": "unchanged"}


def test_a_materialized_table_cannot_take_the_name_of_another_source(marts: Marts) -> None:
    answer = marts.add("shop.revenue", REVENUE, code=422)
    assert "there is no option 'sql'" in answer["detail"]
    assert marts.shop.world.send("POST", "/api/admin/sources/shop", {"type": "materialized"}).status_code == 409
    assert marts.shop.world.send("POST", "/extract/materialized", {"source": "shop"}).status_code == 422
