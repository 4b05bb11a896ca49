"""Queries: from SQL and its caller to a result.

The statement is checked in a worker, its tables are looked up among those that the caller can read, and their files are
opened for the worker, which sees nothing else. A table that the caller cannot read is answered like one that does not
exist.
"""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal

from analyst import visible_tables
from analyst.access import AccessList, Caller
from analyst.catalog import File, Table
from analyst.names import did_you_mean
from analyst.query.file_cache import FileCache
from analyst.query.pool import Job, Lease, Outcome, Pool
from analyst.query.results import LARGEST, Kept, Results, key_of
from analyst.query.run import View
from analyst.query.statement import Statement, StatementError, TableName, position, refused
from analyst.rebuild.view_names import TAKEN_SCHEMAS
from analyst.snapshots import Snapshot

log = logging.getLogger(__name__)

Format = Literal["json", "csv", "arrow", "parquet"]
Parameters = Mapping[str, Any] | Sequence[Any]

_SLOW_MS: Final = 10_000
_BINDING_SECONDS: Final = 20.0
_MOST_KEPT: Final = 2000
_LONGEST_KEPT: Final = 10_000


@dataclass(frozen=True, slots=True)
class Query:
    """A statement with its parameters. `limit` is in rows (`None`: all), `seconds` is its deadline.

    Without `receipt`, the result is not hashed; without `reuse`, a kept one is not used.
    """

    sql: str
    parameters: Parameters = field(default_factory=dict)
    format: Format = "json"
    limit: int | None = 1000
    seconds: float = 60.0
    receipt: bool = True
    reuse: bool = True


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a query. `file` has the rows, `tables` are those that it read, by id."""

    statement: Statement
    tables: tuple[Table, ...]
    snapshot: int
    columns: tuple[tuple[str, str], ...]
    rows: int
    truncated: bool
    hash: str | None
    elapsed_ms: float
    bytes_read: int | None
    file: BinaryIO
    size: int
    cached: bool = False


@dataclass(frozen=True, slots=True)
class Reader:
    """What a caller can read: the tables of a snapshot that the access list allows."""

    snapshot: Snapshot
    access: AccessList
    caller: Caller

    def find(self, name: TableName) -> Table | None:
        """Find the table that a statement names: by its short name, or as source and name."""
        schema, table = name.schema.lower(), name.name.lower()
        if name.catalog.lower() not in {"", "memory"} or schema in TAKEN_SCHEMAS - {"main"}:
            return None
        if schema not in {"", "main"}:
            return visible_tables.find(self.snapshot, self.access, self.caller, f"{schema}.{table}")
        for each in self.snapshot.catalog.tables:
            if each.view.lower() == table:
                return visible_tables.find(self.snapshot, self.access, self.caller, each.id)
        return None

    def missing(self, name: str, where: Mapping[str, int]) -> StatementError:
        """Return the error for a table that does not exist or is hidden; it suggests only tables that are visible."""
        visible = visible_tables.visible(self.snapshot, self.access, self.caller)
        near = did_you_mean(name, [*(each.id for each in visible), *(each.view for each in visible)])
        at = f" (line {where['line']}, column {where['column']})" if where else ""
        return refused(f"there is no table {name!r}{near}{at}", "unknown_table", **where)


@dataclass(frozen=True, slots=True)
class Sources:
    """The tables of a statement: the views it sees, and the files and tables behind them."""

    tables: tuple[Table, ...]
    views: tuple[View, ...]
    files: tuple[File, ...]
    owners: tuple[str, ...]

    @classmethod
    def of(cls, statement: Statement, reader: Reader) -> "Sources":
        """Look up the tables of a statement.

        Raises:
            StatementError: the caller can read no such table, or it is remote.
        """
        named: dict[tuple[str, str], Table] = {}
        for name in sorted(statement.tables, key=lambda each: each.at or 0):
            table = reader.find(name)
            if table is not None:
                schema = table.source if name.schema and name.schema.lower() not in TAKEN_SCHEMAS else "main"
                named[schema, table.name if schema != "main" else table.view] = table
            elif not _is_local(name, statement):
                raise reader.missing(name.text, {} if name.at is None else position(statement.text, name.at))
        return cls._over(named)

    def key(self, statement: Statement, query: Query) -> str:
        """Return the hash of what the result of a statement over these tables depends on."""
        files = [file.sha256 for file in self.files]
        seen = sorted(
            (each.schema, each.name, each.columns, [files[place] for place in each.files]) for each in self.views
        )
        return key_of(statement.text, query.parameters, query.format, query.receipt, query.limit, seen)

    @classmethod
    def _over(cls, named: Mapping[tuple[str, str], Table]) -> "Sources":
        tables = {table.id: table for table in named.values()}
        files, owners, places = list[File](), list[str](), dict[str, tuple[int, ...]]()
        for table in tables.values():
            if table.query_mode == "remote":
                raise refused(
                    f"the table {table.id!r} is remote: its rows stay in its source, and queries at this server cannot read them; "
                    "query the source itself",
                    "remote",
                )
            places[table.id] = tuple(range(len(files), len(files) + len(table.files)))
            files += table.files
            owners += [table.id] * len(table.files)
        views = tuple(
            View(schema, name, tuple((column.name, column.type) for column in table.columns), places[table.id])
            for (schema, name), table in named.items()
        )
        return cls(tuple(tables.values()), views, tuple(files), tuple(owners))


def _is_local(name: TableName, statement: Statement) -> bool:
    """Return whether a name may be that of a subquery of the statement; otherwise DuckDB reports it as missing."""
    return not name.catalog and name.schema.lower() in {"", "recurring"} and name.name.lower() in statement.local


class Statements:
    """The statements that were checked last, by their text. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._checked: OrderedDict[str, Statement] = OrderedDict()

    def find(self, sql: str) -> Statement | None:
        """Return a checked statement."""
        with self._lock:
            if (found := self._checked.get(sql)) is not None:
                self._checked.move_to_end(sql)
            return found

    def keep(self, sql: str, statement: Statement) -> None:
        """Remember a checked statement, unless it is long."""
        if len(sql) > _LONGEST_KEPT:
            return
        with self._lock:
            self._checked[sql] = statement
            if len(self._checked) > _MOST_KEPT:
                self._checked.popitem(last=False)


@dataclass(frozen=True, slots=True)
class Engine:
    """Runs queries of one server process."""

    pool: Pool
    files: FileCache
    results: Results
    statements: Statements = field(default_factory=Statements)

    def check(self, sql: str, caller: Caller) -> Statement:
        """Check a statement; one that was checked before needs no worker.

        Raises:
            StatementError: it is refused, or cannot be parsed.
        """
        statement = self.statements.find(sql)
        if statement is None:
            with self.pool.worker(caller.user_id or "") as worker:
                statement = worker.check(sql)
            self.statements.keep(sql, statement)
        return statement

    def bind(self, statement: Statement, sources: "Sources", caller: Caller) -> tuple[tuple[str, str], ...]:
        """Bind a statement to the columns of its tables, without running it, and return the columns of its result.

        Raises:
            StatementError: a column or function does not exist, or types do not match.
        """
        views = [replace(view, files=()) for view in sources.views]
        with self.pool.worker(caller.user_id or "") as worker:
            outcome = worker.run(Job(statement.text, {}, views, (), (), "nothing", 0, _BINDING_SECONDS))
        outcome.file.close()
        return outcome.columns

    def write(self, statement: Statement, sources: "Sources", into: Path, *, person: str, seconds: float) -> list[Path]:
        """Write all rows of a statement to parquet files in a folder, like those of an extract; return them in order.

        Raises:
            StatementError: it fails.
            UnavailableError: there is no free place, or a file is not available.
        """
        with self.pool.worker(person) as worker, self.files.held(sources.files, must_fit=False) as paths:
            job = Job(
                statement.text,
                {},
                sources.views,
                paths,
                sources.owners,
                "table",
                None,
                seconds,
                statement.ordered,
            )
            return worker.write(job, into)

    def run(
        self,
        query: Query,
        reader: Reader,
        *,
        is_gone: Callable[[], bool] = lambda: False,
        using: Callable[[Sequence[Table]], None] = lambda _tables: None,
    ) -> Result:
        """Run a query, or find its result; `using` is called with its tables before it runs.

        Raises:
            StatementError: it is refused or fails.
            AbandonedError: the caller is gone.
            UnavailableError: there is no free place, or a file is not available.
        """
        with ExitStack() as stack:
            worker: Lease | None = None
            statement = self.statements.find(query.sql)
            if statement is None:
                worker = stack.enter_context(self.pool.worker(reader.caller.user_id or ""))
                statement = worker.check(query.sql)
                self.statements.keep(query.sql, statement)
            sources = Sources.of(statement, reader)
            using(sources.tables)
            key = None if statement.volatile or not query.reuse else sources.key(statement, query)
            if key is not None and (kept := self.results.find(key)) is not None:
                return _found(kept, statement, sources, reader)
            worker = worker or stack.enter_context(self.pool.worker(reader.caller.user_id or ""))
            outcome = self._run(worker, query, statement, sources, reader, is_gone=is_gone)
        _log_slow(outcome, sources.tables, reader.caller)
        if key is not None and outcome.size <= LARGEST:
            outcome.file.seek(0)
            kept = Kept(outcome.columns, outcome.rows, outcome.truncated, outcome.hash, outcome.file.read())
            self.results.keep(key, kept)
        return Result(
            statement,
            sources.tables,
            reader.snapshot.number,
            outcome.columns,
            outcome.rows,
            outcome.truncated,
            outcome.hash,
            outcome.elapsed_ms,
            outcome.bytes_read,
            outcome.file,
            outcome.size,
        )

    def _run(
        self,
        worker: Lease,
        query: Query,
        statement: Statement,
        sources: Sources,
        reader: Reader,
        *,
        is_gone: Callable[[], bool],
    ) -> Outcome:
        with self.files.held(sources.files) as paths:
            job = Job(
                statement.text,
                query.parameters,
                sources.views,
                paths,
                sources.owners,
                query.format,
                query.limit,
                query.seconds,
                statement.ordered if query.receipt else None,
            )
            try:
                return worker.run(job, is_gone)
            except StatementError as error:
                if error.details.get("kind") == "unknown_table":
                    raise reader.missing(str(error.details.get("name")), {}) from None
                raise


def _found(kept: Kept, statement: Statement, sources: Sources, reader: Reader) -> Result:
    return Result(
        statement,
        sources.tables,
        reader.snapshot.number,
        kept.columns,
        kept.rows,
        kept.truncated,
        kept.hash,
        0.0,
        0,
        kept.open(),
        len(kept.body),
        cached=True,
    )


def _log_slow(outcome: Outcome, tables: Iterable[Table], caller: Caller) -> None:
    if outcome.elapsed_ms >= _SLOW_MS:
        fields = {
            "tables": [table.id for table in tables],
            "ms": outcome.elapsed_ms,
            "rows": outcome.rows,
            "bytes": outcome.bytes_read,
            "caller": caller.user_id,
        }
        log.warning("slow query", extra={"fields": fields})
