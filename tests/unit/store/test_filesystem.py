"""The bucket as a filesystem: keys are files, and DuckDB reads the parquet of any bucket through published views."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

from analyst import duckdb_files, runs
from analyst.contract.extraction import Extraction
from analyst.errors import InvalidInputError
from analyst.store import ABSENT, Store, filesystem
from analyst.store.filesystem import BucketFileSystem, open_bucket
from analyst.store.folder.store import FileStore
from analyst.store.gcs.store import GsStore
from tests.doubles.gcs import Gcs, running
from tests.doubles.s3 import new_store
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
        yield new_store(request.getfixturevalue("server"))


@pytest.fixture(params=["httpfs", "fsspec"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """How DuckDB reads."""
    if request.param == "fsspec":
        monkeypatch.setattr(filesystem, "load_httpfs", lambda _: False)


@pytest.mark.usefixtures("way")
def test_views_are_queried_in_place(store: Store, tmp_path: Path) -> None:
    content = {"orders": ToyTable("select i as id, i % 7 as kind from range(10000) t(i)", "1")}
    Extraction(store, "shop", runs.new_run_id(), lambda: NOW).run(lambda: Toy(content))
    store.download("extracts/shop/extract.duckdb", tmp_path / "extract.duckdb")
    with duckdb_files.connect() as con:
        open_bucket(con, store)
        duckdb_files.attach(con, tmp_path / "extract.duckdb", "extract", what="extract")
        query = "select count(*), sum(id), max(kind) from extract.orders where kind < 5"
        assert con.execute(query).fetchall() == [(7144, 35715000, 4)]


def test_httpfs_is_installed_with_the_package() -> None:
    with duckdb_files.connect() as con:
        assert filesystem.load_httpfs(con)


@pytest.mark.usefixtures("way")
def test_a_missing_file_is_reported(store: Store) -> None:
    with duckdb_files.connect() as con:
        open_bucket(con, store)
        with pytest.raises((duckdb.Error, FileNotFoundError)):
            con.execute(f"from read_parquet('{store.url}/extracts/shop/data/nothing.parquet')")


@pytest.fixture
def files(store: Store) -> BucketFileSystem:
    """The bucket's filesystem, with three objects in two folders."""
    for key in ("a/b/one.txt", "a/two.txt", "a/b.txt"):
        store.put(key, key.encode(), if_version=ABSENT)
    return BucketFileSystem(store)


def test_folders_are_listed_as_fsspec_lists_them(files: BucketFileSystem) -> None:
    assert sorted(files.ls("a", detail=False)) == ["a/b", "a/b.txt", "a/two.txt"]
    assert files.ls("", detail=False) == ["a"]
    assert files.ls("a/two.txt", detail=False) == ["a/two.txt"]
    assert files.find("a") == ["a/b.txt", "a/b/one.txt", "a/two.txt"]
    assert files.glob("a/*.txt") == ["a/b.txt", "a/two.txt"]
    assert files.find("", maxdepth=2) == ["a/b.txt", "a/two.txt"]


@pytest.mark.parametrize("path", ["a/two.txt", "/a/two.txt", "{url}/a/two.txt", "{bare}/a/two.txt"])
def test_a_file_is_read_by_its_key_or_address(store: Store, files: BucketFileSystem, path: str) -> None:
    path = path.format(url=store.url, bare=store.url.split("://", 1)[1])
    assert files.cat_file(path) == b"a/two.txt"
    assert (files.size(path), files.isdir(path), files.exists(path)) == (9, False, True)
    with files.open(path) as file:
        file.seek(2)
        assert file.read() == b"two.txt"


@pytest.mark.parametrize("path", ["a/three.txt", "b", "a/../a/two.txt", "state/"])
def test_a_missing_file_is_not_found(files: BucketFileSystem, path: str) -> None:
    assert not files.exists(path)
    with pytest.raises(FileNotFoundError):
        files.info(path)
    with pytest.raises((FileNotFoundError, InvalidInputError)):
        files.cat_file(path)


def test_nothing_can_be_written_through_the_file_system(store: Store, files: BucketFileSystem) -> None:
    with pytest.raises(NotImplementedError):
        files.open("a/two.txt", "wb")
    with pytest.raises(NotImplementedError):
        files.rm("a/two.txt")
    found = store.read("a/two.txt")
    assert found is not None
    assert found.data == b"a/two.txt"
