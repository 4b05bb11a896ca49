"""Other engines for the SQL of materialized tables: a Spark Connect server, and BigQuery.

Both write what they compute as parquet, which is published like the result of any extract. Neither is imported here:
BigQuery is read by the processes of its connector, Spark by a process of its own, whose Python may be another one.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from ulid import ULID

from analyst import duckdb_files
from analyst.catalog import Column, Table
from analyst.connectors.bigquery.connector import BigQueryConnector, WantedTable
from analyst.connectors.bigquery.discovery import TYPE as BIGQUERY
from analyst.connectors.bigquery.discovery import project_of_source
from analyst.connectors.bigquery.long_reads import LongReads
from analyst.connectors.bigquery.options import BigQueryTableOptions
from analyst.connectors.bigquery.reader_processes import Readers
from analyst.connectors.materialized.options import MaterializedOptions
from analyst.context import Context
from analyst.contract import parquet
from analyst.contract.checkpoints import Checkpoints
from analyst.contract.column_names import named
from analyst.contract.connector import Extracted, SourceTable
from analyst.contract.delta import DeltaLog
from analyst.contract.model import data_prefix
from analyst.contract.source_jobs import SourceJobs
from analyst.errors import SourceError, UnavailableError
from analyst.names import quote, quote_text
from analyst.query import RESULTS
from analyst.query.statement import Statement, TableName
from analyst.state import registry
from analyst.store import Store
from analyst.store.transfer import delete_all

_PROCESS: Final = Path(__file__).with_name("spark_process.py")
_PART: Final = rb'(?:"(?:[^"]|"")*"|[^\s.,;()"\'`]+)'
_SCHEMES: Final = {"s3": "s3a"}
"""Names of kinds of buckets at Spark where they differ."""


@dataclass(frozen=True, slots=True)
class Made:
    """The parquet files of a result, and its columns."""

    files: tuple[Path, ...]
    columns: tuple[Column, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Spark:
    """A Spark Connect server at an address such as `sc://host:15002`, which can read and write the bucket.

    `python` is the path of a Python with the package pyspark-client. `seconds` is how long SQL may run.
    """

    remote: str
    python: str
    store: Store
    memory_limit: str
    seconds: float

    def compute(self, label: str, statement: Statement, inputs: Mapping[TableName, Table], into: Path) -> Made:
        """Run a statement over the data of a snapshot, and write its rows into a folder.

        Raises:
            SourceError: the SQL fails at Spark, or Spark can't be used as it is configured.
            UnavailableError: an input was published again in the meantime, or the server does not respond.
        """
        tables = {table.id: table for table in inputs.values()}
        names = {table_id: f"input_{number}" for number, table_id in enumerate(sorted(tables))}
        listed = [
            {
                "name": names[each.id],
                "path": self._path(data_prefix(each.source, each.name)),
                "version": self._version(each, into),
            }
            for each in tables.values()
        ]
        with self._output() as prefix:
            order = {
                "remote": self.remote,
                "sql": spark_sql(statement, {name: names[table.id] for name, table in inputs.items()}),
                "inputs": listed,
                "into": self._path(prefix),
            }
            self._run(label, order)
            paths = self._downloaded(prefix, into) or [self._empty(label, order, into)]
            return self._published(paths, statement, into)

    def _run(self, label: str, order: Mapping[str, Any]) -> None:
        environ = {
            name: value for name, value in os.environ.items() if name.startswith(("SPARK_", "PATH", "HOME", "LANG"))
        }
        try:
            done = subprocess.run(
                [self.python, str(_PROCESS)],
                input=json.dumps(order).encode(),
                stdout=subprocess.PIPE,
                env=environ,
                timeout=self.seconds,
                check=False,
            )
            answer = json.loads(done.stdout or b'{"error": "its process ended"}')
        except subprocess.TimeoutExpired:
            raise SourceError(
                f"the SQL of {label!r} was stopped at Spark after {self.seconds:g} seconds; filter or aggregate earlier"
            ) from None
        except OSError as error:
            raise SourceError(
                f"the Python '{self.python}' can't be started: {error.strerror}; set SPARK_PYTHON to one with pyspark-client"
            ) from None
        except ValueError:
            answer = {"error": "its process wrote something else than an answer"}
        if answer.get("kind") == "missing":
            raise SourceError(
                f"the engine spark needs the package pyspark-client, which '{self.python}' does not have ({answer['error']}); install it, "
                "for example with pip install 'ai-data-analyst[spark]', or set SPARK_PYTHON to a Python that has it"
            )
        if "error" in answer:
            raise SourceError(f"the SQL of {label!r} failed at Spark: {answer['error']}")

    def _path(self, key: str) -> str:
        """Return the address of a key of the bucket as Spark writes it."""
        scheme, _, rest = self.store.url.partition("://")
        base = rest if scheme == "file" else f"{_SCHEMES.get(scheme, scheme)}://{rest}"
        return f"{base}/{key.rstrip('/')}"

    def _version(self, table: Table, folder: Path) -> int:
        """Return the version of the Delta table that has the files of the snapshot."""
        state = DeltaLog(self.store, table.source).read(table.name, folder)
        if state.version < 0:
            raise SourceError(
                f"the input {table.id!r} is not a Delta table yet; sync its source {table.source!r} once more"
            )
        listed = {path.rpartition("/")[2] for path, _ in state.files}
        if listed != {file.path.rpartition("/")[2] for file in table.files}:
            raise UnavailableError(f"the input {table.id!r} was published again meanwhile; the next run reads it")
        return state.version

    @contextmanager
    def _output(self) -> Iterator[str]:
        """Yield a prefix of the bucket for a result; the sweep deletes what a run that died leaves there."""
        prefix = f"{RESULTS}{str(ULID()).lower()}/"
        try:
            yield prefix
        finally:
            delete_all(self.store, [entry.key for entry in self.store.list(prefix)])

    def _downloaded(self, prefix: str, into: Path) -> list[Path]:
        keys = [entry.key for entry in self.store.list(prefix) if entry.key.endswith(".parquet")]
        paths = [into / f"spark-{number:05}.parquet" for number, _ in enumerate(keys)]
        for key, path in zip(keys, paths, strict=True):
            self.store.download(key, path)
        return paths

    def _empty(self, label: str, order: Mapping[str, Any], into: Path) -> Path:
        """Return a file with the columns of a result without rows, for which not every engine writes a file.

        Raises:
            SourceError: it has rows, which are somewhere else.
        """
        path = into / "spark-empty.parquet"
        self._run(label, {**order, "first": str(path)})
        with duckdb_files.connect() as con:
            if con.execute("from read_parquet(?, hive_partitioning = false)", [str(path)]).fetchone() is not None:
                raise SourceError(
                    f"Spark computed {label!r}, but its result is not in the bucket; have Spark write to the bucket of DATA_URL"
                )
        return path

    def _published(self, paths: Sequence[Path], statement: Statement, into: Path) -> Made:
        """Rewrite the files of Spark in the form of extracts."""
        with duckdb_files.connect(memory_limit=self.memory_limit, temp_dir=into / "spill") as con:
            con.execute("set TimeZone = 'UTC'")
            listed = ", ".join(quote_text(str(path)) for path in paths)
            scan = f"read_parquet([{listed}], hive_partitioning = false)"
            found = [str(row[0]) for row in con.execute(f"describe from {scan}").fetchall()]
            columns = ", ".join(
                f"{quote(old)} as {quote(new)}"
                for old, new in zip(found, named(found, "the result of the SQL"), strict=True)
            )
            order = "" if statement.ordered else " order by all"
            made = parquet.write(con, f"select {columns} from {scan}{order}", into)
            first = parquet.inspect(con, made[0])
        for path in paths:
            path.unlink()
        return Made(tuple(made), first.columns, () if first.rows or len(made) > 1 else ("its SQL returned no rows",))


def spark_of(ctx: Context, seconds: float) -> Spark:
    """Return the Spark Connect server of the settings.

    Raises:
        SourceError: none is configured.
    """
    settings = ctx.settings
    if settings.spark_remote is None:
        raise SourceError(
            "no Spark Connect server is configured; set SPARK_REMOTE to its address, such as sc://spark.internal:15002, or "
            "use the engine duckdb"
        )
    python = str(settings.spark_python or sys.executable)
    return Spark(settings.spark_remote, python, ctx.store, settings.memory_limit, seconds)


def spark_sql(statement: Statement, names: Mapping[TableName, str]) -> str:
    """Return a statement with other names for its tables: a temporary view of Spark has no schema.

    Raises:
        SourceError: the positions of table names in the statement are unknown.
    """
    data = statement.text.encode()
    for table in sorted(names, key=lambda each: each.at or 0, reverse=True):
        parts = [part for part in (table.catalog, table.schema, table.name) if part]
        found = None
        if table.at is not None:
            pattern = _PART + rb"(?:\s*\.\s*" + _PART + rb"){%d}" % (len(parts) - 1)
            found = re.compile(pattern).match(data, table.at)
        if found is None:
            raise SourceError(f"the SQL names {table.text!r} in a way that can't be sent to Spark; write it plainly")
        alias = "" if table.is_aliased else " as `" + table.name.replace("`", "``") + "`"
        data = data[: found.start()] + f"`{names[table]}`{alias}".encode() + data[found.end() :]
    return data.decode()


def bigquery_rows(
    ctx: Context,
    table: SourceTable,
    options: MaterializedOptions,
    into: Path,
    *,
    checkpoints: Checkpoints,
    runs: tuple[str, ...],
) -> Extracted:
    """Run the SQL of a table in BigQuery, after its dry run, and write the rows of its result into a folder.

    A result that takes longer to read than a request may is cut like any table of BigQuery. Within a run, which has one of the names `runs`, the SQL
    runs once.

    Raises:
        SourceError: it fails, or would bill more than it may.
        UnavailableError: BigQuery does not respond.
        TimeUpError: the time was up; what was read is kept.
    """
    with ctx.state.read() as db:
        source = registry.get_source(db, options.connection or "")
    if source.type != BIGQUERY:
        raise SourceError(
            f"the connection {source.name!r} of {table.original!r} is of the type {source.type!r}, not {BIGQUERY!r}"
        )
    project = project_of_source(
        ctx.settings, source.name, source.config, tables=(), http=ctx.process.http, environ=ctx.process.environ
    )
    given = BigQueryTableOptions(sql=options.sql, max_bytes_billed=options.max_bytes_billed)
    wanted = WantedTable(table.name, "", table.name, given, given_label=table.original)
    with ctx.process.opened("bigquery readers", lambda: Readers(most=1)) as readers:
        long = LongReads(readers, SourceJobs(ctx.store, checkpoints.source, ctx.clock), checkpoints, runs)
        connector = BigQueryConnector(project.api, [wanted], readers, project.limits, now=ctx.clock, long=long)
        made = connector.extract(table, None, into)
        return replace(made, notes=(*made.notes, *connector.notes()))
