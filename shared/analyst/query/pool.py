"""Worker processes that are kept ready for statements, and ended when they exceed their limits.

The first statement starts one process that forks the workers of all pools: it has loaded DuckDB, so a new worker takes
milliseconds.
Each worker runs one statement. A statement waits for one of a fixed number of places.
"""

import os
import select
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

from analyst.contract.parquet import copied
from analyst.counters import PLACES, RUNNING, WAITING, Counters
from analyst.errors import AnalystError, UnavailableError
from analyst.query.messages import GoneError, Json, receive, send
from analyst.query.ranges import Read, Serving
from analyst.query.run import RESULT, View
from analyst.query.statement import Statement, StatementError, refused

_START_SECONDS: Final = 30.0
_CHECK_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 0.1
_ABANDONED_SECONDS: Final = 86_400
_MOST_WAITING: Final = 12
_SPARE: Final = 2
"""Workers that are kept ready, at most; one after the first statement, which is often the last one of a process."""
_ATTEMPTS: Final = 4
_PLAIN_MEMORY: Final = {"ARROW_DEFAULT_MEMORY_POOL": "system", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
"""Have pyarrow use the system's allocator. Its own reserve a gigabyte of addresses, which a worker's limit may refuse, or
start a thread when they are loaded, and a process with threads must not fork."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What statements may use; `memory`, `spill` and `result` are in bytes and for each of `workers`, `wait` in seconds."""

    workers: int = 4
    memory: int = 1_000_000_000
    spill: int = 10_000_000_000
    result: int = 2_000_000_000
    threads: int = field(default_factory=lambda: os.cpu_count() or 1)
    wait: float = 10.0


@dataclass(frozen=True, slots=True)
class Job:
    """A statement to run. `files` are paths, `tables` the id of the table of each, `limit` the number of rows.

    The result is hashed in its order or as a multiset, by `ordered`, unless that is `None`. Files without a path have a size
    in bytes in `sizes`, and `read` returns ranges of them.
    """

    sql: str
    parameters: Mapping[str, Any] | Sequence[Any]
    views: Sequence[View]
    files: Sequence[Path | None]
    tables: Sequence[str]
    format: str
    limit: int | None
    seconds: float
    ordered: bool | None = None
    sizes: Sequence[int] = ()
    read: Read | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a statement. `file` has its rows in the requested format; `bytes_read` is unknown on some systems."""

    columns: tuple[tuple[str, str], ...]
    rows: int
    truncated: bool
    hash: str | None
    elapsed_ms: float
    bytes_read: int | None
    file: BinaryIO
    size: int


class AbandonedError(AnalystError):
    """Nobody waits for the result any more."""

    status = 408
    code = "abandoned"


class Pool:
    """The worker processes of one server process. Safe to use from many threads."""

    def __init__(self, limits: Limits, scratch: Path | None = None, counters: Counters | None = None) -> None:
        self._limits = limits
        self._scratch = scratch
        self._counters = counters or Counters()
        self._counters.add(PLACES, value=limits.workers)
        self._places = threading.Condition()
        self._running: Counter[str] = Counter()
        self._waiting = 0
        self._lock = threading.Lock()
        self._zygote: _Zygote | None = None
        self._idle: list[_Worker] = []
        self._taken = 0

    @contextmanager
    def worker(self, person: str) -> Iterator["Lease"]:
        """Wait for a place, and lend a worker for a statement of a person.

        With several places, one person does not get all of them, so that nobody locks out the others.

        Raises:
            UnavailableError: there was no place in time, or workers can't be started.
        """
        with self._place(person):
            lease = Lease(self, self._limits)
            try:
                yield lease
            finally:
                lease.end()

    def folder(self) -> "tempfile.TemporaryDirectory[str]":
        """Return a folder for files that one statement reads; one that a killed server left is deleted later."""
        if self._scratch is not None:
            self._scratch.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(prefix="query-files-", dir=self._scratch, ignore_cleanup_errors=True)

    def close(self) -> None:
        """End all workers."""
        with self._lock:
            for worker in self._idle:
                worker.discard()
            self._idle = []
            if self._zygote is not None:
                ZYGOTES.give_back(self._zygote)
                self._zygote = None

    @contextmanager
    def _place(self, person: str) -> Iterator[None]:
        most = self._limits.workers
        own = max(1, most - 1)

        def is_free() -> bool:
            return self._running.total() < most and self._running[person] < own

        with self._places:
            # a waiting statement holds a thread of the server, which others need
            wait = self._limits.wait if self._waiting < _MOST_WAITING else 0
            self._waiting += 1
            self._counters.add(WAITING)
            try:
                started = self._places.wait_for(is_free, wait)
            finally:
                self._waiting -= 1
                self._counters.add(WAITING, value=-1)
            if not started:
                occupied = "your queries" if self._running.total() < most else f"all {most} queries that run at a time"
                raise UnavailableError(
                    f"the query did not start, because {occupied} are still running; try again in a few seconds",
                    retry_after=2,
                )
            self._running[person] += 1
            self._counters.add(RUNNING)
        try:
            yield
        finally:
            self._counters.add(RUNNING, value=-1)
            with self._places:
                self._running[person] -= 1
                self._running += Counter()  # forget those with nothing running
                self._places.notify_all()

    def take(self) -> "_Worker":
        """Return a worker that is ready, and have another one started in its place.

        Raises:
            UnavailableError: workers can't be started.
        """
        for _attempt in range(_ATTEMPTS):
            try:
                with self._lock:
                    self._taken += 1
                    worker = self._idle.pop(0) if self._idle else self._new()
                    while len(self._idle) < min(_SPARE, self._limits.workers, self._taken):
                        self._idle.append(self._new())
            except GoneError:
                self.close()  # the process that forks workers has ended, and they with it
                continue
            if worker.wait_ready():
                return worker
            worker.discard()
        raise UnavailableError("the processes that run queries can't be started; see the server's log", retry_after=5)

    def give_back(self, worker: "_Worker") -> None:
        """Keep a worker that has run nothing."""
        with self._lock:
            self._idle.insert(0, worker)

    def _new(self) -> "_Worker":
        if self._zygote is None:
            if self._scratch is not None:
                self._scratch.mkdir(parents=True, exist_ok=True)
                _clear(self._scratch)
            self._zygote = ZYGOTES.take()
        return self._zygote.fork(self._limits, self._scratch)


class Lease:
    """A worker for one statement: any number of checks, then one run."""

    def __init__(self, pool: Pool, limits: Limits) -> None:
        self._pool = pool
        self._limits = limits
        self._worker: _Worker | None = pool.take()

    def check(self, sql: str) -> Statement:
        """Check a statement.

        Raises:
            StatementError: it is refused, or can't be parsed.
        """
        request = {"do": "check", "sql": sql}
        try:
            answer = self._ask(request, (), _CHECK_SECONDS, lambda: False)
        except StatementError as error:
            if error.details.get("kind") != "crashed":
                raise
            self.end()  # perhaps it had ended before
            self._worker = self._pool.take()
            answer = self._ask(request, (), _CHECK_SECONDS, lambda: False)
        return Statement.from_json(answer["statement"])

    def run(self, job: Job, is_gone: Callable[[], bool] = lambda: False) -> Outcome:
        """Run a statement, and stop it at its deadline or when its caller is gone.

        Raises:
            StatementError: it fails, or exceeds its time or memory.
            AbandonedError: the caller is gone.
        """
        answer, path = self._run(job, is_gone)
        # the worker may have put a link there, where the system does not confine it
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_NOFOLLOW), "r+b")
        return Outcome(
            tuple((name, kind) for name, kind in answer["columns"]),
            answer["rows"],
            answer["truncated"],
            answer["hash"],
            answer["elapsed_ms"],
            answer["bytes_read"],
            file,
            os.fstat(file.fileno()).st_size,
        )

    def write(self, job: Job, into: Path) -> list[Path]:
        """Run a statement whose format is `table`, and move the parquet files of its rows to a folder; return them in order.

        Raises:
            StatementError: it fails, or exceeds its time or memory.
        """
        _answer, folder = self._run(job, lambda: False)
        if folder.is_symlink():
            raise refused("the result of the statement is not a folder", "internal")
        made = [Path(shutil.move(path, into / f"{number:05}.parquet")) for number, path in enumerate(copied(folder))]
        for path in made:
            if not stat.S_ISREG(path.lstat().st_mode):
                path.unlink()
                raise refused("the result of the statement is not a file", "internal")
        return made

    def _run(self, job: Job, is_gone: Callable[[], bool]) -> tuple[Json, Path]:
        request = {
            "do": "run",
            "sql": job.sql,
            "parameters": job.parameters,
            "views": [
                {
                    "schema": each.schema,
                    "name": each.name,
                    "columns": each.columns,
                    "files": each.files,
                    "casts": each.casts,
                }
                for each in job.views
            ],
            "tables": list(job.tables),
            "format": job.format,
            "limit": job.limit,
            "ordered": job.ordered,
            "seconds": job.seconds,
            "threads": self._limits.threads,
            "most_bytes": self._limits.result,
        }
        worker = self._worker
        assert worker is not None  # noqa: S101 - a lease runs once
        result = worker.scratch / RESULT
        paths = [path for path in job.files if path is not None]
        if job.read is None or len(paths) == len(job.files):
            return self._ask(request, paths, job.seconds, is_gone), result
        serving = Serving(job.read)
        request["parts"] = {str(number): job.sizes[number] for number, path in enumerate(job.files) if path is None}
        channels = [theirs.fileno() for theirs in serving.theirs]
        try:
            return self._ask(request, [*paths, *channels], job.seconds, is_gone), result
        except StatementError:
            if serving.error is not None:
                raise serving.error from None
            raise
        finally:
            serving.close()

    def end(self) -> None:
        """Return the worker if it has run nothing, else end it."""
        worker, self._worker = self._worker, None
        if worker is None:
            return
        if worker.is_fresh:
            self._pool.give_back(worker)
        else:
            worker.discard()

    def _ask(self, request: Json, files: Sequence[Path | int], seconds: float, is_gone: Callable[[], bool]) -> Json:
        worker = self._worker
        assert worker is not None  # noqa: S101 - a lease ends once
        worker.is_fresh = False
        try:
            send(worker.sock, request, files)
            if not worker.answers(time.monotonic() + seconds, is_gone):
                worker.kill()
                raise refused(
                    f"the statement was stopped after {seconds:g} seconds; filter or aggregate more, or set a larger timeout_s",
                    "timeout",
                )
            answer, _files = receive(worker.sock)
        except AbandonedError:
            worker.kill()
            raise
        except FileNotFoundError:
            worker.kill()
            raise UnavailableError(
                "a file of a table in this statement is no longer in the bucket; ask again, or sync the table's source again"
            ) from None
        except GoneError:
            raise refused(
                "the statement ended its process: it needed more memory or time than a query at the server may use, or met a "
                "fault in DuckDB; simplify it, filter or aggregate earlier",
                "crashed",
            ) from None
        worker.is_fresh = request["do"] == "check"
        if "error" in answer:
            raise StatementError(answer["error"], **answer["details"])
        return answer


class _Worker:
    """A forked worker, seen from the server."""

    def __init__(self, zygote: "_Zygote", sock: socket.socket, scratch: Path) -> None:
        self._zygote = zygote
        self._pid: int | None = None
        self.sock = sock
        self.scratch = scratch
        self.is_fresh = True

    def wait_ready(self) -> bool:
        """Wait until it is ready; return whether it is."""
        if self._pid is not None:
            return not self.answers(0, lambda: False)  # an idle worker that says something has ended
        try:
            if not self.answers(time.monotonic() + _START_SECONDS, lambda: False):
                return False
            self._pid = receive(self.sock)[0]["ready"]
        except GoneError:
            return False
        return True

    def answers(self, until: float, is_gone: Callable[[], bool]) -> bool:
        """Wait for an answer until a time of the monotonic clock; return whether there is one.

        Raises:
            AbandonedError: the caller is gone.
        """
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        while True:
            left = until - time.monotonic()
            if poll.poll(max(0, min(left, _LOOK_SECONDS)) * 1000):
                return True
            if left <= 0:
                return False
            if is_gone():
                raise AbandonedError("the client closed the connection, so its query was stopped")

    def kill(self) -> None:
        """End it at once."""
        if self._pid is not None:
            self._zygote.kill(self._pid)

    def discard(self) -> None:
        """Forget it: without its socket it ends by itself, unless it is busy, and then it was killed."""
        self.sock.close()
        shutil.rmtree(self.scratch, ignore_errors=True)


class _Zygote:
    """The process that forks workers, without any variable or open file of the server."""

    def __init__(self) -> None:
        self.users = 0
        self.is_gone = False
        self._sock, theirs = socket.socketpair()
        path = os.pathsep.join(each for each in sys.path if each)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "analyst.query.worker", str(theirs.fileno())],
            env={
                "PYTHONPATH": path,
                "LC_ALL": "C.UTF-8",
                "HOME": "/nonexistent",
                "MALLOC_ARENA_MAX": "2",
                **_PLAIN_MEMORY,
            },
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
        theirs.close()
        self._lock = threading.Lock()

    def fork(self, limits: Limits, scratch: Path | None) -> _Worker:
        """Start a worker with a scratch folder of its own.

        Raises:
            GoneError: this process has ended.
        """
        folder = Path(tempfile.mkdtemp(prefix="query-", dir=scratch))
        ours, theirs = socket.socketpair()
        settings = {
            "scratch": str(folder),
            "memory": limits.memory,
            "spill": limits.spill,
            "threads": limits.threads,
        }
        try:
            with theirs, self._lock:
                send(self._sock, settings, [theirs.fileno()])
        except GoneError:
            self.is_gone = True
            raise
        return _Worker(self, ours, folder)

    def kill(self, pid: int) -> None:
        """Kill a worker."""
        with self._lock, suppress(GoneError):
            send(self._sock, {"kill": pid})

    def close(self) -> None:
        """End it and its workers."""
        self._sock.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class _Zygotes:
    """The process that forks workers, which the pools of this process share: it takes half a second to start."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._shared: _Zygote | None = None

    def take(self) -> _Zygote:
        """Return the process, until it is given back; it is started if there is none, or if it has ended."""
        with self._lock:
            if self._shared is None or self._shared.is_gone or self._pid != os.getpid():
                self._pid, self._shared = os.getpid(), _Zygote()
            self._shared.users += 1
            return self._shared

    def give_back(self, zygote: _Zygote) -> None:
        """End the process if no other pool uses it."""
        with self._lock:
            zygote.users -= 1
            if zygote.users:
                return
            if self._shared is zygote:
                self._shared = None
        zygote.close()


ZYGOTES: Final = _Zygotes()


def _clear(scratch: Path) -> None:
    """Delete the folders of workers whose server was killed."""
    for folder in scratch.glob("query-*"):
        with suppress(OSError):
            if time.time() - folder.stat().st_mtime > _ABANDONED_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)
