"""What the registry says of a table, and what a request may say about one."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from analyst.catalog import QueryMode
from analyst.errors import InvalidInputError
from analyst.names import Name, TableId
from analyst.state.fields import Columns, Input, Line, Output, Schedule, Text, unset

SyncStrategy = Literal["full_refresh", "incremental"]
Options = Annotated[dict[str, Any], Field(max_length=1000)]


class RegisteredTable(Output):
    """A registered table. `uuid` is its identity: grants are bound to it. `source_table` is its name at the source."""

    id: str
    uuid: str
    source: str
    name: str
    source_table: str
    bucket: str | None
    description: str | None
    query_mode: QueryMode
    sync_strategy: SyncStrategy
    primary_key: tuple[str, ...]
    cursor_column: str | None
    sync_schedule: str | None
    profile_after_sync: bool
    is_public: bool
    server_only: bool
    options: dict[str, Any]
    registered_by: str | None
    registered_at: datetime
    updated_at: datetime


class NewTable(Input):
    """A table to register. `is_public` is what the instance says when it is not named; names of columns as published."""

    id: TableId
    source_table: Line | None = None
    bucket: Line | None = None
    description: Text | None = None
    query_mode: QueryMode = "local"
    sync_strategy: SyncStrategy = "full_refresh"
    primary_key: Columns = ()
    cursor_column: Name | None = None
    sync_schedule: Schedule | None = None
    profile_after_sync: bool = True
    is_public: bool | None = None
    server_only: bool = False
    options: Options = Field(default_factory=dict)


class TableChange(Input):
    """What to change of a table; what is not named stays as it is, and null clears.

    Without a `source_table` it is called at the source as it is here. `options` are replaced whole.
    """

    id: TableId
    source_table: Line | None = None
    bucket: Line | None = None
    description: Text | None = None
    query_mode: QueryMode = Field(default_factory=unset)
    sync_strategy: SyncStrategy = Field(default_factory=unset)
    primary_key: Columns | None = None
    cursor_column: Name | None = None
    sync_schedule: Schedule | None = None
    profile_after_sync: bool = Field(default_factory=unset)
    is_public: bool = Field(default_factory=unset)
    server_only: bool = Field(default_factory=unset)
    options: Options | None = None


def changed(before: RegisteredTable, change: TableChange) -> RegisteredTable:
    """Give the table as the change makes it.

    Raises:
        InvalidInputError: its settings would contradict each other.
    """
    cleared = {"source_table": before.name, "primary_key": (), "options": {}}
    named = change.named(but=["id"])
    values = {name: cleared.get(name) if value is None else value for name, value in named.items()}
    return coherent(before.model_copy(update=values))


def coherent(table: RegisteredTable) -> RegisteredTable:
    """Give the table when its settings go together.

    Raises:
        InvalidInputError: they contradict each other; the message says what to do.
    """
    if table.sync_strategy == "incremental" and not table.primary_key and table.cursor_column is None:
        raise InvalidInputError(f"{table.id} can't be incremental without a primary_key or a cursor_column: name one")
    if table.query_mode == "remote" and table.sync_strategy == "incremental":
        raise InvalidInputError(f"{table.id} is remote, nothing of it is synced: make it full_refresh")
    if table.query_mode == "remote" and table.server_only:
        raise InvalidInputError(f"{table.id} is remote, it has no files to keep: leave server_only out")
    return table
