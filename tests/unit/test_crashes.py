"""A process that is killed at any point leaves the old state whole or the new one, and the next run mends the rest."""

import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from analyst.rebuild import Rebuild
from analyst.snapshots import Snapshots
from analyst.store.file import FileStore
from tests.running import ROOT
from tests.unit import crash_worker

pytestmark = pytest.mark.slow

MOST_STEPS = 30
EXTRACT = "extracts/toy/extract.duckdb"


def run_until(step: int, what: str, bucket: Path, generation: int) -> bool:
    """Run a process that dies at its nth step; tell whether it did."""
    arguments = [what, str(bucket), str(generation), str(step)]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests/unit/crash_worker.py"), *arguments], env=environ, check=False
    )
    assert done.returncode in (0, -signal.SIGKILL)
    return done.returncode != 0


def later(bucket: Path) -> FileStore:
    """Open the bucket when the lease of a dead builder has lapsed."""
    return FileStore(bucket, lambda: b"s" * 32, clock=lambda: time.time() + 60)


def generations(bucket: Path, path: str) -> list[Any]:
    with duckdb.connect(bucket / path, read_only=True) as con:
        con.execute(f"set variable data_root = '{bucket}'")
        return [
            con.execute("select min(generation), max(generation), count(*) from whole").fetchone(),
            con.execute("select max(generation), count(*), count(distinct generation) from grown").fetchone(),
            con.execute("select generation, id from merged").fetchall(),
        ]


def delta_generations(bucket: Path) -> set[Any]:
    """Tell the newest generation of each table as readers of Delta see it."""
    tables = [str(log.parent) for log in bucket.glob("extracts/toy/data/*/_delta_log")]
    assert len(tables) == 3
    return {pl.read_delta(table)["generation"].max() for table in tables}


def whole(generation: int) -> list[Any]:
    return [(generation, generation, 10), (generation, generation, generation), [(generation, 1)]]


def crash_everywhere(prepared: Path, tmp_path: Path, what: str, generation: int) -> list[Path]:
    """Run a process on a copy of a bucket once for every point at which it can die."""

    def crash(step: int) -> tuple[Path, bool]:
        bucket = tmp_path / f"{what}-{step}"
        shutil.copytree(prepared, bucket)
        return bucket, run_until(step, what, bucket, generation)

    with ThreadPoolExecutor(2) as pool:
        crashed = list(pool.map(crash, range(1, MOST_STEPS)))
    assert not crashed[-1][1]
    return [bucket for bucket, died in crashed if died]


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    bucket = tmp_path / "prepared"
    store = FileStore(bucket, lambda: b"s" * 32)
    crash_worker.extract(store, 1)
    crash_worker.rebuild(store)
    return bucket


def test_a_publish_may_be_cut_anywhere(prepared: Path, tmp_path: Path) -> None:
    crashed = crash_everywhere(prepared, tmp_path, "extract", 2)
    assert len(crashed) >= 8
    for bucket in crashed:
        published = generations(bucket, EXTRACT)
        assert published in (whole(1), whole(2))
        assert delta_generations(bucket) <= {1, 2} if published == whole(2) else delta_generations(bucket) == {1}
        crash_worker.extract(FileStore(bucket, lambda: b"s" * 32), 3)
        assert generations(bucket, EXTRACT) == whole(3)
        assert delta_generations(bucket) == {3}


def test_a_rebuild_may_be_cut_anywhere(prepared: Path, tmp_path: Path) -> None:
    crash_worker.extract(FileStore(prepared, lambda: b"s" * 32), 2)
    crashed = crash_everywhere(prepared, tmp_path, "rebuild", 2)
    assert len(crashed) >= 12
    for bucket in crashed:
        store = later(bucket)
        assert Snapshots(store).current().number in (1, 2)
        assert Rebuild(store, crash_worker.now, tuple).run().status in ("published", "unchanged")
        newest = Snapshots(store).current()
        assert newest.number == 2
        assert {table.version for table in newest.catalog.tables} == {2}
        assert generations(bucket, "analytics/analytics.duckdb") == whole(2)
