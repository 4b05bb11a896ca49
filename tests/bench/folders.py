"""A folder of 5M rows in CSV files that gains a file, or of which one file changes."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from analyst.connectors.files.connector import CsvConnector
from analyst.connectors.files.options import CsvSource
from analyst.connectors.files.table_files import Wanted
from analyst.contract.extract_edit import read_extract
from analyst.contract.extraction import Extraction
from analyst.runs import new_run_id
from analyst.settings import Settings
from analyst.store.folder.store import FileStore
from tests.bench.buckets import file_store
from tests.bench.extract import ROWS, rows_query
from tests.bench.measurement import Row, at_most

MORE = 10_000
FILES = 20
TIMES = 3


@dataclass(slots=True)
class _Source:
    """A folder of CSV files, read with options, and the bucket that it is extracted to."""

    home: Path
    store: FileStore
    options: dict[str, Any]

    def write(self, name: str, start: int, stop: int, note: str | None = None) -> None:
        path = self.home / "t" / f"{name}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        query = rows_query(start, stop)
        replaced = query if note is None else f"select * replace ('{note}' as note) from ({query})"
        with duckdb.connect() as con:
            con.execute(f"copy ({replaced}) to '{path}' (header)")

    def sync(self) -> tuple[float, int]:
        """Extract the folder; return the seconds that it took, and the number of new files of the table."""
        before = self._paths()
        limit = Settings(data_url=self.store.url).memory_limit
        source = CsvSource.model_validate({"path": str(self.home), **self.options})
        connector = CsvConnector(Wanted(source, {}), (str(self.home),), limit)
        extraction = Extraction(self.store, "bench", new_run_id(), lambda: datetime.now(UTC), limit)
        began = time.perf_counter()
        record = extraction.run(lambda: connector).record
        took = time.perf_counter() - began
        if record.status != "ok":
            raise RuntimeError(f"the folder was not published: {record}")
        return took, len(self._paths() - before)

    def _paths(self) -> set[str]:
        with tempfile.TemporaryDirectory() as folder:
            files = read_extract(self.store, "bench", Path(folder))[0].files.get("t", ())
        return {file.path for file in files}


def measure() -> list[Row]:
    """Add files of 10,000 rows to a folder of 5M, and change one of its files; the least of several rounds counts."""
    appended = {"sync_strategy": "incremental", "cursor_column": "id"}
    return [
        *_measured("full refresh", {}),
        *_measured("keyed", {"sync_strategy": "incremental", "primary_key": ["id"]}, is_keyed=True),
        *_measured("appended", appended),
    ]


def _measured(name: str, options: dict[str, Any], *, is_keyed: bool = False) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        home, each = Path(folder), ROWS // FILES
        source = _Source(home / "files", file_store(home / "bucket"), options)
        for number in range(FILES):
            source.write(f"{number:03}", number * each, (number + 1) * each)
        first, _files = source.sync()

        def add(number: int) -> None:
            source.write(f"{FILES + number:03}", ROWS + number * MORE, ROWS + (number + 1) * MORE)

        def change(number: int) -> None:
            source.write("007", 7 * each, 8 * each, f"round {number}")

        took, files = _rounds(source, add)
        rows = [
            at_most(f"a file of 10,000 rows more in a folder of 5M, {name}", took, "s", 1, f"all of it: {first:.1f} s"),
            at_most("the same: new files", files, "", 1),
        ]
        if not options or is_keyed:
            took, files = _rounds(source, change)
            rows.append(
                at_most(f"one of its {FILES} files changed, {name}", took, "s", first / 5, f"{files} new files")
            )
        return rows


def _rounds(source: _Source, change: Callable[[int], None]) -> tuple[float, int]:
    took, files = list[float](), 0
    for number in range(TIMES):
        change(number)
        seconds, files = source.sync()
        took.append(seconds)
    return min(took), files
