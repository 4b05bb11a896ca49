"""The contenders of the lease tests, each a process of its own: `python lease_worker.py <how> <contenders> …`.

`rounds <times> <version>`: all of them try once at the same moment, so many times; the clock of a third of them is ten
minutes slow, that of another third ten minutes fast. A lock at this version, if there is one, has lapsed to them. Of
each lease they print its epoch; they give it back when all have tried.

`turns`: each tries until it has held the lease. They print of each holding its epoch, and when it began and ended, by the
clock that all processes share.
"""

import os
import sys
import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier

from analyst.lease import acquire
from analyst.store import Store
from tests.doubles.wrapped_store import AgedStore
from tests.named_bucket import opened

_PATIENCE = 120.0


def rounds(store: Store, all_here: Barrier, number: int, times: str, version: str = "") -> None:
    right = time.time
    time.time = lambda: right() + (number % 3 - 1) * 600.0
    contended = AgedStore(store, version=version) if version else store
    for _ in range(int(times)):
        all_here.wait(_PATIENCE)
        lease = acquire(contended, "rebuild")
        all_here.wait(_PATIENCE)
        if lease is not None:
            lease.check()
            tell(lease.epoch)
            lease.release()


def turns(store: Store, all_here: Barrier, _number: int) -> None:
    all_here.wait(_PATIENCE)
    while (lease := acquire(store, "rebuild")) is None:
        pass
    began = time.monotonic_ns()
    lease.check()
    tell(lease.epoch, began, time.monotonic_ns())
    lease.release()


def tell(*numbers: int) -> None:
    """Write a line at once, so that no two get mixed."""
    os.write(sys.stdout.fileno(), (" ".join(map(str, numbers)) + "\n").encode())


HOW: dict[str, Callable[..., None]] = {"rounds": rounds, "turns": turns}


def main(how: str, contenders: str, *arguments: str) -> None:
    """Fork, when everything is imported and nothing is open yet."""
    context, store = get_context("fork"), opened()
    all_here = context.Barrier(int(contenders))
    processes = [
        context.Process(target=HOW[how], args=(store, all_here, number, *arguments))
        for number in range(int(contenders))
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    sys.exit(any(process.exitcode for process in processes))


if __name__ == "__main__":
    main(*sys.argv[1:])
