"""The columns and some rows of one table."""

from collections.abc import Iterator

import pytest

from tests.integration.query.shop import Shop, open_shop
from tests.integration.world import Begun

pytestmark = [pytest.mark.server, pytest.mark.slow]


@pytest.fixture(scope="module")
def shop(begun: Begun, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with open_shop(tmp_path_factory.mktemp("shop"), begun) as made:
        yield made


def test_the_schema_of_a_table_lists_its_columns(shop: Shop) -> None:
    schema = shop.world.ask("GET", "/api/tables/shop.orders/schema", token=shop.analyst)
    assert [(each["name"], each["type"]) for each in schema["columns"]] == [
        ("id", "BIGINT"),
        ("customer", "VARCHAR"),
        ("amount", "DOUBLE"),
        ("day", "DATE"),
    ]
    assert (schema["rows"], schema["sql_name"], schema["owner"]) == (100, '"shop"."orders"', "admin@example.com")
    assert schema["updated"]


def test_a_sample_of_a_table_has_some_of_its_rows(shop: Shop) -> None:
    answer = shop.world.ask("GET", "/api/tables/shop.orders/sample?rows=3", token=shop.analyst)
    assert (answer["row_count"], answer["truncated"], len(answer["rows"][0])) == (3, True, 4)


@pytest.mark.parametrize("path", ["schema", "sample"])
def test_a_hidden_table_is_not_found(shop: Shop, path: str) -> None:
    hidden, none = (
        shop.world.send("GET", f"/api/tables/{name}/{path}", token=shop.analyst)
        for name in ("shop.plans", "shop.pl999")
    )
    assert (hidden.status_code, hidden.text.replace("plans", "pl999")) == (404, none.text)


@pytest.mark.parametrize("rows", ["0", "1001", "x"])
def test_an_invalid_number_of_rows_is_refused(shop: Shop, rows: str) -> None:
    assert shop.world.send("GET", f"/api/tables/shop.orders/sample?rows={rows}", token=shop.analyst).status_code == 422
