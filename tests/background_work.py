"""Waiting for what a process does after its answers."""

import threading
from functools import partial

from analyst.context import Process


def settle(process: Process, rounds: int = 1) -> None:
    """Wait until all workers are past what they were given before; in further rounds, past what that has added."""
    workers = process.background._pool._max_workers
    for _ in range(rounds):
        done = threading.Barrier(workers + 1)
        for _ in range(workers):
            process.background.run(partial(done.wait, 30))
        done.wait(30)
