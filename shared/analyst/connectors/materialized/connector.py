"""Computing materialized tables: in the order of their inputs, and only those whose inputs have changed."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final, Self

from analyst import duckdb_files
from analyst.catalog import Input, Table
from analyst.connectors.bigquery.options import names_time
from analyst.connectors.extract_function import extracting
from analyst.connectors.materialized.engines import bigquery_rows, spark_of
from analyst.connectors.materialized.lineage import levels, outdated
from analyst.connectors.materialized.options import TYPE, MaterializedOptions
from analyst.connectors.materialized.registration import EVERYTHING, Inputs, graph, materialized_sources, options_of
from analyst.context import Context
from analyst.contract import parquet
from analyst.contract.checkpoints import Checkpoints
from analyst.contract.connector import Connector, Cursor, Extracted, SourceTable
from analyst.contract.extraction import Stage
from analyst.contract.model import extract_key
from analyst.errors import InvalidInputError, SourceError
from analyst.extract_run import ExtractAnswer, ExtractRequest
from analyst.query.engine import Engine, Reader, Sources
from analyst.query.file_cache import private_folder
from analyst.query.pool import Limits, Pool
from analyst.query.results import ENGINE
from analyst.query.statement import StatementError
from analyst.runs import new_run_id
from analyst.settings.kinds import bytes_of
from analyst.state import registry, sources
from analyst.state.registry import RegisteredTable

_FORMAT: Final = 1
"""The version of the computation: if it changes, the same SQL over the same files is computed again."""
_SECONDS: Final = 3300.0
"""How long the SQL of a table may run: no host lets a function run longer than an hour."""
_AT_ONCE: Final = 2
_SPILL: Final = 1 << 40
"""Bytes that a statement may write to the disk, if that has room for them."""


@dataclass(frozen=True, slots=True)
class Materialized:
    """Some tables of one source, over a snapshot that was read at `now`. `schedules` are those of their own, by name."""

    tables_: Sequence[RegisteredTable]
    has_schedule: frozenset[str]
    reader: Reader
    engine: Engine
    now: datetime
    ctx: Context
    checkpoints: Checkpoints
    run_id: str | None = None

    def tables(self) -> Iterator[SourceTable]:
        """List the tables; the fingerprint of one covers its SQL, the data of its inputs and the version of the engine."""
        for table in self.tables_:
            try:
                options, problem = options_of(table.id, table.options), None
            except InvalidInputError as error:
                options, problem = MaterializedOptions(sql="-"), str(error)
            inputs = [self._input(each) for each in options.inputs]
            gone = [name for name, each in zip(options.inputs, inputs, strict=True) if each is None]
            if problem is None and gone:
                problem = f"its input {gone[0]!r} does not exist or has no data yet; sync its source, or change the SQL of the table"
            used = [each for each in inputs if each is not None]
            yield SourceTable(
                table.name,
                table.id,
                self._fingerprint(table, options, used, gone),
                description=table.description,
                read_at=self.now,
                problem=problem,
                # the rows of a volatile statement may go with the time; that of BigQuery is called volatile for another reason
                allow_fewer=options.allow_fewer or (options.is_volatile and options.engine != "bigquery"),
                basis=_basis_of(options, self._when(table, options)),
                inputs=tuple(
                    Input(table=each.id, hash=each.hash, columns=options.columns.get(each.id)) for each in used
                ),
            )

    def notes(self) -> tuple[str, ...]:
        """Return no notes: a source of materialized tables has nothing else."""
        return ()

    def extract(self, table: SourceTable, since: Cursor, into: Path) -> Extracted:  # noqa: ARG002 - all rows are computed
        """Compute a table.

        Raises:
            SourceError: its SQL is refused or fails.
            UnavailableError: a file of an input is not available.
        """
        (registered,) = (each for each in self.tables_ if each.name == table.name)
        options = options_of(registered.id, registered.options)
        if options.engine == "bigquery":
            # Without a schedule, the fingerprint names the day, within which the table is computed once. The parts of a run that
            # was cut have the run's name in common, even if the schedule is removed in between.
            day = () if table.name in self.has_schedule else (table.fingerprint,)
            runs = (*day, *filter(None, [self.run_id]))
            return bigquery_rows(self.ctx, table, options, into, checkpoints=self.checkpoints, runs=runs)
        try:
            statement = self.engine.check(options.sql, EVERYTHING)
            if Inputs.of(statement, self.reader).ids != options.inputs:
                raise SourceError(
                    f"the SQL of {registered.id!r} names other tables than when it was registered; register it again"
                )
            named = Sources.of(statement, self.reader)
            if options.engine == "spark":
                found = {name: self.reader.find(name) for name in statement.tables if not statement.is_local(name)}
                inputs = {name: table for name, table in found.items() if table is not None}
                result = spark_of(self.ctx, _SECONDS).compute(registered.id, statement, inputs, into)
                return Extracted(result.files, result.columns, notes=result.notes)
            parts = into / "parts"
            parts.mkdir()
            paths = self.engine.write(statement, named, parts, person=registered.id, seconds=_SECONDS)
        except StatementError as error:
            raise SourceError(str(error)) from error
        with duckdb_files.connect(memory_limit=self.ctx.settings.memory_limit, temp_dir=into / "spill") as con:
            paths = [path.rename(into / path.name) for path in parquet.pieces(con, paths)]
            made = parquet.inspect(con, paths[0])
        notes = () if made.rows or len(paths) > 1 else ("its SQL returned no rows",)
        return Extracted(tuple(paths), made.columns, notes=notes)

    def _input(self, table_id: str) -> Table | None:
        table = self.reader.snapshot.by_id.get(table_id)
        if table is None or not self.reader.access.is_of_now(table, self.reader.snapshot.catalog.built_at):
            return None
        return table

    def _fingerprint(
        self, table: RegisteredTable, options: MaterializedOptions, inputs: Iterable[Table], gone: Sequence[str]
    ) -> str:
        """Return a hash of what the result depends on; for a volatile statement, that includes the time.

        Such a table is computed when it is due or on request, and without a schedule once a day.
        """
        seen = [(each.id, each.hash, [(column.name, column.type) for column in each.columns]) for each in inputs]
        engine = ENGINE if options.engine == "duckdb" else options.connection
        content = [_FORMAT, engine, options.engine, options.sql, seen, list(gone), self._when(table, options)]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def _when(self, table: RegisteredTable, options: MaterializedOptions) -> str | None:
        if not options.is_volatile:
            return None
        return self.now.isoformat() if table.name in self.has_schedule else self.now.date().isoformat()


def _basis_of(options: MaterializedOptions, when: str | None) -> str:
    """Return a hash of what decides which rows there are; for SQL that names the time, it is `when` in the fingerprint."""
    content = [options.engine, options.connection, options.sql]
    if when is not None and options.engine == "bigquery" and names_time(options.sql):
        content.append(when)
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Computing:
    """One run over tables of a source, as registered when it started."""

    ctx: Context
    source: str
    tables: Mapping[str, RegisteredTable]
    has_schedule: frozenset[str]
    order: Sequence[Sequence[str]]
    engine: Engine
    run_id: str | None = None

    @classmethod
    def begin(cls, ctx: Context, request: ExtractRequest, engine: Engine) -> Self:
        """Read the registry, and order the requested tables after their inputs.

        Raises:
            NotFoundError: the source does not exist.
            InvalidInputError: it is of another type.
        """
        with ctx.state.read() as db:
            source = registry.get_source(db, request.source)
            if source.type != TYPE:
                raise InvalidInputError(f"the source {source.name!r} is of type {source.type!r}, not {TYPE!r}")
            every = registry.list_tables(db)
            depends = graph(every, materialized_sources(db))
        own = {table.name: table for table in every if table.source == source.name}
        names = own if request.tables is None else request.tables
        order = [
            [table_id.partition(".")[2] for table_id in level]
            for level in levels(depends, {f"{source.name}.{name}" for name in names})
        ]
        scheduled = frozenset(name for name, table in own.items() if table.sync_schedule or source.sync_schedule)
        return cls(ctx, source.name, own, scheduled, order or [[]], engine, request.run_id)

    def stages(self) -> Iterator[Stage]:
        """Yield the connector of each level, after what the level before has published is in the snapshot."""
        for number, level in enumerate(self.order):
            if number:
                self._rebuild()
            yield partial(self._connector, tuple(level)), frozenset(level)

    def _rebuild(self) -> None:
        found = self.ctx.store.read(extract_key(self.source))
        if found is not None and not self.ctx.snapshots.is_built_from(self.source, found.version):
            self.ctx.tasks.call("/rebuild", {"source": self.source})

    def _connector(self, level: Sequence[str]) -> Connector:
        ctx, now = self.ctx, self.ctx.clock()
        reader = Reader(ctx.snapshots.current(), ctx.access.current(), EVERYTHING)
        tables = [self.tables[name] for name in level if name in self.tables]
        checkpoints = Checkpoints(ctx.store, self.source, ctx.clock, ctx.is_time_up)
        return Materialized(tables, self.has_schedule, reader, self.engine, now, ctx, checkpoints, self.run_id)


def compute(ctx: Context, request: ExtractRequest) -> ExtractAnswer:
    """Compute the tables of a source whose inputs have changed, and publish them.

    Raises:
        NotFoundError: the source does not exist.
        InvalidInputError: it is of another type.
    """
    request = request.model_copy(update={"run_id": request.run_id or new_run_id()})
    settings = ctx.settings
    limits = Limits(_AT_ONCE, bytes_of(settings.query_memory), spill=_SPILL, result=_SPILL, threads=1, wait=_SECONDS)
    pool = Pool(limits, private_folder(settings.scratch_dir) / "workers")
    try:
        computing = Computing.begin(ctx, request, Engine(pool, ctx.queries.files, ctx.queries.results))
        uuids = {name: table.uuid for name, table in computing.tables.items()}
        return extracting(ctx, "/extract/materialized", request).run_in_turn(request, computing.stages(), lambda: uuids)
    finally:
        pool.close()


def follow(ctx: Context) -> None:
    """Start the computation of tables without a schedule whose inputs have other data in the newest snapshot.

    Raises:
        UnavailableError: the store does not respond, or tasks can't be added.
    """
    with ctx.state.read() as db:
        own = {source.name: source for source in sources.list_sources(db) if source.type == TYPE}
        tables = {table.id: table for name in own for table in registry.list_tables(db, name)}
    if not tables:  # the snapshot of a large installation takes longer to read
        return
    due = outdated(ctx.snapshots.current().by_id, ctx.now)
    wanted: dict[str, list[str]] = {}
    for table_id in due:
        source, _, name = table_id.partition(".")
        table = tables.get(table_id)
        if table is not None and not (table.sync_schedule or own[source].sync_schedule):
            wanted.setdefault(source, []).append(name)
    for source, names in sorted(wanted.items()):
        named = f"{source}: {', '.join(names)}"  # while these wait, they are not requested again
        ctx.tasks.enqueue("/extract/materialized", {"source": source, "tables": names}, name=named)
