"""From the streams of BigQuery's Storage Read API to published Parquet, beside only reading them and writing Parquet."""

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from analyst.connectors.bigquery.access import Access
from analyst.connectors.bigquery.api import BigQueryApi
from analyst.connectors.bigquery.connector import BigQueryConnector, Limits, WantedTable
from analyst.connectors.bigquery.reader_processes import Readers
from analyst.contract.extraction import Extraction
from analyst.runs import new_run_id
from analyst.settings import Settings
from tests.bench.buckets import file_store
from tests.bench.measurement import ROOT, Row, at_most, cost, python

ROWS, STREAMS, BATCH, TIMES = 10_000_000, 8, 12_500, 3
_OURS = "import sys; from tests.bench.bigquery import publish; publish(*sys.argv[1:])"
_BARE = "import sys; from tests.bench.bigquery import write; write(*sys.argv[1:])"


def measure() -> list[Row]:
    """Publish a table of 10M rows and 10 columns that is read in 8 streams."""
    ours, bare = list[float](), list[float]()
    peak = 0.0
    with tempfile.TemporaryDirectory() as folder, _served() as (url, storage):
        for number in range(TIMES):
            bare.append(cost(python(_BARE, storage, Path(folder) / f"bare-{number}")).wall)
            found = cost(python(_OURS, url, storage, Path(folder) / f"ours-{number}"))
            ours.append(found.wall)
            peak = max(peak, found.peak_mb)
    beside = f"pyarrow: {statistics.median(bare):.1f} s, ours: {statistics.median(ours):.1f} s"
    ratio = statistics.median(one / other for one, other in zip(ours, bare, strict=True))
    return [
        at_most("10M rows of 10 columns of BigQuery, 8 streams, to published Parquet", ratio, "×", 1.3, beside),  # noqa: RUF001
        at_most("the same: greatest memory of a process", peak, "MB", 500),
    ]


def publish(url: str, storage: str, bucket: str) -> None:
    """Extract the table as the function does."""
    store = file_store(Path(bucket))
    with Readers() as readers:
        connector = BigQueryConnector(
            BigQueryApi("shop-123456", Access(url, storage)),
            [WantedTable("orders", "d", "orders")],
            readers,
            Limits("shop-123456", streams=STREAMS),
        )
        limit = Settings(data_url=store.url).memory_limit
        extraction = Extraction(store, "bench", new_run_id(), lambda: datetime.now(UTC), limit)
        record = extraction.run(lambda: connector).record
    if record.status != "ok" or record.tables[0].rows != ROWS:
        raise RuntimeError(f"the extract is not whole: {record}")


def write(storage: str, into: str) -> None:
    """Do the least that makes Parquet of the table: read the streams, and have pyarrow write each."""
    import grpc
    import pyarrow as pa
    from google.cloud.bigquery_storage_v1 import BigQueryReadClient, types
    from google.cloud.bigquery_storage_v1.services.big_query_read.transports import BigQueryReadGrpcTransport
    from pyarrow import parquet

    folder = Path(into)
    folder.mkdir()
    options = [("grpc.max_receive_message_length", -1)]
    channel = grpc.insecure_channel(storage.removeprefix("http://"), options=options)
    client = BigQueryReadClient(transport=BigQueryReadGrpcTransport(channel=channel))  # type: ignore[no-untyped-call]
    asked = types.ReadSession(table="projects/shop-123456/datasets/d/tables/orders", data_format=types.DataFormat.ARROW)
    session = client.create_read_session(parent="projects/shop-123456", read_session=asked, max_stream_count=STREAMS)
    schema = pa.ipc.read_schema(pa.py_buffer(session.arrow_schema.serialized_schema))

    def one(number: int) -> None:
        with parquet.ParquetWriter(
            folder / f"{number}.parquet", schema, compression="zstd", compression_level=1
        ) as writer:
            waiting = []
            for response in client.read_rows(session.streams[number].name):  # type: ignore[no-untyped-call]
                data = response.arrow_record_batch.serialized_record_batch
                waiting.append(pa.ipc.read_record_batch(pa.py_buffer(data), schema))
                if len(waiting) * BATCH >= 100_000:
                    writer.write_table(pa.Table.from_batches(waiting))
                    waiting = []
            if waiting:
                writer.write_table(pa.Table.from_batches(waiting))

    with ThreadPoolExecutor(STREAMS) as pool:
        list(pool.map(one, range(STREAMS)))


@contextmanager
def _served() -> Iterator[tuple[str, str]]:
    """Serve the table from a process of its own."""
    command = [sys.executable, "-m", "tests.bench.bigquery"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = json.loads(process.stdout.readline())
            yield found["url"], found["storage"]
        finally:
            process.terminate()


def serve() -> None:
    """Serve a project with the table until standard input ends. Its rows are made once, and sent again and again."""
    import duckdb

    from tests.doubles.bigquery.project import Project, column
    from tests.doubles.bigquery.server import serving

    fields = [
        column("id", "INTEGER"),
        column("customer", "INTEGER"),
        column("amount", "NUMERIC"),
        column("rate", "FLOAT"),
        column("is_paid", "BOOLEAN"),
        column("day", "DATE"),
        column("at", "TIMESTAMP"),
        column("code"),
        column("name"),
        column("note"),
    ]
    project = Project()
    table = project.table("d.orders", fields)
    with duckdb.connect() as con:
        con.execute("set TimeZone = 'UTC'; set enable_progress_bar = false")  # a bar would precede the address
        made = con.execute(
            """
            select i as id, (hash(i) % 100000)::bigint as customer,
                ((hash(i + 1) % 10000000) / 100)::decimal(38,9) as amount, random() as rate, i % 3 = 0 as is_paid,
                date '2020-01-01' + (i % 2000)::int as "day", timestamptz '2020-01-01 00:00:00+00' + to_seconds(i) as "at",
                format('{:08x}', hash(i) % 4000000000) as code, 'Customer ' || (hash(i) % 100000) as name,
                case when i % 4 = 0 then null else 'note "' || i || '", as written' end as note
            from range(?) t(i)
            """,
            [ROWS // STREAMS],
        ).to_arrow_table()
    batches = [one.serialize().to_pybytes() for one in made.cast(table.schema).combine_chunks().to_batches(BATCH)]
    table.batches, table.count = [batches] * STREAMS, ROWS
    with serving(project) as served:
        print(json.dumps({"url": served.url, "storage": served.storage}), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    serve()
