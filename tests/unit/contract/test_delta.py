"""The published tables as Delta tables, read by other engines."""

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from deltalake import DeltaTable

from analyst import duckdb_files, runs
from analyst.contract.extraction import Extraction
from analyst.contract.publishing import drop
from analyst.errors import UnavailableError
from analyst.rebuild import Rebuild
from analyst.store import Store
from tests.bucket_contents import database, edited, filled, folder
from tests.doubles.faulty_store import FaultyStore
from tests.doubles.toy_source import Toy, ToyTable

EXTRACT = "extracts/shop/extract.duckdb"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

TYPES = """
    select i as id,
           case when i % 3 = 0 then null else i::tinyint end as tiny,
           i::double / 7 as ratio,
           (i * 1.25)::decimal(10, 2) as price,
           case i % 4 when 0 then '' when 1 then null else repeat('é', i) end as note,
           date '2024-02-28' + i as day,
           timestamp '2024-01-01 00:00:00.123456' + to_hours(i) as local_time,
           timestamptz '2024-01-01 00:00:00.123456+00' + to_hours(i) as instant,
           i % 2 = 0 as flag,
           [i, i + 1] as list,
           {'a': i, 'b': ['x']} as struct,
           map {'k': i} as map
    from range(10) r(j), lateral (select j::integer as i)
"""


def extract(store: Store, content: str | ToyTable, *, at: datetime = NOW) -> None:
    table = ToyTable(content, content) if isinstance(content, str) else content
    ended = Extraction(store, "shop", runs.new_run_id(), lambda: at).run(lambda: Toy({"orders": table}))
    assert ended.record.status in ("ok", "unchanged"), ended.record


def table(store: Store) -> AbstractContextManager[Path]:
    """Return a folder that has the table."""
    return folder(store, "extracts/shop/data/orders/")


def rows(store: Store, version: int | None = None) -> list[dict[str, Any]]:
    """Read the table with Polars, which uses delta-rs."""
    with table(store) as path:
        found = pl.read_delta(str(path), version=version).to_dicts()
    return sorted(found, key=lambda row: json.dumps(row, default=str))


def ours(store: Store, query: str = "from orders") -> list[dict[str, Any]]:
    with database(store, EXTRACT) as con:
        con.execute("set TimeZone = 'UTC'")
        found = fetched(con.execute(query))
    return sorted(found, key=lambda row: json.dumps(row, default=str))


def fetched(result: duckdb.DuckDBPyConnection | duckdb.DuckDBPyRelation) -> list[dict[str, Any]]:
    names = [column[0] for column in result.description or ()]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def commits(store: Store) -> list[list[dict[str, Any]]]:
    with table(store) as path:
        names = sorted((path / "_delta_log").glob("*.json"))
        assert [int(name.stem) for name in names] == list(range(len(names)))
        return [[json.loads(line) for line in name.read_text().splitlines()] for name in names]


def kinds(commit: list[dict[str, Any]]) -> list[str]:
    return [next(iter(action)) for action in commit]


def test_every_type_is_read_as_it_was_written(store: Store) -> None:
    extract(store, TYPES)
    with table(store) as path:
        read = DeltaTable(str(path))
    assert read.version() == 0
    assert {field.name: json.loads(field.type.to_json()) for field in read.schema().fields}["list"]["type"] == "array"
    found = [row | {"instant": row["instant"].replace(tzinfo=None)} for row in rows(store)]
    assert found == ours(store, "select * replace (instant::timestamp as instant) from orders")
    assert read.protocol().min_reader_version == 3


def test_tables_without_zoneless_times_need_only_the_oldest_readers(store: Store) -> None:
    extract(store, "select 1 as a, timestamptz '2024-01-01 00:00:00+00' as t")
    with table(store) as path:
        assert DeltaTable(str(path)).protocol().min_reader_version == 1


def test_every_publish_is_a_version_and_earlier_versions_stay_readable(store: Store) -> None:
    history = ["select 1 as a", "select 2 as a", "select 2 as a, 'x' as b", "select timestamp '2024-01-01' as a"]
    for number, query in enumerate(history):
        extract(store, query, at=NOW + timedelta(hours=number))
    for version, query in enumerate(history):
        assert rows(store, version) == fetched(duckdb.sql(query))
    assert [kinds(commit) for commit in commits(store)] == [
        ["commitInfo", "protocol", "metaData", "add"],
        ["commitInfo", "remove", "add"],
        ["commitInfo", "metaData", "remove", "add"],
        ["commitInfo", "protocol", "metaData", "remove", "add"],
    ]
    assert len({commit[2]["metaData"]["id"] for commit in commits(store) if "metaData" in commit[2]}) == 1


def test_equal_content_makes_no_new_version(store: Store) -> None:
    extract(store, ToyTable("select 1 as a", "one"))
    extract(store, ToyTable("select 1 as a", "two"))
    assert len(commits(store)) == 1


def test_an_increment_adds_a_file_and_a_new_column_is_null_in_old_rows(store: Store) -> None:
    extract(store, ToyTable("select 1 as n", "1", cursor_column="n"))
    extract(store, ToyTable("select 2 as n, 'x' as t", "2", cursor_column="n"))
    assert kinds(commits(store)[1]) == ["commitInfo", "metaData", "add"]
    assert rows(store) == [{"n": 1, "t": None}, {"n": 2, "t": "x"}]


def test_a_widened_column_has_one_type_in_all_files(store: Store) -> None:
    extract(store, ToyTable("select 1 as n, 1::integer as v", "1", cursor_column="n"))
    extract(store, ToyTable("select 2 as n, 2.5::double as v", "2", cursor_column="n"))
    assert rows(store) == ours(store) == [{"n": 1, "v": 1.0}, {"n": 2, "v": 2.5}]


def test_a_withdrawn_table_is_empty_and_can_be_published_again(store: Store, tmp_path: Path) -> None:
    extract(store, "select 1 as a")
    drop(store, "shop", "orders", now=lambda: NOW, folder=tmp_path)
    assert rows(store) == []
    extract(store, "select 2 as a, 'x' as b")
    assert rows(store) == [{"a": 2, "b": "x"}]
    assert rows(store, 0) == [{"a": 1}]


def test_a_log_that_lags_is_brought_up_to_date_before_the_next_commit(store: Store) -> None:
    extract(store, "select 1 as a")

    def fail() -> None:
        raise UnavailableError("the store is away")

    # the writes of a publish: extract.duckdb, the new commit
    extract(FaultyStore(store, puts=[None, fail]), "select 2 as a")
    assert (rows(store), ours(store)) == ([{"a": 1}], [{"a": 2}])
    extract(store, "select 3 as a")
    assert [rows(store, version) for version in range(3)] == [[{"a": 1}], [{"a": 2}], [{"a": 3}]]


def test_statistics_let_readers_skip_files_but_never_too_many(store: Store) -> None:
    extract(store, TYPES)
    (added,) = [action["add"] for action in commits(store)[0] if "add" in action]
    stats: Mapping[str, Any] = json.loads(added["stats"])
    assert stats["numRecords"] == 10
    assert (stats["minValues"]["id"], stats["maxValues"]["id"], stats["nullCount"]["tiny"]) == (0, 9, 4)
    assert (stats["minValues"]["note"], stats["nullCount"]["note"]) == ("", 3)
    assert (stats["minValues"]["day"], stats["maxValues"]["day"]) == ("2024-02-28", "2024-03-08")
    assert stats["maxValues"]["local_time"] == "2024-01-01T09:00:00.123456"
    assert stats["maxValues"]["instant"] == "2024-01-01T09:00:00.123456Z"
    assert not {"ratio", "price", "flag", "list", "struct"} & stats["minValues"].keys()
    last = {
        "id": 9,
        "day": date(2024, 3, 8),
        "local_time": datetime(2024, 1, 1, 9, 0, 0, 123456),  # noqa: DTZ001 - it has none
        "instant": datetime(2024, 1, 1, 9, 0, 0, 123456, tzinfo=UTC),
    }
    with table(store) as path:
        scan = pl.scan_delta(str(path))
        for column, value in last.items():
            assert scan.filter(pl.col(column) == value).collect().height == 1, column


@pytest.mark.parametrize(
    "values",
    [
        "date '0044-01-01 (BC)'), (date '2024-01-01'",
        "date '10000-01-01'), (date '2024-01-01'",
        f"'{'x' * 100}'), ('a'",
        "'nan'::double), (1::double",
    ],
)
def test_types_that_readers_compare_differently_get_no_bounds(store: Store, values: str) -> None:
    extract(store, f"select v from (values ({values})) t(v)")
    (added,) = [action["add"] for action in commits(store)[0] if "add" in action]
    assert json.loads(added["stats"])["minValues"] == {}


def test_the_delta_log_is_not_taken_for_a_file_of_its_table(store: Store) -> None:
    extract(store, "select 1 as a")
    with filled(store, "extracts/shop/data/orders/") as path:
        DeltaTable(str(path)).create_checkpoint()
    with edited(store, EXTRACT) as path, duckdb_files.connect() as con:
        con.execute(f"attach '{path}' as extract")
        con.execute("delete from extract._files")
    Rebuild(store, lambda: NOW, tuple).run()
    assert rows(store) == [{"a": 1}]
