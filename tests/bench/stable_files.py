"""Full refreshes of almost equal data: how many files of a CSV of 5M rows are new if `stable_files` is set."""

import tempfile
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from analyst.connectors.files.connector import CsvConnector
from analyst.connectors.files.options import CsvSource
from analyst.connectors.files.table_files import Wanted
from analyst.contract.extract_edit import read_extract
from analyst.contract.extraction import Extraction
from analyst.contract.model import FileRow
from analyst.runs import new_run_id
from analyst.settings import Settings
from analyst.store import Store
from tests.bench.buckets import file_store
from tests.bench.extract import ROWS, rows_query
from tests.bench.measurement import Row, at_most

_ALL = rows_query(0, ROWS)
_MIDDLE = ROWS // 2
_CHANGES = {
    "1 row inserted in the middle": f"""
        {rows_query(0, _MIDDLE)} union all {rows_query(ROWS, ROWS + 1)} union all {rows_query(_MIDDLE, ROWS)}
    """,
    "1 row deleted at the start": rows_query(1, ROWS),
    "10,000 rows appended": rows_query(0, ROWS + 10_000),
    "0.1 % of the rows updated, next to each other": f"""
        select * replace (case when id between 1000000 and 1005000 then 'updated' else note end as note) from ({_ALL})
    """,
}
_MOST_NEW = 2


def measure() -> list[Row]:
    """Publish the file, and each time a changed copy of it."""
    rows = list[Row]()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        store = file_store(home / "bucket")
        before = _published(store, home / "source", _ALL)
        for what, query in _CHANGES.items():
            after = _published(store, home / "source", query)
            new = set(after) - set(before)
            share = sum(after[path].size_bytes for path in new) / sum(file.size_bytes for file in after.values())
            beside = f"{100 * share:.0f} % of the bytes"
            rows.append(at_most(f"{what} of 550 MB: new files of {len(after)}", len(new), "", _MOST_NEW, beside))
            before = _published(store, home / "source", _ALL)
    return rows


def _published(store: Store, home: Path, query: str) -> dict[str, FileRow]:
    """Publish the rows of a query, by way of a CSV file; return the files of the table by path."""
    home.mkdir(exist_ok=True)
    with duckdb.connect() as con:
        con.execute(f"copy ({query}) to '{home / 't.csv'}' (header)")
    limit = Settings(data_url=store.url).memory_limit
    connector = CsvConnector(Wanted(CsvSource(path=str(home), stable_files=True), {}), (str(home),), limit)
    record = Extraction(store, "bench", new_run_id(), lambda: datetime.now(UTC), limit).run(lambda: connector).record
    if record.status != "ok":
        raise RuntimeError(f"the table was not published: {record}")
    with tempfile.TemporaryDirectory() as folder:
        return {file.path: file for file in read_extract(store, "bench", Path(folder))[0].files["t"]}
