"""The frozen DuckLake of each snapshot, read by DuckDB's own extension: equal rows, and files left unread."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analyst.catalog import Catalog, Column, Table
from analyst.contract.publishing import drop
from analyst.names import quote, quote_text
from analyst.rebuild import LAKE_IS_LATE, Rebuild, lake_file
from analyst.rebuild.frozen_lakes import FrozenLakes, lake_key
from analyst.rebuild.rollback import roll_back
from analyst.snapshots import CATALOG_SUFFIX, PREFIX, Snapshots
from analyst.store import Store
from analyst.store.filesystem import open_bucket
from analyst.store.folder.store import FileStore
from analyst.sweep import Sweep
from tests.bucket_contents import data, edited, pointer
from tests.clouds import KINDS, cloud
from tests.doubles.memory_store import MemoryStore
from tests.doubles.wrapped_store import ClockedStore
from tests.examples import examples
from tests.unit.rebuild.lake import NOW, extract

pytestmark = pytest.mark.slow

EVERY_TYPE = """
    select i as id, i::tinyint tiny, i::smallint small, i::integer whole, i * 1.5 as real,
           case when i % 3 = 0 then null else (i / 7)::decimal(12, 2) end as amount, i % 2 = 0 as flag,
           case when i % 5 = 0 then 'nan'::double else i::double end as measured, i::float as narrow,
           case when i % 4 = 0 then null else 'žluť ' || i end as name, ('x' || i)::blob as bytes,
           date '2024-01-01' + i::int as day, timestamp '2024-01-01 00:00:00.123456' + to_hours(i) as local_time,
           timestamptz '2024-01-01 00:00:00+02' + to_hours(i) as instant, null::varchar as nothing,
           {'a': i, 'b': [{'c': i, 'd': 'x'}]} as nested, [i, null] as list, map {'k' || i: [i]} as pairs
    from range(40) r(i)
"""


def rebuilding(store: Store, **more: Any) -> Rebuild:
    return Rebuild(store, lambda: NOW, tuple, **more)


def published(store: Store, **more: Any) -> str:
    """Publish a snapshot and write its lake; return the lake's key."""
    assert rebuilding(store, **more).run().status == "published"
    rebuilding(store).write_lakes()
    return lake_key(pointer(store).catalog)


@contextmanager
def attached(store: Store, key: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """Attach a lake as `lake`."""
    spec = find_spec("duckdb_extension_ducklake")
    assert spec is not None
    home = (spec.submodule_search_locations or [""])[0]
    with edited(store, key) as path, duckdb.connect() as con:
        before = path.read_bytes()
        con.execute(f"load '{home}/extensions/v{duckdb.__version__}/ducklake.duckdb_extension'")
        con.execute("set TimeZone = 'UTC'")
        open_bucket(con, store)
        con.execute(f"attach {quote_text(f'ducklake:{path}')} as lake (read_only)")
        yield con
        assert path.read_bytes() == before


def rows(con: duckdb.DuckDBPyConnection, relation: str, where: str = "true") -> list[Any]:
    return con.execute(f"select t::varchar from {relation} t where {where} order by all").fetchall()


def files_read(con: duckdb.DuckDBPyConnection, sql: str) -> int:
    found = con.execute(f"explain analyze {sql}").fetchall()[0][1]
    return sum(map(int, re.findall(r"Total Files Read:\s*(\d+)", found)))


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    (tmp_path / "bucket").mkdir()
    return FileStore(tmp_path / "bucket", lambda: b"k" * 32)


@dataclass(frozen=True, slots=True)
class Parts:
    """A table of four files, as a catalog with the statistics of its files."""

    store: FileStore
    catalog: Catalog
    statistics: dict[str, str]

    def update(self, path: Path, catalog: Catalog | None = None) -> dict[str, str]:
        return lake_file.update(path, catalog or self.catalog, self.store.url, lambda _tables: self.statistics)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Parts:
    store = FileStore(tmp_path_factory.mktemp("bucket"), lambda: b"k" * 32)
    names = ["''", "null", "'ä'", "'Z'", "'~'", "chr(128512)", "repeat('a', 70)", "chr(10)", "'0'"]
    query = f"""
        select i - 9223372036854775807 * (i = 0)::bigint + 9223372036854775768 * (i = 39)::bigint as id,
               printf('n%05d', i) as name, date '2024-01-01' + i::int as day, i / 2 as half, i::double as measured,
               timestamp '2024-01-01' + to_hours(i) as at_time, timestamptz '2024-01-01 00:00:00+00' + to_hours(i) as seen,
               case when i >= 20 then i end as late, list_extract([{", ".join(names)}], 1 + i % {len(names)}) as odd
        from range({{first}}, {{last}}) r(i)
    """
    extract(store, "shop", {f"t{n}": query.format(first=n * 10, last=n * 10 + 10) for n in range(4)})
    rebuilding(store).run()
    catalog = Snapshots(store).current().catalog
    files = tuple(file for table in catalog.tables for file in table.files)
    whole = catalog.tables[0].model_copy(update={"name": "t", "view": "t", "files": files, "rows": 40})
    with edited(store, "extracts/shop/extract.duckdb") as path, duckdb.connect(path, read_only=True) as con:
        statistics = dict(con.execute("select path, stats from _files").fetchall())
    return Parts(store, catalog.model_copy(update={"tables": (whole,)}), statistics)


@pytest.fixture(scope="module")
def whole(parts: Parts) -> Iterator[duckdb.DuckDBPyConnection]:
    """The lake of the four files, and their rows as the table `copied`."""
    assert parts.update(Path(str(parts.store.local_path("x.ducklake")))) == {}
    with attached(parts.store, "x.ducklake") as con:
        con.execute("create temp table copied as from lake.shop.t")
        yield con


@pytest.mark.parametrize("kind", KINDS)
def test_all_tables_are_attached_with_equal_rows(kind: str, tmp_path: Path) -> None:
    with cloud(kind, tmp_path) as bucket:
        store = bucket.open()
        extract(store, "shop", {"orders": EVERY_TYPE, "empty": "select 1 as id where false"})
        extract(store, "crm", {"orders": "select 'Ada' as name"})
        extract(store, "main", {"odd": "select 1 as id"})
        key = published(store)
        catalog = Snapshots(store).current().catalog
        with attached(store, key) as con:
            for table in catalog.tables:
                paths = ", ".join(quote_text(f"{store.url}/{file.path}") for file in table.files)
                name = f"{quote(table.source)}.{quote(table.name)}"
                for relation in (f"lake.{quote(table.view)}", *([f"lake.{name}"] if table.source != "main" else [])):
                    assert rows(con, relation) == rows(con, f"read_parquet([{paths}])"), relation
                    described = con.execute(f"describe from {relation}").fetchall()
                    assert [row[:2] for row in described] == [(c.name, c.type) for c in table.columns]


CONDITIONS = [
    ("id = 5", 1),
    ("id >= 20", 2),
    ("name = 'n00015'", 1),
    ("name > 'n00029'", 1),
    ("day = date '2024-01-02'", 1),
    ("at_time < timestamp '2024-01-01 05:00:00'", 1),
    ("seen between timestamptz '2024-01-01 12:00:00+00' and timestamptz '2024-01-01 13:00:00+00'", 1),
    ("half = 2.5", 4),
    ("measured = 2.5", 4),
    ("late is not null", 4),
    ("id in (1, 35)", 2),
    ("day = date '2030-01-01'", 0),
]


@pytest.mark.parametrize(("condition", "count"), CONDITIONS)
def test_files_without_a_match_are_not_read(whole: duckdb.DuckDBPyConnection, condition: str, count: int) -> None:
    found = whole.execute(f"select name from lake.shop.t where {condition} order by name").fetchall()
    assert found == whole.execute(f"select name from copied where {condition} order by name").fetchall()
    assert files_read(whole, f"select * from lake.shop.t where {condition}") == count


def test_the_whole_table_is_counted(whole: duckdb.DuckDBPyConnection) -> None:
    asked = "select count(*), min(id), max(id), count(odd), count(distinct name), min(odd), max(odd) from {}"
    assert whole.execute(asked.format("lake.shop.t")).fetchall() == whole.execute(asked.format("copied")).fetchall()


@settings(max_examples=examples(60), deadline=None, suppress_health_check=list(HealthCheck))
@given(
    number=st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(-1, 40)),
    text=st.one_of(st.text(max_size=3), st.sampled_from(["n00015", "", "a" * 64, "a" * 70, "\U0001f600", "~"])),
    compared=st.sampled_from(["=", "<", "<=", ">", ">=", "<>", "is distinct from"]),
    joined=st.sampled_from(["and", "or"]),
    column=st.sampled_from(["name", "odd"]),
)
def test_no_row_is_hidden_by_statistics(  # noqa: PLR0917 - a generated condition
    whole: duckdb.DuckDBPyConnection, number: int, text: str, compared: str, joined: str, column: str
) -> None:
    where = f"id {compared} {number} {joined} {column} {compared} $text"
    asked = f"select name from {{}} where {where} order by all"
    expected = whole.execute(asked.format("copied"), {"text": text.replace("\x00", "")}).fetchall()
    assert whole.execute(asked.format("lake.shop.t"), {"text": text.replace("\x00", "")}).fetchall() == expected


def test_a_lake_follows_the_snapshots_and_each_stays_as_it_was(store: FileStore, tmp_path: Path) -> None:
    extract(store, "shop", {"orders": "select 1 as id", "items": "select 2 as id"})
    extract(store, "crm", {"people": "select 3 as id"})
    first = published(store)
    extract(store, "shop", {"orders": "select 10 as id, 'x' as more", "items": "select 2 as id"})
    second = published(store)
    drop(store, "shop", "items", now=lambda: NOW, folder=tmp_path)
    third = published(store)
    roll_back(rebuilding(store), 1)
    rebuilding(store).write_lakes()
    fourth = lake_key(pointer(store).catalog)
    assert len({first, second, third, fourth}) == 4

    def shown(key: str) -> dict[str, list[Any]]:
        with attached(store, key) as con:
            names = con.execute(
                "select schema_name || '.' || table_name from duckdb_tables() where database_name = 'lake' order by all"
            ).fetchall()
            assert con.execute("select snapshot_id from lake.snapshots()").fetchall() == [(int(key.split("/")[1][:9]),)]
            return {name: con.execute(f"from lake.{name}").fetchall() for (name,) in names}

    old = {"crm.people": [(3,)], "shop.items": [(2,)], "shop.orders": [(1,)]}
    assert shown(first) == old
    assert shown(second) == {**old, "shop.orders": [(10, "x")]}
    assert shown(third) == {"crm.people": [(3,)], "shop.orders": [(10, "x")]}
    assert shown(fourth)["shop.orders"] == [(1,)]


def test_descriptions_become_comments_and_long_ids_are_kept(parts: Parts) -> None:
    table = parts.catalog.tables[0]
    first, *others = table.columns
    columns = (first.model_copy(update={"description": 'It\'s the "id"'}), *others)
    copy = table.model_copy(update={"description": "Of the shop;", "columns": columns})
    parts.update(Path(str(parts.store.local_path("y.ducklake"))), parts.catalog.model_copy(update={"tables": (copy,)}))
    with attached(parts.store, "y.ducklake") as con:
        found = con.execute("select comment from duckdb_tables() where database_name = 'lake'").fetchall()
        assert found == [("Of the shop;",)]
        column = "select comment from duckdb_columns() where database_name = 'lake' and comment is not null"
        assert con.execute(column).fetchall() == [('It\'s the "id"',)]


def test_replaced_snapshots_get_a_lake_too(store: FileStore) -> None:
    for number in range(4):
        extract(store, "shop", {"orders": f"select {number} as id"})
        rebuilding(store).run()
    lakes = FrozenLakes(store, None, {}, at_once=3)
    written = lakes.write()
    catalogs = sorted(entry.key for entry in store.list(PREFIX) if entry.key.endswith(CATALOG_SUFFIX))
    assert written == [lake_key(key) for key in catalogs[-3:]]
    with attached(store, written[0]) as con:
        assert con.execute("from lake.orders").fetchall() == [(1,)]
    before = {key: data(store, key) for key in written}
    assert lakes.write() == []
    assert {key: data(store, key) for key in written} == before


def test_a_snapshot_in_parts_has_a_lake(store: FileStore) -> None:
    for source in ("alpha", "beta"):
        extract(store, source, {"t": f"select '{source}' as name"})
    key = published(store, embedded=0, part=900)
    with attached(store, key) as con:
        assert con.execute("select name from lake.beta.t").fetchall() == [("beta",)]


def contents(path: Path) -> list[Any]:
    with duckdb.connect(path, read_only=True) as con:
        tables = con.execute("select table_name from duckdb_tables() order by all").fetchall()
        views = con.execute("select sql from duckdb_views() where not internal").fetchall()
        return [views, *(con.execute(f"select t::varchar from {name} t order by all").fetchall() for (name,) in tables)]


def _tampered(path: Path, statement: str) -> None:
    with duckdb.connect(path) as con:
        con.execute(statement)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b"broken"),
        lambda path: path.write_bytes(b""),
        lambda path: path.unlink(),
        lambda path: _tampered(path, "create view spy as select * from read_text('/etc/hostname')"),
        lambda path: _tampered(path, "create macro m() as 1"),
        lambda path: _tampered(path, "drop table ducklake_tag; create view ducklake_tag as select 1 as value, 1 as object_id"),
        lambda path: _tampered(path, "drop table ducklake_tag"),
        lambda path: _tampered(path, "alter table ducklake_tag add column x integer default 1"),
        lambda path: _tampered(path, "create schema other; create table other.t (i integer)"),
    ],
)  # fmt: skip
def test_a_lake_that_is_not_ours_is_not_built_on(parts: Parts, spoil: Callable[[Path], object], tmp_path: Path) -> None:
    path, other = tmp_path / "x.ducklake", tmp_path / "y.ducklake"
    for each in (path, other):
        parts.update(each)
    spoil(path)
    parts.update(path)
    assert contents(path) == contents(other)


@pytest.mark.parametrize(
    "stats",
    [
        "{}",
        "[]",
        "null",
        '{"columns": []}',
        '{"columns": {"id": 1}}',
        '{"columns": {"id": {"type": "BIGINT", "nulls": "x", "min": 9, "max": 9}}}',
        '{"columns": {"id": {"type": "BIGINT", "nulls": 0, "min": "a", "max": true}}}',
        '{"columns": {"id": {"type": "VARCHAR", "nulls": 0, "min": "z", "max": "z"}}}',
        '{"columns": {"id": {"type": "INTEGER", "nulls": 0, "min": 9}}}',
        "[" * 10_000,
    ],
)
def test_uncertain_statistics_are_left_out(parts: Parts, stats: str, tmp_path: Path) -> None:
    path = tmp_path / "x.ducklake"
    lake_file.update(path, parts.catalog, parts.store.url, lambda _tables: dict.fromkeys(parts.statistics, stats))
    with duckdb.connect(path) as con:
        assert con.execute("select max_value, min_value from ducklake_file_column_stats").fetchall() in (
            [],
            [(None, None)] * 4,
        )


def test_tables_that_a_lake_cannot_represent_are_left_out(parts: Parts, tmp_path: Path) -> None:
    table = parts.catalog.tables[0]

    def other(name: str, **changes: Any) -> Table:
        return table.model_copy(update={"name": name, "view": name, **changes})

    tables = (
        table,
        other("far", query_mode="remote", files=(), remote=("bq", "d", "t")),
        other("bits", columns=(Column(name="id", type="BIT"),)),
        other("none", files=()),
        other("foreign", files=(table.files[0].model_copy(update={"path": "extracts/other/data/x.parquet"}),)),
    )
    refused = parts.update(tmp_path / "x.ducklake", parts.catalog.model_copy(update={"tables": tables}))
    assert refused.keys() == {"shop.far", "shop.bits", "shop.none", "shop.foreign"}
    assert refused["shop.bits"] == "DuckLake has no type for 'id', BIT"


def test_a_rebuild_requests_a_lake_and_one_without_changes_requests_it_again_while_it_is_missing() -> None:
    clock, ticks = [0.0], count()
    store = ClockedStore(MemoryStore(), clock=lambda: clock[0] + next(ticks) / 1000)
    requested: list[bool] = []
    extract(store, "shop", {"orders": "select 1 as id"})
    rebuild = rebuilding(store, lake_later=lambda: requested.append(True))
    assert (rebuild.run().status, len(requested)) == ("published", 1)
    assert (rebuild.run().status, len(requested)) == ("unchanged", 1)
    clock[0] += LAKE_IS_LATE + 1
    assert (rebuild.run().status, len(requested)) == ("unchanged", 2)
    rebuild.write_lakes()
    assert (rebuild.run().status, len(requested)) == ("unchanged", 2)


def test_a_lake_is_swept_with_its_snapshot() -> None:
    clock = [0.0]
    store = ClockedStore(MemoryStore(), clock=lambda: clock[0])
    keys = []
    for number in range(4):
        extract(store, "shop", {"orders": f"select {number} as id"})
        keys.append(published(store))
        clock[0] += 3 * 86_400
    Sweep(store, timedelta(days=1)).run()
    assert [store.head(key) is not None for key in keys] == [False, False, False, True]
