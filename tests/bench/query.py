"""Queries at the server: TPC-H at scale 1 beside plain DuckDB, small and repeated queries, and a gigabyte of Arrow."""

import importlib.resources
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from analyst.query.engine import Query
from analyst.query.pool import Limits
from tests.bench.measurement import Row, at_most
from tests.clouds import clouds
from tests.integration.query.lake import Lake, open_lake

SMALL = "select n_name, count(*) from nation group by all order by all limit {}"
ENDLESS = "select count(*) from range(1000000000) a, range(1000000000) b where hash(a.range, b.range) = 7"
ARROW = "select * from lineitem"
TIMES = 40


def measure() -> Iterator[Row]:
    """Measure over a bucket in a folder, then over Google's double at 20 ms."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        files, queries = tpch(home)
        with open_lake(home, files, Limits(workers=2, memory=2_000_000_000, result=8_000_000_000)) as each:
            yield from _small(each)
            yield _beside_an_endless_one(each)
            yield from _tpch(each, queries, "file")
            yield from _arrow(each)
        with (
            clouds("gs", latency=0.02) as new_cloud,
            new_cloud(home) as cloud,
            open_lake(home / "gs", files, Limits(workers=2, memory=2_000_000_000), cloud.open()) as each,
        ):
            yield from _tpch(each, queries, "Google's double at 20 ms")


def tpch(home: Path) -> tuple[dict[str, Path], list[str]]:
    """Generate TPC-H at scale 1 as parquet; return the files by table, and the queries."""
    extension = importlib.resources.files("duckdb_extension_tpch")
    with duckdb.connect() as con:
        con.execute(f"load '{extension}/extensions/v{duckdb.__version__}/tpch.duckdb_extension'")
        con.execute("call dbgen(sf = 1)")
        files = {}
        for (name,) in con.execute("select table_name from duckdb_tables()").fetchall():
            files[f"tpch.{name}"] = home / f"{name}.parquet"
            con.execute(f"copy {name} to '{home / name}.parquet' (compression zstd, compression_level 1)")
        return files, [query for (query,) in con.execute("select query from tpch_queries()").fetchall()]


def _timed(lake: Lake, sql: str, *, reuse: bool = False, form: str = "json") -> float:
    began = time.perf_counter()
    with lake.engine.run(Query(sql, format=form, reuse=reuse), lake.reader).file:  # type: ignore[arg-type]
        return time.perf_counter() - began


def _small(lake: Lake) -> Iterator[Row]:
    _timed(lake, SMALL.format(0))
    taken = statistics.median(_paced(lake, SMALL.format(number + 1)) for number in range(TIMES))
    yield at_most("small query, p50", taken * 1000, "ms", 15)
    _timed(lake, SMALL.format(1), reuse=True)
    again = statistics.median(_timed(lake, SMALL.format(1), reuse=True) for _ in range(TIMES))
    yield at_most("the same query again, p50", again * 1000, "ms", 15)


def _paced(lake: Lake, sql: str) -> float:
    time.sleep(0.1)  # a worker is ready again
    return _timed(lake, sql)


def _beside_an_endless_one(lake: Lake) -> Row:
    with _endless(lake):
        taken = sorted(_paced(lake, SMALL.format(number + 1)) for number in range(TIMES))
    return at_most("small query beside an endless cross join, p95", taken[int(TIMES * 0.95) - 1] * 1000, "ms", 200)


@contextmanager
def _endless(lake: Lake) -> Iterator[None]:
    import threading
    from contextlib import suppress

    from analyst.query.engine import Reader
    from analyst.query.pool import AbandonedError

    other = Reader(
        lake.reader.snapshot, lake.reader.access, lake.reader.caller.__class__("eve", None, lake.reader.caller.role)
    )
    ends = threading.Event()

    def run() -> None:
        with suppress(AbandonedError):
            lake.engine.run(Query(ENDLESS, seconds=300), other, is_gone=ends.is_set)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ends.set()
        thread.join()


def _tpch(lake: Lake, queries: list[str], where: str) -> Iterator[Row]:
    plain, ours = [], []
    for sql in queries:
        _timed(lake, sql)  # fetches its files, if they are in a cloud
        pairs = [(_plain(lake, sql), _timed(lake, sql)) for _ in range(3)]
        plain.append(statistics.median(each for each, _ in pairs))
        ours.append(statistics.median(each for _, each in pairs))
    beyond = max(one - 1.15 * other for one, other in zip(ours, plain, strict=True))
    yield at_most(
        f"TPC-H at scale 1 on {where}: the 22 queries, of plain DuckDB's time and 25 ms each",
        sum(ours) / (sum(plain) * 1.15 + 0.025 * len(queries)),
        "x",
        1,
        f"plain {sum(plain):.2f} s, ours {sum(ours):.2f} s; the worst is {beyond * 1000:.0f} ms beyond 1.15 x",
    )


def _plain(lake: Lake, sql: str) -> float:
    began = time.perf_counter()
    lake.plain.execute(sql).fetchall()
    return time.perf_counter() - began


def _arrow(lake: Lake) -> Iterator[Row]:
    """Measure memory of the worker and growth of this process, which are all that takes part."""
    import threading

    peaks = {"ours": 0, "worker": 0}
    ends = threading.Event()
    before = _resident(Path("/proc/self"))

    def look() -> None:
        while not ends.wait(0.05):
            peaks["ours"] = max(peaks["ours"], _resident(Path("/proc/self")) - before)
            for process in Path("/proc").glob("[0-9]*"):
                if b"analyst.query.worker" in _command(process):
                    peaks["worker"] = max(peaks["worker"], _resident(process))

    watcher = threading.Thread(target=look)
    watcher.start()
    began = time.perf_counter()
    try:
        result = lake.engine.run(Query(ARROW, format="arrow", limit=None, seconds=600), lake.reader)
    finally:
        ends.set()
        watcher.join()
    with result.file:
        rate = f"{result.size / 1e9:.2f} GB in {time.perf_counter() - began:.0f} s"
    yield at_most("a gigabyte of Arrow: memory of its worker", peaks["worker"] / 1e6, "MB", 300, rate)
    yield at_most("the same: growth of the server's process", peaks["ours"] / 1e6, "MB", 300)


def _resident(process: Path) -> int:
    try:
        return int((process / "statm").read_text().split()[1]) * 4096
    except OSError:
        return 0


def _command(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""
