"""The catalog: the models of a published snapshot, as in its JSON objects.

`analytics/current.json` is a `Pointer`. The object it names is a `Catalog`, or for more than a few tables a `CatalogList`,
which names the parts that hold the tables. The read path needs no more than these.
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


class Input(_Value):
    """A table from whose data a materialized table was computed: its id, and its `hash` at that time.

    `columns` are those that the SQL may read, `None` if that is not known.
    """

    table: str
    hash: str
    columns: tuple[str, ...] | None = None


class Table(_Value):
    """One published table. `view` is its permanent name in analytics.duckdb."""

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
    """SHA-256 (hex) over the files' hashes in order, for a remote table over its view: equal hashes mean equal data."""
    columns: tuple[Column, ...] = ()
    files: tuple[File, ...] = ()
    registration: str | None = None
    """The uuid of the registration that it was published for; `None` if none was recorded."""
    notice: str | None = None
    """A finding although nothing failed: its files are gone, or its last increment was empty."""
    remote: tuple[str, str, str] | None = None
    """The database, schema and table that the view of a remote table selects from."""
    inputs: tuple[Input, ...] = ()
    """Of a materialized table, the tables that it was computed from, by id: its lineage."""

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
    """The sources that a rollback holds back."""
    owners: dict[str, str] = Field(default_factory=dict)
    """View name → id of the table that owns it permanently, including tables that are gone."""
    previous: str | None = None
    """Key of the previous catalog; there may be others with its number, which were never published."""


class SourceTables(_Value):
    """What a snapshot contains of one source: its tables in the order of their names, and the databases that they need."""

    tables: tuple[Table, ...] = ()
    remote: tuple[RemoteAttach, ...] = ()


class PartRef(_Value):
    """An object of `size` bytes with the `SourceTables` of some sources; `sources` counts the tables of each by name."""

    key: str
    size: int
    sources: dict[str, int]


class CatalogList(_Value):
    """A catalog whose tables are in parts, in the order of their sources; `tables` counts them.

    A change writes the parts of its sources and this list, so its cost does not depend on the number of tables. In a
    `Catalog`, `tables` is a list: a version that knows only those reads a list of parts as damaged, not as empty.
    """

    snapshot: int
    built_at: datetime
    tables: int
    parts: tuple[PartRef, ...]
    owners: str
    """Key of the object with the owners of view names."""
    problems: tuple[Problem, ...] = ()
    held_back: tuple[HeldBack, ...] = ()
    previous: str | None = None


class Pointer(_Value):
    """`analytics/current.json`: the current snapshot, and what it was built from."""

    snapshot: int
    epoch: int
    duckdb: str
    catalog: str
    sha256: dict[str, str] = Field(default_factory=dict)
    """SHA-256 (hex) of the object `catalog`, and of `duckdb` if the snapshot has a file of its own."""
    catalog_text: str | None = None
    """The catalog or list of parts itself if it is small: one request less for a process that starts."""
    built_from: dict[str, str] = Field(default_factory=dict)
    """Store version of each source's extract.duckdb."""
    built_at: datetime
    recent: tuple[str, ...] = ()
    """Ids of the last swaps, newest last, by which a writer that got no response finds out whether it succeeded."""
