"""Our views, as any DuckDB reads them, wherever the bucket lies."""

import json
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

from analyst import runs
from analyst.contract.extract_edit import read_extract
from analyst.contract.extraction import Extraction
from analyst.contract.views import is_view_of
from analyst.rebuild import Rebuild
from analyst.store import Store
from analyst.store.folder.store import FileStore
from tests.bucket_contents import ask, database, folder
from tests.doubles.toy_source import Toy, ToyTable
from tests.processes import ROOT

NEWEST = ROOT / ".venv-da/bin/python"
NAMES = [
    "plain",
    "order",
    "group",
    "select",
    "view",
    "table",
    "user",
    "lambda",
    "p",
    "end",
    "desc",
    "at",
    "values",
    "row",
    "data_root",
    "list_transform",
    "coalesce",
]
FOLDERS = ["plain", 'it\'s a "quo"te, ünï €', "per%20cent;$x{y}", "br[a]ck#?q=1"]

DATABASES = ["extracts/toy/extract.duckdb", "analytics/analytics.duckdb"]
VIEWS = "select view_name, sql from duckdb_views() where schema_name = 'main' and not internal"

READ_ALL = """
import json, sys, duckdb
for path, names, first in json.loads(sys.argv[1]):
    for statement in first:
        with duckdb.connect(path, read_only=True) as con:
            con.execute(statement)
            assert all(con.execute(f'select n from "{name}"').fetchall() == [(7,)] for name in names)
            assert con.execute("select n, id from several order by id").fetchall() == [(7, 1), (7, 2)]
"""


def now() -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket with tables of one file of these names, and the table `several` of two files."""

    store: Store
    names: list[str]


@pytest.fixture(scope="module", params=FOLDERS)
def bucket(request: pytest.FixtureRequest, store_kind: str, tmp_path_factory: pytest.TempPathFactory) -> Bucket:
    """A bucket in a folder of a strange name; the one in a plain folder has all tables of strange names."""
    if store_kind == "file":
        store: Store = FileStore(tmp_path_factory.mktemp("strange") / request.param, lambda: b"s" * 32)
    elif request.param == "plain":
        store = request.getfixturevalue("shared_cloud").open()
    else:
        pytest.skip("a bucket in a cloud has no strange name")

    def extract(tables: dict[str, ToyTable]) -> None:
        assert Extraction(store, "toy", runs.new_run_id(), now).run(lambda: Toy(tables)).record.status == "ok"

    names = NAMES if request.param == "plain" else NAMES[:2]
    extract({name: ToyTable("select 7 as n") for name in names})
    for number in (1, 2):
        extract({"several": ToyTable(f"select 7 as n, {number} as id", str(number), cursor_column="id")})
    assert Rebuild(store, now, tuple).run().problems == ()
    return Bucket(store, names)


def with_data_root(root: Path) -> str:
    return "set variable data_root = '{}'".format(str(root).replace("'", "''"))


def check(con: duckdb.DuckDBPyConnection, names: list[str]) -> None:
    assert all(con.execute(f'select n from "{name}"').fetchall() == [(7,)] for name in names)
    assert con.execute("select id from several order by id").fetchall() == [(1,), (2,)]


def test_views_are_read_by_the_duckdb_that_made_them(bucket: Bucket) -> None:
    for key in DATABASES:
        with database(bucket.store, key) as con:
            check(con, bucket.names)
        with folder(bucket.store, "") as root, duckdb.connect(root / key, read_only=True) as con:
            con.execute(with_data_root(root))
            check(con, bucket.names)


@pytest.mark.slow
@pytest.mark.skipif(not NEWEST.exists(), reason="make .venv-da/installed")
def test_views_are_read_by_the_newest_duckdb(bucket: Bucket) -> None:
    with folder(bucket.store, "") as root:
        jobs = []
        for key in DATABASES:
            where_it_lies = ["select 1"] if bucket.store.local_path(key) else []
            jobs.append((str(root / key), bucket.names, [*where_it_lies, with_data_root(root)]))
        done = subprocess.run([NEWEST, "-c", READ_ALL, json.dumps(jobs)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_a_view_that_we_wrote_is_recognized_by_its_text(bucket: Bucket, tmp_path: Path) -> None:
    files = read_extract(bucket.store, "toy", tmp_path)[0].files
    stored = [dict(ask(bucket.store, key, VIEWS)) for key in DATABASES]
    assert stored[0] == stored[1]
    assert stored[0].keys() == {*bucket.names, "several"}
    for name, sql in stored[0].items():
        paths = tuple(file.path for file in files[name])
        assert is_view_of(sql, name, paths, bucket.store.url)
        assert not is_view_of(sql, name, (*paths, "another.parquet"), bucket.store.url)
        assert not is_view_of(sql, name, paths, f"{bucket.store.url}x")
