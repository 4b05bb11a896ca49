"""A process of the lease tests: `python lease_worker.py <bucket> <threads>`; each thread contends until it has held the lease.

Prints of each holding its epoch, and when it began and ended, by the clock that all processes share.
"""

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from analyst.lease import acquire
from analyst.store.file import FileStore


def contend(store: FileStore) -> None:
    while (lease := acquire(store, "rebuild")) is None:
        pass
    began = time.monotonic_ns()
    lease.check()
    sys.stdout.write(f"{lease.epoch} {began} {time.monotonic_ns()}\n")
    lease.release()


def main(bucket: str, threads: str) -> None:
    print("ready", flush=True)
    sys.stdin.readline()
    store = FileStore(Path(bucket), lambda: b"")
    with ThreadPoolExecutor(int(threads)) as pool:
        for contender in [pool.submit(contend, store) for _ in range(int(threads))]:
            contender.result()


if __name__ == "__main__":
    main(*sys.argv[1:])
