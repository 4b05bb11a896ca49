"""The Delta log of a table: every publish of it is one commit, so that all engines read the same files.

A commit is first a row of `_delta` in the extract.duckdb that is swapped, and is copied to the log afterwards. So Delta
may lag behind for a moment, and never tells of what was not published. Before the next commit is swapped the last one
is copied again, in case it was not.

Source: the Delta transaction log protocol, 'Actions' and 'Per-file Statistics'; a table root is `data/<table>/`.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_URL, uuid5

from analyst.contract.delta_schema import delta_schema, needs_timestamp_ntz
from analyst.contract.model import FileRow, data_prefix
from analyst.store import Store
from analyst.store.swapping import put_once

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_PLAIN = {"minReaderVersion": 1, "minWriterVersion": 2}
_WITH_TIMESTAMP_NTZ = {
    "minReaderVersion": 3,
    "minWriterVersion": 7,
    "readerFeatures": ["timestampNtz"],
    "writerFeatures": ["timestampNtz"],
}


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

    def key_of(self, table: str, version: int) -> str:
        """Tell the key of a commit."""
        return f"{data_prefix(self.source, table)}_delta_log/{version:020}.json"

    def copy(self, commits: Iterable[Commit]) -> None:
        """Put commits into the log, unless they are there.

        Raises:
            UnavailableError: the store does not answer.
        """
        for commit in commits:
            put_once(self.store, self.key_of(commit.table, commit.version), commit.text.encode())


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
    """Make the commit that turns the files `old` into `new`. With `same_rows` it says that their rows are the same.

    `None` when there is nothing to tell: the files are the same, or have columns of the same name and different types,
    which Delta has no word for.
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
    about = {"timestamp": ms, "operation": operation[0], "operationParameters": operation[1]}
    lines = [{"commitInfo": about}, *actions]
    text = "".join(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n" for line in lines)
    return Commit(table, 0 if last is None else last.version + 1, text)


def _once(rows: Sequence[FileRow]) -> Iterable[FileRow]:
    """Give each path once, which a commit must not name twice."""
    return {row.path: row for row in rows}.values()


def _declared(
    source: str, table: str, schema: Mapping[str, Any], before: Mapping[str, Any] | None, ms: int
) -> list[dict[str, Any]]:
    """Declare the columns, and what a reader has to know to read them; that is never taken back."""
    needs, needed = needs_timestamp_ntz(schema), before is not None and needs_timestamp_ntz(before)
    actions: list[dict[str, Any]] = []
    if before is None or (needs and not needed):
        actions.append({"protocol": _WITH_TIMESTAMP_NTZ if needs else _PLAIN})
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
    about = {"partitionValues": {}, "size": row.size_bytes, "modificationTime": ms, "dataChange": changes_data}
    return {"add": {"path": row.path.removeprefix(home), **about, "stats": _stats(row)}}


def _remove(row: FileRow, home: str, ms: int, changes_data: bool) -> dict[str, Any]:
    about = {"dataChange": changes_data, "extendedFileMetadata": True, "partitionValues": {}, "size": row.size_bytes}
    return {"remove": {"path": row.path.removeprefix(home), "deletionTimestamp": ms, **about}}


def _stats(row: FileRow) -> str:
    columns = row.column_stats
    stats: dict[str, Any] = {"numRecords": row.rows}
    for name, member in (("minValues", "min"), ("maxValues", "max"), ("nullCount", "nulls")):
        stats[name] = {column: said[member] for column, said in columns.items() if member in said}
    return json.dumps(stats, ensure_ascii=False, separators=(",", ":"))
