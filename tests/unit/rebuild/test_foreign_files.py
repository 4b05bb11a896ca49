"""Extracts of other writers whose listed files are not what they are said to be."""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

import duckdb
import pytest

from analyst.snapshots import Snapshots
from analyst.store import ANY, Store
from tests.bucket_contents import data, edited, query
from tests.examples import partly
from tests.unit.rebuild.lake import extract, rebuild
from tests.unit.rebuild.test_hostile import FILES, META, T

pytestmark = pytest.mark.slow

EXTRACT = "extracts/odd/extract.duckdb"
FOREIGN = "extracts/odd/data/t/part-{}.parquet"
CONTENT = f"extracts/odd/data/t/{'a' * 31}{{}}.parquet"
Row = dict[str, Any]


def put_file(store: Store, path: str, sql: str) -> Row:
    """Put a parquet file at a path; return the row of `_files` that is true of it."""
    with edited(store, path) as file:
        duckdb.sql(f"copy ({sql}) to '{file}' (format parquet)")
    content = data(store, path)
    stats = {"columns": {"n": {"type": "INTEGER"}}}
    sha256 = hashlib.sha256(content).hexdigest()
    return {"path": path, "rows": 1, "size": len(content), "sha256": sha256, "stats": stats}


def list_files(store: Store, *rows: Mapping[str, Any]) -> None:
    """Write an extract that lists these files for the table `t`."""
    store.delete(EXTRACT)
    with edited(store, EXTRACT) as path, duckdb.connect(path) as con:
        for statement in (META, T, FILES):
            con.execute(statement)
        for row in rows:
            values = [row["path"], row["rows"], row["size"], row["sha256"], json.dumps(row["stats"])]
            con.execute("insert into _files values ('t', ?, null, ?, ?, ?, ?)", values)


def not_parquet(store: Store, row: Row) -> list[Row]:
    content = b"x" * row["size"]
    store.put(row["path"], content, if_version=ANY)
    return [row | {"sha256": hashlib.sha256(content).hexdigest()}]


def missing(store: Store, row: Row) -> list[Row]:
    store.delete(row["path"])
    return [row]


WRONG: dict[str, tuple[Callable[[Store, Row], list[Row]], str]] = {
    "missing": (missing, "not in the bucket"),
    "another size": (lambda _, row: [row | {"size": row["size"] + 1}], "bytes, but the object has"),
    "twice": (lambda _, row: [row, row], "twice"),
    "no parquet": (not_parquet, "can't be read as parquet"),
    "other rows": (lambda _, row: [row | {"rows": 2}], "a row count that differs"),
    "other content": (lambda _, row: [row | {"sha256": "0" * 64}], "a SHA-256 that differs"),
    "another type": (lambda _, row: [row | {"stats": {"columns": {"n": {"type": "VARCHAR"}}}}], "it is INTEGER"),
    "another column": (lambda _, row: [row | {"stats": {"columns": {"m": {"type": "INTEGER"}}}}], "does not have"),
}


@pytest.mark.parametrize("name", partly([FOREIGN, CONTENT], 1), ids=["foreign name", "content name"])
@pytest.mark.parametrize("kind", WRONG)
def test_a_table_with_wrong_listed_files_keeps_its_last_version(store: Store, kind: str, name: str) -> None:
    list_files(store, put_file(store, name.format(1), "select 1 as n"))
    assert rebuild(store).problems == ()
    before = Snapshots(store).current().catalog.tables
    change, reason = WRONG[kind]
    list_files(store, *change(store, put_file(store, name.format(2), "select 2 as n")))
    (problem,) = rebuild(store).problems
    assert (problem.source, problem.table) == ("odd", "t")
    assert reason in problem.message
    assert Snapshots(store).current().catalog.tables == before
    assert query(store, "from t") == [(1,)]
    list_files(store, put_file(store, name.format(3), "select 3 as n"))
    assert rebuild(store).problems == ()
    assert query(store, "from t") == [(3,)]


def test_an_extract_of_ours_that_lists_a_file_twice_is_refused(store: Store) -> None:
    extract(store, "odd", {"t": "select 1 as n"})
    rebuild(store)
    with edited(store, EXTRACT) as path, duckdb.connect(path) as con:
        con.execute("insert into _files from _files")
    (problem,) = rebuild(store).problems
    assert "twice" in problem.message
    assert query(store, "from t") == [(1,)]
