"""A process of the lease tests: `python lease_worker.py <bucket> <threads> <attempts>`.

Prints of each holding its epoch, and when it began and ended, by the clock that all processes share.
"""

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from analyst.lease import acquire
from analyst.store.file import FileStore


def contend(store: FileStore, attempts: int) -> None:
    for _ in range(attempts):
        lease = acquire(store, "rebuild")
        if lease is not None:
            began = time.monotonic_ns()
            lease.check()
            sys.stdout.write(f"{lease.epoch} {began} {time.monotonic_ns()}\n")
            lease.release()


def main(bucket: str, threads: str, attempts: str) -> None:
    print("ready", flush=True)
    sys.stdin.readline()
    store = FileStore(Path(bucket), lambda: b"")
    with ThreadPoolExecutor(int(threads)) as pool:
        for _ in pool.map(lambda _: contend(store, int(attempts)), range(int(threads))):
            pass


if __name__ == "__main__":
    main(*sys.argv[1:])
