"""Hosts that die: `python dying_host.py`, once ready, forks one for each line of JSON that it is given.

A line has the `kind` and `address` of a place, the `port` to serve at, the `pem` to sign with, and the touch of the store
(`point`) at which the host dies. It says `up` once it serves, and ends if it is told to, by a line that says `end`. The
answer is a line with its exit code.
"""

import json
import logging
import os
import sys

from tests.e2e.faults.fates import Fate, FatedStore, Touches
from tests.e2e.faults.hosts import hosting
from tests.e2e.faults.places import open_at


def serve(*, kind: str, address: str, port: int, pem: str, point: int) -> None:
    """Serve until the fate is met, or somebody writes a line."""
    with hosting(FatedStore(open_at(kind, address, pem), Touches(point, Fate.KILLED_BEFORE)), port):
        print("up", flush=True)
        os.read(sys.stdin.fileno(), 100)
        os._exit(0)


def main() -> None:
    """Fork, and wait, for each line."""
    logging.disable()
    for line in sys.stdin:
        if line.strip() == "end":  # it did not live to read this
            continue
        child = os.fork()
        if child == 0:
            serve(**json.loads(line))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
