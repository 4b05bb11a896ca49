"""Profiles of a large table, of one of whose files changed, and of many small tables, beside SUMMARIZE and ydata-profiling."""

import hashlib
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from analyst.catalog import Column, File, Table
from analyst.profiles.profiler import ProfiledTable, Profiling, Registered
from tests.bench import extract
from tests.bench.buckets import file_store
from tests.bench.measurement import ROOT, Row, at_most, cost, python

ROWS, FILES, COLUMNS = 10_000_000, 20, 20
SMALL = 1000
FEW = 100_000
"""Rows that ydata-profiling profiles within a minute and 2 GB."""

_RUN = "from tests.bench.profiles import main; main()"


def measure() -> Iterable[Row]:
    """Profile 10 million rows of 20 columns, then with one file of 20 changed, and 1,000 tables of 500 rows."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        write(home / "bucket")
        summarize = cost(python(_RUN, "summarize", home))
        whole = cost(python(_RUN, "large", home))
        ratio = whole.cpu / summarize.cpu
        beside = f"SUMMARIZE of DuckDB: {summarize.wall:.1f} s, {summarize.cpu:.1f} s CPU, {summarize.peak_mb:.0f} MB; ratio {ratio:.2f}"
        yield at_most(
            "profile of 10M rows of 20 columns, 20 files", whole.wall, "s", 7, f"{whole.cpu:.1f} s CPU; {beside}"
        )
        yield at_most("profile of 10M rows: greatest memory", whole.peak_mb, "MB", 500)
        yield from _beside_ydata(home)
        change_one(home / "bucket")
        again = cost(python(_RUN, "large", home))
        warm = float((home / "seconds").read_text())
        beside = f"{again.cpu:.1f} s CPU with the start of a process, {again.wall:.1f} s"
        yield at_most("profile after one of its 20 files changed", warm, "s", 1.5, beside)
        small = cost(python(_RUN, "small", home))
        bare = cost(python(_RUN, "summarize-small", home))
        beside = f"SUMMARIZE of each: {bare.wall:.1f} s, {bare.cpu:.1f} s CPU"
        yield at_most(
            "profiles of 1,000 tables of 500 rows and 8 columns",
            small.wall,
            "s",
            30,
            f"{small.cpu:.1f} s CPU; {beside}",
        )


def _beside_ydata(home: Path) -> Iterable[Row]:
    """Profile some of the rows, as ydata-profiling does with its least options; all of them take too much memory and time."""
    if not _YDATA.exists():
        return
    path = home / "bucket" / _ONE
    path.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect() as con:
        _copy(con, rows_query(0, FEW), path)
    ours = cost(python(_RUN, "one", home))
    theirs = cost([_YDATA, "-c", _OF_YDATA, path])
    beside = f"ydata-profiling: {theirs.wall:.1f} s, {theirs.cpu:.1f} s CPU, {theirs.peak_mb:.0f} MB"
    what = f"profile of {FEW:,} rows of {COLUMNS} columns: processor time beside ydata-profiling"
    yield at_most(what, ours.cpu / theirs.cpu, "×", 1, f"ours: {ours.cpu:.1f} s CPU; {beside}")  # noqa: RUF001


_ONE = "extracts/bench/data/one/00.parquet"
_YDATA = ROOT / ".venv-ydata/bin/python"
_OF_YDATA = """
import sys, pandas
from ydata_profiling import ProfileReport
ProfileReport(pandas.read_parquet(sys.argv[1]), minimal=True, progress_bar=False, pool_size=2).to_json()
"""


def main() -> None:
    """Do what the arguments say, in a process whose cost is measured."""
    what, home = sys.argv[1], Path(sys.argv[2])
    if what == "large":
        _profile([_large(home / "bucket")], home)
    elif what == "one":
        with duckdb.connect() as con:
            _profile([_table(con, home / "bucket", "one", [home / "bucket" / _ONE], FEW)], home)
    elif what == "small":
        _profile(_small(home / "bucket"), home)
    else:
        _summarize(home, each=what == "summarize-small")


def _profile(tables: Sequence[Table], home: Path) -> None:
    profiling = Profiling(file_store(home / "bucket"), lambda: datetime.now(UTC), "300MB", home)
    known = {table.id: Registered(primary_key=("id",)) for table in tables}
    began = time.perf_counter()
    made: list[ProfiledTable] = profiling.run(tables, known)
    if any(each.status != "ok" for each in made):
        raise RuntimeError(f"a table could not be profiled: {made[:3]}")
    (home / "seconds").write_text(str(time.perf_counter() - began))


def _summarize(home: Path, *, each: bool) -> None:
    with duckdb.connect() as con:
        con.execute("set threads = 2; set memory_limit = '2GB'")
        if each:
            for path in sorted((home / "bucket/extracts/bench/data/small").iterdir()):
                con.execute(f"summarize from read_parquet('{path}')").fetchall()
        else:
            con.execute(f"summarize from read_parquet('{home}/bucket/extracts/bench/data/large/*.parquet')").fetchall()


def write(bucket: Path) -> None:
    """Write the data files, as an extract does."""
    large, small = bucket / "extracts/bench/data/large", bucket / "extracts/bench/data/small"
    large.mkdir(parents=True)
    small.mkdir()
    each = ROWS // FILES
    with duckdb.connect() as con:
        for number in range(FILES):
            _copy(con, rows_query(number * each, (number + 1) * each), large / f"{number:02}.parquet")
        columns = "id, customer_id, created_at, status, total, discount, is_gift, city"
        query = rows_query(0, 500)
        for number in range(SMALL):
            _copy(con, f"select {columns}, {number} as n from ({query})", small / f"{number:04}.parquet")


def change_one(bucket: Path) -> None:
    """Write one of the large files again, with other rows."""
    with duckdb.connect() as con:
        _copy(con, rows_query(ROWS, ROWS + ROWS // FILES), bucket / "extracts/bench/data/large/07.parquet")


def _copy(con: duckdb.DuckDBPyConnection, query: str, path: Path) -> None:
    con.execute(f"copy ({query}) to '{path}' (format parquet, compression zstd, compression_level 1)")


def _large(bucket: Path) -> Table:
    with duckdb.connect() as con:
        return _table(con, bucket, "large", sorted((bucket / "extracts/bench/data/large").iterdir()), ROWS // FILES)


def _small(bucket: Path) -> list[Table]:
    paths = sorted((bucket / "extracts/bench/data/small").iterdir())
    with duckdb.connect() as con:  # one for all: a connection takes as long as a table
        return [_table(con, bucket, f"small_{number:04}", [path], 500) for number, path in enumerate(paths)]


def _table(con: duckdb.DuckDBPyConnection, bucket: Path, name: str, paths: Sequence[Path], rows: int) -> Table:
    described = con.execute(f"describe from read_parquet('{paths[0]}')").fetchall()
    files = tuple(
        File(
            path=str(path.relative_to(bucket)),
            sha256=hashlib.sha256(f"{path}{path.stat().st_mtime_ns}".encode()).hexdigest(),
            size_bytes=path.stat().st_size,
            rows=rows,
        )
        for path in paths
    )
    return Table(
        source="bench",
        name=name,
        view=name,
        hash=hashlib.sha256("".join(file.sha256 for file in files).encode()).hexdigest(),
        columns=tuple(Column(name=each[0], type=each[1]) for each in described),
        files=files,
        rows=rows * len(files),
    )


def rows_query(start: int, stop: int) -> str:
    """Return the query of some of the rows, by their numbers: those of `extract`, and ten columns more."""
    return f"""
        select *,
               (hash(id, 5) % 1000000)::bigint as visits,
               (hash(id, 6) % 1000)::integer as items,
               (hash(id, 7) % 1000000)::bigint / 3 as weight,
               ln(1 + (hash(id, 8) % 1000000)::bigint) as ratio,
               (hash(id, 9) % 50)::varchar as shop,
               'city ' || (hash(id, 10) % 5000)::varchar as city,
               timestamp '2020-01-01' + to_microseconds((hash(id, 11) % 100000000000000)::bigint) as seen_at,
               (hash(id, 12) % 365)::integer as day,
               ((hash(id, 13) % 10000)::bigint * 0.01)::decimal(10, 2) as price,
               hash(id, 14) % 2 = 0 as is_paid
        from ({extract.rows_query(start, stop)})
    """
