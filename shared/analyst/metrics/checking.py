"""Checking metrics: their SQL is bound to empty tables with the columns of the snapshot, in a DuckDB that can read nothing."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from analyst import duckdb_files
from analyst.catalog import Table
from analyst.errors import AnalystError, InvalidInputError
from analyst.metrics import registry
from analyst.metrics.checked import KEY, CheckedMetric, CheckedMetrics
from analyst.metrics.definition import MetricDefinition
from analyst.metrics.registry import Defined, MetricRegistry, from_files
from analyst.names import did_you_mean, quote
from analyst.settings import Settings
from analyst.snapshots import Snapshot
from analyst.store import ANY, Store
from analyst.types import checked_type
from da.errors import DaError
from da.metrics.compilation import Dimension, Join, Metric, aggregate_of, compile_metric, grain_of

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
        defined = {**files, **MetricRegistry(self.store, self.now).read()}
        made = CheckedMetrics(
            snapshot=snapshot.number,
            checked_at=self.now(),
            metrics={metric.name: metric for metric in check(defined.values(), snapshot)},
            problems=tuple(problems),
        )
        known = self.store.read(KEY)
        if defined or problems or known is not None:
            self.store.put(KEY, made.model_dump_json(exclude_none=True).encode(), if_version=ANY)
        return made


def check(defined: Iterable[Defined], snapshot: Snapshot) -> Iterator[CheckedMetric]:
    """Yield metrics with what a check against a snapshot found."""
    tables = _Tables(snapshot)
    for each in defined:
        yield _checked(each, tables)


@dataclass(frozen=True, slots=True)
class _Tables:
    """The tables of a snapshot by id and by view name."""

    snapshot: Snapshot

    def find(self, name: str) -> Table:
        wanted = name.strip().strip('"').replace('"."', ".").lower()
        found = self.snapshot.by_id.get(wanted)
        found = found or next((table for table in self.snapshot.catalog.tables if table.view == wanted), None)
        if found is None:
            raise _BrokenError(f"the table {name!r} does not exist{_near(wanted, self.snapshot)}")
        return found


def _near(name: str, snapshot: Snapshot) -> str:
    """Suggest a table only of the same source: a metric may be shown to people who can't read others."""
    source, dot, _ = name.partition(".")
    return did_you_mean(name, [table.id for table in snapshot.catalog.tables if dot and table.source == source])


def _checked(defined: Defined, tables: _Tables) -> CheckedMetric:
    definition, named = defined.definition, list(_named(defined.definition))
    ids = {_unknown_id(name, tables) for name in named}
    try:
        used = [tables.find(name) for name in named]
        with duckdb_files.connect(memory_limit=_MEMORY, threads=1) as con:
            duckdb_files.confine(con)
            used += _used_by_variants(con, definition, tables)
            ids |= {table.id for table in used}
            compiled = compiled_metric(definition, tables.find)
            with duckdb_files.time_limit(con, _SECONDS):
                result = _bound(con, definition, compiled, used)
    except (_BrokenError, DaError, AnalystError) as error:
        return CheckedMetric(
            defined=defined,
            status="broken",
            problem=str(error),
            tables=tuple(sorted(ids)),
            compiled=_or_none(definition, tables),
        )
    return CheckedMetric(
        defined=defined, status="ok", tables=tuple(sorted(ids)), result_type=result, compiled=compiled.to_json()
    )


def _unknown_id(name: str, tables: _Tables) -> str:
    try:
        return tables.find(name).id
    except _BrokenError:
        return name.lower()


def _or_none(definition: MetricDefinition, tables: _Tables) -> dict[str, object] | None:
    try:
        return compiled_metric(definition, tables.find).to_json()
    except (AnalystError, DaError):
        return None


def _named(definition: MetricDefinition) -> Iterator[str]:
    """Yield the tables that a definition names."""
    yield definition.main_table
    yield from definition.tables
    yield from (join.table for join in definition.joins)


def compiled_metric(definition: MetricDefinition, find: Callable[[str], Table]) -> Metric:
    """Return a definition as it is compiled, with the tables that `find` returns for names.

    Raises:
        DaError: its grain is unknown.
    """
    main = find(definition.main_table)
    joins = [(join, find(join.table)) for join in definition.joins]
    columns = {column.name: quote(column.name) for column in main.columns}
    for alias, table in [(main.name, main), *((join.alias or table.name, table) for join, table in joins)]:
        columns |= {f"{alias}.{column.name}": f"{quote(alias)}.{quote(column.name)}" for column in table.columns}

    def sql(text: str) -> str:
        """Quote a text that is just the name of a column, which may be a word of SQL, such as `at`."""
        return columns.get(text.strip().lower(), text)

    dimensions = [Dimension(each.name, sql(each.expression or each.name)) for each in definition.dimensions]
    return Metric(
        name=definition.name,
        table=main.id,
        alias=main.name,
        expression=aggregate_of(sql(definition.expression), definition.type),
        time_column=sql(definition.time_column) if definition.time_column else None,
        grain=grain_of(definition.grain) if definition.grain else None,
        dimensions=tuple(Dimension(_short(each.name), each.expression) for each in dimensions),
        filters=definition.filters,
        joins=tuple(Join(table.id, join.alias or table.name, join.on) for join, table in joins),
    )


def _short(name: str) -> str:
    """Return the name under which a dimension is asked for: `region` of `customers.region`."""
    return name.rpartition(".")[2] if re.fullmatch(r"[\w.]+", name) else name


def _used_by_variants(con: "DuckDBPyConnection", definition: MetricDefinition, tables: _Tables) -> list[Table]:
    """Return the tables that the written SQL of a metric reads."""
    import duckdb

    found: list[Table] = []
    for label, sql in _written(definition):
        try:
            names = con.get_table_names(_select(con, sql, label), qualified=True)
        except (duckdb.Error, RuntimeError) as error:
            raise _BrokenError(f"{label} is not valid SQL: {_first_line(error)}") from None
        found += [tables.find(name) for name in sorted(names)]
    return found


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
    types = _described(con, compile_metric(metric), "its expression")
    if not _NUMERIC.fullmatch(types[-1]):
        raise _BrokenError(f"its result is {types[-1]}, and a metric must be a number; change 'expression' or 'type'")
    if metric.time_column:
        kind = _described(con, compile_metric(metric, grain="day"), f"the time column {definition.time_column!r}")[0]
        if not kind.startswith(("DATE", "TIMESTAMP")):
            raise _BrokenError(f"the time column {definition.time_column!r} is {kind}, not a date or time")
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
        raise _BrokenError(f"{label} does not work: {_first_line(error)}") from None
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
    told = [line for line in lines if not line.startswith(("LINE", "^"))]
    return " ".join(told)[:500] if told else type(error).__name__
