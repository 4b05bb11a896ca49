"""Delivery: how a task of the ledger gets to the process that runs it, on one host.

The process that adds a task calls its function at once, from a thread. If the thread, the process or that of the
function dies, a later call of the scheduler finds the task in the ledger. In a cloud, `analyst.tasks.cloud_tasks` does
this.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Final, Protocol

from analyst.errors import AnalystError, UnavailableError
from analyst.tasks.ledger import LANES, Lane, Task

log = logging.getLogger(__name__)

Send = Callable[[Task], object]
"""Runs a task in the process that serves its function, and returns when that has ended."""

_AT_ONCE: Final = 2
"""The maximum number of tasks of a lane that one process runs at the same time."""


class Delivery(Protocol):
    """Delivers tasks of the ledger to the processes that run them."""

    def deliver(self, task: Task, send: Send) -> None:
        """Deliver a task when it is due; return at once."""

    def redeliver(self, task: Task, send: Send) -> None:
        """Deliver a due task again, because nobody runs it."""


class Background:
    """Runs tasks after the response, a few at a time. `room` limits how many may run or wait."""

    def __init__(self, workers: int = 2 + _AT_ONCE * len(LANES), room: int = 100) -> None:
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="task")
        self._room = threading.BoundedSemaphore(room)
        self._turn = threading.Lock()
        self._again: dict[str, bool] = {}
        self._futures: set[Future[object]] = set()

    def run(self, task: Callable[[], object]) -> None:
        """Run a task in the background.

        Raises:
            UnavailableError: too many tasks are waiting.
        """
        if not self._room.acquire(blocking=False):
            raise UnavailableError("the server is busy: too many tasks are waiting; try again in a moment")
        try:
            with self._turn:  # `drain` must not look between the two
                future = self._pool.submit(task)
                self._futures.add(future)
        except RuntimeError as error:  # the pool is shut down
            self._room.release()
            raise UnavailableError("the server is stopping; try again in a moment") from error
        future.add_done_callback(self._ended)

    def _ended(self, future: Future[object]) -> None:
        with self._turn:
            self._futures.discard(future)
        self._room.release()

    def drain(self, seconds: float) -> bool:
        """Accept no more tasks and wait for those that run; return whether all have ended."""
        self._pool.shutdown(wait=False)
        with self._turn:
            running = [*self._futures]
        return not wait(running, timeout=seconds).not_done

    def run_alone(self, name: str, task: Callable[[], object]) -> None:
        """Run a task in the background, but only one of a name at a time; while it runs, at most one more waits.

        Raises:
            UnavailableError: too many tasks are waiting.
        """
        with self._turn:
            if name in self._again:
                self._again[name] = True
                return
            self._again[name] = True
        try:
            self.run(lambda: self._repeat(name, task))
        except UnavailableError:
            self._again.pop(name)
            raise

    def _repeat(self, name: str, task: Callable[[], object]) -> None:
        """Run a task again for as long as it was requested while it ran."""
        try:
            while self._is_asked_for(name):
                task()
        except BaseException:
            self._again.pop(name, None)
            raise

    def _is_asked_for(self, name: str) -> bool:
        with self._turn:
            asked = self._again[name]
            if asked:
                self._again[name] = False
            else:
                del self._again[name]
            return asked

    def close(self) -> None:
        """Wait for all tasks, and accept no more."""
        self._pool.shutdown()


class HostDelivery:
    """Delivers tasks from threads of this process, a few of each lane at a time.

    What waits here is only a list of ids. If it is lost, the next call of the scheduler delivers the tasks again.
    """

    def __init__(self, background: Callable[[], Background], is_stopping: Callable[[], bool] = lambda: False) -> None:
        self._background = background
        self._is_stopping = is_stopping
        self._lock = threading.Lock()
        self._waiting: dict[Lane, deque[tuple[Task, Send]]] = {lane: deque() for lane in LANES}

    def deliver(self, task: Task, send: Send) -> None:
        """Have a task run now; one with a delay waits for the scheduler."""
        if task.due > task.created_at or task.attempts:
            return
        self.redeliver(task, send)

    def redeliver(self, task: Task, send: Send) -> None:
        """Have a task run now."""
        with self._lock:
            waiting = self._waiting[task.lane]
            if all(other.id != task.id for other, _ in waiting):
                waiting.append((task, send))
        for slot in range(_AT_ONCE):
            with suppress(UnavailableError):  # the scheduler delivers it
                self._background().run_alone(f"{task.lane} {slot}", lambda: self._empty(task.lane))

    def _empty(self, lane: Lane) -> None:
        while True:
            with self._lock:
                if not self._waiting[lane] or self._is_stopping():
                    return
                task, send = self._waiting[lane].popleft()
            _send(task, send)


def _send(task: Task, send: Send) -> None:
    try:
        send(task)
    except Exception as error:
        fields = {"path": task.path, "task": task.id, "request_id": task.request_id, "reason": str(error)}
        known = isinstance(error, AnalystError)
        log.warning(
            "a task could not be run; it stays in the ledger",
            extra={"fields": fields},
            exc_info=None if known else error,
        )
