"""Processes that are forked for one action each, by a script that has imported all they need."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Forks:
    """A script that forks one process for each line of JSON that it is given, and tells its exit code when it has ended."""

    process: subprocess.Popen[str]

    def run(self, job: dict[str, Any]) -> int:
        """Let a process do a job to its end; return its exit code."""
        self.write(job)
        return int(self.read())

    def write(self, job: dict[str, Any] | str) -> None:
        """Write a job, or a word to the process that does one."""
        assert self.process.stdin is not None
        print(job if isinstance(job, str) else json.dumps(job), file=self.process.stdin, flush=True)

    def read(self) -> str:
        """Read what the script, or the process, has to say."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


@contextmanager
def forking(script: Path) -> Iterator[Forks]:
    """Run a script until the block ends."""
    command = [sys.executable, str(script)]
    environ = {**os.environ, "PYTHONPATH": str(_ROOT)}
    with subprocess.Popen(command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Forks(process)
        assert process.stdin is not None
        process.stdin.close()
