"""Read the `system.duckdb` of an older system, versions 1 to 3."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import duckdb

from da.errors import DaError
from da.imports.report import Left
from da.sql import quote, quote_text
from da.text import count_text

_ATTEMPTS = 3


@contextmanager
def opened_copy(path: Path, writes_to: Path | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a copy of a DuckDB file, including its log.

    SQL in it can't access other files or the network, except the folder `writes_to`.

    Raises:
        DaError: it is not a readable database, or it keeps changing.
    """
    with TemporaryDirectory(prefix="da-import-") as folder:
        copy = _copied(path, Path(folder))
        try:
            connection = duckdb.connect(str(copy))
        except (duckdb.Error, UnicodeDecodeError) as error:
            raise DaError(f"can't open '{path}' as a DuckDB database: {_reason(error, copy)}") from None
        with connection:
            connection.execute("set TimeZone = 'UTC'; set threads = 1")  # so that equal rows produce equal bytes
            if writes_to is not None:
                connection.execute(f"set allowed_directories = [{quote_text(f'{writes_to}/')}]")
            connection.execute("set enable_external_access = false; set lock_configuration = true")
            try:
                yield connection
            except duckdb.Error as error:
                raise DaError(f"can't read '{path}': {_reason(error, copy)}") from None


def _copied(path: Path, folder: Path) -> Path:
    """Copy a file and its log in a consistent state."""
    files = (path, path.with_name(f"{path.name}.wal"))
    for _ in range(_ATTEMPTS):
        before = [_mark(file) for file in files]
        for file, mark in zip(files, before, strict=True):
            (folder / file.name).unlink(missing_ok=True)
            if mark is not None:
                shutil.copyfile(file, folder / file.name)
        if before == [_mark(file) for file in files]:
            return folder / path.name
    raise DaError(f"can't copy '{path}': it keeps changing; stop the older system and try again")


def _mark(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_size


def _reason(error: Exception, copy: Path) -> str:
    return str(error).splitlines()[0].replace(str(copy), copy.name)


NEWEST: Final = 3

Row = dict[str, str | None]

_TAKEN: Final = (
    "users",
    "table_registry",
    "dataset_permissions",
    "access_requests",
    "telegram_links",
    "user_sync_settings",
    "knowledge_items",
    "knowledge_votes",
    "audit_log",
)
_SECRET: Final = {"setup_token", "reset_token"}
_MADE_ANEW: Final = "recreated by the next sync"
_REASONS: Final[Mapping[str, str]] = {
    "sync_state": _MADE_ANEW,
    "sync_history": _MADE_ANEW,
    "table_profiles": _MADE_ANEW,
    "pending_codes": "secret codes that expire within minutes",
    "script_registry": "server-side scripts are not supported",
}
_UNKNOWN: Final = "not supported"
_TIMES: Final = "strftime({0}, '%Y-%m-%dT%H:%M:%S.%f')"


@dataclass(frozen=True, slots=True)
class OldState:
    """The state of an older system: rows of its tables as text, and what is not imported. Version 0 is empty."""

    version: int = 0
    rows: Mapping[str, list[Row]] = field(default_factory=dict)
    left: tuple[Left, ...] = ()


def read_state(path: Path) -> OldState:
    """Read a system file; a missing one is empty.

    Raises:
        DaError: it can't be read, or its version is not supported.
    """
    if not path.exists():
        return OldState()
    with opened_copy(path) as connection:
        there = [name for (name,) in connection.execute(_TABLES).fetchall()]
        version = _version(connection, path) if "schema_version" in there else 0
        rows = {table: _rows(connection, table) for table in _TAKEN if table in there}
        left = [
            Left("state", f"{table} ({count_text(count, 'row')})", _REASONS.get(table, _UNKNOWN))
            for table in there
            if table not in {*_TAKEN, "schema_version"} and (count := _count(connection, table))
        ]
        return OldState(version, rows, (*left, *_tokens(connection, there)))


_TABLES: Final = "select table_name from duckdb_tables() where schema_name = 'main' and not internal order by 1"


def _version(connection: duckdb.DuckDBPyConnection, path: Path) -> int:
    found = connection.execute("select coalesce(max(version), 0) from schema_version").fetchone()
    version = int(found[0]) if found else 0
    if version > NEWEST:
        raise DaError(
            f"can't import '{path}': its schema version {version} is not supported (supported: 1 to {NEWEST})"
        )
    return version


def _rows(connection: duckdb.DuckDBPyConnection, table: str) -> list[Row]:
    """Read a table as text, without one-time tokens."""
    described = connection.execute(f"describe {quote(table)}").fetchall()
    columns = {name: kind for name, kind, *_ in described if not name.startswith(tuple(_SECRET))}
    if not columns:
        return []
    values = (
        f"{_TIMES.format(quote(name)) if kind.startswith('TIMESTAMP') else f'{quote(name)}::varchar'}"
        for name, kind in columns.items()
    )
    found = connection.execute(f"select {', '.join(values)} from {quote(table)} order by rowid").fetchall()
    return [  # without NUL characters, which the server's JSON does not accept
        {name: value and value.replace("\x00", "") for name, value in zip(columns, row, strict=True)} for row in found
    ]


def _count(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    found = connection.execute(f"select count(*) from {quote(table)}").fetchone()
    return int(found[0]) if found else 0


def _tokens(connection: duckdb.DuckDBPyConnection, there: list[str]) -> list[Left]:
    columns = {name for name, *_ in connection.execute("describe users").fetchall()} if "users" in there else set()
    left = []
    for name in sorted(_SECRET & columns):
        found = connection.execute(f"select count({quote(name)}) from users").fetchone()
        if found and found[0]:
            reason = "one-time tokens are never imported; send new invitations"
            left.append(Left("state", f"users.{name} ({count_text(found[0], 'row')})", reason))
    return left
