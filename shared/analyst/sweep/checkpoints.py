"""Checkpoints of a Delta log. Readers start from the newest one and need no earlier commit.

delta-rs writes them from a local copy of the log; no data file is read.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Self

from analyst.errors import ContractError
from analyst.store import Entry, Store
from analyst.store.compare_and_swap import swap, upload_once
from analyst.sweep.pointers import is_older

EVERY = 100
"""Commits between checkpoints."""

_LAST = "_last_checkpoint"
_COMMIT = re.compile(r"([0-9]{20})\.json")
_CHECKPOINT = re.compile(r"([0-9]{20})\.checkpoint\.parquet")


@dataclass(frozen=True, slots=True)
class Log:
    """The log of one table as listed: commits and checkpoints by version."""

    store: Store
    table: str
    commits: dict[int, Entry]
    checkpoints: dict[int, Entry]
    folder: Path

    @classmethod
    def of(cls, store: Store, table: str, entries: Iterable[tuple[str, Entry]], folder: Path) -> Self:
        """Make it from the names and entries of the files in a log."""
        log = cls(store, table, {}, {}, folder)
        for name, entry in entries:
            if found := _COMMIT.fullmatch(name):
                log.commits[int(found[1])] = entry
            elif found := _CHECKPOINT.fullmatch(name):
                log.checkpoints[int(found[1])] = entry
        return log

    @property
    def last(self) -> int:
        """The version of the last commit or checkpoint, -1 if there is none."""
        return max([*self.commits, *self.checkpoints], default=-1)

    def checkpoint(self) -> bool:
        """Write a checkpoint of the newest version if it is due; return whether it was."""
        newest, last = max(self.commits, default=-1), max(self.checkpoints, default=-1)
        if newest - last < EVERY:
            return False
        needed = [entry for version, entry in self.commits.items() if version > last]
        made = self._make(needed, last)
        home = next(iter(self.commits.values())).key.rsplit("/", 1)[0]
        name = f"{newest:020}.checkpoint.parquet"
        upload_once(self.store, f"{home}/{name}", made / name)  # another sweep would write the same
        last_checkpoint = (made / _LAST).read_bytes()
        swap(self.store, f"{home}/{_LAST}", lambda _: last_checkpoint, done=lambda found: found.data == last_checkpoint)
        return True

    def covered(self, delta_keep: timedelta) -> list[Entry]:
        """List the commits and checkpoints before the newest checkpoint that is older than `delta_keep`.

        Every version of that time can be read without them.
        """
        last = max((v for v, entry in self.checkpoints.items() if is_older(entry, delta_keep)), default=-1)
        both: Sequence[dict[int, Entry]] = (self.commits, self.checkpoints)
        return [entry for listed in both for version, entry in listed.items() if version < last]

    def _make(self, commits: Sequence[Entry], last: int) -> Path:
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError

        root = self.folder / "logs" / self.table
        log = root / "_delta_log"
        log.mkdir(parents=True)
        for entry in (*commits, *([self.checkpoints[last]] if last in self.checkpoints else [])):
            self.store.download(entry.key, log / entry.key.rsplit("/", 1)[1])
        try:
            DeltaTable(str(root)).create_checkpoint()
        except DeltaError as error:
            raise ContractError(f"the Delta log of {self.table!r} can't be read: {error}") from error
        return log
