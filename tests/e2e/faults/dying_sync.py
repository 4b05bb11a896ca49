"""Runs of `da sync` that die: `python dying_sync.py`, once ready, forks one for each line of JSON that it is given.

A line has the `folder` of a laptop, the `server` and the `token` it is logged in with, and the number of the step
(`point`) before which it dies: whatever changes something on the disk, and every statement of DuckDB's; and the seconds
after which complete tables get their views (`checkpoint`). The answer is a line with the process's exit code.
"""

import json
import os
import signal
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

import da.mirror.database  # noqa: F401 - here, so that no process has to
from da.config import Login
from da.mirror import sync
from tests.e2e.faults.laptops import Laptop

CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.utime", "shutil.copyfile")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@dataclass
class Steps:
    """Counts the steps that a process takes in a folder, and ends it before step `point`."""

    folder: str
    point: int
    _taken: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def step(self) -> None:
        with self._lock:
            self._taken += 1
            if self._taken == self.point:
                os.kill(os.getpid(), signal.SIGKILL)

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Hear of what the interpreter is about to do."""
        writes = event in CHANGES or (event == "open" and arguments[2] & WRITING)
        if writes and str(arguments[0]).startswith(self.folder):
            self.step()

    def count_statements(self) -> None:
        """Let every statement be a step."""
        execute = duckdb.DuckDBPyConnection.execute

        def counted(connection: duckdb.DuckDBPyConnection, *arguments: Any) -> duckdb.DuckDBPyConnection:
            self.step()
            return execute(connection, *arguments)

        duckdb.DuckDBPyConnection.execute = counted  # type: ignore[assignment,method-assign]


def run(*, folder: str, server: str, token: str, point: int, checkpoint: float) -> bool:
    """Sync, and die before a step."""
    sync.CHECKPOINT = checkpoint
    steps = Steps(folder, point)
    sys.addaudithook(steps.audit)
    steps.count_statements()
    return Laptop(Path(folder), Login(server, token)).sync()


def main() -> None:
    """Fork, and wait, for each line."""
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            os._exit(0 if run(**json.loads(line)) else 1)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
