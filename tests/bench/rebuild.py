"""A rebuild, when every source has changed, when one has, and when none has."""

import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from analyst.rebuild import Rebuild
from tests.bench.buckets import NOW, extract, file_store, put_extract, rebuild, tables, with_other_content
from tests.bench.measurement import ROOT, Row, at_most, cost, python

_REBUILD = """
import sys
from pathlib import Path
from tests.bench.buckets import file_store, rebuild
assert rebuild(file_store(Path(sys.argv[1]))).status == "published"
"""


def measure() -> list[Row]:
    """Rebuild 50 sources of 20 tables, 500 of 10, and 100 of 100."""
    small = _rebuilds(sources=50, count=20, times=5)
    large = _rebuilds(sources=500, count=10, times=3)
    most = _rebuilds(sources=100, count=100, times=3)
    what = "rebuild, 10,000 tables"
    return [
        _row("rebuild, 50 sources of 20 tables, all changed", small.all_changed, 0.8),
        _row("rebuild, 50 sources of 20 tables, nothing changed", small.unchanged, 0.15),
        _row("rebuild, 500 sources of 10 tables, all changed", large.all_changed, 6),
        _row(f"{what}, all changed", most.all_changed, 4),
        _row(f"{what}, one source of 100 changed", most.one_changed, 0.6),
        at_most(f"{what}, one source of 100 changed: written", most.one_changed.written / 1e6, "MB", 1),
        _row(f"{what}, nothing changed", most.unchanged, 0.05),
        at_most(f"{what}, all changed: peak memory of a process", most.peak_mb, "MB", 300),
        _row(f"frozen lake afterwards, {what.split(', ')[1]}, one source of 100 changed", most.lake, 2),
        _row(f"analytics.duckdb afterwards, {what.split(', ')[1]}, one source of 100 changed", most.file, 5),
    ]


def _row(what: str, taken: "Taken", bound: float) -> Row:
    return at_most(what, taken.wall, "s", bound, f"{taken.cpu:.2f} s CPU")


@dataclass(frozen=True, slots=True, order=True)
class Taken:
    """Seconds on the wall and of processors, and bytes that were written."""

    wall: float
    cpu: float
    written: int


@dataclass(frozen=True, slots=True)
class Medians:
    """The medians of rebuilds after changes of all sources, of one and of none, and of refreshing analytics.duckdb and the lake."""

    all_changed: Taken
    one_changed: Taken
    unchanged: Taken
    file: Taken
    lake: Taken
    peak_mb: float


def _rebuilds(*, sources: int, count: int, times: int) -> Medians:
    with tempfile.TemporaryDirectory() as folder:
        bucket = _Bucket(Path(folder), [f"source_{number:03}" for number in range(sources)], count)
        bucket.rebuild()
        every = [bucket.rebuild(*bucket.names) for _ in range(times)]
        one = [bucket.rebuild(bucket.names[number]) for number in range(times)]
        unchanged = [bucket.rebuild() for _ in range(times)]
        bucket.refresh()
        files = [bucket.refresh(bucket.names[number]) for number in range(times)]
        bucket.write_lake()
        lakes = [bucket.write_lake(bucket.names[number]) for number in range(times)]
        median = statistics.median_low
        return Medians(median(every), median(one), median(unchanged), median(files), median(lakes), bucket.peak_mb())


class _Bucket:
    """Sources with two states each; a rebuild is measured after some of them change from one to the other."""

    def __init__(self, folder: Path, names: list[str], count: int) -> None:
        self._folder, self._store, self.names = folder, file_store(folder), names
        with ThreadPoolExecutor() as pool:
            made = [*pool.map(lambda name: extract(self._store, name, tables(name, count)), names)]
            other = pool.map(with_other_content, made)
            states = zip(other, made, strict=True)
            self._states = {name: itertools.cycle(pair) for name, pair in zip(names, states, strict=True)}

    def rebuild(self, *changed: str) -> Taken:
        """Change sources, and publish a snapshot."""
        self._change(changed)
        return self._taken(lambda: rebuild(self._store))

    def refresh(self, *changed: str) -> Taken:
        """Change sources and publish a snapshot; measure how long its analytics.duckdb takes."""
        self.rebuild(*changed)
        return self._taken(Rebuild(self._store, lambda: NOW, tuple).refresh_file)

    def write_lake(self, *changed: str) -> Taken:
        """Change sources and publish a snapshot; measure how long its frozen lake takes."""
        self.rebuild(*changed)
        return self._taken(Rebuild(self._store, lambda: NOW, tuple).write_lakes)

    def peak_mb(self) -> float:
        """Return the peak memory of a process that rebuilds all sources."""
        self._change(self.names)
        return cost(python(_REBUILD, self._folder), {"PYTHONPATH": f"{ROOT}/shared:{ROOT}"}).peak_mb

    def _change(self, names: Iterable[str]) -> None:
        for name in names:
            put_extract(self._store, name, next(self._states[name]))

    def _taken(self, work: Callable[[], object]) -> Taken:
        before = self._sizes()
        cpu, wall = time.process_time(), time.perf_counter()
        work()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        after = self._sizes()
        return Taken(wall, cpu, sum(size for (path, at), size in after.items() if (path, at) not in before))

    def _sizes(self) -> dict[tuple[Path, int], int]:
        """The size of each file of the bucket as it was last written."""
        found = [(path, path.stat()) for path in self._folder.rglob("*") if path.is_file()]
        return {(path, stat.st_mtime_ns): stat.st_size for path, stat in found}
