"""Leases: the right to do something that one process at a time should do, as long as that process sends heartbeats.

A lease is the object `locks/<name>.json`, which changes by compare-and-swap and is never deleted. It saves work and no
more: its holder may die, stall or resume late, so correctness rests on the swap of a pointer and the epoch in it.
"""

import os
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from analyst.errors import AnalystError, LeaseLostError, UnavailableError
from analyst.store.compare_and_swap import FEW, swap
from analyst.store.guarantees import require_again
from analyst.store.interface import Object, Store, StoreConflictError, UnsureWriteError

GRACE = 5.0
"""Seconds that a lease may be overdue, by the store's clock, before another process may take it over."""


class Lock(BaseModel):
    """The content of the object. `id` identifies one holding of the lease, `beat` counts its renewals."""

    model_config = ConfigDict(frozen=True)

    owner: str
    epoch: int = Field(ge=0)
    ttl_s: float = Field(gt=0)
    released: bool
    run_id: str
    host: str
    id: str
    beat: int = 0

    def body(self) -> bytes:
        """Return the content as bytes."""
        return self.model_dump_json().encode()


class Lease:
    """A lease that this process holds, or held; `acquire` makes it. A thread renews it three times per ttl.

    The thread is needed because the work under a lease may block for longer than a ttl in a single call, such as one
    statement of DuckDB, where nothing else could renew it.
    """

    def __init__(
        self,
        store: Store,
        key: str,
        lock: Lock,
        version: str,
        *,
        since: float,
        monotonic: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self._store = store
        self._key = key
        self._lock = lock
        self._version = version
        self._renewed = since
        self._monotonic = monotonic
        self._sleep = sleep
        self._lost = False
        self._is_strange = False
        self._turn = threading.Lock()
        self._ended = threading.Event()
        self._heart = threading.Thread(target=self._beat, name=f"lease-{key}", daemon=True)
        self._heart.start()

    @property
    def epoch(self) -> int:
        """A number that grows with every holder. A publish contains it and never replaces one with a greater epoch.

        This is what stops a holder that resumes after its lease was taken over: it can't know, but its epoch is lower.
        """
        return self._lock.epoch

    def check(self) -> None:
        """Ask the store whether the lease is still held, and renew it if that is overdue.

        Raises:
            LeaseLostError: it is not, or the store has not responded for a whole ttl. It stays lost.
            SettingsError: it was taken before its time, and a test shows that the store does not keep its conditions.
        """
        with self._turn:
            if not self._lost:
                self._confirm()
            if self._is_strange:
                require_again(self._store)
            if self._lost:
                raise LeaseLostError(
                    f"the lease {self._key!r} is no longer held (epoch {self.epoch}): another process took it over; "
                    "start again"
                )

    def release(self) -> None:
        """Release the lease. If the store does not respond, the lease expires after its ttl and the grace."""
        self._ended.set()
        self._heart.join()
        with self._turn:
            self._lost = True
            with suppress(_HeldByAnotherError, UnavailableError):
                self._give_back()

    def _give_back(self) -> None:
        try:
            self._store.put(self._key, self._free().body(), if_version=self._version)
        except (StoreConflictError, UnsureWriteError):
            # The version we know may be outdated by a renewal of our own whose response was lost. A release that gave up
            # here would make the next holder wait for the ttl, so the lock is read and released wherever it is ours.
            swap(self._store, self._key, self._released, done=self._is_released, most=FEW, sleep=self._sleep)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _beat(self) -> None:
        while not self._lost and not self._ended.wait(self._lock.ttl_s / 3):
            with (
                self._turn,
                suppress(UnavailableError),
            ):  # the next renewal may succeed; `check` knows how long none did
                self._renew()

    def _confirm(self) -> None:
        """Look whether the lease is ours; once half the ttl has passed without a renewal, renew it instead.

        An unreachable store is no proof of loss. Only after a whole ttl of silence may another process hold the lease,
        measured by our monotonic clock from *before* the last renewal was sent: the store's time of it is later.
        """
        silent = self._monotonic() - self._renewed
        try:
            if silent > self._lock.ttl_s / 2:
                self._renew()
            else:
                self._look()
        except UnavailableError:
            self._lost = silent > self._lock.ttl_s

    def _renew(self) -> None:
        """Renew the lease. A renewal without a response does not count: the lease may expire sooner than we think."""
        began = self._monotonic()
        self._lock = self._lock.model_copy(update={"beat": self._lock.beat + 1})
        try:
            self._version = self._store.put(self._key, self._lock.body(), if_version=self._version)
        except (StoreConflictError, UnsureWriteError):
            self._look()
        else:
            self._renewed = began

    def _look(self) -> None:
        """Determine who holds the lease. An unknown version may be our own renewal whose response was lost, so `id` decides."""
        entry = self._store.head(self._key)
        if entry is not None and entry.version == self._version:
            return
        current = self._store.read(self._key)
        if current is not None and self._is_mine(current):
            self._version = current.version
        else:
            self._lost = True
            # Another process may take a lease only after its ttl and the grace. One that took it earlier had read it before we
            # took it, so the store did not keep the condition of its write.
            self._is_strange = current is not None and self._monotonic() - self._renewed < self._lock.ttl_s

    def _is_mine(self, current: Object) -> bool:
        lock = _lock_of(self._key, current)
        return lock.id == self._lock.id and not lock.released

    def _released(self, current: Object | None) -> bytes:
        if current is None or not self._is_mine(current):
            raise _HeldByAnotherError(self._key)
        return self._free().body()

    def _free(self) -> Lock:
        return self._lock.model_copy(update={"released": True, "beat": self._lock.beat + 1})

    def _is_released(self, current: Object) -> bool:
        lock = _lock_of(self._key, current)
        return lock.id == self._lock.id and lock.released


def acquire(
    store: Store,
    name: str,
    *,
    published_epoch: int = 0,
    ttl: float = 30.0,
    run_id: str = "",
    owner: str = "",
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Lease | None:
    """Take the lease `name`, or return `None` at once if another process holds it.

    A lease that was not released is taken over when it is older than its ttl plus `GRACE`. Both the age and the ttl are
    those of the object in the store: the clocks of two hosts are never compared.

    Args:
        store: the bucket.
        name: what the lease is for; part of a key.
        published_epoch: the epoch of the last publish; the new one is greater, even if the lock object was deleted.
        ttl: seconds without a renewal after which the lease is lost.
        run_id: the run that holds the lease, for people who look at the object.
        owner: the holder, for people who look at the object (default: host and process).
        monotonic: returns seconds that never go back.
        sleep: waits before another attempt to take or release the lease.

    Raises:
        UnavailableError: the store does not respond, or the object is not a lock.
    """
    key, since = f"locks/{name}.json", monotonic()
    host = os.uname().nodename
    claim = Lock(
        owner=owner or f"{host}:{os.getpid()}",
        epoch=0,
        ttl_s=ttl,
        released=False,
        run_id=run_id,
        host=host,
        id=uuid.uuid4().hex,
    )
    claims: list[Lock] = []

    def claimed(current: Object | None) -> bytes:
        claims.append(claim.model_copy(update={"epoch": max(_free_epoch(key, current), published_epoch) + 1}))
        return claims[-1].body()

    try:
        version = swap(store, key, claimed, done=lambda current: _lock_of(key, current).id == claim.id, sleep=sleep)
    except _HeldByAnotherError:
        return None
    return Lease(store, key, claims[-1], version, since=since, monotonic=monotonic, sleep=sleep)


class _HeldByAnotherError(AnalystError):
    """Another process holds the lease."""


def _free_epoch(key: str, current: Object | None) -> int:
    """Return the epoch of a lease that is not held.

    Raises:
        _HeldByAnotherError: another process holds it.
    """
    if current is None:
        return 0
    lock = _lock_of(key, current)
    if not lock.released and current.age <= lock.ttl_s + GRACE:
        raise _HeldByAnotherError(key)
    return lock.epoch


def _lock_of(key: str, current: Object) -> Lock:
    try:
        return Lock.model_validate_json(current.data)
    except ValidationError as error:
        raise UnavailableError(f"{key!r} is not a valid lock; delete it while nothing is running") from error
