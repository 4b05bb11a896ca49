"""Increments of keyed tables cost what changed, and come to what a naive merge of all rows comes to."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from analyst import duckdb_files, runs
from analyst.contract import parquet
from analyst.contract.connector import Cursor, Extracted, SourceTable
from analyst.contract.extract_edit import read_extract
from analyst.contract.extraction import Extraction
from analyst.contract.key_ranges import FileSizes, Order, Range
from analyst.contract.keyed_merge import KeyedMerge
from analyst.contract.merging import Increment
from analyst.contract.model import FileRow
from analyst.errors import SourceError
from analyst.store import Store
from tests.bucket_contents import connected
from tests.examples import examples

TINY = FileSizes(least=1, greatest=1)
"""No file counts as small, so that a few rows make many files."""

KEYS: Mapping[str, Sequence[str]] = {
    "bigint": ["-9223372036854775808", "-1", "0", "7", "8", "9223372036854775807"],
    "varchar": ["''", "'a'", "'a''b'", "'B'", "'é'", "repeat('long', 200)", "'007'", "'x' || chr(0)"],
    "double": ["'-infinity'", "-0.1", "0", "1e300", "'nan'", "2.5"],
    "decimal(20,3)": ["-1.5", "0.001", "12345678901234567.891", "2"],
    "date": ["'0001-01-01'", "'1999-12-31'", "'2024-02-29'", "'9999-12-31'"],
    "timestamp": ["'2024-02-29 00:00:00.000001'", "'2024-02-29'", "'1969-12-31 23:59:59'"],
    "timestamptz": ["'2024-02-29 00:00:00.5+00'", "'1969-12-31 23:59:59+00'", "'2038-01-19 03:14:08+00'"],
    "boolean": ["false", "true"],
    "blob": ["'\\x00'", "'a'", "'\\xFF'"],
}


@dataclass
class Table:
    """A keyed table whose bucket is a folder. `merge` publishes an increment, and reports the files that stayed."""

    home: Path
    order: Order
    cursor: str | None = None
    sizes: FileSizes = TINY
    threads: int | None = None
    files: tuple[FileRow, ...] = ()
    _numbers: Iterator[int] = field(default_factory=count)

    def merge(self, query: str, *, deleted: str | None = None) -> int:
        new = self._written(query)
        gone = self._written(deleted) if deleted else ()
        increment = Increment(new, self.order, self.cursor, gone)
        merge = KeyedMerge(self.files, lambda row: Path(row.path), self.folder, "300MB", self.sizes, self.threads)
        made = merge.run(increment).files
        before = {file.path for file in self.files}
        self.files = tuple(
            file
            if isinstance(file, FileRow)
            else FileRow(str(file.path), None, file.rows, file.size_bytes, file.sha256, file.stats)
            for file in made
        )
        return sum(file.path in before for file in self.files)

    def folder(self) -> Path:
        folder = self.home / str(next(self._numbers))
        folder.mkdir(parents=True)
        return folder

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        with connected() as con:
            paths = [file.path for file in self.files]
            con.execute(f"create temp view t as from read_parquet({paths}, union_by_name = true)")
            return con.execute(query).fetchall()

    def check(self) -> None:
        """Verify what merges rely on: sorted files, each key once, and bounds that are those of the file."""
        columns = ", ".join(f'cast("{column}" as varchar)' for column in self.order.columns)
        key = ", ".join(f'"{column}"' for column in self.order.key)
        assert self.ask(f"select count(*) from (select {key} from t group by all having count(*) > 1)") == [(0,)]
        for file in self.files:
            with connected() as con:
                found = con.execute(f"select {columns} from read_parquet('{file.path}')").fetchall()
                by_order = con.execute(f"select {columns} from '{file.path}' order by {self.order.sql}").fetchall()
                assert found == by_order
                assert len(found) == file.rows
            if file.rows:
                bounds = Range.of(file)
                assert bounds is not None
                assert bounds.order == self.order

    def _written(self, query: str) -> list[Path]:
        with connected() as con:
            return parquet.write(con, query, self.folder())


@pytest.fixture
def table(tmp_path: Path) -> Table:
    return Table(tmp_path, Order(("id",)))


def numbers(start: int, stop: int, value: str = "'a'") -> str:
    return f"select i as id, {value} as v from range({start}, {stop}) r(i)"


def test_an_increment_rewrites_only_files_that_contain_its_keys(table: Table) -> None:
    for start in (0, 20, 10, 30):
        table.merge(numbers(start, start + 5))
    assert [file.rows for file in table.files] == [5, 5, 5, 5]
    assert table.ask("select id from t") == [(i,) for i in (*range(5), *range(10, 15), *range(20, 25), *range(30, 35))]
    assert table.merge(numbers(12, 13, "'b'")) == 3
    assert table.ask("select id from t where v = 'b'") == [(12,)]
    assert table.merge(numbers(12, 13, "'b'")) == 4
    assert table.merge(numbers(7, 8)) == 4
    assert [file.rows for file in table.files] == [5, 1, 5, 5, 5]
    table.check()


def test_new_keys_beside_changed_ones_go_into_the_file_that_is_rewritten(table: Table) -> None:
    table.merge("select unnest([1, 3, 5]) as id, 'a' as v")
    table.merge("select unnest([11, 13, 15]) as id, 'a' as v")
    assert table.merge("select unnest([1, 4, 7]) as id, 'b' as v") == 1
    assert [file.rows for file in table.files] == [5, 3]
    assert table.ask("select id, v from t limit 5") == [(1, "b"), (3, "a"), (4, "b"), (5, "a"), (7, "b")]


def test_files_whose_rows_differ_in_other_columns_are_rewritten_too(table: Table) -> None:
    for start in range(0, 50, 10):
        table.merge(f"select i as id, 'a' as v, 1 as w, 'c' as x from range({start}, {start + 5}) r(i)")
    changed = """
        select unnest([2, 12, 22, 32, 42]) as id, unnest(['b', 'a', 'a', 'b', 'a']) as v, unnest([1, 2, 1, 2, null]) as w,
            'c' as x
    """
    deleted = "select 33 as id"
    assert table.merge(changed, deleted=deleted) == 1
    assert table.ask("select id, v, w from t where v <> 'a' or w is distinct from 1 or id in (22, 33)") == [
        (2, "b", 1),
        (12, "a", 2),
        (22, "a", 1),
        (32, "b", 2),
        (42, "a", None),
    ]
    assert table.merge(changed, deleted=deleted) == 5
    table.check()


def test_a_narrower_integer_does_not_count_as_another_type(table: Table) -> None:
    table.merge(numbers(0, 5))
    table.merge(numbers(10, 15))
    assert table.merge("select 3::smallint as id, 'b' as v") == 1
    assert table.ask("describe t")[0][:2] == ("id", "BIGINT")


def test_a_type_that_widens_rewrites_all_files(table: Table) -> None:
    table.merge("select 3::smallint as id, 1 as v")
    table.merge("select 5::smallint as id, 1 as v")
    assert table.merge("select 70000 as id, 1.5::double as v") == 0
    assert table.ask("select * from t") == [(3, 1.0), (5, 1.0), (70000, 1.5)]
    assert [kind for _name, kind, *_ in table.ask("describe t")] == ["INTEGER", "DOUBLE"]
    table.check()


def test_small_neighbouring_files_take_in_new_keys(table: Table) -> None:
    table.sizes = FileSizes()
    for start in range(0, 50, 10):
        table.merge(numbers(start, start + 5))
    assert [file.rows for file in table.files] == [25]


def test_a_file_that_grows_too_large_is_split(table: Table) -> None:
    table.sizes = FileSizes(least=10_000, greatest=10_000)
    table.merge(numbers(0, 1))
    table.merge(f"select * from ({numbers(-5, 100_000, 'md5(i::varchar)')})")
    assert len(table.files) > 3
    assert max(file.rows for file in table.files) <= 30_000
    assert table.ask("select count(*), sum(id) from t") == [(100_005, sum(range(-5, 100_000)))]
    table.check()


@pytest.mark.slow
def test_the_bytes_do_not_depend_on_threads(tmp_path: Path) -> None:
    hashes = []
    for threads in (1, 2, 4):
        table = Table(tmp_path / str(threads), Order(("id",)), sizes=FileSizes(least=100_000), threads=threads)
        table.merge(numbers(0, 60_000, "md5(i::varchar)"))
        table.merge(
            "select (hash(i) % 70000)::bigint as id, 'new' as v from range(9000) r(i)", deleted="select 17 as id"
        )
        hashes.append([file.sha256 for file in table.files])
    assert hashes[0] == hashes[1] == hashes[2]
    table.check()


MANY_TYPES = """
    select i as id, md5(i::varchar) as text, ['a', 'b', 'c', null][1 + i % 4] as status, i / 7 as score,
        case when hash(i, 7) % 400 > 0 then i / 7 else 0 end as zero,
        (i % 1000)::decimal(12, 2) as total, date '2024-01-01' + (i % 300)::integer as day, i % 3 = 0 as flag,
        [i, null, i + 1] as list, {'a': i % 50, 'b': {'c': md5(i::varchar)}} as struct, map {'k': i} as "map",
        i::varchar::blob as blob, null::varchar as nothing, i as "file row", 'é' || (i % 9) as "Wide Ünïcode"
    from range(60_000) r(i)
"""
FEW = "hash(id, 7) % 400 = 0"


@pytest.fixture(scope="module")
def many_types(tmp_path_factory: pytest.TempPathFactory) -> tuple[FileRow, ...]:
    """The file of a table with columns of many types; merges read it, and write others."""
    table = Table(tmp_path_factory.mktemp("many"), Order(("id",)), sizes=FileSizes(least=100 << 20))
    table.merge(MANY_TYPES)
    return table.files


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        "'new' || id as text",
        "'new' as status",
        "'-0.0'::double as zero, 'x' as nothing",
        "[id] as list, map {'k': -id} as \"map\", null::boolean as flag",
        "{'a': 1, 'b': {'c': 'new'}} as struct, null::blob as blob",
    ],
)
def test_a_file_with_few_changed_columns_equals_that_of_a_new_table(
    tmp_path: Path, many_types: tuple[FileRow, ...], changes: str
) -> None:
    changed, whole = Table(tmp_path / "changed", Order(("id",))), Table(tmp_path / "whole", Order(("id",)))
    changed.sizes = whole.sizes = FileSizes(least=100 << 20)
    changed.files = many_types
    replaced = f"select * replace ({changes}) from ({MANY_TYPES}) where {FEW}"
    assert changed.merge(replaced) == 0
    whole.merge(f"from ({replaced}) union all from ({MANY_TYPES}) where not {FEW}")
    assert [file.sha256 for file in changed.files] == [file.sha256 for file in whole.files]


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", ["row_group_size 2048", "row_group_size 100000", "compression snappy", "parquet_version v2"]
)
def test_files_that_were_written_differently_take_changes_too(
    tmp_path: Path, many_types: tuple[FileRow, ...], options: str
) -> None:
    table = Table(tmp_path, Order(("id",)), sizes=FileSizes(least=100 << 20))
    (file,) = many_types
    with connected() as con:
        other = table.folder() / "other.parquet"
        con.execute(f"copy (from '{file.path}') to '{other}' (format parquet, {options})")
    table.files = (replace(file, path=str(other), size_bytes=other.stat().st_size),)
    table.merge(f"select * replace ('new' as text) from ({MANY_TYPES}) where {FEW}")
    expected = f"select * replace (case when {FEW} then 'new' else text end as text) from ({MANY_TYPES})"
    assert table.ask(f"select count(*) from (from t except ({expected}))") == [(0,)]
    assert table.ask("select count(*) from t") == [(60_000,)]
    table.check()


def test_a_row_may_be_replaced_in_place_or_moved_while_others_are_deleted(tmp_path: Path) -> None:
    table = Table(tmp_path, Order(("id",), ("day",)), sizes=FileSizes(least=100 << 20))
    table.merge("select i as id, i % 10 as day, 'a' as v, 1 as w, 2 as x, i as file_row_number from range(100) r(i)")
    row = "select 7 as id, {} as day, 'b' as v, 1 as w, 2 as x, 7 as file_row_number"
    table.merge(row.format(7))
    table.merge(row.format(3), deleted="select 8 as id")
    assert table.ask("select id, v, day from t where id between 6 and 9 order by id") == [
        (6, "a", 6),
        (7, "b", 3),
        (9, "a", 9),
    ]
    table.check()


def test_deleted_keys_disappear_and_an_empty_table_keeps_its_columns(table: Table) -> None:
    table.merge(numbers(0, 5))
    table.merge(numbers(10, 15))
    nothing = "select 0::bigint as id, '' as v where false"
    assert table.merge(nothing, deleted="select unnest([99, 12]) as id") == 1
    assert table.ask("select count(*) from t where id = 12") == [(0,)]
    assert table.merge(nothing, deleted="select 99 as id") == 2
    assert table.merge("select 3 as id, 'new' as v", deleted="select unnest([2, 3]) as id") == 1
    assert table.ask("select id, v from t where id < 10") == [(0, "a"), (1, "a"), (3, "new"), (4, "a")]
    table.merge(nothing, deleted="select unnest(range(100)) as id")
    assert table.ask("describe t")[1][:2] == ("v", "VARCHAR")
    assert [file.rows for file in table.files] == [0]
    table.merge(numbers(1, 3))
    assert table.ask("select id from t") == [(1,), (2,)]


def test_a_table_not_written_by_a_merge_becomes_clustered(table: Table) -> None:
    table.merge(numbers(0, 5))
    table.files = tuple(
        replace(file, stats=file.stats and file.stats.replace('"range"', '"other"')) for file in table.files
    )
    (path,) = table._written("select unnest([9, 7, 9, 2]) as id, 'z' as v")  # as a full refresh writes
    with duckdb_files.connect() as con:
        file = parquet.inspect(con, path)
    table.files += (FileRow(str(path), None, 4, file.size_bytes, file.sha256, file.stats),)
    assert table.merge(numbers(7, 8, "'new'")) == 0
    assert table.ask("select id, v from t") == [(0, "a"), (1, "a"), (2, "z"), (3, "a"), (4, "a"), (7, "new"), (9, "z")]
    table.check()
    assert table.merge(numbers(20, 21)) == 1


def test_a_clustering_column_sorts_before_the_key_and_may_change(tmp_path: Path) -> None:
    table = Table(tmp_path, Order(("id",), ("day",)))

    def row(id_: int, day: str, value: str) -> str:
        return f"select {id_} as id, {day}::date as day, '{value}' as v"

    table.merge(" union all ".join([row(1, "'2024-01-02'", "a"), row(2, "'2024-01-01'", "a"), row(3, "null", "a")]))
    assert table.ask("select id from t") == [(2,), (1,), (3,)]
    assert table.merge(row(9, "'2024-05-05'", "a")) == 1
    table.merge(row(2, "'2024-06-06'", "b"))
    assert table.ask("select id, v from t where id = 2") == [(2, "b")]
    table.check()
    table.merge(" union all ".join([row(3, "'2023-01-01'", "c"), row(10, "null", "c")]))
    assert table.ask("select id from t where v = 'c' order by all") == [(3,), (10,)]
    table.check()


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("select null::bigint as id, 'a' as v", "the primary key column 'id' is NULL in 1 rows"),
        ("select 1 as v", "the primary key column 'id' is not in the table; its columns are v"),
    ],
)
def test_rows_without_a_key_are_refused(table: Table, query: str, message: str) -> None:
    table.merge(numbers(0, 5))
    with pytest.raises(SourceError, match=message):
        table.merge(query)


def test_a_clustering_column_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="the clustering column 'day' is not in the table; its columns are id, v"):
        Table(tmp_path, Order(("id",), ("day",))).merge(numbers(0, 1))


def test_malformed_bounds_written_by_others_are_ignored() -> None:
    for bound in ("[1]", '["a", "b"]', '"a"', "null", '["a\\u0000"]'):
        stats = f'{{"columns": {{"id": {{}}}}, "range": {{"key": ["id"], "clustered_by": [], "first": {bound}, "last": ["b"]}}}}'
        assert Range.of(FileRow("p", None, 1, 1, "0", stats)) is None
    good = '{"columns": {"id": {}}, "range": {"key": ["id"], "clustered_by": [], "first": ["a"], "last": ["b"]}}'
    assert Range.of(FileRow("p", None, 1, 1, "0", good)) is not None
    assert Range.of(FileRow("p", None, 1, 1, "0", good.replace('"id": {}', ""))) is None
    assert Range.of(FileRow("p", None, 1, 1, "0", None)) is None
    assert Range.of(FileRow("p", None, 1, 1, "0", "[" * 100_000)) is None


@dataclass
class Deletions:
    """A connector whose increments are queries: of new rows, and of deleted keys."""

    key: tuple[str, ...] = ("id",)
    new: str = ""
    deleted: str = "select 0 as id where false"
    runs: int = 0

    def tables(self) -> Iterator[SourceTable]:
        self.runs += 1
        yield SourceTable(
            "t", "t", str(self.runs), primary_key=self.key, sync_strategy="incremental", cursor_column="id"
        )

    def notes(self) -> tuple[str, ...]:
        return ()

    def extract(self, _table: SourceTable, _since: Cursor, into: Path) -> Extracted:
        (into / "deleted").mkdir()
        with duckdb_files.connect() as con:
            deleted = parquet.write(con, self.deleted, into / "deleted")
            files = parquet.write(con, self.new, into)
            return Extracted(tuple(files), parquet.inspect(con, files[0]).columns, 100, deleted=tuple(deleted))


def test_a_connector_reports_deleted_rows(store: Store, tmp_path: Path) -> None:
    def sync(connector: Deletions) -> str:
        run = Extraction(store, "s", runs.new_run_id(), lambda: datetime(2026, 1, 1, tzinfo=UTC))
        return run.run(lambda: connector).record.tables[0].error or ""

    source = Deletions(new="select i as id, 'a' as v from range(5) r(i)")
    assert sync(source) == ""
    source.new, source.deleted = "select 9::bigint as id, 'b' as v", "select unnest([1, 3, 77]) as id"
    assert sync(source) == ""
    extract, _ = read_extract(store, "s", tmp_path)
    assert [file.rows for file in extract.files["t"]] == [4]
    source.deleted = "select 1 as other"
    assert "the deleted rows have no column 'id', which is in the primary key" in sync(source)
    assert "which needs a primary_key" in sync(Deletions((), source.new, runs=9))


Row = tuple[int, int, float | None, str | None]
"""The places of two values of the key, the cursor and a value."""

ROWS = st.lists(
    st.tuples(
        st.integers(0, 7),
        st.integers(0, 2),
        st.sampled_from([None, 1.0, 2.0, 3.0, math.nan]),
        st.sampled_from([None, "a", "b"]),
    ),
    max_size=6,
)
KEY = st.tuples(st.integers(0, 7), st.integers(0, 2))
STEPS = st.lists(st.tuples(ROWS, st.lists(KEY, max_size=3)), min_size=2, max_size=5)


@dataclass
class Reference:
    """A table as Python has it: the merge as DESIGN words it, row by row."""

    is_composite: bool
    has_cursor: bool
    kinds: int
    rows: dict[tuple[int, int], Row] = field(default_factory=dict)

    def key(self, one: int, other: int) -> tuple[int, int]:
        return one % self.kinds, other if self.is_composite else 0

    def merge(self, rows: Sequence[Row], deleted: Sequence[tuple[int, int]]) -> None:
        new: dict[tuple[int, int], Row] = {}
        for row in rows:
            new[self.key(*row[:2])] = self._better(new.get(self.key(*row[:2])), row)
        for key in {self.key(*key) for key in deleted}:
            self.rows.pop(key, None)
        for key, row in new.items():
            self.rows[key] = self._better(self.rows.get(key), row)

    def content(self) -> set[Any]:
        return {(*key, literal(row[2]), literal(row[3])) for key, row in self.rows.items()}

    def _better(self, old: Row | None, new: Row) -> Row:
        if old is None or not self.has_cursor or old[2] is None or math.isnan(old[2]):
            return new
        return old if new[2] is None or math.isnan(new[2]) or old[2] > new[2] else new


@given(st.sampled_from(sorted(KEYS)), st.booleans(), st.booleans(), st.booleans(), STEPS)
@example(
    "double",
    True,
    True,
    False,
    [([(4, 0, 2.0, "a")], []), ([(4, 0, 1.0, "b")], []), ([(4, 0, math.nan, "c")], [(4, 0)])],
)
@settings(max_examples=examples(5))
def test_any_history_of_merges_equals_a_naive_merge(
    kind: str, is_composite: bool, has_cursor: bool, is_clustered: bool, steps: list[Any]
) -> None:
    keys = [f"cast({value} as {kind})" for value in KEYS[kind]]
    with TemporaryDirectory() as home:
        order = Order(("id", "k") if is_composite else ("id",), ("v",) if is_clustered else ())
        table = Table(Path(home), order, "at" if has_cursor else None)
        reference = Reference(is_composite, has_cursor, len(keys))
        for number, (rows, deleted) in enumerate(steps):
            before = {file.path: read(table, [file], keys) for file in table.files}
            changed = [((*reference.key(one, other), at, v)) for one, other, at, v in rows]
            gone = [reference.key(one, other) for one, other in deleted]
            more = ", 1 as more" if number == ADDED_AT else ""
            table.merge(f"select *{more} from ({source(changed, keys)})", deleted=source(gone, keys) if gone else None)
            reference.merge(rows, deleted)
            found, expected = read(table, table.files, keys), reference.content()
            assert len(found) == len(expected)
            assert {*found} == expected
            table.check()
            if number < ADDED_AT:  # afterwards a row may differ by the column that was added
                kept = {file.path for file in table.files}
                assert all(path in kept for path, was in before.items() if was and {*was} <= expected)


ADDED_AT = 3


def source(rows: Sequence[Sequence[Any]], keys: Sequence[str]) -> str:
    """Write the query of rows, or of keys alone."""
    columns = ["id", "k", '"at"', "v"][: len(rows[0]) if rows else 4]
    values = [f"({keys[row[0]]}, {', '.join(map(literal, row[1:]))})" for row in rows]
    nothing = f"({keys[0]}, 0, null, null)"
    typed = {'"at"': '"at"::double as "at"', "v": "v::varchar as v", "k": "k::integer as k"}
    terms = ", ".join(typed.get(column, column) for column in columns)
    return f"select {terms} from (values {', '.join(values) or nothing}) r({', '.join(columns)}) where {bool(rows)}"


def read(table: Table, files: Sequence[FileRow], keys: Sequence[str]) -> list[Any]:
    """Read the rows of some files, with keys as their places in `keys`."""
    places = ", ".join(f"({number}, {key})" for number, key in enumerate(keys))
    rows = replace(table, files=tuple(files)).ask(
        f'select p.number, t.k, t."at", t.v from t left join (values {places}) p(number, id) on p.id = t.id'
    )
    return [(one, other, literal(at), literal(v)) for one, other, at, v in rows]


def literal(value: Any) -> str:
    if value is None:
        return "null"
    return f"'{value}'" if isinstance(value, str | float) else str(value)
