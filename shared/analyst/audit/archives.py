"""Archives: the events of a past day as Parquet, which replaces its batches.

An archive has a column for each field of an event, `params` as JSON text, times in UTC; any engine can read it. It is
written before its batches are deleted, so for a while an event is in both; readers deduplicate.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from analyst import duckdb_files
from analyst.audit.writer import PREFIX, SUFFIX
from analyst.days import split
from analyst.errors import UnavailableError
from analyst.names import quote_text
from analyst.store import Entry, Store, delete_all, in_parallel
from analyst.store.compare_and_swap import upload_once

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

OVER: Final = timedelta(days=2)
"""The age of a day's youngest batch at which the day is over. Later ones are archived in turn."""

MOST_GATHERED: Final = 50_000
"""The number of batches archived at once."""

ARCHIVE_PREFIX: Final = "archive-"
"""The prefix of the names of archives; names of batches do not start with it."""

_ARCHIVE_BYTES: Final = 32 * 1024 * 1024
_READ_AHEAD: Final = 1000
_COLUMNS: Final = {
    "id": "varchar",
    "at": "timestamp",
    "action": "varchar",
    "outcome": "varchar",
    "caller": "varchar",
    "user_id": "varchar",
    "email": "varchar",
    "token_id": "varchar",
    "resources": "varchar[]",
    "params": "json",
    "status": "integer",
    "code": "varchar",
    "request_id": "varchar",
    "client_address": "varchar",
    "client_kind": "varchar",
    "duration_ms": "integer",
    "count": "bigint",
    "since": "timestamp",
}


def rows_of(paths: Iterable[Path]) -> str:
    """Return the query for the events of archives on this machine."""
    return f"from read_parquet([{', '.join(quote_text(str(path)) for path in paths)}], hive_partitioning = false)"


@dataclass(frozen=True, slots=True)
class Archiving:
    """Archives batches. `memory_limit` is DuckDB's."""

    store: Store
    memory_limit: str
    scratch: Path | None = None

    def due(self) -> dict[str, list[Entry]]:
        """Return the batches to archive, by the folders of their days, the earliest days first."""
        due: dict[str, list[Entry]] = {}
        room = MOST_GATHERED
        for day in sorted(self.store.list_folders(PREFIX)):
            batches = self._batches(f"{PREFIX}{day}/", room)
            if batches:
                due[f"{PREFIX}{day}/"] = batches
                room -= len(batches)
        return due

    def gather(self, due: Mapping[str, Sequence[Entry]]) -> None:
        """Archive what is due and delete it. If it is interrupted, the next run continues.

        Raises:
            UnavailableError: the store does not respond, or a batch is damaged.
        """
        for folder, entries in due.items():
            for part in split(entries, _ARCHIVE_BYTES):
                self._archive(folder, part)
                delete_all(self.store, (entry.key for entry in part))

    def _batches(self, folder: str, room: int) -> list[Entry]:
        """List up to `room` batches of a day, and none if the day is not over."""
        batches: list[Entry] = []
        for entry in self.store.list(folder) if room else ():
            if entry.key.endswith(SUFFIX):
                if entry.age <= OVER.total_seconds():
                    return []
                if len(batches) < room:
                    batches.append(entry)
        return batches

    def _archive(self, folder: str, entries: Sequence[Entry]) -> None:
        """Write the archive of some batches, except events that an interrupted earlier run has already archived."""
        with duckdb_files.scratch(self.scratch) as home:
            lines, made = home / "lines.jsonl", home / "made.parquet"
            with lines.open("wb") as file:
                self._collect(entries, file)
            known = self._archives(folder, home)
            with duckdb_files.lent(memory_limit=self.memory_limit, temp_dir=home / "spill") as con:
                count = _convert(con, lines, known, made)
            if count:
                name = hashlib.sha256(made.read_bytes()).hexdigest()[:32]
                upload_once(self.store, f"{folder}{ARCHIVE_PREFIX}{name}.parquet", made)

    def _collect(self, entries: Sequence[Entry], file: BinaryIO) -> None:
        """Write the lines of batches to one file, without batches that another sweep has archived."""
        for start in range(0, len(entries), _READ_AHEAD):
            keys = [entry.key for entry in entries[start : start + _READ_AHEAD]]
            file.writelines(b"" if found is None else found.data for found in in_parallel(self.store.read, keys))

    def _archives(self, folder: str, home: Path) -> list[Path]:
        names = [entry.key.removeprefix(folder) for entry in self.store.list(f"{folder}{ARCHIVE_PREFIX}")]
        for name in names:
            self.store.download(folder + name, home / name)
        return [home / name for name in names]


def _convert(con: "DuckDBPyConnection", lines: Path, known: Sequence[Path], into: Path) -> int:
    columns = ", ".join(f"{quote_text(name)}: '{kind}'" for name, kind in _COLUMNS.items())
    known_ids = f"select id {rows_of(known)}" if known else "select ''::varchar where false"
    with duckdb_files.raised_as(UnavailableError, "a batch of the audit log can't be read: ", hide=lines):
        rows = con.execute(
            f"""
            copy (
                select * replace (
                    params::varchar as params, coalesce(resources, []) as resources, coalesce("count", 1) as "count"
                )
                from read_json({quote_text(str(lines))}, format = 'newline_delimited', columns = {{{columns}}})
                where id not in ({known_ids})
                order by epoch_ms("at"), id
            ) to {quote_text(str(into))} (format parquet, compression zstd, row_group_size 20000)
            """
        ).fetchone()
    return int(rows[0]) if rows else 0
