"""Queries over a bucket in a cloud: its files are fetched, and kept."""

from pathlib import Path

import duckdb
import pytest

from analyst.errors import UnavailableError
from analyst.query.engine import Query
from analyst.query.statement import StatementError
from tests.clouds import clouds
from tests.integration.query.lake import open_lake

pytestmark = [pytest.mark.server, pytest.mark.slow]


@pytest.mark.parametrize("kind", ["gs", "s3"])
def test_a_query_reads_the_copies_of_files(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "orders.parquet"
    with duckdb.connect() as con:
        con.execute(f"copy (select range as id, range % 3 as kind from range(1000)) to '{file}'")
    with (
        clouds(kind) as new_cloud,
        new_cloud(tmp_path) as cloud,
        open_lake(tmp_path, {"shop.orders": file}, store=cloud.open()) as each,
    ):
        sql = "select kind, sum(id) from orders group by kind order by kind"
        assert each.ask(sql).num_rows == 3
        for path in (tmp_path / "cache").rglob("*"):
            assert path.is_dir() or path.read_bytes() == file.read_bytes()
        assert (
            each.ask(sql).to_pydict()
            == each.ask("select kind, sum(id) from shop.orders group by all order by all").to_pydict()
        )


@pytest.mark.parametrize("kind", ["gs", "s3"])
def test_files_that_are_larger_than_the_cache_are_read_by_parts(tmp_path: Path, kind: str) -> None:
    wide, small = tmp_path / "wide.parquet", tmp_path / "small.parquet"
    with duckdb.connect() as con:
        con.execute("create table t as select range as id, md5(range::varchar) as text from range(300000)")
        con.execute(f"copy t to '{wide}' (row_group_size 50000)")
        con.execute(f"copy (select range as id from range(10)) to '{small}'")
    with (
        clouds(kind) as new_cloud,
        new_cloud(tmp_path) as cloud,
        open_lake(tmp_path, {"shop.wide": wide, "shop.small": small}, store=cloud.open(), cache=1_000_000) as each,
    ):
        assert each.ask("select count(*) as n from small").to_pydict() == {"n": [10]}
        for sql in (
            "select count(*) as n, sum(id) as s, max(text) as t from wide",
            "select * from wide join small using (id) order by id",
            "select id from wide where id = 299999",
        ):
            assert each.ask(sql).to_pydict() == each.plain.execute(sql).to_arrow_table().to_pydict()
        few = each.engine.run(Query("select min(id) from wide where id < 9"), each.reader)
        few.file.close()
        assert few.bytes_read is not None
        assert few.bytes_read < wide.stat().st_size / 4, "only what it needs is read"
        kept = sum(path.stat().st_size for path in (tmp_path / "cache").rglob("*") if path.is_file())
        assert kept <= 1_000_000
        with pytest.raises(StatementError, match="there is no table"):
            each.ask("from 'part://0'")
        each.engine.files._ranges._store.delete("extracts/shop/data/wide/wide.parquet")
        with pytest.raises(UnavailableError, match="no longer in the bucket"):
            each.ask("select sum(id + 1) from wide")
