"""What an extract.duckdb holds, as SQL and as values."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

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
    "_edits": {"id": "varchar", "at": "timestamp"},
    "_remote_attach": {"alias": "varchar", "extension": "varchar", "url": "varchar", "token_env": "varchar"},
}
"""The tables of the contract with their columns; `_meta` exactly so, in this order."""

FILE_NAME = r"[0-9a-f]{32}(-[0-9a-z]{26})?\.parquet"
"""The pattern of the names that we give to data files; others belong to whoever wrote them."""

IMPORTED = "import:"
"""How the fingerprint of a table begins that came from another system's files."""

QUERY_MODES = ("local", "remote", "materialized")
EDITS_KEPT = 20

MOST_TABLES = 10_000
MOST_FILES = 500_000
MOST_COLUMNS = 10_000
LONGEST_DESCRIPTION = 10_000
LONGEST_STATS = 4 << 20
LONGEST_STATE = 16 << 20
MOST_BYTES = 256 << 20
"""What is read of an extract at most: rows of `_meta`, of `_files`, columns of a table, characters of a description, bytes of one file's
statistics, of one table's state, and of all texts."""


def create_statements(database: str) -> str:
    """Write the statements that make those tables of the contract that an attached database lacks."""
    return ";".join(
        f"create table if not exists {quote(database)}.main.{table} "
        f"({', '.join(f'{quote(name)} {kind}' for name, kind in columns.items())})"
        for table, columns in SCHEMA.items()
    )


def is_ours(table: str, sql: str) -> bool:
    """Tell whether a table of the contract, as DuckDB 1.5 writes its SQL, is the very one that we make."""
    columns = ", ".join(f'(?:{name}|"{name}") {re.escape(_written(kind))}' for name, kind in SCHEMA[table].items())
    return re.fullmatch(rf"CREATE TABLE {table}\({columns}\);", sql) is not None


def _written(kind: str) -> str:
    name, _, default = kind.partition(" default ")
    return name.upper() + (f" DEFAULT({default})" if default else "")


def column_types(table: str) -> dict[str, str]:
    """Tell the columns of a table of the contract with their types alone."""
    return {name: kind.split()[0] for name, kind in SCHEMA[table].items()}


def extract_key(source: str) -> str:
    """Tell the key of a source's extract.duckdb."""
    return f"extracts/{source}/extract.duckdb"


def dropped_key(source: str, table: str) -> str:
    """Return the key of the mark that the deletion of a table leaves, where no connector writes."""
    return f"state/dropped/{source}/{table}.json"


def shown(description: str | None) -> str | None:
    """Return a description that every reader can hold: without NUL, and of a length that a person may have written."""
    if description is None:
        return None
    whole = description.replace("\x00", "")
    return whole if len(whole) <= LONGEST_DESCRIPTION else f"{whole[: LONGEST_DESCRIPTION - 1]}…"


def is_data_path(source: str, path: str) -> bool:
    """Tell whether a path may stand in `_files`: the key of an object below the source's data, which is no pattern."""
    inside = path.startswith(f"extracts/{source}/data/") and len(path) <= _LONGEST_PATH
    return inside and not _PATTERN.search(path) and all(map(is_part, path.split("/")))


def data_prefix(source: str, table: str) -> str:
    """Tell the prefix of the keys of a table's files."""
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
        """What the statistics say of each column; see `analyst.contract.statistics`. Types are checked.

        Raises:
            ContractError: they are not statistics.
        """
        try:
            columns = json.loads(self.stats or "{}").get("columns", {})
            if len(columns) > MOST_COLUMNS:
                raise ContractError(f"{self.path} is listed with more than {MOST_COLUMNS:,} columns")
            if len({name.lower() for name in columns}) < len(columns):
                raise ContractError(f"{self.path} is listed with two columns of one name")
            return {name: said | {"type": checked_type(said["type"])} for name, said in columns.items()}
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ContractError(f"the stats of {self.path} in _files can't be read: {error!r:.200}") from error


@dataclass(frozen=True, slots=True)
class TableState:
    """One row of `_state`: how often the table was published, and from what.

    `registration` is the uuid of the registration that it was published for; `None` where the writer knew of none.
    """

    version: int = 0
    cursor: Cursor = None
    fingerprint: str | None = None
    registration: str | None = None

    @property
    def is_imported(self) -> bool:
        """Tell whether it was published from another system's files, and not from its source."""
        return (self.fingerprint or "").startswith(IMPORTED)


@dataclass(frozen=True, slots=True)
class Notice:
    """What is worth telling of a table although nothing failed: it has `vanished` from its source, or came `empty`."""

    status: str
    text: str


NOTICED = ("vanished", "empty")
"""The statuses in `_runs` whose rows are notices; `error` has the text."""


@dataclass(frozen=True, slots=True)
class Extract:
    """All that an extract.duckdb says. A table that is not in `files` was written by a connector that knows no `_files`.

    `refused` are tables with rows that break the contract, and why. They are in none of the others but `states`. A reason
    under the empty name belongs to no table.
    """

    meta: dict[str, Meta] = field(default_factory=dict)
    files: dict[str, tuple[FileRow, ...]] = field(default_factory=dict)
    states: dict[str, TableState] = field(default_factory=dict)
    originals: dict[str, dict[str, str]] = field(default_factory=dict)
    """What sources call the columns of tables: table → name → original. Read only where it is asked for."""
    notices: dict[str, Notice] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)

    def state(self, table: str) -> TableState:
        """Tell a table's state; one that was never published is at version 0."""
        return self.states.get(table, TableState())

    def without_predecessors(self, registrations: Mapping[str, str | None]) -> "Extract":
        """Return the extract without the content of tables that belongs to another registration than these, by name.

        A table that is registered anew starts from nothing, even where the data of its predecessor is still listed. Its
        version stays: it decides whether the table moved since.
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
            notices={name: notice for name, notice in self.notices.items() if name not in foreign},
            refused={name: reason for name, reason in self.refused.items() if name not in foreign},
        )

    def is_dropped(self, table: str) -> bool:
        """Tell whether a table was taken out on purpose: its state stays, and nothing else."""
        state = self.states.get(table)
        is_listed = table in self.meta or table in self.files or table in self.refused
        return state is not None and not is_listed and state.version > 0 and state.fingerprint is None

    def require_whole(self) -> "Extract":
        """Return it, for those whose tables stand or fall together.

        Raises:
            ContractError: what it says of one of the tables can't be used.
        """
        for reason in self.refused.values():
            raise ContractError(reason)
        return self

    def own_files(self, table: str) -> tuple[FileRow, ...]:
        """Tell the files that an increment follows on: none of a table that was imported, which it replaces.

        Raises:
            ContractError: what the extract says of the table can't be used, so that an increment would lose its rows.
        """
        if table in self.refused:
            raise ContractError(f"{self.refused[table]}; take the table out of the registry and add it again")
        return () if self.state(table).is_imported else self.files.get(table, ())
