"""The processes in which statements run: one that only starts others, and the workers that it forks.

A worker has loaded DuckDB and opened a database in memory before its statement arrives. It checks one statement or more,
runs one, writes its result to a file in its scratch folder, and ends. It is given the files that it may read as open
files, and its environment contains nothing of the server's.
"""

import os
import resource
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from analyst.query import sandbox
from analyst.query.messages import GoneError, Json, close, receive, send
from analyst.query.statement import StatementError, check, refused

_SHARED: Final = (
    "duckdb",
    "pyarrow.ipc",
    "pyarrow.parquet",
    "analyst.query.run",
    "analyst.contract.column_names",
    "analyst.contract.parquet",
    "decimal",
    "zoneinfo",
    "datetime",
    "uuid",
)
"""Modules that are loaded once, before workers are forked, which can't open their files."""
_SPARE_FILES: Final = 64
_PER_THREAD: Final = 48 << 20
"""Address space that a thread takes besides what it uses: its stack, and an arena of the allocator."""


def main(descriptor: int) -> None:
    """Fork a worker for each message, until the server closes the socket. Workers do not outlive this process."""
    control = socket.socket(fileno=descriptor)
    volatile = _in_child(_volatile_functions)
    for module in _SHARED:
        import_module(module)
    import duckdb

    duckdb.close()  # the default database has a thread, and a process with threads must not fork
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    living: set[int] = set()
    signal.signal(signal.SIGCHLD, lambda *_: None)  # wakes the loop below
    wakes, wake = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(wakes, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    while True:
        ready: list[object] = select.select([control, wakes], [], [])[0]  # type: ignore[type-var]
        if wakes in ready:
            _drain(wakes)
            living -= _reaped(living)
        if control not in ready:
            continue
        try:
            message, files = receive(control)
        except GoneError:
            break
        if "kill" in message:
            if message["kill"] in living:  # only this process reaps workers, so the number is still theirs
                os.kill(message["kill"], signal.SIGKILL)
            continue
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            close([descriptor, wakes, wake])
            _run_worker(files[0], message, volatile)
        close(files)
        living.add(pid)
    for pid in living:
        os.kill(pid, signal.SIGKILL)


def _drain(wakes: int) -> None:
    try:
        while os.read(wakes, 512):
            pass
    except BlockingIOError:
        pass


def _reaped(living: set[int]) -> set[int]:
    return {pid for pid in living if os.waitpid(pid, os.WNOHANG)[0]}


def _in_child(work: Callable[[], list[str]]) -> frozenset[str]:
    """Run something that starts threads in a process of its own: a process with threads must not fork."""
    reads, writes = os.pipe()
    if (pid := os.fork()) == 0:
        os.write(writes, "\n".join(work()).encode())
        os._exit(0)
    os.close(writes)
    with os.fdopen(reads) as answer:
        found = answer.read()
    os.waitpid(pid, 0)
    return frozenset(found.splitlines())


def _volatile_functions() -> list[str]:
    """List the functions whose result can differ for the same input; macros have no stability, so all of them count."""
    import duckdb

    with duckdb.connect() as con:
        rows = con.execute(
            "select distinct lower(function_name) from duckdb_functions() group by function_name, function_type "
            "having bool_or(stability is distinct from 'CONSISTENT') and function_type in ('scalar', 'aggregate') "
            "union select distinct lower(function_name) from duckdb_functions() where function_type = 'macro' and "
            "regexp_matches(lower(macro_definition), 'current|now|random|ago|time|user|session|duckdb_|pg_')"
        ).fetchall()
    return [str(row[0]) for row in rows]


def _run_worker(descriptor: int, settings: Json, volatile: frozenset[str]) -> None:
    """Serve the server's requests until the statement has run or the server is gone, and end this process."""
    code = 1
    try:
        sandbox.end_with_parent()
        sock = socket.socket(fileno=descriptor)
        worker = Worker(Path(settings["scratch"]), settings["memory"], settings["spill"], volatile)
        sandbox.limit_memory(settings["memory"] + _PER_THREAD * settings["threads"])
        send(sock, {"ready": os.getpid()})
        while worker.serve(sock):
            pass
        code = 0
    except GoneError:
        code = 0
    except Exception:  # noqa: BLE001 - this process ends here
        traceback.print_exc()  # stderr is the server's
    finally:
        os._exit(code)


class Worker:
    """A database in memory, in which one statement runs. `memory` and `spill` are in bytes."""

    def __init__(self, scratch: Path, memory: int, spill: int, volatile: frozenset[str]) -> None:
        import duckdb

        self._scratch = scratch
        self._spill = spill
        self._volatile = volatile
        self._con = duckdb.connect(
            ":memory:",
            config={
                "allow_persistent_secrets": False,
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "allow_community_extensions": False,
                "python_enable_replacements": False,
                "memory_limit": f"{memory * 4 // 5}B",
                "threads": 1,  # more only once the sandbox is closed, which binds a thread and those that it starts
                "temp_directory": str(scratch),
                "max_temp_directory_size": f"{spill}B",
            },
        )
        self._con.execute("set TimeZone = 'UTC'; set enable_progress_bar = false; set errors_as_json = true")
        check(self._con, "select 1", volatile)  # loads what the first check needs

    def serve(self, sock: socket.socket) -> bool:
        """Answer one request; return whether another one may follow."""
        request, files = receive(sock)
        if request["do"] == "check":
            send(sock, self._checked(request["sql"]))
            return True
        send(sock, self._run(request, files))
        return False

    def _checked(self, sql: str) -> Json:
        import duckdb

        try:
            return {"statement": check(self._con, sql, self._volatile).to_json()}
        except StatementError as error:
            return failure(error)
        except (MemoryError, duckdb.Error):
            return failure(refused("the statement is too large to be checked; split it into several queries", "memory"))

    def _run(self, request: Mapping[str, Any], files: list[int]) -> Json:
        from analyst.query.run import Run

        threads = request["threads"]
        run = Run(self._con, request, files, self._scratch)
        try:
            run.prepare()
            sandbox.limit(
                files=len(files) + _SPARE_FILES + 16 * threads,
                file_bytes=self._spill,
                processor_seconds=int(request["seconds"] * threads) + 10,
            )
            sandbox.confine(self._scratch, files)
            run.lock(threads)
            return run.execute()
        except StatementError as error:
            return failure(error)


def failure(error: StatementError) -> Json:
    """Return an error as a message."""
    return {"error": str(error), "details": error.details}


if __name__ == "__main__":
    main(int(sys.argv[1]))
