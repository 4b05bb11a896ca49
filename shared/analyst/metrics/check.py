"""Checking metrics: their SQL is bound to empty tables with the columns of the snapshot, in a DuckDB that can read nothing."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from analyst import duckdb_files
from analyst.access import AccessList, Caller
from analyst.catalog import Table
from analyst.errors import AnalystError, InvalidInputError
from analyst.metrics import registry
from analyst.metrics.checked_metrics import KEY, CheckedMetric, CheckedMetrics, visible_metrics
from analyst.metrics.definition import MetricConversion, MetricDefinition, MetricInput, MetricJoin
from analyst.metrics.registry import Defined, MetricRegistry, from_files
from analyst.names import did_you_mean, quote
from analyst.settings import Settings
from analyst.snapshots import Snapshot
from analyst.store import ANY, Store
from analyst.types import checked_type
from analyst.visible_tables import visible_by_id
from da.errors import DaError
from da.metrics.compilation import (
    Accumulation,
    Conversion,
    Dimension,
    Input,
    Join,
    LastRows,
    Metric,
    aggregate_of,
    compile_metric,
    grain_of,
    span_of,
)

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_SECONDS: Final = 30.0
_MEMORY: Final = "200MB"
_NUMERIC: Final = re.compile(r"U?(TINYINT|SMALLINT|INTEGER|BIGINT|HUGEINT)|FLOAT|DOUBLE|DECIMAL\(.*\)")


class _BrokenError(InvalidInputError):
    """A metric does not work; the message says why."""


def metrics_folder(settings: Settings, file: str | None) -> Path:
    """Return the folder of metrics: as configured, else `metrics` beside the configuration file, else `config/metrics`."""
    if settings.metrics_dir is not None:
        return settings.metrics_dir
    return Path(file).parent / "metrics" if file is not None and "://" not in file else Path("config/metrics")


@dataclass(frozen=True, slots=True)
class Checking:
    """What a check needs. `folder` has the files of metrics."""

    store: Store
    now: Callable[[], datetime]
    folder: Path

    @property
    def has_any(self) -> bool:
        """Whether there is something to check: a file, or metrics in the bucket now or at the last check."""
        files = self.folder.is_dir() and any(path.suffix in {".yml", ".yaml"} for path in self.folder.rglob("*.y*"))
        return files or any(self.store.head(key) is not None for key in (registry.KEY, KEY))

    def run(self, snapshot: Snapshot) -> CheckedMetrics:
        """Check all metrics against a snapshot, and publish the result.

        Raises:
            UnavailableError: the store does not respond.
        """
        files, problems = from_files(self.folder)
        registered = MetricRegistry(self.store, self.now)
        defined = {**files, **registered.read()}
        made = CheckedMetrics(
            snapshot=snapshot.number,
            checked_at=self.now(),
            metrics={metric.name: metric for metric in check(defined.values(), _Tables(snapshot.by_id), defined)},
            problems=tuple(problems),
            models=dict(registered.models()),
        )
        known = self.store.read(KEY)
        if defined or problems or known is not None:
            self.store.put(KEY, made.model_dump_json(exclude_none=True).encode(), if_version=ANY)
        return made


def check(defined: Iterable[Defined], tables: "_Tables", known: Mapping[str, Defined]) -> Iterator[CheckedMetric]:
    """Yield metrics with what a check against tables found; they can use each other, and those in `known`."""
    listed = list(defined)
    definitions = {name: each.definition for name, each in known.items()}
    definitions |= {each.definition.name: each.definition for each in listed}
    for each in listed:
        yield _checked(each, tables, definitions)


def check_as_seen(
    defined: Iterable[Defined],
    metrics: Mapping[str, CheckedMetric],
    snapshot: Snapshot,
    access: AccessList,
    caller: Caller,
) -> list[CheckedMetric]:
    """Check metrics against the tables and metrics that the caller may see: the others do not exist for them."""
    seen = visible_metrics(metrics, snapshot, access, caller)
    tables = _Tables(visible_by_id(snapshot, access, caller), suggests=True)
    return list(check(defined, tables, {metric.name: metric.defined for metric in seen}))


@dataclass(frozen=True, slots=True)
class _Tables:
    """The tables that a metric may name, by id and by view name.

    They are suggested only to whoever can read them all: a metric of a table without data is also shown to people who can't
    read others.
    """

    by_id: Mapping[str, Table]
    suggests: bool = False

    def find(self, name: str) -> Table:
        wanted = name.strip().strip('"').replace('"."', ".").lower()
        found = self.by_id.get(wanted)
        found = found or next((table for table in self.by_id.values() if table.view == wanted), None)
        if found is None:
            near = did_you_mean(wanted, self.by_id) if self.suggests else ""
            raise _BrokenError(f"the table {name!r} does not exist{near}")
        return found


def _checked(defined: Defined, tables: _Tables, known: Mapping[str, MetricDefinition]) -> CheckedMetric:
    definition = defined.definition
    named = list(_named(definition, known, (definition.name,)))
    ids = {_unknown_id(name, tables) for name in named}
    compilation = Compilation(tables.find, known)
    try:
        used = [tables.find(name) for name in named]
        with duckdb_files.connect(memory_limit=_MEMORY, threads=1) as con:
            duckdb_files.confine(con)
            written = list(_named_in_variants(con, definition))
            ids |= {_unknown_id(name, tables) for name in written}
            used += [tables.find(name) for name in written]
            compiled = compilation.metric(definition)
            with duckdb_files.time_limit(con, _SECONDS):
                result = _bound(con, definition, compiled, used)
    except (_BrokenError, DaError, AnalystError) as error:
        return CheckedMetric(
            defined=defined,
            status="broken",
            problem=str(error),
            tables=tuple(sorted(ids)),
            compiled=_or_none(definition, compilation),
        )
    return CheckedMetric(
        defined=defined, status="ok", tables=tuple(sorted(ids)), result_type=result, compiled=compiled.to_json()
    )


def _unknown_id(name: str, tables: _Tables) -> str:
    try:
        return tables.find(name).id
    except _BrokenError:
        return name.lower()


def _or_none(definition: MetricDefinition, compilation: "Compilation") -> dict[str, object] | None:
    try:
        return compilation.metric(definition).to_json()
    except (AnalystError, DaError):
        return None


def _named(
    definition: MetricDefinition, known: Mapping[str, MetricDefinition], above: tuple[str, ...]
) -> Iterator[str]:
    """Yield the tables that a definition names, also by the metrics that it computes with.

    A metric that does not exist counts as a table that does not exist: only those who may read any table see such a metric.
    """
    yield from filter(None, (definition.table, *definition.tables))
    yield from (join.table for join in definition.joins)
    for each in definition.used:
        if each.metric not in known:
            yield f"metric.{each.metric}"
        elif each.metric not in above:
            yield from _named(known[each.metric], known, (*above, each.metric))


@dataclass(frozen=True, slots=True)
class Compilation:
    """Definitions as they are compiled, with the tables that `find` returns for names, and the metrics that they use."""

    find: Callable[[str], Table]
    known: Mapping[str, MetricDefinition]

    def metric(self, definition: MetricDefinition, above: tuple[str, ...] = ()) -> Metric:
        """Return a definition as it is compiled.

        Raises:
            InvalidInputError: a table or a metric does not exist, or metrics use each other.
            DaError: its grain or a span of time is unknown.
        """
        if definition.name in above:
            raise _BrokenError(f"it depends on itself: {' → '.join([*above, definition.name])}")
        if definition.used:
            return self._of_others(definition, (*above, definition.name))
        return self._of_a_table(definition)

    def _of_a_table(self, definition: MetricDefinition) -> Metric:
        main, sql, joins = self._columns(definition)
        dimensions = [Dimension(each.name, sql(each.expression or each.name)) for each in definition.dimensions]
        time = sql(definition.time_column) if definition.time_column else None
        added, last = definition.cumulative, definition.non_additive_dimension
        return Metric(
            name=definition.name,
            table=main.id,
            alias=main.name,
            expression=aggregate_of(sql(definition.expression or ""), definition.type, definition.percentile),
            time_column=time,
            grain=grain_of(definition.grain) if definition.grain else None,
            dimensions=tuple(Dimension(_short(each.name), each.expression) for each in dimensions),
            filters=definition.filters,
            joins=tuple(Join(table.id, join.alias or table.name, join.on) for join, table in joins),
            accumulation=None
            if added is None
            else Accumulation(
                span_of(added.window) if added.window else None,
                grain_of(added.grain_to_date) if added.grain_to_date else None,
                added.period_agg,
            ),
            last_rows=None
            if last is None
            else LastRows(sql(last.name), last.window_choice, tuple(map(sql, last.window_groupings))),
            fill=definition.fill_nulls_with,
            is_spined=definition.join_to_timespine,
        )

    def _columns(
        self, definition: MetricDefinition
    ) -> tuple[Table, Callable[[str], str], list[tuple[MetricJoin, Table]]]:
        main = self.find(definition.main_table or "")
        joins = [(join, self.find(join.table)) for join in definition.joins]
        columns = {column.name: quote(column.name) for column in main.columns}
        for alias, table in [(main.name, main), *((join.alias or table.name, table) for join, table in joins)]:
            columns |= {f"{alias}.{column.name}": f"{quote(alias)}.{quote(column.name)}" for column in table.columns}

        def sql(text: str) -> str:
            """Quote a string that is just the name of a column, which may be a word of SQL, such as `at`."""
            return columns.get(text.strip().lower(), text)

        return main, sql, joins

    def _of_others(self, definition: MetricDefinition, above: tuple[str, ...]) -> Metric:
        inputs = [self._input(each, above) for each in definition.used]
        if definition.conversion is not None:
            return self._conversion(definition, definition.conversion, inputs)
        if not any(each.offset is None and each.offset_to is None for each in inputs):
            raise _BrokenError(
                "all its inputs have an offset; leave one without, whose units of time are those of the result"
            )
        made = self._over(definition, [each.metric for each in inputs])
        expression = definition.expression
        if expression is None:  # a ratio, whose metrics may be named by a word of SQL, such as `order`
            upper, lower = (quote(each.alias) for each in inputs)
            expression = f"{upper} / nullif({lower}, 0)"
        return replace(made, expression=expression, inputs=tuple(inputs))

    def _input(self, given: MetricInput, above: tuple[str, ...]) -> Input:
        if given.metric not in self.known:
            raise _BrokenError(f"its input {given.metric!r} is not a metric; define it, or correct its name")
        return Input(
            given.name,
            self.metric(self.known[given.metric], above),
            given.filters,
            span_of(given.offset_window) if given.offset_window else None,
            grain_of(given.offset_to_grain) if given.offset_to_grain else None,
        )

    def _over(self, definition: MetricDefinition, metrics: list[Metric]) -> Metric:
        """Return a metric with the time and the dimensions that all of some metrics have."""
        shared = [
            each.name
            for each in metrics[0].dimensions
            if all(any(each.name.lower() == one.name.lower() for one in other.dimensions) for other in metrics)
        ]
        for each in definition.dimensions:
            if each.name.lower() not in {name.lower() for name in shared}:
                raise _BrokenError(
                    f"the dimension {each.name!r} is not one of all its inputs; these have {', '.join(shared)}"
                )
        wanted = {each.name.lower() for each in definition.dimensions}
        return Metric(
            name=definition.name,
            table=metrics[0].table,
            alias=metrics[0].alias,
            expression="",
            time_column=metrics[0].time_column if all(each.time_column for each in metrics) else None,
            grain=grain_of(definition.grain) if definition.grain else metrics[0].grain,
            dimensions=tuple(Dimension(name, quote(name)) for name in shared if not wanted or name.lower() in wanted),
            filters=definition.filters,
            fill=definition.fill_nulls_with,
            is_spined=definition.join_to_timespine,
        )

    def _conversion(self, definition: MetricDefinition, parameters: MetricConversion, inputs: list[Input]) -> Metric:
        sides = [replace(each.metric, filters=(*each.metric.filters, *each.filters)) for each in inputs]
        base, conversion = sides
        for each in sides:
            if each.inputs or each.conversion or each.accumulation or each.last_rows:
                raise _BrokenError(f"its input {each.name!r} does not count rows of a table; use a metric that does")
            if each.time_column is None:
                raise _BrokenError(f"its input {each.name!r} has no time column; set it there")
        definitions = [self.known[each.metric] for each in definition.used]
        one, other = (self._columns(each)[1] for each in definitions)
        made = self._over(definition, [base])
        return replace(
            made,
            filters=(),
            conversion=Conversion(
                base=replace(base, filters=(*base.filters, *definition.filters)),
                conversion=conversion,
                base_entity=one(parameters.entity),
                conversion_entity=other(parameters.conversion_entity or parameters.entity),
                window=span_of(parameters.window) if parameters.window else None,
                calculation=parameters.calculation,
                properties=tuple(
                    (one(each.base_property), other(each.conversion_property))
                    for each in parameters.constant_properties
                ),
            ),
        )


def _short(name: str) -> str:
    """Return the name under which a dimension is asked for: `region` of `customers.region`."""
    return name.rpartition(".")[2] if re.fullmatch(r"[\w.]+", name) else name


def _named_in_variants(con: "DuckDBPyConnection", definition: MetricDefinition) -> Iterator[str]:
    """Yield the tables that the written SQL of a metric reads."""
    import duckdb

    for label, sql in _written(definition):
        try:
            yield from sorted(con.get_table_names(_select(con, sql, label), qualified=True))
        except (duckdb.Error, RuntimeError) as error:
            raise _BrokenError(f"{label} is not valid SQL: {_first_line(error)}") from None


def _written(definition: MetricDefinition) -> Iterator[tuple[str, str]]:
    if definition.sql:
        yield "sql", definition.sql
    yield from ((f"sql_{name}", sql) for name, sql in definition.sql_variants.items())


def _bound(con: "DuckDBPyConnection", definition: MetricDefinition, metric: Metric, used: Iterable[Table]) -> str:
    """Bind the SQL of a metric to empty tables; return the type of its result.

    Raises:
        _BrokenError: something does not bind, or the result is not a number.
    """
    _create(con, {table.id: table for table in used})
    for each in metric.inputs:
        _described(con, compile_metric(each.metric), f"its input {each.metric.name!r}")
    types = _described(con, compile_metric(metric), "its expression")
    if not _NUMERIC.fullmatch(types[-1]):
        raise _BrokenError(f"its result is {types[-1]}, and a metric must be a number; change 'expression' or 'type'")
    if metric.time_column:
        column = f"the time column {definition.time_column!r}" if definition.time_column else "its time"
        kind = _described(con, compile_metric(metric, grain="day"), column)[0]
        if not kind.startswith(("DATE", "TIMESTAMP")):
            raise _BrokenError(f"{column} is {kind}, not a date or time")
    for dimension in metric.dimensions:
        _described(con, compile_metric(metric, by=[dimension.name]), f"the dimension {dimension.name!r}")
    for label, sql in _written(definition):
        _described(con, sql, label)
    return types[-1]


def _create(con: "DuckDBPyConnection", tables: Mapping[str, Table]) -> None:
    for table in tables.values():
        columns = ", ".join(f"{quote(column.name)} {checked_type(column.type)}" for column in table.columns)
        schema = quote(table.source)
        con.execute(f"create schema if not exists {schema}")
        con.execute(f"create table if not exists {schema}.{quote(table.name)} ({columns})")
        con.execute(f"create or replace view main.{quote(table.view)} as from {schema}.{quote(table.name)}")


def _described(con: "DuckDBPyConnection", sql: str, label: str) -> list[str]:
    import duckdb

    try:
        query = _select(con, sql, label)
        found = con.execute(f"describe {query}").fetchall()
        con.execute(sql).fetchall()  # there are no rows, so it costs nothing and finds what binding does not
    except duckdb.Error as error:
        raise _BrokenError(f"{label} fails: {_first_line(error)}") from None
    return [str(each[1]) for each in found]


def _select(con: "DuckDBPyConnection", sql: str, label: str) -> str:
    """Return the text of a single SELECT."""
    import duckdb

    statements = con.extract_statements(sql)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise _BrokenError(f"{label} must be one SELECT")
    return statements[0].query


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    kept = [line for line in lines if not line.startswith(("LINE", "^"))]
    return " ".join(kept)[:500] if kept else type(error).__name__
