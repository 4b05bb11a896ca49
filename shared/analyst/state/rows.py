"""Rows as dictionaries. The tables hold times in UTC without a zone; here they have it."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from analyst import duckdb_files
from analyst.names import quote

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

Parameters = Sequence[Any] | Mapping[str, Any]


def fetch(db: "DuckDBPyConnection", sql: str, parameters: Parameters = ()) -> list[dict[str, Any]]:
    """Run a query and return its rows."""
    result = db.execute(sql, _plain(parameters))
    names = [column[0] for column in result.description]
    return [{name: _aware(value) for name, value in zip(names, row, strict=True)} for row in result.fetchall()]


def fetch_one(db: "DuckDBPyConnection", sql: str, parameters: Parameters = ()) -> dict[str, Any] | None:
    """Run a query and return its first row, or `None`."""
    found = fetch(db, sql, parameters)
    return found[0] if found else None


def execute(db: "DuckDBPyConnection", sql: str, parameters: Parameters = ()) -> None:
    """Run a statement without a result."""
    db.execute(sql, _plain(parameters))


def insert(db: "DuckDBPyConnection", table: str, values: Mapping[str, Any]) -> None:
    """Insert one row. Names of tables and columns are ours, never somebody's input."""
    marks = ", ".join("?" for _ in values)
    db.execute(f"insert into {table} ({', '.join(map(quote, values))}) values ({marks})", _plain(list(values.values())))


def insert_all(db: "DuckDBPyConnection", table: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows of the same columns at once; DuckDB's client takes a millisecond for every single one."""
    if rows:
        columns = dict.fromkeys(rows[0], "VARCHAR")  # which an insert casts to what the table has
        duckdb_files.insert(db, table, columns, [list(row.values()) for row in rows])


def update(db: "DuckDBPyConnection", table: str, key: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Change columns of the row with this key. Names are ours."""
    if not values:
        return
    assignments = ", ".join(f"{quote(name)} = ?" for name in values)
    condition = " and ".join(f"{quote(name)} = ?" for name in key)
    db.execute(f"update {table} set {assignments} where {condition}", _plain([*values.values(), *key.values()]))


def _plain(parameters: Parameters) -> Any:
    if isinstance(parameters, Mapping):
        return {name: _naive(value) for name, value in parameters.items()}
    return [_naive(value) for value in parameters]


def _naive(value: Any) -> Any:
    return value.astimezone(UTC).replace(tzinfo=None) if isinstance(value, datetime) and value.tzinfo else value


def _aware(value: Any) -> Any:
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) else value
