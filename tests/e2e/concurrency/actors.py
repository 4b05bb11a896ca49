"""The processes of the concurrency test: `python actors.py ROLE …`. Each prints one JSON line at its end.

publish   full refreshes of a table of its own: every row of generation g holds g, in two files
append    increments of a shared table: every run adds one row that no other adds
rebuild   rebuilds until the file `stop` appears
"""

import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from analyst import duckdb_files, runs
from analyst.catalog import CURRENT, Pointer
from analyst.contract import parquet
from analyst.contract.connector import Cursor, Extracted, SourceTable
from analyst.contract.extraction import Extraction
from analyst.rebuild import Rebuild
from analyst.store import Store
from tests.named_bucket import opened

ROWS = 1000
SOURCE = "busy"


class OneTable:
    """A connector of one table, made of a query for each file."""

    def __init__(self, name: str, fingerprint: str, queries: list[str], key: tuple[str, ...] = ()) -> None:
        self._table = SourceTable(
            name, name, fingerprint, primary_key=key, sync_strategy="incremental" if key else "full_refresh"
        )
        self._queries = queries

    def tables(self) -> list[SourceTable]:
        return [self._table]

    def notes(self) -> tuple[str, ...]:
        return ()

    def extract(self, _table: SourceTable, _since: Cursor, into: Path) -> Extracted:
        files: list[Path] = []
        with duckdb_files.connect() as con:
            for number, query in enumerate(self._queries):
                part = into / str(number)
                part.mkdir()
                files += parquet.write(con, query, part)
            return Extracted(tuple(files), parquet.inspect(con, files[0]).columns)


def now() -> datetime:
    return datetime.now(UTC)


def extract(store: Store, connector: OneTable) -> None:
    record = Extraction(store, SOURCE, runs.new_run_id(), now).run(lambda: connector).record
    assert record.status == "ok", record


def publish(store: Store, table: str, times: int) -> None:
    half = f"select {{0}}::bigint as generation, range as n from range({ROWS // 2})"
    for generation in range(1, times + 1):
        first = half.format(generation)
        extract(
            store, OneTable(table, str(generation), [first, f"select generation, n + {ROWS // 2} as n from ({first})"])
        )


def append(store: Store, table: str, writer: int, times: int) -> None:
    for number in range(times):
        row = f"select '{writer}-{number:03}' as id, {writer} as writer"
        extract(store, OneTable(table, f"{writer}-{number}", [row], ("id",)))


def rebuild(store: Store, stop: Path) -> dict[str, object]:
    seen: list[tuple[int, int]] = []
    while True:
        last_round = stop.exists()
        Rebuild(store, now, tuple).run()
        found = store.read(CURRENT)
        if found is not None:
            pointer = Pointer.model_validate_json(found.data)
            seen.append((pointer.epoch, pointer.snapshot))
        if last_round:
            return {"seen": seen}
        time.sleep(0.01)


def main() -> None:
    role, *rest = sys.argv[1:]
    store = opened()
    result: dict[str, object] = {}
    if role == "publish":
        publish(store, rest[0], int(rest[1]))
    elif role == "append":
        append(store, rest[0], int(rest[1]), int(rest[2]))
    else:
        result = rebuild(store, Path(rest[0]))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
