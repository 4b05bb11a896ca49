"""Reading an extract.duckdb, whoever wrote it.

An extract is treated as code until it is proven to be data: a view, a generated column or a user-defined type would run
in our process when it is read. So a table of the contract is read only if the catalog shows that it is a base table in
`main` whose columns have built-in types and are not generated. Querying the catalog is safe, because it binds nothing.
"""

import json
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from analyst import duckdb_files
from analyst.catalog import Input
from analyst.contract.delta import Commit
from analyst.contract.model import (
    LONGEST_DESCRIPTION,
    LONGEST_STATE,
    LONGEST_STATS,
    MOST_BYTES,
    MOST_FILES,
    MOST_TABLES,
    NOTICED,
    QUERY_MODES,
    SCHEMA,
    Extract,
    FileRow,
    Meta,
    Notice,
    PartRow,
    TableState,
    extract_key,
    is_data_path,
    is_ours,
    shown,
)
from analyst.duckdb_files import raised_as
from analyst.errors import ContractError
from analyst.names import is_name, quote

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_SEE = "see the contract of extract.duckdb"
_WHOLE = frozenset(f"{sign}{size}" for sign in ("", "U") for size in ("TINYINT", "SMALLINT", "INTEGER", "BIGINT"))
_TYPES: Mapping[str, frozenset[str]] = {
    "varchar": frozenset({"VARCHAR"}),
    "bigint": _WHOLE | {"HUGEINT"},
    "timestamp": frozenset(
        {"TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS", "TIMESTAMP WITH TIME ZONE", "DATE"}
    ),
    "json": frozenset({"JSON", "VARCHAR"}),
}
"""The accepted types of a column of the contract, by its declared type."""

_GENERATED = re.compile(r"\bgenerated\s+always\b", re.IGNORECASE)
_LITERAL = re.compile(r"(CAST\()?('(?:[^']|'')*'|-?[0-9.]+|NULL|true|false)( AS [A-Za-z]+\))?", re.IGNORECASE)
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class BaseTables:
    """The base tables in `main` of attached databases, with the SQL that creates them: `{database: {table: sql}}`."""

    sql: Mapping[str, Mapping[str, str]]
    empty: frozenset[tuple[str, str]]
    """Database and name of the tables without rows."""

    @classmethod
    def look(cls, con: "DuckDBPyConnection") -> Self:
        """Read the tables of all attached databases at once, since DuckDB lists every database in each such query."""
        found: dict[str, dict[str, str]] = {}
        empty: set[tuple[str, str]] = set()
        rows = con.execute(
            "select database_name, table_name, sql, estimated_size from duckdb_tables() where schema_name = 'main'"
        )
        for database, table, sql, size in rows.fetchall():
            found.setdefault(database, {})[table.lower()] = sql  # DuckDB compares names without regard to case
            if size == 0:
                empty.add((database, table.lower()))
        return cls(found, frozenset(empty))

    def of(self, database: str) -> Mapping[str, str]:
        """Return the tables of one database."""
        return self.sql.get(database, {})


class _Recent:
    """The small extracts that this process has read last, by source and digest.

    An extract, its publish and the rebuild that follows read the same bytes.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[tuple[str, bytes, bool], tuple[Extract, int]] = {}

    def get(self, source: str, digest: bytes, *, with_details: bool = False) -> Extract | None:
        """Return the extract with these bytes; `with_details` only if its details have been read."""
        with self._lock:
            for key in [(source, digest, True), (source, digest, False)][: 1 if with_details else 2]:
                if key in self._found:
                    self._found[key] = self._found.pop(key)  # the last one that was used
                    return self._found[key][0]
        return None

    def add(self, source: str, digest: bytes, size: int, extract: Extract, *, with_details: bool = False) -> None:
        """Remember what was read from a file of a size in bytes; nobody may change it."""
        with self._lock:
            self._found.pop((source, digest, with_details), None)
            self._found[source, digest, with_details] = extract, size
            total = sum(size for _extract, size in self._found.values())
            while total > _MOST_RECENT:
                total -= self._found.pop(next(iter(self._found)))[1]


_MOST_RECENT = 4 << 20
"""Bytes of the files whose extracts are remembered."""
RECENT = _Recent()


def open_extract(con: "DuckDBPyConnection", path: Path, alias: str, *, source: str) -> Extract:
    """Attach a source's extract read-only as `alias` and read it. The connection is confined from then on.

    Raises:
        ContractError: it is not a DuckDB file, or its `_meta` is missing or is not a table with the contract's columns.
    """
    duckdb_files.attach(con, path, alias, what=extract_key(source))
    duckdb_files.confine(con)
    return opened(con, alias, source=source)[0]


def opened(con: "DuckDBPyConnection", alias: str, *, source: str) -> tuple[Extract, BaseTables]:
    """Read a source's extract that is attached to a confined connection; return also what base tables this has.

    Raises:
        ContractError: as `open_extract`.
    """
    with raised_as(ContractError, f"{extract_key(source)} can't be read: "):
        tables = BaseTables.look(con)
    return read(con, alias, source=source, tables=tables), tables


def read(con: "DuckDBPyConnection", alias: str, *, source: str, tables: BaseTables | None = None) -> Extract:
    """Read a source's attached extract. Tables of the contract other than `_meta` may be missing.

    `tables` is the result of `BaseTables.look`, which is called if it is not given.

    Raises:
        ContractError: the extract can't be read, or exceeds the limits of `contract.model`.
    """
    what = extract_key(source)
    with raised_as(ContractError, f"{what} can't be read: "):
        reading = _Reading(con, alias, source, tables or BaseTables.look(con))
        return reading.extract()


def originals(con: "DuckDBPyConnection", alias: str, *, what: str) -> dict[str, dict[str, str]]:
    """Read the originals of the columns: a column's comment, else its name."""
    with raised_as(ContractError, f"{what} can't be read: "):
        rows = con.execute(
            """
            select table_name, column_name, coalesce(comment, column_name) from duckdb_columns()
            where database_name = ? and schema_name = 'main' and not starts_with(table_name, '_')
            """,
            [alias],
        ).fetchall()
    found: dict[str, dict[str, str]] = {}
    for table, column, original in rows:
        found.setdefault(table, {})[column] = original
    return found


def read_parts(
    con: "DuckDBPyConnection", alias: str, *, source: str, tables: BaseTables
) -> dict[str, tuple[PartRow, ...]]:
    """Read the parts of the tables of an attached extract, by table; rows that are not parts are ignored.

    Raises:
        ContractError: they can't be read.
    """
    found: dict[str, list[PartRow]] = {}
    with raised_as(ContractError, f"{extract_key(source)} can't be read: "):
        for table, name, mark, rows, about in _Reading(con, alias, source, tables).rows("_parts"):
            if is_name(table or "") and name and mark and rows is not None and about is not None:
                found.setdefault(table, []).append(PartRow(name, mark, rows, about))
    return {table: tuple(parts) for table, parts in found.items()}


def read_commits(con: "DuckDBPyConnection", alias: str, *, source: str) -> list[Commit]:
    """Read the latest Delta commit of each table of an attached extract; rows that are not commits are ignored.

    Raises:
        ContractError: they can't be read.
    """
    with raised_as(ContractError, f"{extract_key(source)} can't be read: "):
        rows = _Reading(con, alias, source, BaseTables.look(con)).rows("_delta")
        return [
            Commit(table, version, text)
            for table, version, text in rows
            if is_name(table or "") and version is not None and 0 <= version <= _GREATEST and text
        ]


def read_edits(con: "DuckDBPyConnection", alias: str, *, source: str) -> frozenset[str]:
    """Read the ids of the last edits of an attached extract.

    Raises:
        ContractError: they can't be read.
    """
    with raised_as(ContractError, f"{extract_key(source)} can't be read: "):
        return frozenset(edit for (edit,) in _Reading(con, alias, source, BaseTables.look(con)).rows("_edits"))


def read_remote_attach(
    con: "DuckDBPyConnection", alias: str, *, source: str, tables: BaseTables
) -> tuple[tuple[str | None, ...], ...]:
    """Read the rows of `_remote_attach` of an attached extract, unchecked.

    Raises:
        ContractError: they can't be read.
    """
    with raised_as(ContractError, f"{extract_key(source)} can't be read: "):
        return tuple(_Reading(con, alias, source, tables).rows("_remote_attach"))


def require_editable(con: "DuckDBPyConnection", alias: str, *, source: str, tables: BaseTables) -> None:
    """Check that an attached extract has the contract's tables, and that inserting into them runs none of its code.

    Raises:
        ContractError: a table is missing or has other columns, a check, an index or a computed default.
    """
    what = extract_key(source)
    with raised_as(ContractError, f"{what} can't be read: "):
        reading = _Reading(con, alias, source, tables)
        indexed = con.execute(
            "select lower(table_name) from duckdb_indexes() where database_name = ?", [alias]
        ).fetchall()
        for table in SCHEMA:
            reading.require(table)
            if not reading.is_ours(table):
                reading.require_literals(table)
            if (table,) in indexed:
                raise ContractError(f"{what} has an index on {table}, which a publish can't keep; drop it")


@dataclass(frozen=True, slots=True)
class _Reading:
    """Reads the tables of one attached extract."""

    con: "DuckDBPyConnection"
    alias: str
    source: str
    tables: BaseTables

    @property
    def what(self) -> str:
        return extract_key(self.source)

    def extract(self) -> Extract:
        self.require("_meta")
        extract = Extract()
        self._read_meta(extract)
        self._read_files(extract)
        self._read_states(extract)
        self._read_notices(extract)
        self._read_inputs(extract)
        for table in extract.refused:
            extract.meta.pop(table, None)
            extract.files.pop(table, None)
        return extract

    def rows(self, table: str) -> "Iterator[tuple[Any, ...]]":
        """Read the rows of a table of the contract, with the contract's columns; none if the table is missing."""
        if not self._has(table):
            return
        self.require(table)
        if (self.alias, table) in self.tables.empty:
            return
        most = MOST_FILES if table in ("_files", "_parts") else MOST_TABLES
        columns = ", ".join(_EXPRESSIONS[table])
        # of rows about one table the first counts, so the order matters; a `limit` would double the time of the query
        found = self.con.execute(f"select {columns} from {quote(self.alias)}.main.{quote(table)} order by rowid")
        count = size = 0
        while some := found.fetchmany(_ROWS_AT_ONCE):
            count += len(some)
            size += sum(len(value) for row in some for value in row if isinstance(value, str))
            if count > most:
                raise ContractError(f"{self.what} has more than {most:,} rows in {table}, the limit")
            if size > MOST_BYTES:
                raise ContractError(f"{self.what} has more than {MOST_BYTES >> 20} MB in {table}, the limit")
            yield from some

    def require(self, table: str) -> None:
        """Check that a table of the contract is a base table with the declared columns, none of them generated."""
        if self.is_ours(table):
            return
        columns = self._columns(table)
        if not columns:
            kind = f"a {table} that is not a table" if self._is_view(table) else f"no table {table}"
            raise ContractError(f"{self.what} has {kind}; {_SEE}")
        if missing := [column for column in SCHEMA[table] if column not in columns]:
            raise ContractError(f"{self.what} has a {table} without {', '.join(missing)}; {_SEE}")
        if _GENERATED.search(self.tables.of(self.alias)[table]):
            raise ContractError(f"{self.what} has a {table} with a generated column; {_SEE}")
        for column, kind in SCHEMA[table].items():
            found, _default = columns[column]
            if found not in _TYPES[kind.split()[0]]:
                wanted = kind.split()[0].upper()
                raise ContractError(f"{self.what} has a {table} whose {column} is {found:.100}, not {wanted}; {_SEE}")

    def require_literals(self, table: str) -> None:
        """Check that an insert into a table computes nothing: it has no check, and only literals as defaults."""
        for column, (_kind, default) in self._columns(table).items():
            if default is not None and not _LITERAL.fullmatch(default):
                raise ContractError(f"{self.what} can't be changed: the default of {column} in {table} is computed")
        checks = self.con.execute(
            """
            select constraint_type from duckdb_constraints()
            where database_name = ? and schema_name = 'main' and lower(table_name) = ?
              and constraint_type in ('CHECK', 'FOREIGN KEY')
            """,
            [self.alias, table],
        ).fetchall()
        if checks:
            raise ContractError(f"{self.what} can't be changed: {table} has a {checks[0][0]} constraint")

    def is_ours(self, table: str) -> bool:
        """Return whether a table was created by our own statement."""
        sql = self.tables.of(self.alias).get(table)
        return sql is not None and is_ours(table, sql)

    def _has(self, table: str) -> bool:
        return table in self.tables.of(self.alias) or self._is_view(table)

    def _is_view(self, table: str) -> bool:
        query = "select 1 from duckdb_views() where database_name = ? and schema_name = 'main' and lower(view_name) = ?"
        return bool(self.con.execute(query, [self.alias, table]).fetchall())

    def _columns(self, table: str) -> dict[str, tuple[str, str | None]]:
        """Return the columns of a base table with their types and defaults; none if it does not exist."""
        if table not in self.tables.of(self.alias):
            return {}
        rows = self.con.execute(
            """
            select column_name, data_type, column_default from duckdb_columns()
            where database_name = ? and schema_name = 'main' and lower(table_name) = ?
            """,
            [self.alias, table],
        ).fetchall()
        return {name.lower(): (kind, default) for name, kind, default in rows}

    def _read_meta(self, extract: Extract) -> None:
        for table, description, count, size, extracted_at, query_mode in self.rows("_meta"):
            mode = query_mode or "local"
            if not is_name(table or ""):
                reason = f"the source {self.source} lists a table {table!r:.120}; names consist of a-z, 0-9 and _"
                extract.refused.setdefault("", reason)
                continue
            if table in SCHEMA:
                extract.refused[table] = f"{self.what} lists {table}, which is a table of the contract"
            elif table in extract.meta:
                extract.refused[table] = f"{self.what} has two rows for the table {table!r} in _meta"
            elif mode not in QUERY_MODES:
                extract.refused[table] = (
                    f"{self.what} lists the table {table!r} with the unknown query_mode {mode!r:.100}"
                )
            elif _is_odd(extracted_at) or min(count or 0, size or 0) < 0:
                extract.refused[table] = (
                    f"{self.what} lists the table {table!r} with an invalid time, rows or size_bytes"
                )
                extracted_at = None  # noqa: PLW2901
            time = extracted_at and extracted_at.replace(tzinfo=UTC)
            extract.meta[table] = Meta(table, shown(description), count, size, time, mode)

    def _read_files(self, extract: Extract) -> None:
        files: dict[str, list[FileRow]] = {}
        for table, *row, is_long in self.rows("_files"):
            if is_name(table or ""):
                file = FileRow(*row)
                files.setdefault(table, []).append(file)
                if reason := self._wrong(file, is_long=is_long):
                    extract.refused.setdefault(table, f"{self.source}.{table} lists {reason}")
        for table, found in files.items():
            extract.files[table] = tuple(found)
            if table not in extract.refused and sum(row.rows + row.size_bytes for row in found) > _GREATEST:
                extract.refused[table] = f"{self.source}.{table} lists an invalid number of rows or bytes"

    def _wrong(self, row: FileRow, *, is_long: bool) -> str | None:
        """Return the problem of a row of `_files`, any value of which may be missing."""
        if not is_data_path(self.source, row.path or ""):
            return f"the file {row.path!r:.300}, which is not in extracts/{self.source}/data/"
        if not _SHA256.fullmatch(row.sha256 or ""):
            return f"{row.path} without a valid SHA-256"
        if not all(isinstance(count, int) and count >= 0 for count in (row.rows, row.size_bytes)):
            return f"{row.path} without valid numbers of rows and bytes"
        if len(row.partition or "") > _LONGEST_PARTITION:
            return f"{row.path} with a partition of more than {_LONGEST_PARTITION} characters"
        return f"{row.path} with stats of more than {LONGEST_STATS >> 20} MB" if is_long else None

    def _read_notices(self, extract: Extract) -> None:
        for table, status, text in self.rows("_runs"):
            if is_name(table or "") and status in NOTICED and text:
                extract.notices[table] = Notice(status, text)

    def _read_inputs(self, extract: Extract) -> None:
        found: dict[str, list[Input]] = {}
        for table, name, sha256, columns in self.rows("_inputs"):
            if (
                is_name(table or "")
                and all(map(is_name, (name or "").split(".", 1)))
                and _SHA256.fullmatch(sha256 or "")
            ):
                found.setdefault(table, []).append(Input(table=name, hash=sha256, columns=_names(columns)))
        extract.inputs.update((table, tuple(inputs)) for table, inputs in found.items())

    def _read_states(self, extract: Extract) -> None:
        registered = {table: uuid for table, uuid in self.rows("_registrations") if table and uuid}
        for table, version, cursor, fingerprint in self.rows("_state"):
            if not is_name(table or ""):
                continue
            try:
                known = None if cursor is None else json.loads(cursor)
                is_sound = version is not None and 0 <= version <= _GREATEST and table not in extract.states
            except (ValueError, RecursionError):
                is_sound = False
            if is_sound:
                extract.states[table] = TableState(version, known, fingerprint, registered.get(table))
            else:
                extract.refused.setdefault(table, f"{self.what} has an unreadable _state of {table!r}")


_ROWS_AT_ONCE = 2048
_GREATEST = 1 << 62
"""The greatest number that is accepted; DuckDB can still add to it."""

_INFINITE = datetime.max.replace(tzinfo=UTC)
_LONGEST_PARTITION = 1024

_EXPRESSIONS: Mapping[str, Sequence[str]] = {
    "_meta": (
        "left(table_name, 200)",
        f"left(description, {LONGEST_DESCRIPTION + 1})",
        'cast("rows" as bigint)',
        "cast(size_bytes as bigint)",
        "cast(extracted_at as timestamp)",
        "left(query_mode, 200)",
    ),
    "_files": (
        "left(table_name, 200)",
        "left(path, 2000)",
        f'left("partition", {_LONGEST_PARTITION + 1})',
        'cast("rows" as bigint)',
        "cast(size_bytes as bigint)",
        "left(sha256, 100)",
        f"case when strlen(cast(stats as varchar)) <= {LONGEST_STATS} then cast(stats as varchar) end",
        f"coalesce(strlen(cast(stats as varchar)) > {LONGEST_STATS}, false)",
    ),
    "_state": (
        "left(table_name, 200)",
        f'case when strlen(coalesce(cast("cursor" as varchar), \'\')) <= {LONGEST_STATE} then cast("version" as bigint) end',
        f'case when strlen(cast("cursor" as varchar)) <= {LONGEST_STATE} then cast("cursor" as varchar) end',
        f"left(fingerprint, {LONGEST_STATE})",
    ),
    "_delta": ("left(table_name, 200)", 'cast("version" as bigint)', '"commit"'),
    "_registrations": ("left(table_name, 200)", "left(uuid, 200)"),
    "_parts": (
        "left(table_name, 200)",
        "left(name, 200)",
        "left(mark, 200)",
        'cast("rows" as bigint)',
        f"case when strlen(cast(about as varchar)) <= {LONGEST_STATS} then cast(about as varchar) end",
    ),
    "_runs": ("left(table_name, 200)", "left(status, 200)", f"left(error, {LONGEST_STATE})"),
    "_inputs": (
        "left(table_name, 200)",
        "left(input, 200)",
        "left(hash, 100)",
        f"case when strlen(cast(columns as varchar)) <= {LONGEST_STATS} then cast(columns as varchar) end",
    ),
    "_edits": ("left(id, 200)",),
    "_remote_attach": (
        "left(alias, 2000)",
        "left(extension, 2000)",
        "left(url, 2000)",
        "left(token_env, 2000)",
    ),
}
"""The expressions that are read from each table, in the order of its columns; they limit the length of texts."""


def _is_odd(time: object) -> bool:
    """Return whether a time is infinite or outside Python's years: DuckDB returns `datetime.max` or a text for these."""
    return time is not None and (not isinstance(time, datetime) or time.replace(tzinfo=UTC) == _INFINITE)


def _names(text: str | None) -> tuple[str, ...] | None:
    try:
        found = json.loads(text or "null")
    except (ValueError, RecursionError):
        return None
    return tuple(each for each in found if isinstance(each, str)) if isinstance(found, list) else None
