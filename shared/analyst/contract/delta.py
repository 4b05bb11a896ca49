"""The Delta log of a table. Every publish of the table is one commit, so that all engines read the same files.

A commit is first a row of `_delta` in the extract.duckdb that is swapped, and is copied to the log afterwards. So Delta
may lag briefly, and never shows anything unpublished. Before the next commit is swapped, the last one is copied again
unless it is there: a process may have died between the swap and the copy, and a log with a gap can't be read.

The logs are for readers. If another writer commits to one anyway, as an `OPTIMIZE` does, the name of our next commit is
taken, and the log no longer shows what was published. A restating commit after the last one found there repairs this:
it removes every file in the log and adds ours. If the log can't be read, the sweep writes a checkpoint of that commit, from
which readers start.

Source: the Delta transaction log protocol, 'Actions', 'Checkpoints' and 'Per-file Statistics'; a table root is
`data/<table>/`.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast
from uuid import NAMESPACE_URL, uuid4, uuid5

from analyst import duckdb_files
from analyst.contract.model import FileRow, data_prefix
from analyst.contract.views import columns_of
from analyst.duckdb_files import raised_as
from analyst.errors import ContractError
from analyst.store import Store
from analyst.store.compare_and_swap import put_once

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from duckdb.sqltypes import DuckDBPyType


TYPES = {
    "BOOLEAN": "boolean",
    "TINYINT": "byte",
    "SMALLINT": "short",
    "INTEGER": "integer",
    "BIGINT": "long",
    "FLOAT": "float",
    "DOUBLE": "double",
    "VARCHAR": "string",
    "JSON": "string",
    "BLOB": "binary",
    "DATE": "date",
    "TIMESTAMP": "timestamp_ntz",
    "TIMESTAMP WITH TIME ZONE": "timestamp",
}
"""Simple types of DuckDB, and how Delta names them."""

Schema = dict[str, Any]


def delta_schema(con: "DuckDBPyConnection", files: Sequence[FileRow]) -> Schema | None:
    """Return the columns of files, united by name, as a Delta schema; `None` if Delta can't express them.

    It can't if a column has different types in different files, or a type that is not portable.
    """
    types: dict[str, str] = {}
    for file in files:
        for column in columns_of(file):
            if types.setdefault(column.name, column.type) != column.type:
                return None
    try:
        fields = [_field(name, con.sqltype(kind)) for name, kind in types.items()]
    except KeyError:
        return None
    return {"type": "struct", "fields": fields}


def needs_timestamp_ntz(schema: Mapping[str, Any]) -> bool:
    """Return whether a schema has times without a zone, which require a table feature."""
    return "'timestamp_ntz'" in repr(schema)


def _field(name: str, kind: "DuckDBPyType") -> Schema:
    return {"name": name, "type": _type(kind), "nullable": True, "metadata": {}}


def _type(kind: "DuckDBPyType") -> str | Schema:
    if kind.id == "decimal":
        (_, precision), (_, scale) = kind.children
        return f"decimal({precision},{scale})"
    if kind.id not in ("struct", "list", "array", "map"):
        return TYPES[str(kind)]
    children = cast("list[tuple[str, DuckDBPyType]]", kind.children)
    if kind.id == "struct":
        return {"type": "struct", "fields": [_field(name, member) for name, member in children]}
    if kind.id == "map":
        (_, key), (_, value) = children
        return {"type": "map", "keyType": _type(key), "valueType": _type(value), "valueContainsNull": True}
    return {"type": "array", "elementType": _type(children[0][1]), "containsNull": True}


PLAIN = {"minReaderVersion": 1, "minWriterVersion": 2}
WITH_TIMESTAMP_NTZ = {
    "minReaderVersion": 3,
    "minWriterVersion": 7,
    "readerFeatures": ["timestampNtz"],
    "writerFeatures": ["timestampNtz"],
}
"""The protocol of a table with times without a zone; that of any other is `PLAIN`."""


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit of a table's log: its number, from 0, and its text, one JSON action per line."""

    table: str
    version: int
    text: str


@dataclass(frozen=True, slots=True)
class DeltaLog:
    """The logs of a source's tables in the bucket."""

    store: Store
    source: str

    def folder_of(self, table: str) -> str:
        """Return the prefix of the keys of a table's log."""
        return f"{data_prefix(self.source, table)}_delta_log/"

    def key_of(self, table: str, version: int) -> str:
        """Return the key of a commit."""
        return f"{self.folder_of(table)}{version:020}.json"

    def copy(self, commits: Iterable[Commit]) -> frozenset[str]:
        """Copy commits to the log unless they are there; return the tables where another writer's commit has the name.

        Raises:
            UnavailableError: the store does not respond.
        """
        return frozenset(commit.table for commit in commits if not self._put(commit))

    def confirm(self, commits: Iterable[Commit]) -> frozenset[str]:
        """Do as `copy` for commits that are most likely there: one request for each.

        If the commit before is gone too, somebody deleted from the log; it is treated as changed by another writer.
        """
        return frozenset(commit.table for commit in commits if not self._is_or_gets_there(commit))

    def _is_or_gets_there(self, commit: Commit) -> bool:
        found = self.store.read(self.key_of(commit.table, commit.version))
        if found is not None:
            return found.data == commit.text.encode()
        follows = commit.version == 0 or self.store.head(self.key_of(commit.table, commit.version - 1)) is not None
        return follows and self._put(commit)

    def read(self, table: str, folder: Path) -> "LogState":
        """Read the current state of a log, whoever wrote it.

        Raises:
            UnavailableError: the store does not respond.
        """
        return _Reading.of(self.store, self.folder_of(table)).state(folder)

    def _put(self, commit: Commit) -> bool:
        key, text = self.key_of(commit.table, commit.version), commit.text.encode()
        if put_once(self.store, key, text):
            return True
        found = self.store.read(key)
        return found is not None and found.data == text


@dataclass(frozen=True, slots=True)
class LogState:
    """The state of a log: the version of its last commit (-1 for none), and the table's files as of that version.

    `files` maps path and deletion vector to the `add` action. If the log can't be read, `problem` says why.
    """

    version: int
    files: Mapping[tuple[str, str], Mapping[str, Any]]
    problem: str | None = None


MOST: Final = 1 << 53
"""The greatest number of a commit that another may follow: readers count in 64 bits, some of them in doubles."""

_COMMIT = re.compile(r"([0-9]{20})\.json")
_CHECKPOINT = re.compile(r"([0-9]{20})\.checkpoint(?:\.([0-9]{10})\.([0-9]{10}))?\.parquet")


@dataclass(frozen=True, slots=True)
class _Reading:
    """The objects of a log: commits by version, and the parts of each complete checkpoint."""

    store: Store
    commits: Mapping[int, str]
    checkpoints: Mapping[int, Sequence[str]]

    @classmethod
    def of(cls, store: Store, prefix: str) -> "_Reading":
        commits: dict[int, str] = {}
        parts: dict[tuple[int, int], list[str]] = {}
        for entry in store.list(prefix):
            name = entry.key.removeprefix(prefix)
            if (found := _COMMIT.fullmatch(name)) and int(found[1]) <= MOST:
                commits[int(found[1])] = entry.key
            elif (found := _CHECKPOINT.fullmatch(name)) and int(found[1]) <= MOST:
                parts.setdefault((int(found[1]), int(found[3] or 1)), []).append(entry.key)
        whole = {version: keys for (version, count), keys in parts.items() if len(keys) == count}
        return cls(store, commits, whole)

    def state(self, folder: Path) -> LogState:
        """Replay the log from the newest checkpoint that all later commits follow, else from its first commit."""
        last = max([*self.commits, *self.checkpoints], default=-1)
        for start in (*sorted(self.checkpoints, reverse=True), -1):
            missing = last - start - sum(version > start for version in self.commits)
            if missing:
                continue
            try:
                files = self._checkpoint(start, folder)
            except ContractError as error:
                return LogState(last, {}, str(error))
            for version in range(start + 1, last + 1):
                self._apply(self.commits[version], files)
            return LogState(last, files)
        return LogState(last, {}, "commits are missing in it, and no checkpoint covers them")

    def _checkpoint(self, version: int, folder: Path) -> dict[tuple[str, str], Mapping[str, Any]]:
        files: dict[tuple[str, str], Mapping[str, Any]] = {}
        for number, key in enumerate(self.checkpoints.get(version, ())):
            path = folder / f"{uuid4().hex}-{number}.parquet"
            self.store.download(key, path)
            with raised_as(ContractError, "a checkpoint in it can't be read: ", hide=path):
                sql = 'select to_json("add") from read_parquet(?, hive_partitioning = false) where "add" is not null'
                added = [json.loads(text) for (text,) in _confined(folder, sql, [str(path)])]
            path.unlink()
            files |= {file_key(action): action for action in added}
        return files

    def _apply(self, key: str, files: dict[tuple[str, str], Mapping[str, Any]]) -> None:
        found = self.store.read(key)
        for line in (found.data if found else b"").splitlines():
            with suppress(
                ValueError, TypeError, AttributeError, KeyError
            ):  # a line that is not an action changes no file
                action = json.loads(line)
                if removed := action.get("remove"):
                    files.pop(file_key(removed), None)
                if added := action.get("add"):
                    files[file_key(added)] = added


def _confined(folder: Path, sql: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
    """Query on a separate connection confined to one folder, since the file is another writer's."""
    with duckdb_files.connect() as con:
        duckdb_files.confine(con, folder)
        return con.execute(sql, values).fetchall()


def file_key(action: Mapping[str, Any]) -> tuple[str, str]:
    """Return what identifies a file of a log: its path and its deletion vector."""
    vector = {name: value for name, value in (action.get("deletionVector") or {}).items() if value is not None}
    return str(action["path"]), json.dumps(vector, sort_keys=True) if vector else ""


def next_commit(
    con: "DuckDBPyConnection",
    source: str,
    table: str,
    last: Commit | None,
    *,
    old: Sequence[FileRow],
    new: Sequence[FileRow],
    at: datetime,
    same_rows: bool = False,
) -> Commit | None:
    """Return the commit that turns the files `old` into `new`. With `same_rows` it declares that no data changed.

    `None` if there is nothing to commit: the files are the same, or Delta can't express columns that have one name and
    different types.
    """
    schema = delta_schema(con, new)
    if schema is None:
        return None
    before = None if last is None else delta_schema(con, old)
    listed = {row.path for row in old} if last else set[str]()
    wanted = {row.path for row in new}
    ms = round(at.timestamp() * 1000)
    actions: list[dict[str, Any]] = []
    if new and schema != before:
        actions += _declared(source, table, schema, before, ms)
    home = data_prefix(source, table)
    gone = listed - wanted
    changes_data = last is None or not same_rows
    actions += [_remove(row, home, ms, changes_data) for row in _once(old) if row.path in gone]
    actions += [_add(row, home, ms, changes_data) for row in _once(new) if row.path not in listed]
    if not actions:
        return None
    operation = ("WRITE", {"mode": "Overwrite"}) if changes_data else ("OPTIMIZE", {})
    return Commit(table, 0 if last is None else last.version + 1, _text(operation, actions, ms))


def restating_commit(
    con: "DuckDBPyConnection", source: str, table: str, found: LogState, *, files: Sequence[FileRow], at: datetime
) -> Commit | None:
    """Return the commit that, after all commits of a log, whoever wrote them, turns its state into `files`.

    It declares columns and protocol again, since another writer may have changed these too. `None` if Delta can't
    express the files.
    """
    schema = delta_schema(con, files)
    if schema is None:
        return None
    ms, home = round(at.timestamp() * 1000), data_prefix(source, table)
    wanted = {row.path.removeprefix(home) for row in files}
    gone = [action for (path, vector), action in found.files.items() if vector or path not in wanted]
    actions = _declared(source, table, schema, None, ms) if files else []
    actions += [_remove_found(action, ms) for action in gone]
    actions += [
        _add(row, home, ms, changes_data=True) for row in files if (row.path.removeprefix(home), "") not in found.files
    ]
    return Commit(table, found.version + 1, _text(("WRITE", {"mode": "Overwrite"}), actions, ms))


def _text(operation: tuple[str, dict[str, str]], actions: Iterable[dict[str, Any]], ms: int) -> str:
    commit_info = {"timestamp": ms, "operation": operation[0], "operationParameters": operation[1]}
    lines = [{"commitInfo": commit_info}, *actions]
    return "".join(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n" for line in lines)


def _remove_found(action: Mapping[str, Any], ms: int) -> dict[str, Any]:
    vector = action.get("deletionVector")
    more = {"deletionVector": {k: v for k, v in vector.items() if v is not None}} if vector else {}
    removed = {"path": action["path"], "deletionTimestamp": ms, "dataChange": True, "extendedFileMetadata": False}
    return {"remove": {**removed, **more}}


def _once(rows: Sequence[FileRow]) -> Iterable[FileRow]:
    """Return each path once, since a commit must not name a path twice."""
    return {row.path: row for row in rows}.values()


def _declared(
    source: str, table: str, schema: Mapping[str, Any], before: Mapping[str, Any] | None, ms: int
) -> list[dict[str, Any]]:
    """Declare the columns, and the features that a reader needs for them; features are never withdrawn."""
    needs, needed = needs_timestamp_ntz(schema), before is not None and needs_timestamp_ntz(before)
    actions: list[dict[str, Any]] = []
    if before is None or (needs and not needed):
        actions.append({"protocol": WITH_TIMESTAMP_NTZ if needs else PLAIN})
    metadata = {
        "id": str(uuid5(NAMESPACE_URL, f"extracts/{source}/{table}")),
        "format": {"provider": "parquet", "options": {}},
        "schemaString": json.dumps(schema, ensure_ascii=False, separators=(",", ":")),
        "partitionColumns": [],
        "configuration": {},
        "createdTime": ms,
    }
    return [*actions, {"metaData": metadata}]


def _add(row: FileRow, home: str, ms: int, changes_data: bool) -> dict[str, Any]:
    fields = {"partitionValues": {}, "size": row.size_bytes, "modificationTime": ms, "dataChange": changes_data}
    return {"add": {"path": row.path.removeprefix(home), **fields, "stats": _stats(row)}}


def _remove(row: FileRow, home: str, ms: int, changes_data: bool) -> dict[str, Any]:
    fields = {"dataChange": changes_data, "extendedFileMetadata": True, "partitionValues": {}, "size": row.size_bytes}
    return {"remove": {"path": row.path.removeprefix(home), "deletionTimestamp": ms, **fields}}


def _stats(row: FileRow) -> str:
    columns = row.column_stats
    stats: dict[str, Any] = {"numRecords": row.rows}
    for name, member in (("minValues", "min"), ("maxValues", "max"), ("nullCount", "nulls")):
        stats[name] = {column: values[member] for column, values in columns.items() if member in values}
    return json.dumps(stats, ensure_ascii=False, separators=(",", ":"))
