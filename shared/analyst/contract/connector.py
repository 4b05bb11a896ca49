"""The interface of a connector, which knows its tables, their exact types, paging and increments, but not the bucket."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final, Literal, Protocol

from analyst.catalog import Column, Input

SyncStrategy = Literal["full_refresh", "incremental"]

_BASIS: Final = " basis:"
_GROWTH: Final = " growth:"

Cursor = str | int | float | None
"""The greatest value of the cursor column published so far; a JSON scalar."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a table that is read by itself, such as a file of a folder.

    `mark` changes whenever its content, or an option it is read with, may have changed. `about` is JSON, what the connector
    wants to know of it next time. `files` are its parquet files in the order of their rows; `None` if it was not read,
    because its rows are published as they are.
    """

    name: str
    mark: str
    about: str
    files: tuple[Path, ...] | None = None


@dataclass(frozen=True, slots=True)
class SourceTable:
    """One table as its source offers it and the registry configures it.

    `name` is normalized; `original` is the source's own name. `fingerprint` changes whenever the table's content, or an
    option it is read with, may have changed; a table with an unchanged fingerprint is not read. `read_at` is the time
    at which the rows were read from their origin, if that was before this run. `registration` is the uuid of the
    table's registration at the start of the run; content published for another registration is not built on.
    `published` are the columns that an incremental table already has: an increment is read with types compatible with
    them, and a connector that can't do so reads the whole table. `lacks_cursors` means that a published row with a key
    has no cursor; then any row of the source may replace it, even one before the cursor, and the whole table is read.
    `fingerprint_before` is the fingerprint that it was published with.
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
    """The reason why it can't be read, if that is known without reading it."""
    originals: Mapping[str, str] = field(default_factory=dict)
    """The source's own names of the published columns, by column name; set before the table is read."""
    published: tuple[Column, ...] = ()
    lacks_cursors: bool = False
    fingerprint_before: str | None = None
    clustered_by: tuple[str, ...] = ()
    """Columns by which a table with a key is sorted before its key, such as a date that most queries filter."""
    stable_files: bool = False
    """Whether a full refresh cuts its files by content, so that those of unchanged rows keep their names."""
    partitioned_by: tuple[str, Literal["day", "month", "year"]] | None = None
    """A column with dates or times, and the periods by which a table with a key is stored: each in files of its own."""
    parts: tuple[Part, ...] = ()
    """The parts whose rows are published, as of the last time that they were read; set before the table is read."""
    records: tuple[str, ...] = ()
    """What the connector recorded of the published parts (`Part.about`), though all of them are to be read."""
    allow_fewer: bool = False
    """Whether it may lose more rows at once than is believable (`da.absence.believable_rows`)."""
    basis: str = ""
    """What decides which rows it has, besides the content of the source: its query, filters and place. It is published with
    the fingerprint. After a change of it, rows are expected to go, though not all."""
    origin: str = ""
    """Where an incremental table is read, if a cursor that was reached elsewhere says nothing about it."""
    before: tuple[Column, ...] = ()
    """All columns of the published rows, whatever the strategy; set before the table is read."""
    inputs: tuple[Input, ...] = ()
    """The published tables from which it is computed, if its source is the snapshot itself."""

    @property
    def growth(self) -> str:
        """A hash of what decides which rows of an incremental table are new; after a change of it, all are read once."""
        if self.sync_strategy != "incremental":
            return ""
        content = [self.origin, self.primary_key, self.cursor_column]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]

    def mark(self, *, is_complete: bool = True) -> str:
        """Return the fingerprint to publish; that of an incomplete table never equals the next one."""
        incomplete = "" if is_complete else ": incomplete"
        return f"{self.fingerprint}{incomplete}{self._basis}{_GROWTH if self.growth else ''}{self.growth}"

    def is_as(self, published: str | None) -> bool:
        """Return whether the table is as it was published with this mark; earlier versions published no basis or growth."""
        return published in (self.fingerprint, f"{self.fingerprint}{self._basis}", self.mark())

    def has_basis_of(self, published: str | None) -> bool:
        """Return whether nothing but the content of the source has changed since it was published with this mark."""
        return (published or "").partition(_GROWTH)[0].partition(_BASIS)[2] in ("", self.basis)

    def grows_like(self, published: str | None) -> bool:
        """Return whether the cursor that was published with this mark says how far this table was read."""
        return (published or "").partition(_GROWTH)[2] in ("", self.growth)

    @property
    def _basis(self) -> str:
        return f"{_BASIS}{self.basis}" if self.basis else ""


@dataclass(frozen=True, slots=True)
class RemoteTable:
    """A table whose rows stay at its source: readers attach the source by a DuckDB extension and select from it.

    `origin` is the name under which the source is attached, a schema and a table; `extension`, `url` and `token_env` are as
    in `_remote_attach`.
    """

    origin: tuple[str, str, str]
    extension: str
    url: str
    token_env: str = ""


@dataclass(frozen=True, slots=True)
class Extracted:
    """The rows that a connector read from one table.

    `files` are parquet files in the order of their rows, written by `analyst.contract.parquet.write`. For an incremental
    table they contain only new and changed rows, unless `is_whole`: then they contain all rows that the source has now.
    `rejects` describes the first few of the `rejected` rows: "file:line: reason". `notes` are other findings that a
    person should look at. `passed_over` is the number of rows before the cursor, which were not read.
    """

    files: tuple[Path, ...]
    columns: tuple[Column, ...]
    cursor: Cursor = None
    rejected: int = 0
    rejects: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    is_whole: bool = False
    passed_over: int = 0
    deleted: tuple[Path, ...] = ()
    """Parquet files with the keys of rows that the source deleted, for an incremental table with a key."""
    parts: tuple[Part, ...] = ()
    """All parts that the source has now, in the order of their rows, if it is read by parts; `files` are those of the parts
    that were read. Of a full refresh, a part that was not read keeps its published files; parts not listed are gone."""
    may_repeat: bool = False
    """Whether a new row of an incremental table without a key that equals a published one may be another row, because
    parts with such rows were not read. If there is one, the table is read again, without published parts."""
    replaces: bool = False
    """Whether the rows of an incremental table replace all published ones, instead of being merged with them."""
    expected_rows: int | None = None
    """The rows that the table must have after the merge; if it has others, all of it is read again (`since` is None)."""
    is_complete: bool = True
    """Whether the table is now as its source; if not, the next run reads it again although it has not changed."""
    counted: int | None = None
    """The rows that the source says the table has, without asking who may see them; `None` if others were wanted."""
    is_first_part: bool = False
    """Whether more rows follow in later runs, so that only the rows that are `counted` show whether some are gone."""
    description: str | None = None
    """The description of the table, if it is not that of the `SourceTable`."""
    remote: RemoteTable | None = None
    """Where the rows are, if they were not read."""
    read_at: datetime | None = None
    """The time at which reading the rows began, if that was in an earlier call."""


class Connector(Protocol):
    """One source. Raises `SourceError` for what its owner must fix, and `UnavailableError` for temporary failures."""

    def tables(self) -> Iterable[SourceTable]:
        """List the tables of the source as they are now."""

    def notes(self) -> tuple[str, ...]:
        """Report the parts of the source that are not tables and are therefore not read; called after `tables`."""

    def extract(self, table: SourceTable, since: Cursor, into: Path) -> Extracted:
        """Read one table into the empty folder `into`: the whole table, or the rows of an incremental one from `since` on.

        Rows on the boundary, and rows whose cursor has no place in the order (NULL, NaN, infinities), are read again
        every time; merging recognizes those that are already published.
        """
