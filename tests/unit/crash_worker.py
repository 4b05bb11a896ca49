"""Processes that die: `python crash_worker.py`, once ready, forks one for each line of JSON, of what `act` takes.

The answer is a line with the process's exit code.
"""

import json
import os
import sys
from datetime import UTC, datetime

from analyst import runs
from analyst.contract.extraction import Extraction
from analyst.rebuild import Rebuild
from analyst.store import Store
from tests.doubles.mortal_store import Fate, MortalStore
from tests.doubles.toy_source import Toy, ToyTable
from tests.named_bucket import opened


def now() -> datetime:
    return datetime.now(UTC)


def extract(store: Store, generation: int) -> None:
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


def rebuild(store: Store, *, in_parts: bool = False) -> None:
    """Publish a snapshot."""
    rebuilding = Rebuild(store, now, tuple, embedded=0) if in_parts else Rebuild(store, now, tuple)
    assert rebuilding.run().status == "published"


def act(*, settings: dict[str, str], what: str, generation: int, step: int) -> None:
    """Do something in the bucket of the settings, and die at that step."""
    os.environ.update(settings)
    store = MortalStore(opened(), Fate(step))
    extract(store, generation) if what == "extract" else rebuild(store, in_parts=what == "rebuild in parts")


def main() -> None:
    """Fork, and wait, for each line."""
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            act(**json.loads(line))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
