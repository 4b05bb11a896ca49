"""Increments: which rows may be newer than the published ones, and the new cursor."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from analyst.connectors.files.columns.casts import Cast
from analyst.connectors.files.columns.text_types import Wrapped
from analyst.contract import cursors
from analyst.contract.connector import Cursor, SourceTable
from analyst.contract.parquet_input import scan
from analyst.errors import SourceError
from analyst.names import quote, quote_text
from analyst.types import portable

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_PASSED = '"passed over"'
"""A sequence that counts the skipped rows while they are read."""


@dataclass(frozen=True, slots=True)
class Increment:
    """The rows to read of a table: all, or those whose cursor column is not before `since` minus a `lag`.

    `typed` are the columns with configured types. All rows are read as well if the type of a column changed since it was
    published: a value published as a number no longer shows how it is written in the source, so everything that the source
    still has is read again. The same applies if a published row with a key has no cursor: a row before the cursor may
    replace it.
    """

    table: SourceTable
    since: Cursor
    typed: frozenset[str] = frozenset()
    lag: str | None = None

    @property
    def column(self) -> str | None:
        """The cursor column, if the table has one and is incremental."""
        return self.table.cursor_column if self.table.sync_strategy == "incremental" else None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that rows are selected by."""
        return (self.column,) if self.column else ()

    @property
    def published(self) -> Mapping[str, str]:
        """The types of the columns to which rows are added; empty for a table that is replaced."""
        if self.table.sync_strategy != "incremental":
            return {}
        return {column.name: column.type for column in self.table.published}

    def selection(self, con: "DuckDBPyConnection", types: Mapping[str, Cast], *, is_whole: bool) -> Wrapped:
        """Return the function that wraps typed queries, so that they select the wanted rows: all, if the read `is_whole`.

        Rows on the boundary may be new, and so may rows whose cursor has no place in the order: both are always read.
        """
        con.execute(f"create or replace temp sequence {_PASSED}")
        if self.column is None or self.column not in types or is_whole:
            return _all
        cursor, kind = quote(self.column), types[self.column].type
        wanted = f"({cursors.not_before(cursor, kind, self.since, self.lag)} or not {cursors.on_line(cursor, kind)})"

        def wrap(select: str, *, counting: bool = True) -> str:
            # numbering the rows keeps the condition above the casts, so that every row is checked and types stay the same
            numbered = f'select *, row_number() over () as "row number" from ({select})'
            counted = (
                f"case when {wanted} then true else nextval({quote_text(_PASSED)}) < 0 end" if counting else wanted
            )
            return f'select * exclude ("row number") from ({numbered}) where "row number" > 0 and {counted}'

        return wrap

    def is_whole(self, kinds: Mapping[str, str]) -> bool:
        """Return whether all rows of all files are read; `kinds` are the types of the written columns."""
        if self.column is not None and (
            self.table.lacks_cursors or not cursors.is_comparable(kinds[self.column], self.since)
        ):
            return True
        published = self.published.items()
        return any(not cursors.are_kindred(kind, kinds[name]) for name, kind in published if name in kinds)

    def check(self, types: Mapping[str, Cast]) -> None:
        """Check that the columns of the table have its key and its cursor.

        Raises:
            SourceError: the key or the cursor column is missing, or its type can't be one.
        """
        needed = [*self.table.primary_key, *([self.column] if self.column else [])]
        missing = [name for name in needed if name not in types]
        if missing:
            known = ", ".join(types)
            raise SourceError(
                f"{self.table.original} has no column {missing[0]!r}, which is configured as its key or cursor; its "
                f"columns are {known}"
            )
        if self.column:
            self._check_cursor(self.column, types[self.column])

    def _check_cursor(self, column: str, cast: Cast) -> None:
        kind = cast.type
        what = f"{self.table.original}: the cursor column {column!r}"
        match cursors.family(kind):
            case "text" if cast.takes_all and column not in self.typed:
                raise SourceError(
                    f"{what} contains text, which does not sort like numbers or times; set its type with the option "
                    "types, such as BIGINT or TIMESTAMP; values that do not fit are then reported with their lines"
                )
            case "other":
                raise SourceError(
                    f"{what} has the type {kind}, but a cursor must be a number, a date, a time, or text whose type "
                    "is set to VARCHAR"
                )
        if self.lag is not None and cast.fits != cast.gap and not cursors.fits_lag(kind, self.lag):
            raise SourceError(
                f"{what} has the type {kind}, but its cursor_lag is {self.lag!r}; use a number such as 100 for a "
                "number, and 90s, 15m, 2h or 3d for a time"
            )

    def reached(self, con: "DuckDBPyConnection", files: Sequence[Path], kinds: Mapping[str, str]) -> Cursor:
        """Return the greatest cursor value of the files that has a place in the order, as text; without one, the old cursor."""
        if self.column is None:
            return None
        if not files or self.column not in kinds:
            return self.since
        column = quote(self.column)
        on_line = cursors.on_line(column, kinds[self.column])
        row = con.execute(f"select cast(max({column}) filter ({on_line}) as varchar) from ({scan(files)})").fetchone()
        return row[0] if row and row[0] is not None else self.since


def _all(select: str, *, counting: bool = True) -> str:  # noqa: ARG001 - as `Wrapped` has it
    return select


def passed_over(con: "DuckDBPyConnection") -> int:
    """Count the rows that the last selection skipped."""
    row = con.execute(f"select last_value from duckdb_sequences() where sequence_name = {_PASSED[1:-1]!r}").fetchone()
    return int(row[0]) if row and row[0] is not None else 0


def written_types(con: "DuckDBPyConnection", types: Mapping[str, Cast]) -> dict[str, str]:
    """Return the types of written columns."""
    return {name: _written(con, cast) for name, cast in types.items()}


def _written(con: "DuckDBPyConnection", cast: Cast) -> str:
    return cast.type if cast.type == "STRUCT" else portable("c", con.sqltype(cast.type)).type
