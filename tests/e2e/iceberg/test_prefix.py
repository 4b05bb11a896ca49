"""pyiceberg, Polars and DuckDB against a server whose address has a path."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clouds import FileCloud
from tests.e2e.iceberg.test_clients import Served
from tests.integration.http.test_prefix import PREFIX, proxied
from tests.integration.world import World
from tests.processes import Host, free_port, served


@pytest.fixture(scope="module", params=[True, False], ids=["removed", "left"])
def mounted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder, port = tmp_path_factory.mktemp("prefix"), free_port()
    url = f"http://127.0.0.1:{port}{PREFIX}"
    world = World(folder, FileCloud(folder / "bucket"), base_url=url, variables={"SECRET_KEY": "s" * 40})
    shop = Path(folder, "sources", "shop")
    shop.mkdir()
    (shop / "orders.csv").write_text("id,amount\n1,10\n2,20\n")
    world.ask("POST", "/api/admin/sources/shop", {"type": "csv", "config": {"path": str(shop)}})
    world.ask("POST", "/extract/csv", {"source": "shop"})
    with served(proxied(world, removes=request.param), port):
        yield Served(Host(url), world.admin, world.admin, shop)
    world.process.close()


def test_engines_read_below_a_prefix(mounted: Served) -> None:
    tables, scanned, by_duckdb, by_polars = mounted.ask(
        ("tables", {}),
        ("scan", {"table": "shop.orders"}),
        ("duckdb", {"sql": "from data.shop.orders"}),
        ("polars", {"table": "shop.orders", "sql": "select sum(amount) from "}),
    )
    assert tables == ["shop.orders"]
    assert scanned == {"files": 1, "rows": [["1", "10"], ["2", "20"]]}
    assert by_duckdb == [["1", "10"], ["2", "20"]]
    assert by_polars == ["30"], by_polars
