"""The data files of one source, and the Delta logs of its tables."""

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ValidationError

from analyst import duckdb_files
from analyst.contract import extract_file
from analyst.contract.delta import Commit, DeltaLog
from analyst.contract.model import FILE_NAME, Extract, data_prefix, extract_key
from analyst.duckdb_files import raised_as
from analyst.errors import ContractError
from analyst.store import ABSENT, Entry, Object, ObjectMissingError, Store, in_parallel
from analyst.store.compare_and_swap import put_once
from analyst.sweep.checkpoints import Log
from analyst.sweep.compaction_rule import Rule, Scattered, find
from analyst.sweep.expired_objects import YOUNG, is_older

_DATA_FILE = re.compile(rf"extracts/[^/]+/data/[^/]+/{FILE_NAME}")


_LOG_FILE = re.compile(r"extracts/[^/]+/data/([^/]+)/_delta_log/(.+)")


class _Count(BaseModel):
    """`state/sweep/<source>.json`: how long each file was unreferenced at the end of the last sweep."""

    unreferenced_seconds: dict[str, float]


@dataclass(frozen=True, slots=True)
class SourceSweep:
    """The state of one source.

    `listed` are the keys of its data files, `unreferenced` those that nothing references, `commits` the latest one of each
    table. `extract` are the contents of its extract at `version`; `scattered` are the tables that may be compacted.
    """

    store: Store
    source: str
    listed: frozenset[str]
    unreferenced: Sequence[Entry]
    commits: Sequence[Commit]
    logs: Mapping[str, Log]
    extract: Extract
    version: str | None
    scattered: Sequence[Scattered]

    @classmethod
    def read(
        cls, store: Store, source: str, listed: Iterable[Entry], referred: frozenset[str], *, folder: Path, rule: Rule
    ) -> Self:
        """Read a source's extract, after its files were `listed`; `referred` are the files of snapshots.

        Raises:
            ContractError: the extract can't be read.
        """
        read = _read_extract(store, source, folder, rule)
        data: list[Entry] = []
        logs: dict[str, list[tuple[str, Entry]]] = {}
        for entry in listed:
            if _DATA_FILE.fullmatch(entry.key):
                data.append(entry)
            elif found := _LOG_FILE.fullmatch(entry.key):
                logs.setdefault(found[1], []).append((found[2], entry))
        known = frozenset(entry.key for entry in data)
        needed = referred.union(row.path for rows in read.extract.files.values() for row in rows)
        if read.extract.refused:  # it may reference files that could not be read from it
            data = []
        unreferenced = [entry for entry in data if entry.key not in needed and is_older(entry, YOUNG)]
        opened = {table: Log.of(store, table, entries, folder) for table, entries in logs.items()}
        return cls(store, source, known, unreferenced, read.commits, opened, read.extract, read.version, read.scattered)

    def due(self, delta_keep: timedelta, *, dry_run: bool) -> list[Entry]:
        """Update how long files have been unreferenced; return those that have been for longer than `delta_keep`.

        The time is counted here instead of read from the files: a file may be old and referenced until a minute ago, and
        then a reader of an earlier Delta version still needs it. The record's own age in the store is the time since the
        last sweep, so no clock of this host is involved. Of two concurrent sweeps, one loses the write below, and a file
        waits a little longer.
        """
        key = f"state/sweep/{self.source}.json"
        last = self.store.read(key)
        known = _known(last)
        elapsed = last.age if last else 0.0
        ages = {e.key: known[e.key] + elapsed if e.key in known else 0.0 for e in self.unreferenced}
        due = [entry for entry in self.unreferenced if ages[entry.key] > delta_keep.total_seconds()]
        if not dry_run and (ages or known):
            text = _Count(unreferenced_seconds=ages).model_dump_json()
            put_once(
                self.store, key, text.encode(), if_version=last.version if last else ABSENT
            )  # or another sweep wrote it
        return due

    def catch_up(self) -> frozenset[str]:
        """Complete the logs with what was published; return the tables whose logs another writer has changed."""
        log = DeltaLog(self.store, self.source)
        foreign = frozenset[str]().union(*in_parallel(lambda commit: log.confirm([commit]), self.commits))
        listed = [(commit, self.logs[commit.table]) for commit in self.commits if commit.table in self.logs]
        foreign |= {commit.table for commit, found in listed if found.last > commit.version}
        suspect = [commit for commit, found in listed if commit.table not in foreign and found.is_suspect]
        return foreign | {commit.table for commit in suspect if not self._is_shown(log, commit)}

    def _is_shown(self, log: DeltaLog, commit: Commit) -> bool:
        """Return whether a log can be read, and shows the files of its last commit."""
        found = log.read(commit.table, self.logs[commit.table].folder)
        if found.problem:
            return False
        home = data_prefix(self.source, commit.table)
        files = {(row.path.removeprefix(home), "") for row in self.extract.files.get(commit.table, ())}
        return found.version != commit.version or found.files.keys() == files

    def gone(self) -> Mapping[str, int]:
        """Count, by table, the referenced files that are missing from the bucket."""
        found: dict[str, int] = {}
        for table, rows in self.extract.files.items():
            missing = [row for row in rows if row.path not in self.listed and self.store.head(row.path) is None]
            found |= {table: len(missing)} if missing else {}
        return found


@dataclass(frozen=True, slots=True)
class _Read:
    """The contents of an extract; see `SourceSweep`."""

    extract: Extract
    version: str | None
    commits: Sequence[Commit] = ()
    scattered: Sequence[Scattered] = ()


def _read_extract(store: Store, source: str, folder: Path, rule: Rule) -> _Read:
    path, key = folder / "extract.duckdb", extract_key(source)
    try:
        version = store.download(key, path)
    except ObjectMissingError:
        return _Read(Extract(), None)
    with duckdb_files.connect(threads=1) as con:
        extract = extract_file.open_extract(con, path, "extract", source=source)
        commits = extract_file.read_commits(con, "extract", source=source)
        with raised_as(ContractError, f"{key} can't be read: "):
            scattered = tuple(find(con, source, extract, rule))
        return _Read(extract, version, commits, scattered)


def _known(last: Object | None) -> Mapping[str, float]:
    if last is None:
        return {}
    with suppress(ValidationError):
        return _Count.model_validate_json(last.data).unreferenced_seconds
    return {}
