"""DuckDB reads the parquet of a bucket in a cloud through the views that were published."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

from analyst import bucket_parquet, duckdb_files, runs
from analyst.bucket_parquet import open_bucket
from analyst.contract.extraction import Extraction
from analyst.store import Store
from analyst.store.folder.store import FileStore
from analyst.store.gcs.store import GsStore
from analyst.store.s3.store import S3Store
from tests.doubles.gcs import Gcs, running
from tests.doubles.s3 import clients_of, serving
from tests.doubles.toy_source import Toy, ToyTable

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture(params=["file", "gs", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "file":
        yield FileStore(tmp_path / "bucket", lambda: b"s" * 32)
    elif request.param == "gs":
        with running(Gcs()) as gcs, gcs.client() as client:
            yield GsStore("bucket", "some/where", client)
    else:
        with serving() as server:
            yield S3Store("bucket", "some/where", clients_of(server))


@pytest.fixture(params=["httpfs", "fsspec"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """How DuckDB reads."""
    if request.param == "fsspec":
        monkeypatch.setattr(bucket_parquet, "load_httpfs", lambda _: False)


@pytest.mark.usefixtures("way")
def test_views_are_queried_where_the_files_lie(store: Store, tmp_path: Path) -> None:
    content = {"orders": ToyTable("select i as id, i % 7 as kind from range(10000) t(i)", "1")}
    Extraction(store, "shop", runs.new_run_id(), lambda: NOW).run(lambda: Toy(content))
    store.download("extracts/shop/extract.duckdb", tmp_path / "extract.duckdb")
    with duckdb_files.connect() as con:
        open_bucket(con, store)
        duckdb_files.attach(con, tmp_path / "extract.duckdb", "extract", what="extract")
        query = "select count(*), sum(id), max(kind) from extract.orders where kind < 5"
        assert con.execute(query).fetchall() == [(7144, 35715000, 4)]


def test_httpfs_comes_with_the_package() -> None:
    with duckdb_files.connect() as con:
        assert bucket_parquet.load_httpfs(con)


@pytest.mark.usefixtures("way")
def test_a_missing_file_is_told(store: Store) -> None:
    with duckdb_files.connect() as con:
        open_bucket(con, store)
        with pytest.raises((duckdb.Error, FileNotFoundError)):
            con.execute(f"from read_parquet('{store.url}/extracts/shop/data/nothing.parquet')")
