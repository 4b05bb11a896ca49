"""A process that publishes generation after generation: `python -m tests.e2e.engines.publisher BUCKET FIRST LAST STOP`.

Generation g is `PARTS` files of 100 + g rows each, and all of them hold g. After LAST it says so in a line, and goes on
until the file STOP appears; then it prints the generation that it ended with.
"""

import itertools
import sys
from datetime import UTC, datetime
from pathlib import Path

from analyst import runs
from analyst.contract.extraction import Extraction
from analyst.store.folder.store import FileStore
from tests.e2e.concurrency.actors import OneTable

PARTS = 3
TABLE = "busy"


def rows_of(generation: int) -> int:
    return PARTS * (100 + generation)


def publish(store: FileStore, generation: int) -> None:
    query = f"select {generation} as generation, range as n from range({{0}} * 1000, {{0}} * 1000 + {100 + generation})"
    connector = OneTable(TABLE, str(generation), [query.format(part) for part in range(PARTS)])
    record = Extraction(store, "shop", runs.new_run_id(), lambda: datetime.now(UTC)).run(lambda: connector).record
    assert record.status == "ok", record


def main() -> None:
    bucket, first, last, stop = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    store = FileStore(bucket, lambda: b"s" * 32)
    for generation in itertools.count(first):
        publish(store, generation)
        if generation == last:
            print("enough", flush=True)
        if generation >= last and stop.exists():
            print(generation)
            return


if __name__ == "__main__":
    main()
