"""Queries over a bucket in a cloud: its files are fetched, and kept."""

from pathlib import Path

import duckdb
import pytest

from tests.clouds import clouds
from tests.integration.query.lake import lake

pytestmark = [pytest.mark.server, pytest.mark.slow]


@pytest.mark.parametrize("kind", ["gs", "s3"])
def test_a_query_reads_the_copies_of_files(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "orders.parquet"
    with duckdb.connect() as con:
        con.execute(f"copy (select range as id, range % 3 as kind from range(1000)) to '{file}'")
    with (
        clouds(kind) as new_cloud,
        new_cloud(tmp_path) as cloud,
        lake(tmp_path, {"shop.orders": file}, store=cloud.open()) as it,
    ):
        sql = "select kind, sum(id) from orders group by kind order by kind"
        assert it.ask(sql).num_rows == 3
        for path in (tmp_path / "cache").rglob("*"):
            assert path.is_dir() or path.read_bytes() == file.read_bytes()
        assert (
            it.ask(sql).to_pydict()
            == it.ask("select kind, sum(id) from shop.orders group by all order by all").to_pydict()
        )
