"""The ledger of tasks: what functions were asked to do after an answer, kept in the bucket until it is done.

A task is the object `state/tasks/<lane>/<id>.json`, which changes by compare-and-swap. The process that runs it holds
the lease `locks/tasks/<id>.json`, so a process that dies is noticed when its lease ends. A task that failed for good is
moved to `state/tasks/failed/`.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError
from ulid import ULID

from analyst import lease
from analyst.errors import NotFoundError, UnavailableError
from analyst.lease import GRACE, Lease
from analyst.store import ANY, Object, Store
from analyst.store.compare_and_swap import swap

PREFIX: Final = "state/tasks/"
_FAILED: Final = f"{PREFIX}failed/"
LEASE_TTL: Final = 30.0
"""Seconds without a heartbeat after which another process may run the task."""
LEASE_ENDS: Final = LEASE_TTL + GRACE + 5.0
"""Seconds after which the lease of a dead process has ended."""
MOST_ATTEMPTS: Final = 5
LONGEST_WAIT: Final = timedelta(days=1)
"""The time after which a task that nobody has finished counts as failed for good."""
_FIRST_PAUSE: Final = 10.0
_LONGEST_PAUSE: Final = 600.0
_LONGEST_ERROR: Final = 2_000

_ID: Final = re.compile(r"[A-Za-z0-9-]{1,64}")
Lane = Literal["quick", "slow", "scripts"]
LANES: Final[tuple[Lane, ...]] = ("quick", "slow", "scripts")
_QUICK: Final = ("/rebuild", "/extract/jira/fold")


def lane_of(path: str) -> Lane:
    """Return the lane of a function: extracts that take an hour must not hold up folds, rebuilds and scripts."""
    if path == "/run-script":
        return "scripts"
    return "quick" if path in _QUICK else "slow"


class Task(BaseModel):
    """A call of the function at `path` (POST) that is to be made.

    Tasks with a `name` are coalesced: while one waits, another one of this name is not added, and one that is added
    while it runs makes it run once `again`. `attempts` counts those of the present round, `claim` is the one that runs.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    path: str
    body: Mapping[str, Any] = {}
    name: str | None = None
    request_id: str = ""
    trace: str | None = None
    created_at: AwareDatetime
    due: AwareDatetime
    attempts: int = 0
    claim: str | None = None
    again: bool = False
    is_done: bool = False
    error: str | None = None
    failed_at: AwareDatetime | None = None
    edit: str = ""
    """Identifies the last write, by which a writer that got no response finds out whether it succeeded."""

    @property
    def lane(self) -> Lane:
        """The lane of its function."""
        return lane_of(self.path)

    @property
    def key(self) -> str:
        """Its object in the bucket."""
        return f"{PREFIX}{self.lane}/{self.id}.json"


Unclaimed = Literal["running", "not_here"]
"""Why a task can't be claimed: another process runs it; or it has ended, or is not due yet."""

Change = Callable[[Task | None], Task | None]
"""Returns the next state of a task; `None` leaves it as it is."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A task that this process runs, and its lease."""

    task: Task
    held: Lease


@dataclass(frozen=True, slots=True)
class TaskLedger:
    """The tasks of a bucket. All methods raise `UnavailableError` if the store does not respond."""

    store: Store
    now: Callable[[], datetime]

    def add(
        self,
        path: str,
        body: Mapping[str, Any],
        *,
        name: str | None = None,
        delay: float = 0.0,
        request_id: str = "",
        trace: str | None = None,
    ) -> Task | None:
        """Add a task; return it, or `None` if one of this name runs and will run once again.

        A task without a name is identified by the `run_id` of its body and its `part`, and the profiles of a run apart
        from its extract: adding it twice adds one.
        """
        now = self.now()
        new = Task(
            id=_id_of(path, body, name),
            path=path,
            body=dict(body),
            name=name,
            request_id=request_id,
            trace=trace,
            created_at=now,
            due=now + timedelta(seconds=delay),
        )

        def added(before: Task | None) -> Task | None:
            if before is None or before.is_done:
                return new
            if before.claim is None or name is None or before.again:
                return None  # it waits, or is certain to run again
            return before.model_copy(update={"again": True, "due": new.due})

        after = self._edit(new.key, added)
        return None if after is None or after.claim is not None else after

    def get(self, task_id: str, path: str) -> Task | None:
        """Return a task that is neither done nor failed."""
        found = _read(self.store, f"{PREFIX}{lane_of(path)}/{task_id}.json")
        return None if found is None or found.is_done else found

    def claim(self, task_id: str, path: str) -> Claim | Unclaimed:
        """Claim a task and count the attempt, unless another process runs it, or it is done, failed or not due yet."""
        if (found := self.get(task_id, path)) is None or found.due > self.now():
            return "not_here"
        held = lease.acquire(self.store, f"tasks/{task_id}", ttl=LEASE_TTL, run_id=task_id)
        if held is None:
            return "running"
        claim = str(ULID())

        def claimed(before: Task | None) -> Task | None:
            if before is None or before.is_done or before.due > self.now():
                return None
            return before.model_copy(update={"attempts": before.attempts + 1, "claim": claim, "again": False})

        try:
            after = self._edit(found.key, claimed)
        except BaseException:
            held.release()
            raise
        if after is None or after.claim != claim:
            self._let_go(found, held)
            return "not_here"
        return Claim(after, held)

    def succeeded(self, claim: Claim) -> Task | None:
        """Settle a claim whose function has succeeded; return the task if it is to run again.

        Nothing changes if another process has taken the task over in the meantime.
        """
        task, now = claim.task, self.now()

        def settled(before: Task | None) -> Task | None:
            if before is None or before.claim != task.claim:
                return None
            fresh = {"claim": None, "attempts": 0, "again": False, "error": None, "created_at": now}
            due = max(now, before.due) if before.again else now
            return before.model_copy(update={**fresh, "due": due, "is_done": not before.again})

        after = self._edit(task.key, settled)
        if task.name is None and after is not None and after.is_done:
            self.store.delete(task.key)  # nobody adds it again; the object of a name stays, because somebody may
        self._let_go(task, claim.held)
        return after if after is not None and not after.is_done and after.claim is None else None

    def failed(self, claim: Claim, error: str, *, for_good: bool = False) -> Task:
        """Settle a claim whose function has failed: it runs again after a pause, or has failed for good (`failed_at`)."""
        task, now = claim.task, self.now()
        reason = error[:_LONGEST_ERROR]
        if for_good or task.attempts >= MOST_ATTEMPTS:
            ended = task.model_copy(update={"claim": None, "error": reason, "failed_at": now})
            self._bury(ended)
            again = self.succeeded(claim)  # it leaves the lane, unless it was added again meanwhile
            return again or ended
        pause = min(_FIRST_PAUSE * 2 ** (task.attempts - 1), _LONGEST_PAUSE)

        def retried(before: Task | None) -> Task | None:
            if before is None or before.claim != task.claim:
                return None
            due = now + timedelta(seconds=pause)
            return before.model_copy(update={"claim": None, "error": reason, "due": due})

        after = self._edit(task.key, retried)
        self._let_go(task, claim.held)
        return after or task

    def handed_back(self, claim: Claim) -> Task | None:
        """Settle a claim that ended before its function did, without counting the attempt."""
        task = claim.task

        def back(before: Task | None) -> Task | None:
            if before is None or before.claim != task.claim:
                return None
            return before.model_copy(update={"claim": None, "attempts": before.attempts - 1})

        after = self._edit(task.key, back)
        claim.held.release()
        return after

    def due(self) -> Iterator[Task]:
        """Return the tasks that are due and that nobody runs."""
        now = self.now()
        for lane in LANES:
            for entry in self.store.list(f"{PREFIX}{lane}/"):
                task = _read(self.store, entry.key)
                if task is None or task.is_done or task.due > now or self._is_running(task):
                    continue
                yield task

    def give_up(self, task: Task, error: str) -> Task:
        """Move a task that nobody runs to the failed ones."""
        ended = task.model_copy(update={"error": error, "failed_at": self.now(), "claim": None})
        self._bury(ended)
        self._drop(task)
        return ended

    def waiting(self) -> Iterator[Task]:
        """Return all tasks that are neither done nor failed, of each lane in the order of their ids."""
        for lane in LANES:
            for entry in self.store.list(f"{PREFIX}{lane}/"):
                task = _read(self.store, entry.key)
                if task is not None and not task.is_done:
                    yield task

    def failures(self) -> Iterator[Task]:
        """Return the tasks that failed for good."""
        for entry in self.store.list(_FAILED):
            task = _read(self.store, entry.key)
            if task is not None:
                yield task

    def failure_count(self) -> int:
        """Count the tasks that failed for good, without reading them."""
        return sum(1 for _ in self.store.list(_FAILED))

    def retry(self, task_id: str) -> Task | None:
        """Add a failed task again, as a new run; see `add`.

        Raises:
            NotFoundError: no task with this id has failed.
        """
        task = self._failure(task_id)
        body = {**task.body, "run_id": str(ULID())} if "run_id" in task.body else task.body
        added = self.add(task.path, body, name=task.name, request_id=task.request_id, trace=task.trace)
        self.store.delete(f"{_FAILED}{task_id}.json")
        return added

    def forget(self, task_id: str) -> None:
        """Drop a task that failed for good.

        Raises:
            NotFoundError: no task with this id has failed.
        """
        self._failure(task_id)
        self.store.delete(f"{_FAILED}{task_id}.json")

    def _failure(self, task_id: str) -> Task:
        found = _read(self.store, f"{_FAILED}{task_id}.json") if _ID.fullmatch(task_id) else None
        if found is None:
            raise NotFoundError(
                f"no task with the id '{task_id}' has failed; `da admin tasks list` shows those that have"
            )
        return found

    def _bury(self, task: Task) -> None:
        self.store.put(f"{_FAILED}{task.id}.json", task.model_dump_json(exclude_defaults=True).encode(), if_version=ANY)

    def _drop(self, task: Task) -> None:
        if task.name is None:
            self.store.delete(task.key)
        else:
            self._edit(task.key, lambda before: before and before.model_copy(update={"is_done": True, "claim": None}))

    def _is_running(self, task: Task) -> bool:
        if task.claim is None:
            return False
        held = self.store.head(_lock(task))
        return held is not None and held.age <= LEASE_TTL + GRACE

    def _let_go(self, task: Task, held: Lease) -> None:
        """End the lease. The lock of a task that nobody adds again is deleted: locks would pile up otherwise."""
        held.release()
        if task.name is None:
            self.store.delete(_lock(task))

    def _edit(self, key: str, change: Change) -> Task | None:
        """Change a task by compare-and-swap; return its new state, or the present one if `change` leaves it."""
        edits: dict[str, Task] = {}
        left: list[Task | None] = []

        def changed(current: Object | None) -> bytes:
            before = None if current is None else _task(key, current)
            after = change(before)
            if after is None:
                left.append(before)
                raise _UnchangedError
            after = after.model_copy(update={"edit": str(ULID())})
            edits[after.edit] = after
            return after.model_dump_json(exclude_defaults=True).encode()

        try:
            swap(self.store, key, changed, done=lambda current: _task(key, current).edit in edits)
        except _UnchangedError:
            return left[-1]
        return list(edits.values())[-1]


def is_waiting(store: Store, run_id: str) -> bool:
    """Return whether the task of a run, or of a part of it, waits or runs."""
    return next(iter(store.list(f"{PREFIX}slow/{run_id}")), None) is not None


class _UnchangedError(Exception):
    """There is nothing to write."""


def _id_of(path: str, body: Mapping[str, Any], name: str | None) -> str:
    if name is not None:
        return hashlib.sha256(f"{path} {name}".encode()).hexdigest()[:24]
    run_id, part = body.get("run_id"), body.get("part")
    if not isinstance(run_id, str):
        return str(ULID())
    known = f"{run_id}-{part}" if part else run_id
    # an extract requests the profiles of its tables while its own task, of the same run, is still running
    return f"profile-{known}" if path == "/profile" else known


def _lock(task: Task) -> str:
    return f"locks/tasks/{task.id}.json"


def _read(store: Store, key: str) -> Task | None:
    found = store.read(key)
    return None if found is None else _task(key, found)


def _task(key: str, found: Object) -> Task:
    try:
        return Task.model_validate_json(found.data)
    except ValidationError as error:
        raise UnavailableError(f"{key!r} can't be read as a task; delete it") from error
