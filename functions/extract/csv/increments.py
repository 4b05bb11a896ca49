"""Increments: which rows are newer than what was published, and how far the published ones reach."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from analyst.contract.connector import Cursor, SourceTable
from analyst.errors import SourceError
from analyst.names import quote, quote_text
from functions.extract.csv.casts import Cast

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


@dataclass(frozen=True, slots=True)
class Increment:
    """What is wanted of a table: all rows, or those of which the cursor column came after `since`."""

    table: SourceTable
    since: Cursor
    typed: frozenset[str] = frozenset()
    """The columns whose types are configured."""

    @property
    def column(self) -> str | None:
        """The cursor column, if the table has one and is incremental."""
        return self.table.cursor_column if self.table.sync_strategy == "incremental" else None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that `wrap` chooses the rows by."""
        return (self.column,) if self.column else ()

    def wrap(self, select: str, types: Mapping[str, Cast]) -> str:
        """Keep the rows that are wanted of a typed query.

        A row on the boundary may be new: with a primary key it is read again and merged, without one it is not.

        Raises:
            SourceError: the key or the cursor column is missing, or the cursor column is of mixed text.
        """
        self._check(types)
        if self.column is None or self.since is None:
            return select
        cursor = quote(self.column)
        kind = types[self.column].type
        misfit = (
            f"the column {self.column!r} is {kind} now, and the last run reached {str(self.since)!r}: sync it in full"
        )
        since = f"coalesce(try_cast({quote_text(str(self.since))} as {kind}), error({quote_text(misfit)}))"
        newer = f"{cursor} >= {since} or {cursor} is null" if self.table.primary_key else f"{cursor} > {since}"
        # numbering the rows keeps the condition above the casts, so that every row is checked and types stay the same
        numbered = f'select *, row_number() over () as "row number" from ({select})'
        return f'select * exclude ("row number") from ({numbered}) where "row number" > 0 and ({newer})'

    def _check(self, types: Mapping[str, Cast]) -> None:
        needed = [*self.table.primary_key, *([self.column] if self.column else [])]
        missing = [name for name in needed if name not in types]
        if missing:
            known = ", ".join(types)
            raise SourceError(
                f"{self.table.original} has no column {missing[0]!r}, which is its key or cursor; it has {known}"
            )
        if self.column and types[self.column].takes_all and self.column not in self.typed:
            raise SourceError(
                f"{self.table.original}: the cursor column {self.column!r} holds text, and text does not sort as numbers "
                "and times do; configure its type"
            )

    def reached(self, con: "DuckDBPyConnection", files: Sequence[Path]) -> Cursor:
        """Find the greatest cursor value of the files, as text; without one it stays where it was."""
        if self.column is None:
            return None
        paths = ", ".join(quote_text(str(path)) for path in files)
        row = con.execute(f"select cast(max({quote(self.column)}) as varchar) from read_parquet([{paths}])").fetchone()
        return row[0] if row and row[0] is not None else self.since
