"""Receipts stay true while a source publishes again and again."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clouds import Cloud
from tests.integration.query.shop import ORDERS, Shop, open_shop
from tests.integration.world import SERVICE_TOKEN, Begun, World

pytestmark = [pytest.mark.server, pytest.mark.slow]

PUBLISHES = int(os.environ.get("PUBLISHES", "1000"))
RECEIPTS = 100
STATEMENTS = (
    "from shop.orders where id % 100 = {n}",
    "select customer, sum(amount) as total from shop.orders where id >= {n} group by customer",
    "select id, day from shop.orders order by id desc limit {n}",
    "select budget + {n} as budget from shop.plans",
)


@pytest.fixture
def shop(cloud: Cloud, tmp_path: Path) -> Iterator[Shop]:
    first = tmp_path / "first"
    with open_shop(tmp_path / "shop", Begun(cloud, World(first, cloud).admin, tmp_path / "begun")) as made:
        yield made


def test_receipts_verify_after_many_publishes_or_name_the_changed_table(shop: Shop, tmp_path: Path) -> None:
    receipts = []
    for number in range(RECEIPTS):
        sql = STATEMENTS[number % len(STATEMENTS)].format(n=number)
        receipts.append(shop.ask(sql, token=shop.world.admin).get_json()["receipt"])
    orders = tmp_path / "shop/sources/shop/orders.csv"
    for number in range(PUBLISHES):
        orders.write_text(f"{ORDERS}{100 + number},c{number % 9},{number}.5,2026-03-01\n")
        shop.world.ask("POST", "/extract/csv", {"source": "shop"}, token=SERVICE_TOKEN)
    assert shop.process.snapshots.current().number >= PUBLISHES
    for receipt in receipts:
        tables = [each["id"] for each in receipt["tables"]]
        answer = shop.world.ask("POST", "/api/receipts/verify", {"receipt": receipt})
        if tables == ["shop.orders"]:
            assert answer["verdict"] in {"tables_changed", "no_longer_kept"}
            assert answer["changed"] == tables
            assert answer["reproduced"] in {True, None}
        else:
            assert (answer["verdict"], answer["changed"]) == ("equal", [])
        broken = {**receipt, "result": receipt["result"][:-1] + ("0" if receipt["result"][-1] != "0" else "1")}
        assert shop.world.send("POST", "/api/receipts/verify", {"receipt": broken}).status_code == 422
