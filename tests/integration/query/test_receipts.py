"""A receipt lets others compute a result again, says what has changed since, and can't be changed itself."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.query.shop import ORDERS, Shop, open_shop
from tests.integration.world import Begun

pytestmark = [pytest.mark.server, pytest.mark.slow]


@pytest.fixture(scope="module")
def shop(begun: Begun, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with open_shop(tmp_path_factory.mktemp("shop"), begun) as made:
        yield made


@pytest.fixture
def own(begun: Begun, tmp_path: Path) -> Iterator[Shop]:
    with open_shop(tmp_path, begun) as made:
        yield made


def receipt(shop: Shop, sql: str, **more: Any) -> dict[str, Any]:
    answer = shop.ask(sql, **more)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = (
        answer.get_json()["receipt"]
        if answer.content_type == "application/json"
        else json.loads(answer.headers["X-Receipt"])
    )
    return found


def verify(shop: Shop, of: Any, *, token: str = "") -> Any:
    return shop.world.send("POST", "/api/receipts/verify", {"receipt": of}, token=token or shop.analyst)


def test_a_receipt_names_what_the_result_was_computed_from(shop: Shop) -> None:
    of = receipt(
        shop,
        "select customer, sum(amount) s from orders where id > $id group by all order by all;",
        parameters={"id": 3},
        limit=2,
    )
    assert of["statement"] == "select customer, sum(amount) s from orders where id > $id group by all order by all"
    assert (of["parameters"], of["limit"], of["snapshot"], of["user"]) == ({"id": 3}, 2, 2, "ann@example.com")
    table = shop.process.snapshots.current().by_id["shop.orders"]
    assert of["tables"] == [{"id": "shop.orders", "hash": table.hash}]
    assert (of["row_count"], of["truncated"], of["ordered"], of["volatile"]) == (2, True, True, False)
    assert of["columns"] == [{"name": "customer", "type": "VARCHAR"}, {"name": "s", "type": "DOUBLE"}]
    assert of["engine"].startswith("DuckDB ")


@pytest.mark.parametrize("form", ["csv", "arrow", "parquet"])
def test_a_receipt_does_not_depend_on_the_format_of_the_result(shop: Shop, form: str) -> None:
    sql = "select *, [id] as l, {'a': amount} as s, id::hugeint as h, null as n, customer::json as j from (select id, amount, '\"x\"' as customer from orders)"
    same = ("statement", "columns", "row_count", "result")
    first, other = receipt(shop, sql), receipt(shop, sql, format=form)
    assert [first[name] for name in same] == [other[name] for name in same]


@pytest.mark.parametrize(
    "sql",
    [
        "from orders",
        "select customer, avg(amount) from orders group by customer",
        "select * from orders order by id desc",
        "select 0.1 + 0.2, 'nan'::double, -0.0, [1.5], null",
        "select 1 where false",
        "select $x as x",
    ],
)
def test_a_receipt_of_an_unchanged_result_verifies(shop: Shop, sql: str) -> None:
    of = receipt(shop, sql, **({"parameters": {"x": "y"}} if "$x" in sql else {}))
    answer = verify(shop, of).get_json()
    assert (answer["verdict"], answer["signed"], answer["reproduced"], answer["changed"]) == ("equal", True, True, [])
    assert answer["now"]["result"] == of["result"]


def test_the_order_of_rows_matters_only_with_order_by(shop: Shop) -> None:
    up, down = (f"select * from (select id from orders order by id {way}) order by id {way}" for way in ("asc", "desc"))
    assert receipt(shop, up)["result"] != receipt(shop, down)["result"]
    one, two = ("select 1 as a union all select 2", "select 2 as a union all select 1")
    assert receipt(shop, one)["result"] == receipt(shop, two)["result"]
    assert receipt(shop, one)["result"] != receipt(shop, "select 1 as a union all select 1")["result"]


CHANGES: dict[str, Any] = {
    "statement": "select 1 as id",
    "parameters": {"a": 1},
    "limit": 7,
    "snapshot": 1,
    "tables": [],
    "engine": "DuckDB 1.0.0",
    "columns": [],
    "row_count": 4,
    "truncated": True,
    "ordered": True,
    "volatile": True,
    "result": "0" * 64,
    "user": "eve@example.com",
    "at": "2020-01-01T00:00:00Z",
}


@pytest.mark.parametrize("field", CHANGES)
def test_a_changed_receipt_is_refused(shop: Shop, field: str) -> None:
    of = receipt(shop, "select id from orders where id < 3")
    assert of.keys() == {*CHANGES, "version", "signature"}
    answer = verify(shop, {**of, field: CHANGES[field]})
    assert (answer.status_code, "was changed" in answer.text) == (422, True)


def test_any_changed_byte_of_a_receipt_is_noticed(shop: Shop) -> None:
    text = json.dumps(receipt(shop, "select id from orders where id < 3"))
    for place in range(0, len(text), 7):
        for other in "0a":
            changed = text[:place] + other + text[place + 1 :]
            try:
                of = json.loads(changed)
            except ValueError:
                continue
            if of != json.loads(text):
                assert verify(shop, of).status_code == 422, changed


def test_a_receipt_without_a_signature_is_reported_as_unsigned(shop: Shop) -> None:
    of = {**receipt(shop, "from orders"), "signature": None, "user": None}
    assert verify(shop, of).get_json()["signed"] is False
    assert verify(shop, {**of, "result": "0" * 64}).get_json()["verdict"] == "different"
    assert verify(shop, {**of, "engine": "DuckDB 1.4.0"}).get_json()["verdict"] == "equal_other_engine"


def test_a_user_without_a_table_cannot_verify(shop: Shop) -> None:
    of = receipt(shop, "from shop.plans", token=shop.world.admin)
    assert verify(shop, of, token=shop.world.admin).get_json()["verdict"] == "equal"
    assert verify(shop, of).status_code == 404


def test_random_results_are_not_reproduced(shop: Shop) -> None:
    answer = verify(shop, receipt(shop, "select random()")).get_json()
    assert (answer["verdict"], "on chance" in answer["message"]) == ("different", True)


def test_changed_tables_are_named_with_the_difference(own: Shop, tmp_path: Path) -> None:
    of = receipt(own, "select id, customer from shop.orders", limit=None)
    still = receipt(own, "select 1")
    (tmp_path / "sources/shop/orders.csv").write_text(ORDERS.replace("3,c3,", "3,c9,", 1) + "100,c9,1.5,2026-03-01\n")
    own.world.ask("POST", "/extract/csv", {"source": "shop"})
    answer = verify(own, of).get_json()
    assert (answer["verdict"], answer["changed"], answer["reproduced"]) == ("tables_changed", ["shop.orders"], True)
    assert answer["then"]["result"] == of["result"] != answer["now"]["result"]
    assert (answer["then"]["row_count"], answer["now"]["row_count"]) == (100, 101)
    assert answer["difference"] == {
        "removed": 1,
        "added": 2,
        "removed_rows": [[3, "c3"]],
        "added_rows": [[3, "c9"], [100, "c9"]],
    }
    assert verify(own, still).get_json()["verdict"] == "equal"


def test_an_expired_snapshot_is_reported(own: Shop, tmp_path: Path) -> None:
    of = receipt(own, "from shop.orders")
    (tmp_path / "sources/shop/orders.csv").write_text(ORDERS + "100,c9,1.5,2026-03-01\n")
    own.world.ask("POST", "/extract/csv", {"source": "shop"})
    for entry in list(own.process.store.list("analytics/000000002-")):
        own.process.store.delete(entry.key)
    answer = verify(own, of).get_json()
    assert (answer["verdict"], answer["changed"], answer["reproduced"]) == ("no_longer_kept", ["shop.orders"], None)
    assert answer["now"]["row_count"] == 101


def test_a_result_can_be_requested_without_a_receipt(shop: Shop) -> None:
    assert shop.ask("from orders", receipt=False).get_json()["receipt"] is None
