"""Forks a host for each line of JSON that it is given: the functions and their libraries are imported only once."""

import atexit
import gc
import json
import os
import sys
import threading
import traceback
from typing import Any

from functions_framework._cli import _cli
from functions_framework._http import gunicorn  # noqa: F401 - every host imports it

from analyst.http.application import discover

discover(["functions"])


def act(*, environ: dict[str, str], cwd: str, log: str, nice: int) -> None:
    """Serve what the environment says, as `functions-framework` does."""
    os.environ.clear()
    os.environ.update(environ)
    os.chdir(cwd)
    os.nice(nice)
    with open(log, "wb") as output:  # noqa: PTH123 - as cheap as may be
        for number in (1, 2):
            os.dup2(output.fileno(), number)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    sys.argv = ["functions-framework"]
    code = 1
    try:
        _cli()
    except SystemExit as exit_:  # of the server, or of a worker that it has forked
        code = exit_.code if isinstance(exit_.code, int) else 0 if exit_.code is None else 1
    except BaseException:  # noqa: BLE001 - whatever it is, the log has it
        traceback.print_exc()
    finally:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # to take all modules apart would cost more than most tests


def ended(child: int, options: int, codes: dict[int, int]) -> int | None:
    """Return the exit code of a process, and keep it; its process ID may be another's after that."""
    if child not in codes:
        found, status = os.waitpid(child, options)
        if not found:
            return None
        codes[child] = os.waitstatus_to_exitcode(status)
    return codes[child]


def main() -> None:
    codes: dict[int, int] = {}
    gc.freeze()  # so that collections in the forks copy no pages
    for line in sys.stdin:
        job: dict[str, Any] = json.loads(line)
        if "poll" in job:
            code = ended(job["poll"], os.WNOHANG, codes)
            print("running" if code is None else code, flush=True)
        elif "wait" in job:
            print(ended(job["wait"], 0, codes), flush=True)
        elif (child := os.fork()) == 0:
            act(**job)
        else:
            codes.pop(child, None)
            print(child, flush=True)


if __name__ == "__main__":
    main()
