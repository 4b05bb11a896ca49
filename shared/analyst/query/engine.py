"""Queries: from SQL and its caller to a result.

The statement is checked in a worker, its tables are looked up among those that the caller can read, and their files are
opened for the worker, which sees nothing else. A table that the caller can't read is answered like one that does not
exist.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal

from analyst import visible_tables
from analyst.access import AccessList, Caller
from analyst.catalog import File, Table
from analyst.errors import NotFoundError, SourceError
from analyst.names import did_you_mean
from analyst.query.file_cache import FileCache
from analyst.query.live_rows import Columns, Live, Patience, Registered, Wanted
from analyst.query.pool import Job, Lease, Outcome, Pool
from analyst.query.pushdown import Use
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

    Without `receipt`, the result is not hashed; without `reuse`, a kept one is not used. `registered` are results of native
    SQL that the statement names.
    """

    sql: str
    parameters: Parameters = field(default_factory=dict)
    format: Format = "json"
    limit: int | None = 1000
    seconds: float = 60.0
    receipt: bool = True
    reuse: bool = True
    registered: tuple[Registered, ...] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a query. `file` has the rows, `tables` are those that it read, `live` of them from their sources."""

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
    registered: tuple[Registered, ...] = ()

    @property
    def live(self) -> tuple[str, ...]:
        """The ids of the tables whose rows were read from their sources; nobody keeps them."""
        return tuple(table.id for table in self.tables if table.query_mode == "remote")


@dataclass(frozen=True, slots=True)
class Reader:
    """What a caller can read: the tables of a snapshot that the access list allows; remote ones through `live`."""

    snapshot: Snapshot
    access: AccessList
    caller: Caller
    live: Live | None = None

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
    """The tables of a statement: the views it sees, and the files and tables behind them.

    `wanted` are the rows of remote tables that it needs, and `registered` the results of native SQL that it names. Their
    views have no files until those were read.
    """

    tables: tuple[Table, ...]
    views: tuple[View, ...]
    files: tuple[File, ...]
    owners: tuple[str, ...]
    wanted: tuple[Wanted, ...] = ()
    registered: tuple[Registered, ...] = ()

    @classmethod
    def of(cls, statement: Statement, reader: Reader, query: Query | None = None) -> "Sources":
        """Look up the tables of a statement.

        Raises:
            StatementError: the caller can read no such table, or it is remote and the reader does not read those.
        """
        named: dict[tuple[str, str], Table] = {}
        aliases = {each.alias.lower(): each for each in (query.registered if query else ())}
        used: dict[str, Registered] = {}
        uses = {use.at: use for use in statement.uses}
        places: dict[str, list[Use]] = {}
        for name in sorted(statement.tables, key=lambda each: each.at or 0):
            use = uses.get(-1 if name.at is None else name.at, Use(-1))
            plain = name.name.lower()
            if plain in aliases and not name.catalog and name.schema.lower() in {"", "main"}:
                used[plain] = aliases[plain]
                continue
            table = reader.find(name)
            if table is not None and not (use.is_local and table.query_mode == "remote"):
                schema = table.source if name.schema and name.schema.lower() not in TAKEN_SCHEMAS else "main"
                named[schema, table.name if schema != "main" else table.view] = table
                places.setdefault(table.id, []).append(use)
            elif table is None and not _is_local(name, statement):
                raise reader.missing(name.text, {} if name.at is None else position(statement.text, name.at))
        if unused := aliases.keys() - used.keys():
            raise refused(
                f"the SQL does not use the registered name {aliases[min(unused)].alias!r}; select from it, or leave it out",
                "registered",
            )
        made = cls._over(named)
        remote = [table for table in made.tables if table.query_mode == "remote"]
        if remote and reader.live is None:
            raise refused(
                f"the table {remote[0].id!r} is remote: its rows stay in its source, and can't be read here; query it at the "
                "server with POST /api/query, or change its query_mode to local",
                "remote",
            )
        given, limit = (query.parameters, query.limit) if query is not None else ({}, None)
        wanted = tuple(Wanted.of(table, statement, places[table.id], given, limit) for table in remote)
        return replace(made, wanted=wanted, registered=tuple(used.values()))

    @property
    def is_live(self) -> bool:
        """Whether rows are read from a source, so that the same statement may have another result at any time."""
        return bool(self.wanted or self.registered)

    def described(self, columns: Mapping[str, Columns]) -> "Sources":
        """Add the views of registered results, given their columns by name."""
        views = tuple(View("main", each.alias, columns[each.alias], (), casts=True) for each in self.registered)
        return replace(self, views=(*self.views, *views))

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
            places[table.id] = tuple(range(len(files), len(files) + len(table.files)))
            files += table.files
            owners += [table.id] * len(table.files)
        views = tuple(
            View(
                schema,
                name,
                tuple((column.name, column.type) for column in table.columns),
                places[table.id],
                casts=table.query_mode == "remote",
                table=table.id,
            )
            for (schema, name), table in named.items()
        )
        return cls(tuple(tables.values()), views, tuple(files), tuple(owners))


@dataclass(frozen=True, slots=True)
class _Task:
    """A query whose statement was checked, and whose tables were found."""

    query: Query
    statement: Statement
    sources: Sources
    reader: Reader
    is_gone: Callable[[], bool]


@dataclass(frozen=True, slots=True)
class _Read:
    """The rows that were read from sources, in the order of their tables and names, and the views over them."""

    views: tuple[View, ...]
    files: tuple[Path, ...]
    owners: tuple[str, ...]
    bytes: int


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
            StatementError: it is refused, or can't be parsed.
        """
        statement = self.statements.find(sql)
        if statement is None:
            with self.pool.worker(caller.user_id or "") as worker:
                statement = worker.check(sql)
            self.statements.keep(sql, statement)
        return statement

    def bind(
        self, statement: Statement, sources: "Sources", caller: Caller, parameters: Parameters | None = None
    ) -> tuple[tuple[str, str], ...]:
        """Bind a statement to the columns of its tables, without running it, and return the columns of its result.

        Raises:
            StatementError: a column or function does not exist, or types do not match.
        """
        views = [replace(view, files=()) for view in sources.views]
        with self.pool.worker(caller.user_id or "") as worker:
            outcome = worker.run(Job(statement.text, parameters or {}, views, (), (), "nothing", 0, _BINDING_SECONDS))
        outcome.file.close()
        return outcome.columns

    def write(self, statement: Statement, sources: "Sources", into: Path, *, person: str, seconds: float) -> list[Path]:
        """Write all rows of a statement to parquet files in a folder, like those of an extract; return them in order.

        Raises:
            StatementError: it fails.
            UnavailableError: there is no free place, or a file is not available.
        """
        with self.pool.worker(person) as worker, self.files.held(sources.files) as paths:
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
                [file.size_bytes for file in sources.files],
                lambda number, offset, size: self.files.read(sources.files[number], offset, size),
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
            sources = Sources.of(statement, reader, query)
            using(sources.tables)
            is_kept = query.reuse and not statement.volatile and not sources.is_live
            key = sources.key(statement, query) if is_kept else None
            if key is not None and (kept := self.results.find(key)) is not None:
                return _found(kept, statement, sources, reader)
            read = None
            task = _Task(query, statement, sources, reader, is_gone)
            if sources.is_live and reader.live is not None:
                stack.pop_all().close()  # others can use the worker while rows are read from a source
                worker, patience = None, Patience(time.monotonic() + query.seconds, is_gone)
                read = self._read(task, reader.live, Path(stack.enter_context(self.pool.folder())), patience)
                task = replace(task, query=replace(query, seconds=max(patience.left, 1.0)))
            worker = worker or stack.enter_context(self.pool.worker(reader.caller.user_id or ""))
            outcome = self._run(worker, task, read or _Read(sources.views, (), (), 0))
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
            outcome.bytes_read if read is None else (outcome.bytes_read or 0) + read.bytes,
            outcome.file,
            outcome.size,
            registered=sources.registered,
        )

    def _read(self, task: _Task, live: Live, folder: Path, patience: Patience) -> _Read:
        """Read what the statement needs of remote tables and registered results, once it is known to be sound.

        Raises:
            StatementError: it does not fit the columns of its tables, or a source can't be read.
            ForbiddenError: the caller may not use a source.
            UnavailableError: a source does not respond.
        """
        sources, caller = task.sources, task.reader.caller
        views = [view for view in sources.views if not view.casts]
        files, owners, size = list[Path](), list[str](), 0
        try:
            described = sources.described({each.alias: live.columns(each, patience) for each in sources.registered})
            try:
                self.bind(task.statement, described, caller, task.query.parameters)
            except StatementError as error:
                raise _missing(error, task.reader) from None
            both: tuple[Wanted | Registered, ...] = (*sources.wanted, *sources.registered)
            for number, each in enumerate(both):
                into = folder / str(number)
                into.mkdir()
                if isinstance(each, Wanted):
                    owner, rows = each.table.id, live.rows(each, into, patience)
                    own = [_only(view, each.columns) for view in sources.views if view.table == owner]
                else:
                    owner, rows = each.alias, live.result(each, into, patience)
                    own = [view for view in described.views if not view.table and view.name == owner]
                first = len(sources.files) + len(files)
                places = tuple(range(first, first + len(rows.files)))
                views += [replace(view, files=places) for view in own]
                files += rows.files
                owners += [owner] * len(rows.files)
                size += rows.bytes
        except (SourceError, NotFoundError) as error:
            raise refused(str(error), "remote") from None
        return _Read(tuple(views), tuple(files), tuple(owners), size)

    def _run(self, worker: Lease, task: _Task, read: _Read) -> Outcome:
        query, statement, files = task.query, task.statement, task.sources.files
        with self.files.held(files) as paths:
            job = Job(
                statement.text,
                query.parameters,
                read.views,
                [*paths, *read.files],
                [*task.sources.owners, *read.owners],
                query.format,
                query.limit,
                query.seconds,
                statement.ordered if query.receipt else None,
                [file.size_bytes for file in files],
                lambda number, offset, size: self.files.read(files[number], offset, size),
            )
            try:
                return worker.run(job, task.is_gone)
            except StatementError as error:
                raise _missing(error, task.reader) from None


def _only(view: View, columns: Sequence[str]) -> View:
    return replace(view, columns=tuple(each for each in view.columns if each[0] in columns))


def _missing(error: StatementError, reader: Reader) -> StatementError:
    """Return the error of a statement; that of a table which DuckDB does not know suggests only visible ones."""
    is_unknown = error.details.get("kind") == "unknown_table"
    return reader.missing(str(error.details.get("name")), {}) if is_unknown else error


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
