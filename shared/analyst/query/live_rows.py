"""Rows that stay in their source until a statement needs them: remote tables, and results of native SQL.

They are read into parquet files for the worker, which gets them as open files like those of the bucket, since it has neither
credentials nor connections. Who reads them for which type of source is not known here (`Live`).
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from analyst.catalog import Table
from analyst.query.pushdown import Filter, Operator, Use, Value
from analyst.query.statement import Statement

Columns = tuple[tuple[str, str], ...]
"""Names and DuckDB types of columns."""


@dataclass(frozen=True, slots=True)
class Needed:
    """A condition on a column, in the spelling of the catalog, that rows must meet."""

    column: str
    operator: Operator
    values: tuple[Value, ...] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """The rows of a remote table that a statement needs.

    A row is needed if it meets all conditions of one of the `alternatives`; without alternatives, all rows are. `most` rows
    are enough if all conditions are applied.
    """

    table: Table
    columns: tuple[str, ...]
    alternatives: tuple[tuple[Needed, ...], ...] = ()
    most: int | None = None

    @classmethod
    def of(
        cls,
        table: Table,
        statement: Statement,
        places: Sequence[Use],
        parameters: Mapping[str, Any] | Sequence[Any],
        limit: int | None,
    ) -> "Wanted":
        """Find what a statement needs of a table that it names at some places; `limit` is the number of rows of its result."""
        names = tuple(column.name for column in table.columns)
        if statement.columns is not None:
            read = tuple(name for name in names if name.lower() in statement.columns)
            names = read or names[:1]  # the rows are counted, at least
        spelled = {column.name.lower(): column.name for column in table.columns}
        found = [
            [
                needed
                for each in use.filters
                if (needed := _needed(each, spelled.get(each.column), parameters)) is not None
            ]
            for use in places
        ]
        alternatives = tuple(map(tuple, found)) if found and all(found) else ()
        most = None
        if len(places) == 1 and places[0].most is not None and len(found[0]) == len(places[0].filters):
            rows = [each for each in (places[0].most, -1 if limit is None else limit + 1) if each >= 0]
            most = min(rows) + places[0].skipped if rows else None
        return cls(table, names, alternatives, most)


def _needed(given: Filter, column: str | None, parameters: Mapping[str, Any] | Sequence[Any]) -> Needed | None:
    values = [each.value(parameters) for each in given.constants]
    if column is None or None in values:
        return None
    return Needed(column, given.operator, tuple(each for each in values if each is not None))


@dataclass(frozen=True, slots=True)
class Registered:
    """Native SQL of a `source`, whose result a statement names as a table; `None` for the only source there is."""

    alias: str
    sql: str
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows in parquet files, and the bytes that were received for them."""

    files: tuple[Path, ...]
    bytes: int


@dataclass(frozen=True, slots=True)
class Patience:
    """Until when rows may be read, by the monotonic clock, and whether somebody still waits for them."""

    until: float
    is_gone: Callable[[], bool] = field(default=lambda: False)

    @property
    def left(self) -> float:
        """The seconds that are left."""
        return max(0.0, self.until - time.monotonic())


class Live(Protocol):
    """Reads sources for one caller, whose right to do so it decides for native SQL.

    Its errors can be shown to that caller.
    """

    def rows(self, wanted: Wanted, into: Path, patience: Patience) -> Rows:
        """Read rows of a remote table into a folder.

        Raises:
            SourceError: they can't be read, or are more than a query may read.
            UnavailableError: the source does not respond in time.
        """

    def columns(self, registered: Registered, patience: Patience) -> Columns:
        """Return the columns of the result of native SQL, without running it.

        Raises:
            ForbiddenError: the caller may not use the source.
            SourceError: the SQL is refused, or would cost more than it may.
            UnavailableError: the source does not respond in time.
        """

    def result(self, registered: Registered, into: Path, patience: Patience) -> Rows:
        """Run native SQL, and read its result into a folder; errors as of `columns` and `rows`."""
