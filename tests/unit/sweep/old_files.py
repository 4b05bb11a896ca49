"""A bucket with files that wait to be deleted."""

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from analyst import runs
from analyst.contract.extraction import Extraction
from analyst.rebuild import Rebuild
from analyst.store import Store
from analyst.sweep import Sweep, SweepAnswer
from tests.doubles.toy_source import Toy, ToyTable
from tests.doubles.wrapped_store import ClockedStore

HOUR = 3600.0
KEEP = timedelta(hours=24)
DELTA_KEEP = timedelta(days=7)
ROOT = "extracts/shop/data/orders"


@dataclass
class Bucket:
    """A bucket whose clock is ours to move, with one source of one table."""

    inner: Store
    folder: Path
    seconds: float = 1_767_322_800.0
    generation: int = 0

    def __post_init__(self) -> None:
        self.store = ClockedStore(self.inner, lambda: self.seconds)

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.seconds, UTC)

    def wait(self, hours: float) -> None:
        self.seconds += hours * HOUR

    def publish(self, source: str = "shop") -> int:
        self.generation += 1
        table = ToyTable(f"select {self.generation} as generation", str(self.generation))
        ended = Extraction(self.store, source, runs.new_run_id(), self.now).run(lambda: Toy({"orders": table}))
        assert ended.record.status == "ok"
        return self.generation

    def rebuild(self) -> None:
        Rebuild(self.store, self.now, tuple).run()

    def sweep(self, *, dry_run: bool = False) -> SweepAnswer:
        answer = Sweep(self.store, KEEP, DELTA_KEEP).run(dry_run=dry_run)
        assert answer.problems == ()
        return answer

    def sweep_with_problems(self) -> list[str]:
        answer = Sweep(self.store, KEEP, DELTA_KEEP).run()
        assert answer.problems
        return [problem.message for problem in answer.problems]

    def sweep_daily(self, days: int) -> None:
        for _ in range(days):
            self.sweep()
            self.wait(24)
        self.sweep()

    def listed(self, prefix: str = "", suffix: str = "") -> set[str]:
        return {entry.key for entry in self.store.list(prefix) if entry.key.endswith(suffix)}

    def generation_of(self, path: str) -> int:
        return int(pl.read_parquet(self.copy(path))["generation"][0])

    def delta(self, version: int | None = None) -> list[int]:
        return list(pl.read_delta(str(self.copy_all()), version=version)["generation"])

    def copy(self, key: str) -> Path:
        path = self.folder / "copy" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        self.store.download(key, path)
        return path

    def copy_all(self) -> Path:
        """Copy the table to a folder, where readers of Delta find it."""
        shutil.rmtree(self.folder / "copy", ignore_errors=True)
        for key in self.listed(ROOT):
            self.copy(key)
        return self.folder / "copy" / ROOT
