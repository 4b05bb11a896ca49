"""The extract of one large CSV file, beside DuckDB's own COPY of it."""

import tempfile
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from analyst.connectors.files.connector import CsvConnector
from analyst.connectors.files.options import CsvSource
from analyst.connectors.files.table_files import Wanted
from analyst.contract.extraction import Extraction
from analyst.runs import new_run_id
from analyst.settings import Settings
from analyst.store import Store
from tests.bench.buckets import file_store
from tests.bench.measurement import Cost, Row, at_most, cost, python

ROWS = 5_000_000
TIMES = 5
_OURS = (
    "import sys; from pathlib import Path; from tests.bench.extract import publish; publish(*map(Path, sys.argv[1:]))"
)
BARE = "import sys; from pathlib import Path; from tests.bench.extract import copy; copy(*map(Path, sys.argv[1:]))"


def measure() -> list[Row]:
    """Publish a CSV file of 5 million rows and 10 columns.

    The least of several runs counts, of both: what else the machine does can only add to them.
    """
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        size = write_csv(home / "sources" / "large.csv")
        bare, ours = zip(*(_round(home, str(number)) for number in range(TIMES)), strict=True)
    least, copied = min(cost.cpu for cost in ours), min(cost.cpu for cost in bare)
    wall, copied_wall = min(cost.wall for cost in ours), min(cost.wall for cost in bare)
    peak = max(cost.peak_mb for cost in ours)
    beside = f"DuckDB's COPY: {copied:.1f} s CPU, {copied_wall:.1f} s on the wall"
    return [
        at_most(f"extract of a CSV of {size / 1e6:.0f} MB, 5M rows: CPU to COPY's", least / copied, "×", 1.15, beside),  # noqa: RUF001
        at_most("extract of that CSV: time on the wall to COPY's", wall / copied_wall, "×", 1.25, f"{wall:.1f} s"),  # noqa: RUF001
        at_most("extract of that CSV: greatest memory", peak, "MB", 300),
    ]


def _round(home: Path, name: str) -> tuple[Cost, Cost]:
    bare = cost(python(BARE, home / "sources" / "large.csv", home / f"{name}.parquet"))
    return bare, cost(python(_OURS, home / "sources", home / name))


def publish(sources: Path, bucket: Path) -> None:
    """Extract a folder to a bucket in another."""
    extract_to(file_store(bucket), sources)


def extract_to(store: Store, sources: Path) -> None:
    """Extract a folder as the function does, with its usual settings."""
    limit = Settings(data_url=store.url).memory_limit
    connector = CsvConnector(Wanted(CsvSource(path=str(sources)), {}, frozenset()), (str(sources),), limit)
    extraction = Extraction(store, "bench", new_run_id(), lambda: datetime.now(UTC), limit)
    record = extraction.run(lambda: connector).record
    if [table.rows for table in record.tables] != [ROWS]:
        raise RuntimeError(f"the extract is not whole: {record}")


def copy(path: Path, into: Path) -> None:
    """Do the least that makes parquet of it."""
    with duckdb.connect() as con:
        con.execute(f"copy (from read_csv('{path}')) to '{into}' (format parquet, compression zstd)")


def write_csv(path: Path) -> int:
    """Write rows of numbers, texts, times and gaps; return the size in bytes."""
    path.parent.mkdir(parents=True)
    with duckdb.connect() as con:
        con.execute(f"copy ({rows_query(0, ROWS)}) to '{path}' (header)")
    return path.stat().st_size


def rows_query(start: int, stop: int, *, where: str = "true") -> str:
    """Return the query of some of the rows, by their numbers `i`."""
    return f"""
        select i as id,
               printf('C-%07d', (hash(i) % 900000)::bigint) as customer_id,
               timestamp '2024-01-01' + to_seconds(i * 13 % 63072000) as created_at,
               date '2024-01-01' + (i % 730)::integer as shipped_on,
               ['delivered', 'shipped', 'pending', 'cancelled'][1 + (hash(i, 1) % 4)::bigint] as status,
               (hash(i, 2) % 500000)::bigint * 0.01::decimal(3, 2) as total,
               (hash(i, 3) % 1000000)::bigint / 7 as score,
               case when i % 5 <> 0 then (hash(i, 4) % 100)::bigint end as discount,
               i % 3 = 0 as is_gift,
               case when i % 4 = 0 then concat('note, "', md5(i::varchar)[1:12], '"') else md5(i::varchar)[1:16] end as note
        from range({start}, {stop}) r(i) where {where}
    """
