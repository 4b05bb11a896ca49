"""Run SQL on the mirror. DuckDB itself formats the values, so that they are exact in every output format."""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from da.errors import DaError
from da.mirror.workspace import Workspace
from da.sql import quote_text
from da.types import Rewriting, checked_type

Row = Sequence[str | None]

_NUMBER = re.compile(r"U?(TINYINT|SMALLINT|INTEGER|BIGINT|HUGEINT)|FLOAT|DOUBLE|DECIMAL\(.*\)|BIGNUM")
_END = re.compile(r"[\s;]*(;\s*(--[^\n]*\s*)*)?$")
_BATCH = 1000


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a result. `type` is the name of a DuckDB type; `term` is the SQL for its values in JSON, if it needs one."""

    name: str
    type: str
    term: str | None = None

    @property
    def is_number(self) -> bool:
        """Whether it is right-aligned in a table."""
        return _NUMBER.fullmatch(self.type) is not None


@dataclass(frozen=True, slots=True)
class Result:
    """The rows of a statement, read lazily. Rows of a query are `shaped` as requested."""

    columns: tuple[Column, ...]
    rows: Iterator[Row]
    shaped: bool = True


_PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Seconds between attempts to open the database: a sync changes it in less than two."""

Shape = Callable[[Sequence[Column]], str]
"""Builds the select list over columns named c0, c1, …"""


@contextmanager
def opened(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the database of a workspace for reading; times with a time zone are shown in UTC.

    Raises:
        DaError: it does not exist, or another program is writing to it.
    """
    if not path.exists():
        raise Workspace(path.parents[2]).missing()
    try:
        connection = _connected(path)
    except duckdb.Error as error:
        advice = (
            "close the program that has it open, or run da sync, which replaces a damaged database and keeps a copy"
        )
        raise DaError(f"can't open '{path}': {str(error).splitlines()[0]}; {advice}") from None
    try:
        # Without the second setting, a misspelt table could be found among the variables of this program.
        connection.execute("set TimeZone = 'UTC'; set python_enable_replacements = false")
        yield connection
    finally:
        connection.close()


def _connected(path: Path) -> duckdb.DuckDBPyConnection:
    """Open a database for reading; wait for a sync that is just changing it.

    If it was replaced meanwhile, it is opened again: DuckDB may have read the old file, but found its log gone.
    """
    for pause in _PAUSES:
        before = path.stat().st_ino
        try:
            connection = duckdb.connect(path, read_only=True)
        except duckdb.IOException as error:
            if "Could not set lock" not in str(error):
                raise
        else:
            if path.stat().st_ino == before:
                return connection
            connection.close()
        time.sleep(pause)
    return duckdb.connect(path, read_only=True)


def relations(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """List the tables and views that SQL can name, with their schema unless it is `main`."""
    views = "select schema_name, view_name from duckdb_views() where not internal"
    tables = "select schema_name, table_name from duckdb_tables() where not internal and schema_name <> '_da'"
    found = connection.execute(f"{views} union {tables} order by all").fetchall()
    return [name if schema == "main" else f"{schema}.{name}" for schema, name in found]


def as_text(columns: Sequence[Column]) -> str:
    """Select every value as text."""
    return ", ".join(f"cast(c{index} as varchar)" for index in range(len(columns)))


def as_json(columns: Sequence[Column]) -> str:
    """Select a row as the text of one JSON object, for `valid_json`."""
    members = (f"{quote_text(column.name)}, {column.term or f'c{index}'}" for index, column in enumerate(columns))
    return f"json_object({', '.join(members)})"


def as_array(columns: Sequence[Column]) -> str:
    """Select a row as the text of one JSON array, for `valid_json`."""
    values = (column.term or f"c{index}" for index, column in enumerate(columns))
    return f"cast(json_array({', '.join(values)}) as varchar)"


def columns_of(connection: duckdb.DuckDBPyConnection, query: str, parameters: Any = None) -> tuple[Column, ...]:
    """Describe the result of a query."""
    described = connection.execute(f"describe select * from (\n{query}\n)", parameters).fetchall()
    kinds = [(str(name), str(kind)) for name, kind, *_ in described]
    if not any(_has_unnamed(kind) for _name, kind in kinds):
        return tuple(Column(*each) for each in kinds)
    sample = connection.execute(f"select * from (\n{query}\n) limit 0", parameters).description or ()
    return tuple(
        Column(*each, Rewriting().value(f"c{index}", shown[1], 0).expression)
        for index, (each, shown) in enumerate(zip(kinds, sample, strict=True))
    )


def _has_unnamed(kind: str) -> bool:
    """Return whether a type may have members without names, as that of `row(1, 2)`: its text is then not one of SQL."""
    if "STRUCT(" not in kind and "TUPLE(" not in kind:
        return False
    try:
        checked_type(kind)
    except ValueError:
        return True
    return False


def run(connection: duckdb.DuckDBPyConnection, sql: str, shape: Shape) -> Result:
    """Run one or more statements and return the shaped result of the last one.

    The result of a statement that is not a query (EXPLAIN, SET, …) is not shaped: its values are converted to text.

    Raises:
        DaError: DuckDB raised an error; the message is DuckDB's.
    """
    try:
        statements = connection.extract_statements(sql)
        if not statements:
            raise DaError("""there is no SQL to run; give some, for example: da query "select 1\"""")
        for statement in statements[:-1]:
            connection.execute(statement)
        return _last(connection, statements[-1], shape)
    except duckdb.Error as error:
        raise DaError(str(error).strip()) from None


def _last(connection: duckdb.DuckDBPyConnection, statement: duckdb.Statement, shape: Shape) -> Result:
    query = _END.sub("", statement.query)
    try:
        columns = columns_of(connection, query)
    except duckdb.Error:  # not a query, or invalid: DuckDB then reports it for the user's own text
        connection.execute(statement)
        columns = tuple(Column(each[0], str(each[1])) for each in connection.description or ())
        return Result(columns, _unshaped(connection), shaped=False)
    names = ", ".join(f"c{index}" for index in range(len(columns)))
    try:
        connection.execute(f"select {shape(columns)} from (\n{query}\n) as result({names})")
    except duckdb.Error as error:
        raise DaError(_at_its_line(error)) from None
    return Result(columns, _fetched(connection))


def _fetched(connection: duckdb.DuckDBPyConnection) -> Iterator[Row]:
    try:
        while batch := connection.fetchmany(_BATCH):
            yield from batch
    except duckdb.Error as error:
        raise DaError(_at_its_line(error)) from None


def _at_its_line(error: duckdb.Error) -> str:
    """Return the message of a query that was wrapped, in which its first line was the second."""
    return re.sub(
        r"^LINE (\d+):(?= )", lambda found: f"LINE {int(found[1]) - 1}:", str(error).strip(), flags=re.MULTILINE
    )


def _unshaped(connection: duckdb.DuckDBPyConnection) -> Iterator[Row]:
    for row in _fetched(connection):
        yield tuple(None if value is None else str(value) for value in row)
