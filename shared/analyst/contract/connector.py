"""What a connector is: it knows its tables, their exact types, paging and increments, and nothing of the bucket."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol

from analyst.catalog import Column

SyncStrategy = Literal["full_refresh", "incremental"]

Cursor = str | int | float | None
"""The greatest value of the cursor column that was published so far; a JSON scalar."""


@dataclass(frozen=True, slots=True)
class SourceTable:
    """One table as its source offers it and the registry wants it.

    `name` is normalised, `original` is what the source calls it. `fingerprint` changes whenever the table's content
    or the options it is read with may have changed; while it stays, nothing is read. `read_at` is when its rows were
    read of where they come from, if that was before this run. `registration` is the uuid of the table's registration as
    the run found it; content that was published for another one is not built on. `published` are the columns that an
    incremental table has by now: an increment is read with types that go together with theirs, and a connector that
    can't do that reads the whole table. `lacks_cursors` says that a published row with a key has no cursor, so that any
    row of the source may replace it, even one before the cursor: the whole table is read then, too.
    """

    name: str
    original: str
    fingerprint: str
    description: str | None = None
    primary_key: tuple[str, ...] = ()
    sync_strategy: SyncStrategy = "full_refresh"
    cursor_column: str | None = None
    read_at: datetime | None = None
    registration: str | None = None
    problem: str | None = None
    """Why it can't be read, if that is known without reading it."""
    originals: Mapping[str, str] = field(default_factory=dict)
    """What the source calls the columns that were published, by their names; filled in before the table is read."""
    published: tuple[Column, ...] = ()
    lacks_cursors: bool = False


@dataclass(frozen=True, slots=True)
class Extracted:
    """What a connector read of one table.

    `files` are parquet files in the order of their rows, made by `analyst.contract.parquet.write`. For an incremental
    table they hold the new and changed rows only, unless they are `whole`: all the rows that the source has now. `rejects`
    are the first few of the `rejected` rows that were set aside: "file:line: reason". `notes` are what else is worth a
    look. `passed_over` are the rows before the cursor, which were not read.
    """

    files: tuple[Path, ...]
    columns: tuple[Column, ...]
    cursor: Cursor = None
    rejected: int = 0
    rejects: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    is_whole: bool = False
    passed_over: int = 0


class Connector(Protocol):
    """One source. Raises `SourceError` for what its owner has to mend, `UnavailableError` for what may pass."""

    def tables(self) -> Iterable[SourceTable]:
        """List the tables of the source as they are now."""

    def notes(self) -> tuple[str, ...]:
        """Tell what of the source is no table, and so is not read; asked for after `tables`."""

    def extract(self, table: SourceTable, since: Cursor, into: Path) -> Extracted:
        """Read one table into the empty folder `into`: all of it, or of an incremental one what is not before `since`.

        Rows on the boundary, and those whose cursor has no place in the order (NULL, NaN, infinities), are read again
        every time: what is there already is told apart when they are merged.
        """
