"""Forks a process for each command of `da` that it is given, one line of JSON each: its modules are imported only once."""

import gc
import importlib
import json
import os
import signal
import sys
import time
from typing import Any

import duckdb  # noqa: F401 - most commands import it

from da.app import COMMANDS
from da.main import run

_CHANGES = {"open", "os.rename", "os.remove", "os.rmdir", "os.utime", "os.link", "shutil.copyfile"}


def die(step: int, folder: str) -> None:
    """Kill this process when it has done some steps below a folder, just before the next one."""
    left = step

    def look(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if event in _CHANGES and str(arguments[0]).startswith(folder):
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(look)


def act(*, arguments: list[str], environ: dict[str, str], cwd: str, files: list[str], dies: list[Any]) -> int:
    """Do what the command would in a process of its own, with the files as stdin, stdout and stderr; return its code."""
    os.environ.clear()
    os.environ.update(environ)
    time.tzset()
    os.chdir(cwd)
    for number, file in enumerate(files):
        opened = os.open(file, os.O_RDWR)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - as long as the process
    sys.argv = ["da", *arguments]
    if dies:
        die(*dies)
    try:
        run()
    except SystemExit as exit_:
        return int(exit_.code or 0)
    return 0


def main() -> None:
    for target in COMMANDS.values():
        importlib.import_module(target.partition(":")[0])
    gc.freeze()  # so that collections in the forks copy no pages
    for line in sys.stdin:
        job: dict[str, Any] = json.loads(line)
        child = os.fork()
        if child == 0:
            code = act(**job)
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)  # the destructors of DuckDB's library take its threads for those of the parent
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
