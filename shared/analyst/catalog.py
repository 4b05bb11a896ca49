"""The catalog: the models of a published snapshot, as in its two JSON objects.

`analytics/current.json` is a `Pointer`; the object it names is a `Catalog`. The read path needs no more than these.
"""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

CURRENT = "analytics/current.json"
"""Key of the pointer to the newest snapshot."""

QueryMode = Literal["local", "remote", "materialized"]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Column(_Value):
    """A column. `type` is the DuckDB type."""

    name: str
    type: str
    description: str | None = None


class File(_Value):
    """A Parquet file. `path` is its key in the bucket; `sha256` is in hex."""

    path: str
    sha256: str
    size_bytes: int
    rows: int
    partition: str | None = None


class Table(_Value):
    """One table as published. `view` is its name in analytics.duckdb, its own for good."""

    source: str
    name: str
    view: str
    description: str | None = None
    query_mode: QueryMode = "local"
    rows: int | None = None
    size_bytes: int | None = None
    extracted_at: datetime | None = None
    version: int = 0
    hash: str
    """SHA-256 (hex) over the files' hashes in their order, of a remote table over its view: equal hash, equal data."""
    columns: tuple[Column, ...] = ()
    files: tuple[File, ...] = ()
    registration: str | None = None
    """The uuid of the registration that it was published for; `None` where that was not written down."""
    notice: str | None = None
    """What is worth telling of it although nothing failed: its files are gone, or its last increment was empty."""

    @property
    def id(self) -> str:
        """`<source>.<name>`."""
        return f"{self.source}.{self.name}"


class Problem(_Value):
    """A source or table that could not be published. The snapshot keeps its last good state."""

    source: str
    table: str | None = None
    code: str
    message: str


class RemoteAttach(_Value):
    """A database to attach before reading the remote views of a source. The variable `token_env` holds its token."""

    source: str
    alias: str
    extension: str
    url: str
    token_env: str


class HeldBack(_Value):
    """A source that a rollback keeps at an earlier `snapshot` until it publishes again or is released.

    `newest` records what it has published since, as versions and hashes by table.
    """

    source: str
    snapshot: int
    since: datetime
    newest: dict[str, str] = Field(default_factory=dict)


class Catalog(_Value):
    """All tables of one snapshot, in the order of their ids."""

    snapshot: int
    built_at: datetime
    tables: tuple[Table, ...] = ()
    problems: tuple[Problem, ...] = ()
    remote: tuple[RemoteAttach, ...] = ()
    held_back: tuple[HeldBack, ...] = ()
    """What a rollback holds back."""
    owners: dict[str, str] = Field(default_factory=dict)
    """View name → id of the table that owns it for good, also of tables that are gone."""
    previous: str | None = None
    """Key of the catalog before it; there may be others of that number, which were never published."""


class Pointer(_Value):
    """`analytics/current.json`: which snapshot is current, and what it was built from."""

    snapshot: int
    epoch: int
    duckdb: str
    catalog: str
    sha256: dict[str, str] = Field(default_factory=dict)
    """SHA-256 (hex) of the objects `duckdb` and `catalog`."""
    catalog_text: str | None = None
    """The catalog itself when it is small: one request less for a process that starts."""
    built_from: dict[str, str] = Field(default_factory=dict)
    """Store version of each source's extract.duckdb."""
    built_at: datetime
    recent: tuple[str, ...] = ()
    """Ids of the last swaps, newest last: how a writer whose answer was lost finds out that it succeeded."""
