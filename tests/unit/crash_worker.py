"""A process that dies at its nth step: `python crash_worker.py extract|rebuild BUCKET GENERATION STEP`."""

import sys
from datetime import UTC, datetime
from pathlib import Path

from analyst import runs
from analyst.contract.extraction import Extraction
from analyst.rebuild import Rebuild
from analyst.store.file import FileStore
from tests.doubles.mortal_store import Fate, MortalStore
from tests.doubles.toy_source import Toy, ToyTable


def now() -> datetime:
    return datetime.now(UTC)


def extract(store: FileStore, generation: int) -> None:
    """Publish a full table and an incremental one, each of this generation."""
    toy = Toy(
        {
            "whole": ToyTable(f"select {generation} as generation, range as n from range(10)", str(generation)),
            "grown": ToyTable(
                f"select range + 1 as generation from range({generation})", str(generation), (), "generation"
            ),
            "merged": ToyTable(f"select 1 as id, {generation} as generation", str(generation), ("id",)),
        }
    )
    assert Extraction(store, "toy", runs.new_run_id(), now).run(lambda: toy).record.status == "ok"


def rebuild(store: FileStore) -> None:
    """Publish a snapshot."""
    assert Rebuild(store, now, tuple).run().status == "published"


def main() -> None:
    what, bucket, generation, step = sys.argv[1:]
    store = MortalStore(Path(bucket), Fate(int(step)))
    if what == "extract":
        extract(store, int(generation))
    else:
        rebuild(store)


if __name__ == "__main__":
    main()
