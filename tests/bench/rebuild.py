"""A rebuild, when every source has changed and when none has."""

import itertools
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from analyst.store import Store
from tests.bench.buckets import extract, file_store, put_extract, rebuild, tables, with_other_content
from tests.bench.measuring import Row, at_most, median_seconds, seconds


def measure() -> list[Row]:
    """Rebuild 50 sources of 20 tables, and 500 of 10."""
    small, unchanged = _rebuilds(sources=50, count=20, times=5)
    large, _ = _rebuilds(sources=500, count=10, times=3)
    return [
        at_most("rebuild, 50 sources of 20 tables, all changed", small, "s", 0.8),
        at_most("rebuild, 50 sources of 20 tables, nothing changed", unchanged, "s", 0.15),
        at_most("rebuild, 500 sources of 10 tables, all changed", large, "s", 6),
    ]


def _rebuilds(*, sources: int, count: int, times: int) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as folder:
        store = file_store(Path(folder))
        turns = _turns(store, sources, count)
        next(turns)
        rebuild(store)
        changed = sorted(_changed(store, turns) for _ in range(times))
        return changed[times // 2], median_seconds(lambda: rebuild(store), times)


def _changed(store: Store, turns: Iterator[None]) -> float:
    next(turns)
    return seconds(lambda: rebuild(store))


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
