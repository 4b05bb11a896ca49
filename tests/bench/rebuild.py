"""A rebuild, when every source has changed and when none has."""

import itertools
import statistics
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from analyst.store import Store
from tests.bench.buckets import extract, file_store, put_extract, rebuild, tables, with_other_content
from tests.bench.measuring import Row, at_most


def measure() -> list[Row]:
    """Rebuild 50 sources of 20 tables, and 500 of 10."""
    small, unchanged = _rebuilds(sources=50, count=20, times=5)
    large, _ = _rebuilds(sources=500, count=10, times=3)
    return [
        at_most("rebuild, 50 sources of 20 tables, all changed", small.wall, "s", 0.8, _processors(small)),
        at_most("rebuild, 50 sources of 20 tables, nothing changed", unchanged.wall, "s", 0.15, _processors(unchanged)),
        at_most("rebuild, 500 sources of 10 tables, all changed", large.wall, "s", 6, _processors(large)),
    ]


@dataclass(frozen=True, slots=True, order=True)
class Taken:
    """Seconds on the wall, and of processors."""

    wall: float
    cpu: float


def _processors(taken: Taken) -> str:
    return f"{taken.cpu:.2f} s CPU"


def _rebuilds(*, sources: int, count: int, times: int) -> tuple[Taken, Taken]:
    """Tell the medians of rebuilds of which everything has changed, and nothing."""
    with tempfile.TemporaryDirectory() as folder:
        store = file_store(Path(folder))
        turns = _turns(store, sources, count)
        next(turns)
        rebuild(store)
        changed = [_rebuild(store, turns) for _ in range(times)]
        unchanged = [_rebuild(store, itertools.repeat(None)) for _ in range(times)]
        return statistics.median_low(changed), statistics.median_low(unchanged)


def _rebuild(store: Store, turns: Iterator[None]) -> Taken:
    next(turns)
    cpu, wall = time.process_time(), time.perf_counter()
    rebuild(store)
    return Taken(time.perf_counter() - wall, time.process_time() - cpu)


def _turns(store: Store, sources: int, count: int) -> Iterator[None]:
    """Change every table of every source at each step."""
    names = [f"source_{number:03}" for number in range(sources)]
    with ThreadPoolExecutor() as pool:
        first = dict(zip(names, pool.map(lambda name: extract(store, name, tables(name, count)), names), strict=True))
        other = dict(zip(names, pool.map(with_other_content, first.values()), strict=True))
    for state in itertools.cycle((other, first)):
        for name, content in state.items():
            put_extract(store, name, content)
        yield
