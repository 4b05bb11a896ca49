"""Processes that die: `python dying_actor.py`, once ready, forks one for each line of JSON that it is given.

A line has the `kind` and `address` of a place, a `deed`, the `generation` of the source, and the `point` and `fate` of the
process; and of a sweep what it finds `old`. The answer is a line with the process's exit code.
"""

import json
import os
import sys
from itertools import repeat
from typing import Any

from analyst.store import compare_and_swap
from analyst.sweep import checkpoints
from tests.e2e.faults.actors import DEEDS, Moving
from tests.e2e.faults.fates import Fate, FatedStore, Touches
from tests.e2e.faults.places import open_at


def act(
    *, kind: str, address: str, deed: str, generation: int, point: int, fate: str, old: list[Any], by: float
) -> bool:
    """Do a deed, and meet the fate."""
    aged = frozenset((key, version) for key, version in old)
    store = FatedStore(open_at(kind, address), Touches(point, Fate[fate]), aged, by)
    return DEEDS[deed](store, Moving(generation))


def main() -> None:
    """Fork, and wait, for each line."""
    compare_and_swap.pauses_for = lambda _store: repeat(0.0, 50)  # type: ignore[assignment]
    checkpoints.EVERY = 2
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            os._exit(0 if act(**json.loads(line)) else 1)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
