import hashlib
from pathlib import Path
from typing import Any

import duckdb
import pytest

from analyst import duckdb_files
from analyst.contract import parquet
from analyst.errors import SourceError, UnavailableError
from tests.bucket_contents import connected
from tests.examples import partly

pytestmark = pytest.mark.slow

MB = 1024 * 1024
ROOMY = "2GB"
TIGHT = "300MB"


def write(query: str, into: Path, *, memory: str = TIGHT, threads: int = 2) -> list[Path]:
    into.mkdir(parents=True)
    with duckdb_files.connect(memory_limit=memory, threads=threads, temp_dir=into / "spill") as con:
        return parquet.write(con, query, _new(into))


def _new(home: Path) -> Path:
    folder = home / "files"
    folder.mkdir()
    return folder


def hashes(paths: list[Path]) -> list[str]:
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]


def rows(paths: list[Path], what: str) -> list[Any]:
    with connected() as con:
        return con.execute(f"select {what} from read_parquet(?)", [[str(path) for path in paths]]).fetchall()


TEXT = "md5(range::varchar)"
TABLES = {
    "plain": f"select range as n, {TEXT} as t, hash(range) as h from range(250_000)",
    "sorted": f"select range as n, {TEXT} as t from range(250_000) order by t",
    "aggregated": f"select {TEXT}[:3] as k, count(*) as n from range(250_000) group by 1 order by 1",
    "of many columns": "select " + ", ".join(f"{TEXT} || {i} as c{i}" for i in range(60)) + " from range(20_000)",
    "of long texts": f"select repeat({TEXT}, 300) as t from range(30_000)",
    "that grows wider": f"select repeat({TEXT}, case when range < 50_000 then 1 else 200 end) as t from range(70_000)",
}


@pytest.mark.parametrize("table", partly(TABLES, 3))
def test_equal_rows_are_equal_bytes_whatever_the_threads_and_memory(table: str, tmp_path: Path) -> None:
    ways = [(1, TIGHT), (2, ROOMY), (7, TIGHT)]
    written = [
        hashes(write(TABLES[table], tmp_path / f"{threads}-{memory}", threads=threads, memory=memory))
        for threads, memory in ways
    ]
    assert written[0] == written[1] == written[2]


def test_a_wide_table_fits_into_little_memory(tmp_path: Path) -> None:
    columns = ", ".join(f"repeat(md5((range * 40 + {i})::varchar), 8) as c{i}" for i in range(40))
    paths = write(f"select {columns} from range(40_000)", tmp_path / "wide")
    assert sum(path.stat().st_size for path in paths) > MB
    assert rows(paths, "count(*), count(distinct c39)") == [(40_000, 40_000)]


NOISE = " || ".join(f"sha256((range * 64 + {i})::varchar)" for i in range(16))


@pytest.mark.parametrize(
    "table",
    partly(
        {
            "many rows": f"select range as n, {NOISE} as noise from range(200_000)",
            "rows of megabytes": f"select n, string_agg({NOISE}, '' order by range) as noise "
            "from (select range, range // 4_000 as n from range(280_000)) group by n order by n",
        }.items(),
        1,
    ),
    ids=lambda table: table[0],
)
def test_no_file_is_larger_than_128_mb_and_the_rows_keep_their_order(table: tuple[str, str], tmp_path: Path) -> None:
    paths = write(table[1], tmp_path / "large", memory=ROOMY)
    assert len(paths) > 1
    assert [path.name for path in paths] == [f"{number:05}.parquet" for number in range(len(paths))]
    assert max(path.stat().st_size for path in paths) <= 128 * MB
    numbers = [row[0] for row in rows(paths, "n")]
    assert numbers == list(range(len(numbers)))


def test_a_row_may_be_larger_than_the_limit_of_a_file(tmp_path: Path) -> None:
    (path,) = write("select repeat('x', 40_000_000) as t", tmp_path / "huge")
    assert rows([path], "length(t)") == [(40_000_000,)]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("inputs")
    with duckdb_files.connect() as con:
        for part in range(4):
            query = f"select range + {part * 90_000} as n, {TEXT} as t from range(90_000)"
            for kind in ("parquet", "csv", "json"):
                con.execute(f"copy ({query}) to '{home}/{part}.{kind}' (format {kind})")
    return home


SCANS = {
    "parquet": "from read_parquet('{home}/*.parquet')",
    "united parquet": "from read_parquet('{home}/*.parquet', union_by_name = true)",
    "csv": "from read_csv('{home}/*.csv')",
    "json": "from read_json('{home}/*.json')",
    "some rows": "from read_csv('{home}/*.csv') where n % 3 = 0",
    "numbered rows": "select * from (select *, row_number() over () as r from read_csv('{home}/*.csv')) where r > 7",
    "one after another": "(from '{home}/0.csv') union all (from '{home}/1.parquet') union all (from '{home}/2.json')",
    "looked up": "select a.* from read_parquet('{home}/*.parquet') a left join '{home}/1.csv' b using (n)",
}


@pytest.mark.parametrize("scan", partly(SCANS, 4))
def test_rows_keep_the_order_of_their_files(scan: str, inputs: Path, tmp_path: Path) -> None:
    paths = write(SCANS[scan].replace("{home}", str(inputs)), tmp_path / "out")
    numbers = [row[0] for row in rows(paths, "n")]
    assert numbers == sorted(numbers)
    assert len(numbers) >= 90_000


def test_a_query_is_run_once(tmp_path: Path) -> None:
    into = tmp_path / "into"
    into.mkdir()
    with duckdb_files.connect() as con:
        con.execute("create sequence runs")
        parquet.write(con, "select nextval('runs') as n from range(3)", into)
        assert con.execute("select nextval('runs')").fetchall() == [(4,)]


def test_an_empty_table_is_one_file_with_its_columns(tmp_path: Path) -> None:
    paths = write("select 1 as a, 'x' as b where false", tmp_path / "empty")
    assert len(paths) == 1
    with duckdb_files.connect() as con:
        file = parquet.inspect(con, paths[0])
    assert (file.rows, [(column.name, column.type) for column in file.columns]) == (
        0,
        [("a", "INTEGER"), ("b", "VARCHAR")],
    )


def test_the_connection_is_returned_unchanged(tmp_path: Path) -> None:
    asked = "select current_setting('threads'), current_setting('preserve_insertion_order')"
    with duckdb_files.connect(threads=3) as con:
        for number, query in enumerate(("select 1 as x", "select error('no')")):
            into = tmp_path / str(number)
            into.mkdir()
            try:
                parquet.write(con, query, into)
            except SourceError:
                assert number == 1
            assert con.execute(asked).fetchall() == [(3, True)]


WRONG = {
    "a value that does not fit": ("select 'x'::int as a", "Could not convert string 'x' to INT32"),
    "no such table": ("from nowhere", "nowhere does not exist"),
    "no such file": ("from read_csv('/nowhere/*.csv')", "No files found"),
    "no columns": ("select * exclude (a) from (select 1 as a)", "SELECT list is empty"),
    "columns of one name": ("select 1 as a, 2 as a", "the columns 'a' and 'a' have the same name"),
    "columns that differ in case": ("select 1 as a, 2 as A", "the columns 'a' and 'A' have the same name"),
    "a column without a name": ('select 1 as ""', "zero-length"),
    "two statements": ("select 1 as a; select 2 as b", "syntax error"),
    "a statement that changes": ("create table t (i int)", "syntax error"),
    "an error of its own": ("select error('no') as a", "no"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_unwritable_values_are_an_error_of_the_source(kind: str, tmp_path: Path) -> None:
    query, reason = WRONG[kind]
    with pytest.raises(SourceError) as failure:
        write(query, tmp_path / "out")
    assert reason in str(failure.value)
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize("name", ['a"b', "a.b", "*", "a b", "ž", "select", "item_0", "key"])
def test_a_column_may_have_any_name(name: str, tmp_path: Path) -> None:
    quoted = '"' + name.replace('"', '""') + '"'
    paths = write(f"select 1 as {quoted}, [uuid()] as item_00", tmp_path / "out")
    assert rows(paths, quoted) == [(1,)]


def test_a_query_may_end_in_a_comment(tmp_path: Path) -> None:
    assert rows(write("select 1 as a -- one", tmp_path / "out"), "*") == [(1,)]


def test_too_little_memory_is_not_reported_as_an_error_of_the_source(tmp_path: Path) -> None:
    into = tmp_path / "into"
    into.mkdir()
    with (
        duckdb_files.connect(memory_limit="20MB") as con,
        pytest.raises(UnavailableError, match="increase MEMORY_LIMIT"),
    ):
        parquet.write(con, "select array_agg(range) as l from range(20_000_000)", into)


def test_a_full_disk_is_not_reported_as_an_error_of_the_source() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no device that is always full")
    with (
        duckdb_files.connect() as con,
        pytest.raises(UnavailableError, match="SCRATCH_DIR"),
        duckdb_files.raised_as(SourceError),
    ):
        con.execute("copy (select range as n from range(1000)) to '/dev/full' (format csv)")


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + b"\x00" * 100 + b"PAR1", b"\xff\xfe not parquet"])
def test_a_file_that_is_not_parquet_is_reported(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    path.write_bytes(content)
    with duckdb_files.connect() as con, pytest.raises(SourceError, match=r"x\.parquet can't be read as parquet"):
        parquet.inspect(con, path)


class _Invalidated:
    """A connection after an internal error of DuckDB: nothing works any more, not even its settings."""

    def execute(self, query: str) -> "_Invalidated":
        if query.startswith("describe"):
            raise duckdb.InternalException("INTERNAL Error: the cause")
        if "preserve_insertion_order =" in query:
            raise duckdb.FatalException("FATAL Error: database has been invalidated")
        return self

    def fetchall(self) -> list[tuple[Any, ...]]:
        return [(2, True)]


def test_the_cause_of_an_internal_error_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    broken: Any = _Invalidated()
    with pytest.raises(SourceError, match="internal error"):
        parquet.write(broken, "select 1 as a", tmp_path)
    assert [getattr(record, "fields", None) for record in caplog.records] == [{"reason": "INTERNAL Error: the cause"}]
