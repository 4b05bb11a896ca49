"""Checkpoints of a Delta log. Readers start from the newest one and need no earlier commit.

DuckDB writes them from the actions of a local copy of the log; no data file is read. A log in which another writer uses
features that we don't know gets none, so its readers read every commit.

Source: the Delta transaction log protocol, 'Checkpoints', 'Checkpoint Schema', 'Last Checkpoint File' and 'Action
Reconciliation'.
"""

import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum, auto
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Self

from analyst import duckdb_files
from analyst.contract.delta import MOST, file_key
from analyst.duckdb_files import raised_as
from analyst.errors import ContractError
from analyst.names import quote_text
from analyst.store import Entry, Store
from analyst.store.compare_and_swap import swap, upload_once
from analyst.sweep.expired_objects import is_older

log = logging.getLogger(__name__)

EVERY = 100
"""Commits between checkpoints."""

_PRECISION = 2.0
"""In seconds: S3 reports ages of objects in whole seconds."""

_LAST = "_last_checkpoint"
_COMMIT = re.compile(r"([0-9]{20})\.json")
_CHECKPOINT = re.compile(r"([0-9]{20})\.checkpoint\.parquet")
_NUMBERED = re.compile(r"([0-9]{20})\.")


class Named(Enum):
    """Which checkpoint a log's `_last_checkpoint` names."""

    NEWEST = auto()
    OLDER = auto()
    """One that is still there; the sweep that wrote the newest was interrupted."""
    NONE = auto()
    """One that isn't there, or it is damaged."""


@dataclass(frozen=True, slots=True)
class Log:
    """The log of one table as listed: commits and checkpoints by version."""

    store: Store
    table: str
    commits: dict[int, Entry]
    checkpoints: dict[int, Entry]
    folder: Path
    impossible: list[Entry] = field(default_factory=list)
    """Commits and checkpoints with numbers that no commit can follow, so other writers did not get there by committing."""
    last_checkpoint: Entry | None = None
    """The file that names a checkpoint to readers."""

    @classmethod
    def of(cls, store: Store, table: str, entries: Iterable[tuple[str, Entry]], folder: Path) -> Self:
        """Make it from the names and entries of the files in a log."""
        commits, checkpoints, impossible = dict[int, Entry](), dict[int, Entry](), list[Entry]()
        last_checkpoint = None
        for name, entry in entries:
            if name == _LAST:
                last_checkpoint = entry
            elif (found := _NUMBERED.match(name)) and int(found[1]) > MOST:
                impossible.append(entry)
            elif found := _COMMIT.fullmatch(name):
                commits[int(found[1])] = entry
            elif found := _CHECKPOINT.fullmatch(name):
                checkpoints[int(found[1])] = entry
        return cls(store, table, commits, checkpoints, folder, impossible, last_checkpoint)

    @property
    def last(self) -> int:
        """The version of the last commit or checkpoint, -1 if there is none."""
        return max([*self.commits, *self.checkpoints], default=-1)

    @property
    def is_suspect(self) -> bool:
        """Whether readers may find something other than what was committed.

        Commits that they need are missing, or one is younger than its successor: it was written again, or copied here.
        """
        start = max(self.checkpoints, default=-1)
        needed = range(start + 1, self.last + 1)
        if any(version not in self.commits for version in needed):
            return True
        ages = [self.commits[version].age for version in needed]
        return any(age < after - _PRECISION for age, after in pairwise(ages))

    def checkpoint(self) -> bool:
        """Write a checkpoint of the newest version if it is due; return whether it was.

        Raises:
            ContractError: the log can't be read.
        """
        newest, last = max(self.commits, default=-1), max(self.checkpoints, default=-1)
        if newest - last < EVERY:
            return False
        try:
            made, size = self._make(newest, last)
        except _UnknownError as error:
            log.warning("no checkpoint", extra={"fields": {"table": self.table, "reason": str(error)}})
            return False
        self._publish(self.commits[newest].key.rsplit("/", 1)[0], newest, made, size)
        return True

    def start_at(self, home: str, version: int, text: str) -> None:
        """Write the checkpoint of a commit that states all that is published, whatever comes before it in the log.

        `home` is the prefix of the log.
        """
        state, folder = _State(), self.folder / "starts" / self.table
        folder.mkdir(parents=True, exist_ok=True)
        for line in text.encode().splitlines():
            _apply(state, line, self.table)
        into = folder / f"{version:020}.checkpoint.parquet"
        self._publish(home.rstrip("/"), version, into, _write(list(state.actions()), folder, into))

    def _publish(self, home: str, version: int, made: Path, size: int) -> None:
        upload_once(self.store, f"{home}/{made.name}", made)  # another sweep would write the same
        self._name(home, version, size)

    def _name(self, home: str, version: int, size: int) -> None:
        last_checkpoint = json.dumps({"version": version, "size": size}).encode()
        swap(self.store, f"{home}/{_LAST}", lambda _: last_checkpoint, done=lambda found: found.data == last_checkpoint)

    def named(self) -> "Named":
        """Return which checkpoint `_last_checkpoint` names. Without it, readers list the log."""
        if self.last_checkpoint is None:
            return Named.OLDER if self.checkpoints else Named.NEWEST
        found = self.store.read(self.last_checkpoint.key)
        if found is None:
            return Named.NEWEST  # another sweep has just deleted it
        try:
            content = json.loads(found.data)
            version, parts = int(content["version"]), content.get("parts")
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
            return Named.NONE
        if version in self.checkpoints and parts is None:
            return Named.NEWEST if version == max(self.checkpoints) else Named.OLDER
        if not max(self.checkpoints, default=0) <= version <= MOST:
            return Named.NONE
        stem = f"{self.last_checkpoint.key.removesuffix(_LAST)}{version:020}.checkpoint."
        names = [entry.key for entry in self.store.list(stem)]
        is_there = len(names) == parts if parts is not None else bool(names)
        return Named.NEWEST if is_there else Named.NONE

    def name_newest(self) -> None:
        """Have `_last_checkpoint` name the newest checkpoint, as a sweep would have done that was interrupted before that.

        Raises:
            ContractError: the checkpoint can't be read.
        """
        newest = max(self.checkpoints)
        folder = self.folder / "newest" / self.table
        folder.mkdir(parents=True)
        file = folder / f"{newest:020}.checkpoint.parquet"
        self.store.download(self.checkpoints[newest].key, file)
        with (
            raised_as(ContractError, f"a checkpoint of the Delta log of {self.table!r} can't be read: ", hide=file),
            duckdb_files.connect() as con,
        ):
            duckdb_files.confine(con, folder)
            (size,) = con.execute(
                "select count(*) from read_parquet(?, hive_partitioning = false)", [str(file)]
            ).fetchone() or (0,)
        self._name(self.checkpoints[newest].key.rsplit("/", 1)[0], newest, size)

    def covered(self, delta_keep: timedelta) -> list[Entry]:
        """List the commits and checkpoints before the newest checkpoint that is older than `delta_keep`.

        Every version of that time can be read without them.
        """
        last = max((v for v, entry in self.checkpoints.items() if is_older(entry, delta_keep)), default=-1)
        both: Sequence[dict[int, Entry]] = (self.commits, self.checkpoints)
        return [entry for listed in both for version, entry in listed.items() if version < last]

    def _make(self, newest: int, last: int) -> tuple[Path, int]:
        """Write the checkpoint to a file; return it with the number of its actions."""
        folder = self.folder / "logs" / self.table
        folder.mkdir(parents=True)
        state = _State()
        if last in self.checkpoints:
            before = folder / "before.parquet"
            self.store.download(self.checkpoints[last].key, before)
            with raised_as(
                ContractError, f"a checkpoint of the Delta log of {self.table!r} can't be read: ", hide=before
            ):
                for action in _actions_of(before, folder):
                    state.apply(action)
        for version in range(last + 1, newest + 1):
            if version not in self.commits:
                raise ContractError(f"commit {version} is missing in the Delta log of {self.table!r}")
            found = self.store.read(self.commits[version].key)
            for line in (found.data if found else b"").splitlines():
                _apply(state, line, self.table)
        into = folder / f"{newest:020}.checkpoint.parquet"
        return into, _write(list(state.actions()), folder, into)


class _UnknownError(Exception):
    """The log has something whose meaning we don't know."""


_KEPT_MS: Final = 7 * 24 * 3600 * 1000
"""Milliseconds for which a checkpoint remembers removed files: the default of `delta.deletedFileRetentionDuration`."""

_RETENTION: Final = "delta.deletedFileRetentionDuration"
_KNOWN_FEATURES: Final = frozenset(
    {
        "appendOnly",
        "changeDataFeed",
        "checkConstraints",
        "columnMapping",
        "deletionVectors",
        "generatedColumns",
        "identityColumns",
        "invariants",
        "timestampNtz",
        "vacuumProtocolCheck",
    }
)
_VECTOR: Final = (
    'struct(storageType varchar, pathOrInlineDv varchar, "offset" integer, sizeInBytes integer, cardinality bigint)'
)
_MAP: Final = "map(varchar, varchar)"
_COLUMNS: Final = {
    "txn": "struct(appId varchar, version bigint, lastUpdated bigint)",
    "add": f"""struct(path varchar, partitionValues {_MAP}, size bigint, modificationTime bigint, dataChange boolean,
        stats varchar, tags {_MAP}, deletionVector {_VECTOR})""",
    "remove": f"""struct(path varchar, deletionTimestamp bigint, dataChange boolean, extendedFileMetadata boolean,
        partitionValues {_MAP}, size bigint, deletionVector {_VECTOR})""",
    "metaData": f"""struct(id varchar, name varchar, description varchar, format struct(provider varchar, options {_MAP}),
        schemaString varchar, partitionColumns varchar[], configuration {_MAP}, createdTime bigint)""",
    "protocol": """struct(minReaderVersion integer, minWriterVersion integer, readerFeatures varchar[],
        writerFeatures varchar[])""",
}
"""The columns of a checkpoint."""

_OF_COMMITS: Final = frozenset({"commitInfo", "cdc"})
"""Actions that describe a commit, not the state after it."""

_LONGEST: Final = 1 << 27

_Key = tuple[str, str]


@dataclass(slots=True)
class _State:
    """The state of a table after some commits, as actions."""

    protocol: Mapping[str, Any] | None = None
    metadata: Mapping[str, Any] | None = None
    transactions: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    added: dict[_Key, Mapping[str, Any]] = field(default_factory=dict)
    removed: dict[_Key, Mapping[str, Any]] = field(default_factory=dict)
    newest: int = 0

    def apply(self, action: Mapping[str, Any]) -> None:
        """Apply one action.

        Raises:
            _UnknownError: it may mean something that a checkpoint of ours would lose.
        """
        for kind, fields in action.items():
            if fields is None or kind in _OF_COMMITS:
                continue
            if kind == "add":
                _require_known(
                    kind, fields, {"clusteringProvider", "baseRowId", "defaultRowCommitVersion", "stats_parsed"}
                )
                key = file_key(fields)
                self.removed.pop(key, None)
                self.added[key] = {**fields, "dataChange": False}
                self.newest = max(self.newest, int(fields.get("modificationTime") or 0))
            elif kind == "remove":
                key = file_key(fields)
                self.added.pop(key, None)
                self.removed[key] = {**fields, "dataChange": False}
                self.newest = max(self.newest, int(fields.get("deletionTimestamp") or 0))
            elif kind == "metaData":
                self.metadata = fields
            elif kind == "protocol":
                features = {*(fields.get("readerFeatures") or ()), *(fields.get("writerFeatures") or ())}
                if unknown := features - _KNOWN_FEATURES:
                    raise _UnknownError(f"another writer uses {', '.join(sorted(unknown))}")
                self.protocol = fields
            elif kind == "txn":
                self.transactions[fields["appId"]] = fields
            else:
                raise _UnknownError(f"another writer added the action {kind}")

    def actions(self) -> Iterator[Mapping[str, Any]]:
        """Yield the state as actions, without files that were removed long before the last change."""
        if self.protocol is None or self.metadata is None:
            raise ContractError("a Delta log declares no protocol or no columns")
        yield {"protocol": self.protocol}
        yield {"metaData": self.metadata}
        yield from ({"txn": transaction} for transaction in self.transactions.values())
        keeps_all = _RETENTION in (self.metadata.get("configuration") or {})
        for file in self.removed.values():
            if keeps_all or int(file.get("deletionTimestamp") or 0) >= self.newest - _KEPT_MS:
                yield {"remove": file}
        yield from ({"add": file} for file in self.added.values())


def _require_known(kind: str, fields: Mapping[str, Any], unknown: set[str]) -> None:
    if found := sorted(name for name in unknown & fields.keys() if fields[name] is not None):
        raise _UnknownError(f"another writer's {kind} has {', '.join(found)}")


def _apply(state: _State, line: bytes, table: str) -> None:
    try:
        state.apply(json.loads(line))
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise ContractError(
            f"the Delta log of {table!r} can't be read: {type(error).__name__}: {error}; the line is {line[:100]!r}"
        ) from error


def _actions_of(path: Path, folder: Path) -> Iterator[Mapping[str, Any]]:
    """Return the actions of a checkpoint, whoever wrote it, read on a connection that is confined to its folder."""
    with duckdb_files.connect() as con:
        duckdb_files.confine(con, folder)
        con.execute("select to_json(columns(*)) from read_parquet(?, hive_partitioning = false)", [str(path)])
        names = [name for name, *_ in con.description or ()]
        while rows := con.fetchmany(1000):
            for row in rows:
                action = {name: json.loads(text) for name, text in zip(names, row, strict=True) if text is not None}
                yield {name: value for name, value in action.items() if value is not None}


def _write(actions: list[Mapping[str, Any]], folder: Path, into: Path) -> int:
    """Write actions as parquet; return their number."""
    lines = folder / "actions.ndjson"
    with lines.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(action, ensure_ascii=False) + "\n" for action in actions)
    columns = {name: " ".join(kind.split()) for name, kind in _COLUMNS.items()}
    with duckdb_files.connect() as con:
        duckdb_files.confine(con, folder)
        con.execute(
            f"""copy (from read_json(?, format = 'newline_delimited', columns = ?, maximum_object_size = {_LONGEST}))
                to {quote_text(str(into))} (format parquet, compression zstd)""",
            [str(lines), columns],
        )
    return len(actions)
