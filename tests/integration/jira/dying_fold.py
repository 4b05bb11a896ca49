"""Folds and extracts that die: `python dying_fold.py`, once ready, forks one process for each line of JSON that it is given.

A line has the `kind` and `address` of a place, a local `folder`, the touch of the store (`point`) and the `fate` that
befalls the process there; for an extract, the `settings` that lead to Jira, and how many issues are one `batch`. The
answer is a line with its exit code.
"""

import json
import logging
import os
import sys
from itertools import repeat
from pathlib import Path

from analyst.connectors.jira.sync import backfill
from analyst.store import compare_and_swap
from tests.e2e.faults.fates import Fate, FatedStore, Touches
from tests.e2e.faults.places import open_at
from tests.integration.jira.conftest import serve
from tests.integration.jira.cut_fold import Held
from tests.integration.world import SERVICE_TOKEN


def fold(*, kind: str, address: str, folder: str, point: int, fate: str) -> None:
    """Fold, and meet the fate."""
    store = FatedStore(open_at(kind, address), Touches(point, Fate[fate]))
    serve(Held(store), Path(folder), "nobody").fold()


def extract(
    *, kind: str, address: str, folder: str, point: int, fate: str, settings: dict[str, str], batch: int
) -> None:
    """Extract, and meet the fate."""
    backfill._BATCH = batch  # type: ignore[misc]
    store = FatedStore(open_at(kind, address), Touches(point, Fate[fate]))
    jira = serve(Held(store), Path(folder), "nobody", **settings)
    jira.world.ask("POST", "/extract/jira", {"source": "jira"}, token=SERVICE_TOKEN)


def main() -> None:
    """Fork, and wait, for each line."""
    logging.disable()
    compare_and_swap.pauses_for = lambda _store: repeat(0.0, 50)  # type: ignore[assignment]
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            job = json.loads(line)
            (extract if "settings" in job else fold)(**job)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
