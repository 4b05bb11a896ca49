"""The sweep: what nothing refers to any more goes, in its time; Delta logs get checkpoints.

Nothing here is urgent and everything may be cut off anywhere: the next sweep goes on. All ages are the store's.

A data file goes when neither its source's extract nor a kept snapshot has referred to it for `delta_keep`, so that
every Delta version of that time can be read. How long that has been is counted from sweep to sweep. It is never taken
while it is younger than a day: a publish that is under way may be about to refer to it.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from analyst import duckdb_files
from analyst.errors import AnalystError
from analyst.imports.parts import abandoned
from analyst.snapshots import Snapshots
from analyst.store import Store
from analyst.sweep import pointers
from analyst.sweep.sources import SourceSweep

DELETES_AT_ONCE = 16


class SweepProblem(BaseModel):
    """A source that could not be swept, and why; nothing of it was deleted."""

    model_config = ConfigDict(frozen=True)

    source: str
    message: str


class SweepAnswer(BaseModel):
    """What a sweep did, or would do. `waiting` files are referred to by nothing, and go when their time has come."""

    model_config = ConfigDict(frozen=True)

    dry_run: bool
    deleted: int
    deleted_bytes: int
    waiting: int
    checkpoints: int
    problems: tuple[SweepProblem, ...]


@dataclass(frozen=True, slots=True)
class Sweep:
    """What a sweep works with. `keep` is how long snapshots are kept that were current, `delta_keep` Delta versions."""

    store: Store
    keep: timedelta
    delta_keep: timedelta = timedelta(days=7)
    scratch: Path | None = None

    def run(self, *, dry_run: bool = False) -> SweepAnswer:
        """Delete what may go, and write the checkpoints that are due; with `dry_run` only tell.

        Raises:
            UnavailableError: the store does not answer, or the newest snapshot can't be read.
        """
        unneeded = [
            *pointers.snapshots(self.store, self.keep),
            *pointers.states(self.store),
            *pointers.runs(self.store),
            *abandoned(self.store),
        ]
        waiting = checkpoints = 0
        problems: list[SweepProblem] = []
        sources = sorted(self.store.list_folders("extracts/"))
        listed = {source: [*self.store.list(f"extracts/{source}/data/")] for source in sources}
        referred = self._referred()
        for source in sources:
            try:
                with duckdb_files.scratch(self.scratch) as folder:
                    sweep = SourceSweep.read(self.store, source, listed[source], referred, folder)
                    due = sweep.due(self.delta_keep, dry_run=dry_run)
                    checkpoints += 0 if dry_run else sweep.write_checkpoints()
                    unneeded += [*due, *sweep.covered(self.delta_keep)]
                    waiting += len(sweep.unreferenced) - len(due)
            except AnalystError as error:
                problems.append(SweepProblem(source=source, message=str(error)))
        if not dry_run:
            _each(self.store.delete, [entry.key for entry in unneeded])
        return SweepAnswer(
            dry_run=dry_run,
            deleted=len(unneeded),
            deleted_bytes=sum(entry.size for entry in unneeded),
            waiting=waiting,
            checkpoints=checkpoints,
            problems=tuple(problems),
        )

    def _referred(self) -> frozenset[str]:
        """Tell the files of the kept snapshots. The newest one has to be readable: it may be all that holds a file."""
        snapshots = Snapshots(self.store)
        kept = [snapshots.current(), *snapshots.kept(self.keep / timedelta(hours=1))]
        return frozenset(file.path for one in kept for table in one.catalog.tables for file in table.files)


def _each(work: Callable[[str], object], keys: Iterable[str]) -> None:
    with ThreadPoolExecutor(DELETES_AT_ONCE) as pool:
        for _ in pool.map(work, keys):
            pass
