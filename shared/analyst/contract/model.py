"""The contents of an extract.duckdb, as SQL and as values."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from analyst.catalog import Input
from analyst.contract.connector import Cursor
from analyst.errors import ContractError
from analyst.names import quote
from analyst.store.keys import is_part
from analyst.types import checked_type

SCHEMA: dict[str, dict[str, str]] = {
    "_meta": {
        "table_name": "varchar not null",
        "description": "varchar",
        "rows": "bigint",
        "size_bytes": "bigint",
        "extracted_at": "timestamp",
        "query_mode": "varchar default 'local'",
    },
    "_files": {
        "table_name": "varchar",
        "path": "varchar",
        "partition": "varchar",
        "rows": "bigint",
        "size_bytes": "bigint",
        "sha256": "varchar",
        "stats": "json",
    },
    "_state": {"table_name": "varchar", "version": "bigint", "cursor": "json", "fingerprint": "varchar"},
    "_delta": {"table_name": "varchar", "version": "bigint", "commit": "varchar"},
    "_runs": {
        "table_name": "varchar",
        "run_id": "varchar",
        "status": "varchar",
        "error": "varchar",
        "rows": "bigint",
        "size_bytes": "bigint",
        "rejected": "bigint",
        "ms": "bigint",
        "finished_at": "timestamp",
    },
    "_registrations": {"table_name": "varchar", "uuid": "varchar"},
    "_parts": {"table_name": "varchar", "name": "varchar", "mark": "varchar", "rows": "bigint", "about": "json"},
    "_inputs": {"table_name": "varchar", "input": "varchar", "hash": "varchar", "columns": "json"},
    "_edits": {"id": "varchar", "at": "timestamp"},
    "_remote_attach": {"alias": "varchar", "extension": "varchar", "url": "varchar", "token_env": "varchar"},
}
"""The tables of the contract with their columns; those of `_meta` exactly, and in this order."""

FILE_NAME = r"[0-9a-f]{32}(-[0-9a-z]{26})?\.parquet"
"""The pattern of the names of our data files; files with other names belong to other writers."""

IMPORTED = "import:"
"""The prefix of the fingerprint of a table that was imported from another system."""

QUERY_MODES = ("local", "remote", "materialized")
EDITS_KEPT = 20

MOST_TABLES = 10_000
MOST_FILES = 500_000
MOST_COLUMNS = 10_000
LONGEST_DESCRIPTION = 10_000
LONGEST_STATS = 4 << 20
LONGEST_STATE = 16 << 20
MOST_BYTES = 256 << 20
"""The limits of an extract that is read: rows of `_meta` and of `_files`, columns of a table, characters of a
description, bytes of one file's statistics, of one table's state, and of all texts of one table of the contract."""


def create_statements(database: str) -> str:
    """Return the statements that create the tables of the contract missing in an attached database."""
    return ";".join(
        f"create table if not exists {quote(database)}.main.{table} "
        f"({', '.join(f'{quote(name)} {kind}' for name, kind in columns.items())})"
        for table, columns in SCHEMA.items()
    )


def is_ours(table: str, sql: str) -> bool:
    """Return whether the SQL of a table of the contract, as DuckDB 1.5 writes it, is that of our own statement."""
    columns = ", ".join(f'(?:{name}|"{name}") {re.escape(_written(kind))}' for name, kind in SCHEMA[table].items())
    return re.fullmatch(rf"CREATE TABLE {table}\({columns}\);", sql) is not None


def _written(kind: str) -> str:
    name, _, default = kind.partition(" default ")
    return name.upper() + (f" DEFAULT({default})" if default else "")


def column_types(table: str) -> dict[str, str]:
    """Return the columns of a table of the contract with their types, without constraints."""
    return {name: kind.split()[0] for name, kind in SCHEMA[table].items()}


def extract_key(source: str) -> str:
    """Return the key of a source's extract.duckdb."""
    return f"extracts/{source}/extract.duckdb"


def dropped_key(source: str, table: str) -> str:
    """Return the key of the mark that records the deletion of a table; no connector writes there."""
    return f"state/dropped/{source}/{table}.json"


def shown(description: str | None) -> str | None:
    """Return a description that every reader accepts: without NUL, and of limited length."""
    if description is None:
        return None
    whole = description.replace("\x00", "")
    return whole if len(whole) <= LONGEST_DESCRIPTION else f"{whole[: LONGEST_DESCRIPTION - 1]}…"


def is_data_path(source: str, path: str) -> bool:
    """Return whether a path is allowed in `_files`: the key of an object below the source's data, and not a pattern."""
    inside = path.startswith(f"extracts/{source}/data/") and len(path) <= _LONGEST_PATH
    return inside and not _PATTERN.search(path) and all(map(is_part, path.split("/")))


def data_prefix(source: str, table: str) -> str:
    """Return the prefix of the keys of a table's files."""
    return f"extracts/{source}/data/{table}/"


_LONGEST_PATH = 1024
_PATTERN = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True)
class Meta:
    """One row of `_meta`. `extracted_at` is in UTC."""

    table: str
    description: str | None
    rows: int | None
    size_bytes: int | None
    extracted_at: datetime | None
    query_mode: str


@dataclass(frozen=True, slots=True)
class FileRow:
    """One row of `_files`. `path` is the key of the object; `stats` is JSON."""

    path: str
    partition: str | None
    rows: int
    size_bytes: int
    sha256: str
    stats: str | None

    @property
    def column_stats(self) -> Mapping[str, Mapping[str, Any]]:
        """The statistics of each column; see `analyst.contract.column_statistics`. Types are checked.

        Raises:
            ContractError: `stats` is malformed.
        """
        try:
            columns = json.loads(self.stats or "{}").get("columns", {})
            if len(columns) > MOST_COLUMNS:
                raise ContractError(f"{self.path} is listed with more than {MOST_COLUMNS:,} columns")
            if len({name.lower() for name in columns}) < len(columns):
                raise ContractError(f"{self.path} is listed with two columns of one name")
            return {name: stats | {"type": checked_type(stats["type"])} for name, stats in columns.items()}
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ContractError(f"the stats of {self.path} in _files can't be read: {error!r:.200}") from error


@dataclass(frozen=True, slots=True)
class TableState:
    """One row of `_state`: how often the table was published, and from which state of its source.

    `registration` is the uuid of the registration that it was published for; `None` if the writer knew none.
    """

    version: int = 0
    cursor: Cursor = None
    fingerprint: str | None = None
    registration: str | None = None

    @property
    def is_imported(self) -> bool:
        """Whether it was published from another system's files, and not from its source."""
        return (self.fingerprint or "").startswith(IMPORTED)


@dataclass(frozen=True, slots=True)
class PartRow:
    """One row of `_parts`: a part of the source whose rows are published; see `analyst.contract.connector.Part`.

    Of a full refresh, its files have its name as their partition, and `rows` in all.
    """

    name: str
    mark: str
    rows: int
    about: str


@dataclass(frozen=True, slots=True)
class Notice:
    """A finding about a table although nothing failed: it `vanished` from its source, or was `empty`."""

    status: str
    text: str


NOTICED = ("vanished", "empty")
"""The statuses in `_runs` whose rows are notices; `error` contains the text."""


@dataclass(frozen=True, slots=True)
class Extract:
    """The contents of an extract.duckdb. A table missing in `files` was written by a connector without `_files`.

    `refused` maps tables whose rows violate the contract to the reason; of the others, only `states` may list them. A
    reason under the empty name belongs to no table.
    """

    meta: dict[str, Meta] = field(default_factory=dict)
    files: dict[str, tuple[FileRow, ...]] = field(default_factory=dict)
    states: dict[str, TableState] = field(default_factory=dict)
    originals: dict[str, dict[str, str]] = field(default_factory=dict)
    """The source's own names of columns: table → name → original. Read only on request."""
    parts: dict[str, tuple[PartRow, ...]] = field(default_factory=dict)
    """The parts of tables that are read by parts. Read only on request."""
    notices: dict[str, Notice] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    inputs: dict[str, tuple[Input, ...]] = field(default_factory=dict)
    """The tables that materialized tables were computed from."""

    def state(self, table: str) -> TableState:
        """Return a table's state; one that was never published has version 0."""
        return self.states.get(table, TableState())

    def without_predecessors(self, registrations: Mapping[str, str | None]) -> "Extract":
        """Return the extract without the content of tables that were published for other registrations than these.

        A table that is registered again starts empty, even if the data of its predecessor is still listed. Its version
        stays, because it shows whether the table has changed since.
        """
        foreign = {
            name
            for name, uuid in registrations.items()
            if uuid is not None and self.state(name).registration not in (None, uuid)
        }
        if not foreign:
            return self
        return Extract(
            meta={name: meta for name, meta in self.meta.items() if name not in foreign},
            files={name: files for name, files in self.files.items() if name not in foreign},
            states=self.states | {name: TableState(self.state(name).version) for name in foreign},
            originals={name: named for name, named in self.originals.items() if name not in foreign},
            parts={name: parts for name, parts in self.parts.items() if name not in foreign},
            notices={name: notice for name, notice in self.notices.items() if name not in foreign},
            refused={name: reason for name, reason in self.refused.items() if name not in foreign},
            inputs={name: listed for name, listed in self.inputs.items() if name not in foreign},
        )

    def is_dropped(self, table: str) -> bool:
        """Return whether a table was deleted on purpose: only its state is left."""
        state = self.states.get(table)
        is_listed = table in self.meta or table in self.files or table in self.refused
        return state is not None and not is_listed and state.version > 0 and state.fingerprint is None

    def require_whole(self) -> "Extract":
        """Return the extract if all its tables can be used, for sources whose tables are published together.

        Raises:
            ContractError: a table violates the contract.
        """
        for reason in self.refused.values():
            raise ContractError(reason)
        return self

    def own_files(self, table: str) -> tuple[FileRow, ...]:
        """Return the files that an increment builds on; none of an imported table, which it replaces.

        Raises:
            ContractError: the table violates the contract, so an increment would lose its rows.
        """
        if table in self.refused:
            raise ContractError(f"{self.refused[table]}; remove the table from the registry and add it again")
        return () if self.state(table).is_imported else self.files.get(table, ())

    def own_parts(self, table: str, *, is_replaced: bool) -> tuple[PartRow, ...]:
        """Return the parts of a table that are published; if it `is_replaced`, only those whose files all are."""
        if self.state(table).is_imported or table in self.refused or not self.files.get(table):
            return ()
        rows: dict[str, int] = {}
        for file in self.files[table]:
            if file.partition is not None:
                rows[file.partition] = rows.get(file.partition, 0) + file.rows
        parts = self.parts.get(table, ())
        return tuple(part for part in parts if not is_replaced or rows.get(part.name) == part.rows)
