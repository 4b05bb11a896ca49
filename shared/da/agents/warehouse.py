"""What the tools read: the port that the server implements for a caller, and `da` for the mirror."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, Protocol, Self

Json = dict[str, Any]


class ToolError(Exception):
    """A failure that an agent can act on.

    `is_data` is whether the message may quote values of tables, so that it must be marked. `scope` is the scope that the
    caller's token would need.
    """

    def __init__(self, message: str, *, is_data: bool = False, scope: str | None = None) -> None:
        super().__init__(message)
        self.is_data = is_data
        self.scope = scope


@dataclass(frozen=True, slots=True)
class Edition:
    """The state of the data: the number of its snapshot, and when that was published (ISO 8601)."""

    snapshot: int
    as_of: str | None


@dataclass(frozen=True, slots=True)
class Hit:
    """A table (by id) or metric (by name) that was found.

    `matched` are names of its columns with words of the search, `columns` all of them with their types, `sql_name` the table's
    name in a statement, and `dimensions` those of a metric.
    """

    kind: Literal["table", "metric"]
    id: str
    title: str
    description: str | None
    rows: int | None = None
    updated: str | None = None
    matched: tuple[str, ...] = ()
    columns: tuple[tuple[str, str], ...] = ()
    sql_name: str | None = None
    dimensions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ColumnFacts:
    """A column. `statistics` come from the profile; `is_outside` is whether outsiders write its values."""

    name: str
    type: str
    description: str | None = None
    tags: tuple[str, ...] = ()
    statistics: Json = field(default_factory=dict)
    is_outside: bool = False


@dataclass(frozen=True, slots=True)
class Relation:
    """Another table with which a table is joined: `via` is a metric that does so, or where its foreign key comes from."""

    table: str
    on: str
    via: str


@dataclass(frozen=True, slots=True)
class TableFacts:
    """A table in full."""

    id: str
    view: str
    sql_name: str
    description: str | None
    query_mode: str
    rows: int | None
    size_bytes: int | None
    updated: str | None
    hash: str
    columns: tuple[ColumnFacts, ...]
    primary_key: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()
    tier: str | None = None
    grain: str | None = None
    notes: tuple[str, ...] = ()
    notice: str | None = None
    schedule: str | None = None
    profiled_at: str | None = None
    relations: tuple[Relation, ...] = ()

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote; fields of a newer server are ignored."""
        made: Json = {name: tuple(value) if isinstance(value, list) else value for name, value in document.items()}
        made["columns"] = tuple(ColumnFacts(**{**each, "tags": tuple(each["tags"])}) for each in document["columns"])
        made["relations"] = tuple(Relation(**each) for each in document["relations"])
        return cls(**{each.name: made[each.name] for each in fields(cls) if each.name in made})

    def to_json(self) -> Json:
        """Return a JSON object."""
        return asdict(self)

    @property
    def outside(self) -> list[str]:
        """The columns that outsiders write."""
        return [column.name for column in self.columns if column.is_outside]


@dataclass(frozen=True, slots=True)
class TableState:
    """What a snapshot has of a table; `files` are hashes."""

    hash: str
    rows: int | None
    updated: str | None
    columns: Mapping[str, str]
    files: frozenset[str]


@dataclass(frozen=True, slots=True)
class Question:
    """A statement to run. `whole` asks for a URL of the whole result instead of rows."""

    sql: str
    parameters: Mapping[str, Any] | Sequence[Any] = ()
    limit: int | None = 100
    snapshot: int | None = None
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Rows:
    """The result of a statement. `tables` are those it read; `known` the names of their columns.

    `is_outside` is whether outsiders write a column of one of these tables.
    """

    columns: tuple[tuple[str, str], ...]
    rows: Sequence[Sequence[Any]]
    truncated: bool
    edition: Edition
    tables: tuple[str, ...]
    receipt: Json | None
    is_outside: bool
    known: frozenset[str] = frozenset()
    url: str | None = None
    size_bytes: int | None = None
    count: int | None = None


@dataclass(frozen=True, slots=True)
class TableFiles:
    """The files of a table: URLs or paths with their sizes in bytes."""

    id: str
    files: tuple[tuple[str, int, int | None], ...]
    """URL or path, size in bytes, rows."""
    expires_in: int | None = None
    """Seconds for which the URLs are valid."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two versions of a table. `run` runs SQL over `before` and `after`, the files that only one of them has."""

    then: TableState
    now: TableState
    since: Edition
    edition: Edition
    key: tuple[str, ...]
    is_outside: bool
    run: Callable[[str, int], Rows]


class Warehouse(Protocol):
    """The data that one caller can read. Every method raises only errors that `explain` knows, or unexpected ones."""

    @property
    def is_mirror(self) -> bool:
        """Whether it is a mirror on a laptop."""

    @property
    def allowed(self) -> frozenset[str]:
        """What the caller may do: `read`, `query`, `sync`."""

    def edition(self) -> Edition:
        """Return the newest state."""

    def find(self, text: str, kind: str) -> Sequence[Hit]:
        """Return what has all words of a text, best first; everything if there are none. `kind`: table, metric or all."""

    def table(self, name: str) -> TableFacts:
        """Return a table by its id or view name."""

    def metric(self, name: str) -> Json:
        """Return a metric: its definition, status, problem, tables, and what compiles it."""

    def run(self, question: Question) -> Rows:
        """Run a statement."""

    def tables_at(self, snapshot: int | None) -> tuple[Edition, Mapping[str, TableState]]:
        """Return the tables of a snapshot (`None`: the newest) that the caller can read now, by id."""

    def snapshots_kept(self) -> Sequence[tuple[int, str]]:
        """Return the kept snapshots, newest first, and when each was published (ISO 8601, UTC)."""

    def compare(self, name: str, snapshot: int) -> Comparison:
        """Compare a table with what it was in an earlier snapshot."""

    def files(self, tables: Sequence[str]) -> Sequence[TableFiles]:
        """Return the files of tables."""

    def verify(self, receipt: Json) -> Json:
        """Compute the result of a receipt again."""

    def explain(self, error: Exception) -> ToolError | None:
        """Return what an agent is told of an error; `None` if it was not expected."""
