"""From the slices of a Keboola export to published Parquet, beside only downloading and converting them; and no change."""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from pathlib import Path

import duckdb
from pydantic import SecretStr

from analyst.connectors.keboola.api import StorageApi
from analyst.connectors.keboola.connector import KeboolaConnector, WantedTable
from analyst.connectors.keboola.files import ExportedFile
from analyst.connectors.keboola.http import Connection
from analyst.connectors.keboola.options import KeboolaTableOptions
from analyst.contract.extraction import Extraction
from analyst.http_client import HttpClient
from analyst.runs import new_run_id
from analyst.settings import Settings
from analyst.store import Store
from tests.bench.buckets import file_store
from tests.bench.measurement import ROOT, Row, at_most, cost, python
from tests.doubles.keboola.project import TOKEN, Column, Project
from tests.doubles.keboola.server import serving

ROWS, SLICES, LARGE, TABLES, TIMES = 1_000_000, 20, 10_000_000, 1_000, 5
COLUMNS = [
    Column("id", "NUMBER", "38,0", nullable=False),
    Column("customer", "NUMBER", "10,0"),
    Column("amount", "NUMBER", "18,2"),
    Column("rate", "FLOAT"),
    Column("is_paid", "BOOLEAN"),
    Column("day", "DATE"),
    Column("at", "TIMESTAMP_NTZ"),
    Column("code", "VARCHAR"),
    Column("name", "VARCHAR"),
    Column("note", "VARCHAR"),
]
_QUERY = """
    select i::decimal(38,0) as id, (hash(i) % 100000)::decimal(10,0) as customer,
        ((hash(i + 1) % 10000000) / 100)::decimal(18,2) as amount, random() as rate, i % 3 = 0 as is_paid,
        date '2020-01-01' + (i % 2000)::int as "day", timestamp '2020-01-01' + to_seconds(i) as "at",
        format('{{:08x}}', hash(i) % 4000000000) as code, 'Customer ' || (hash(i) % 100000) as name,
        case when i % 4 = 0 then null else 'note "' || i || '", as written' end as note
    from range({first}, {last}) t(i)
"""
_OURS = "import sys; from tests.bench.keboola import publish; publish(*sys.argv[1:])"
_BARE = "import sys; from tests.bench.keboola import convert; convert(*sys.argv[1:])"


def measure() -> list[Row]:
    """Publish a typed table that is exported as Parquet or CSV, and look at a project in which nothing changed."""
    rows = []
    for kind in ("parquet", "csv"):
        with tempfile.TemporaryDirectory() as folder, _served(kind, ROWS) as url:
            home = Path(folder)
            ours, bare = list[float](), list[float]()
            for number in range(TIMES):
                bare.append(cost(python(_BARE, url, kind, home / f"bare-{number}")).wall)
                ours.append(cost(python(_OURS, url, kind, home / f"ours-{number}", str(ROWS))).wall)
            beside = f"DuckDB: {min(bare):.2f} s, ours: {min(ours):.2f} s"
            what = f"1M rows, 10 columns, 20 slices of {kind}: to those downloaded and converted"
            rows.append(at_most(what, min(ours) / min(bare), "×", 1.3, beside))  # noqa: RUF001
    with tempfile.TemporaryDirectory() as folder, _served("csv", LARGE) as url:
        peak = cost(python(_OURS, url, "csv", Path(folder) / "ours", str(LARGE))).peak_mb
        rows.append(at_most("10M rows of that table: greatest memory", peak, "MB", 400))
    return [*rows, *_unchanged()]


def _unchanged() -> list[Row]:
    """Look at a project in which nothing changed: served from here, to count the calls, and then from another process.

    So the processor time is ours alone. The time on the wall includes that of the double, which is taken apart.
    """
    project, wall, cpu, alone = _many_tables(), list[float](), list[float](), list[float]()
    with tempfile.TemporaryDirectory() as folder, serving(project) as served:
        store = file_store(Path(folder))
        wanted = _wanted(project.tables)
        _extracted(served.url, wanted, Path(folder))
        project.requests.clear()
        _looked(served.url, wanted, store)
        calls = len(project.requests)
        with _served("unchanged", TABLES) as url:
            for _ in range(TIMES):
                began, worked = time.perf_counter(), time.process_time()
                _looked(url, wanted, store)
                wall.append(time.perf_counter() - began)
                cpu.append(time.process_time() - worked)
                alone.append(_listed(url))
    what = f"a project of {TABLES:,} tables, nothing changed"
    beside = f"the double alone: {min(alone):.2f} s"
    return [
        at_most(f"{what}: calls", calls, "", 1),
        at_most(what, min(wall), "s", 1, beside),
        at_most("the same: processor time", statistics.median(cpu), "s", 1),
    ]


def _listed(url: str) -> float:
    """Return the seconds in which the double lists the tables."""
    began = time.perf_counter()
    path = f"{url}/v2/storage/tables?include=columns,columnMetadata,metadata,buckets"
    answer = HttpClient().request("GET", path, headers={"X-StorageApi-Token": TOKEN})
    if answer.status != HTTPStatus.OK or not answer.data:
        raise RuntimeError(f"the double does not list its tables: {answer.status}")
    return time.perf_counter() - began


def _many_tables() -> Project:
    project = Project()
    for number in range(TABLES):
        columns = [f"column {place}" for place in range(10)]
        types = {column: {"basetype": "STRING", "type": "VARCHAR", "length": "255"} for column in columns}
        project.table(f"in.c-main.table_{number}", columns, types=types)
    return project


def _wanted(tables: Iterable[str]) -> list[WantedTable]:
    options = KeboolaTableOptions(allow_fewer=True)
    return [WantedTable(id_.rpartition(".")[2], id_, options) for id_ in tables]


def _looked(url: str, wanted: list[WantedTable], store: Store) -> None:
    extraction = Extraction(store, "bench", new_run_id(), lambda: datetime.now(UTC), "300MB")
    record = extraction.run(partial(_connector, url, wanted)).record
    if record.status != "unchanged":
        raise RuntimeError(f"the run is not unchanged: {record.error}")


def _connector(url: str, wanted: list[WantedTable]) -> KeboolaConnector:
    http = HttpClient()
    return KeboolaConnector(StorageApi(Connection(url, SecretStr(TOKEN), client=http)), wanted, http, endpoint=url)


def _extracted(url: str, wanted: list[WantedTable], bucket: Path) -> None:
    connector, store = _connector(url, wanted), file_store(bucket)
    limit = Settings(data_url=store.url).memory_limit
    record = Extraction(store, "bench", new_run_id(), lambda: datetime.now(UTC), limit).run(lambda: connector).record
    if record.status != "ok":
        raise RuntimeError(f"the extract is not whole: {record}")


def publish(url: str, kind: str, bucket: str, _rows: str) -> None:
    """Extract the table as the function does."""
    options = KeboolaTableOptions.model_validate({"file_type": kind})
    _extracted(url, [WantedTable("orders", "in.c-main.orders", options)], Path(bucket))


def convert(url: str, kind: str, into: str) -> None:
    """Do the least that makes Parquet of the table: download the slices, and let DuckDB convert them."""
    folder, http = Path(into), HttpClient()
    folder.mkdir()
    api = StorageApi(Connection(url, SecretStr(TOKEN), client=http))
    order = {"fileType": kind, "columns": ",".join(column.name for column in COLUMNS), "gzip": kind == "csv"}
    file = ExportedFile(api, api.wait(api.export("in.c-main.orders", order), "orders"), http, url)
    suffix = "parquet" if kind == "parquet" else "csv"
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda one: file.download(one, folder / f"{one.number}.{suffix}"), file.slices()))
    with duckdb.connect() as con:
        names = ", ".join(f"'{column.name}': '{column.duckdb}'" for column in COLUMNS)
        source = f"read_csv('{folder}/*.csv', columns = {{{names}}}, header = false)"
        scan = f"read_parquet('{folder}/*.parquet')" if kind == "parquet" else source
        con.execute(f"copy (from {scan}) to '{folder}/all' (format parquet, compression zstd)")


@contextmanager
def _served(kind: str, rows: int) -> Iterator[str]:
    """Serve the table from a process of its own."""
    command = [sys.executable, "-m", "tests.bench.keboola", kind, str(rows)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())["url"]
        finally:
            process.terminate()


def serve(kind: str, rows: int) -> None:
    """Serve a project with the table until standard input ends."""
    import gzip

    if kind == "unchanged":
        with serving(_many_tables()) as served:
            print(json.dumps({"url": served.url}), flush=True)
            sys.stdin.read()
        return
    project = Project(parquet=kind == "parquet")
    table = project.table("in.c-main.orders", COLUMNS, key=["id"], typed=True)
    table.count, table.slices = rows, []
    with duckdb.connect() as con, tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "slice"
        for number in range(SLICES):
            query = _QUERY.format(first=rows * number // SLICES, last=rows * (number + 1) // SLICES)
            if kind == "parquet":
                con.execute(f"copy ({query}) to '{path}' (format parquet, compression snappy)")
                table.slices.append(path.read_bytes())
            else:
                con.execute(f"copy ({query}) to '{path}' (format csv, header false, force_quote *)")
                table.slices.append(gzip.compress(path.read_bytes(), 1))
    with serving(project) as served:
        print(json.dumps({"url": served.url}), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
