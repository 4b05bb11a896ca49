"""The ledger of the scheduler: starts and their results. One small object, changed by compare-and-swap."""

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError
from ulid import ULID

from analyst import runs
from analyst.errors import NotFoundError, UnavailableError
from analyst.runs import RunRecord
from analyst.store import Object, Store
from analyst.store.compare_and_swap import swap
from analyst.sync_runs import LOST_AFTER, is_alive

T = TypeVar("T")

KEY: Final = "state/schedule.json"
_RECENT: Final = 20


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Attempt(_Value):
    """The last attempt at a table, a source, a job or the sweep.

    `failures` counts consecutive ones; they have an `error`.
    """

    at: AwareDatetime
    failures: int = 0
    error: str | None = None


class Start(_Value):
    """A start without a known end: an extract, a `job` of a source, or without one the sweep.

    `tables` are names, `None` for all tables of the source. It is marked first, and `under_way` once it was handed
    over.
    """

    run_id: str
    source: str | None
    job: str | None = None
    tables: tuple[str, ...] | None = None
    at: AwareDatetime
    under_way: bool = False

    @property
    def is_extract(self) -> bool:
        """Whether this is an extract, which leaves a record with its results."""
        return self.source is not None and self.job is None


class Ledger(_Value):
    """`state/schedule.json`: attempts at sources by name, tables by the uuid of their registration, jobs by their id.

    Starts are by run.
    """

    sources: Mapping[str, Attempt] = {}
    tables: Mapping[str, Attempt] = {}
    jobs: Mapping[str, Attempt] = {}
    sweep: Attempt | None = None
    starts: Mapping[str, Start] = {}
    recent: tuple[str, ...] = ()
    """Ids of the last edits, newest last, by which a writer that got no response finds out whether it succeeded."""


def read(store: Store) -> Ledger:
    """Read the ledger; it is empty before the first start.

    Raises:
        UnavailableError: it is damaged, or the store does not respond.
    """
    return _ledger(store.read(KEY))


class LedgerReader:
    """The ledger for readers: it is parsed again only when it has changed. Thread-safe."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._version: str | None = None
        self._ledger = Ledger()

    def current(self) -> Ledger:
        """Return the ledger, by one conditional read.

        Raises:
            UnavailableError: it is damaged, or the store does not respond.
        """
        with self._lock:
            found = self._store.read(KEY, unless=self._version)
            if found is None:
                self._version, self._ledger = None, Ledger()
            elif found.version != self._version:
                self._ledger = _ledger(found)
                self._version = found.version
            return self._ledger


def edit(store: Store, change: Callable[[Ledger], tuple[Ledger, T]]) -> T:
    """Change the ledger and return the result of `change`. An unchanged ledger is not written.

    `change` runs again on the new content whenever another writer was faster.

    Raises:
        UnavailableError: the ledger is damaged, the store does not respond, or others were always faster.
    """
    results: dict[str, T] = {}
    edits = [""]

    def changed(current: Object | None) -> bytes:
        before = _ledger(current)
        after, result = change(before)
        edits.append("" if after == before else str(ULID()))
        results[edits[-1]] = result
        if after == before:
            raise _UnchangedError
        recent = (*before.recent, edits[-1])[-_RECENT:]
        return after.model_copy(update={"recent": recent}).model_dump_json(exclude_defaults=True).encode()

    def done(current: Object) -> bool:
        ours = [edit for edit in _ledger(current).recent if edit in results]
        edits.extend(ours)
        return bool(ours)

    with suppress(_UnchangedError):
        swap(store, KEY, changed, done=done)
    return results[edits[-1]]


def records(store: Store, ledger: Ledger, known: Mapping[str, RunRecord], now: datetime) -> dict[str, RunRecord]:
    """Read the records of the starts that have ended, by run; those that are `known` are not read again.

    Records of the last day are never archived, so each takes one request.

    Raises:
        UnavailableError: the store does not respond.
    """
    found: dict[str, RunRecord] = {}
    for start in ledger.starts.values():
        if start.is_extract:
            began = runs.began(start.run_id)
            today = (began if now - began < timedelta(days=1) else now).date()
            with suppress(NotFoundError):
                found[start.run_id] = known.get(start.run_id) or runs.read(store, start.run_id, today=today)
    return found


def lost(store: Store, ledger: Ledger, known: Mapping[str, RunRecord], now: datetime) -> frozenset[str]:
    """Return the runs that have ended without a record: they have no heartbeat, and no task of theirs waits.

    Raises:
        UnavailableError: the store does not respond.
    """
    silent = {
        start.run_id: start
        for start in ledger.starts.values()
        if start.is_extract
        and start.under_way
        and start.run_id not in known
        and now - start.at > LOST_AFTER
        and not is_alive(store, start.run_id)
    }
    # a run may have ended between our looks at its record and at its task
    left = records(store, ledger.model_copy(update={"starts": silent}), {}, now) if silent else {}
    return frozenset(silent.keys() - left.keys())


class _UnchangedError(Exception):
    """There is nothing to write."""


def _ledger(found: Object | None) -> Ledger:
    try:
        return Ledger() if found is None else Ledger.model_validate_json(found.data)
    except ValidationError as error:
        raise UnavailableError(f"{KEY!r} can't be read; delete it, and the next call syncs everything") from error
