"""Runs of extracts, jobs and rebuilds. Each run leaves one immutable record, stored under the day on which it started."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from types import TracebackType
from typing import Final, Literal, Self

from pydantic import BaseModel, ConfigDict
from ulid import ULID

from analyst.days import Day, Lines, folder_of
from analyst.errors import AnalystError, NotFoundError
from analyst.store import ANY, Store
from analyst.store.compare_and_swap import put_once
from analyst.store.interface import StoreConflictError, UnsureWriteError

PREFIX = "state/runs/"
_PROGRESS = "state/progress/"
_PARTS: Final = "state/parts/"
_PARTS_KEPT: Final = 7 * 86_400.0
_STALE: Final = 60.0
"""Seconds after which the progress of a run that never ended is ignored, and deleted by the next run."""
_SIGN_OF_LIFE: Final = 20.0
"""Seconds after which the progress of a run is published again although nothing has changed."""

RunKind = Literal["extract", "rebuild", "job", "script"]
RunStatus = Literal["ok", "unchanged", "partial", "failed"]
TableStatus = Literal["ok", "unchanged", "failed", "missing", "superseded", "vanished"]


class TableResult(BaseModel):
    """The result of one table in a run. `ms` counts from the start of its own reading.

    `passed_over` is the number of rows that an increment skipped because they lie before its cursor. `notes` are
    warnings about single rows or files; `note` is a warning about the table as a whole, such as that its files are
    gone.
    """

    model_config = ConfigDict(frozen=True)

    table: str
    status: TableStatus
    rows: int | None = None
    size_bytes: int | None = None
    rejected: int = 0
    rejects: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    passed_over: int = 0
    error: str | None = None
    note: str | None = None
    ms: int = 0


class RunRecord(BaseModel):
    """A completed run. `run_id` is a ULID, so records sort by start time.

    `job` names a job of a source other than its extract, or a script. `counts` state how much it did, `notes` are
    warnings.
    """

    model_config = ConfigDict(frozen=True)

    run_id: str
    kind: RunKind
    job: str | None = None
    source: str | None
    status: RunStatus
    started_at: datetime
    finished_at: datetime
    tables: tuple[TableResult, ...] = ()
    error: str | None = None
    snapshot: int | None = None
    counts: Mapping[str, int] = {}
    notes: tuple[str, ...] = ()


class RunProgress(BaseModel):
    """How far a run is: the tables it has read (`tables`), is reading (`reading`), and will read in all (`total`)."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    source: str
    started_at: datetime
    total: int
    reading: tuple[str, ...] = ()
    tables: tuple[TableResult, ...] = ()


class Reading:
    """Publishes the progress of a run while the block runs, and removes it at the end.

    It is published when it has changed, at most every two seconds, and every 20 seconds as a heartbeat. A run that ends
    within two seconds publishes nothing. A write that fails is left to the next one.
    """

    def __init__(self, run: "Run", *, interval: float = 2.0, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._store = run.store
        self._key = f"{_PROGRESS}{run.run_id}.json"
        self._progress = RunProgress(run_id=run.run_id, source=run.source or "", started_at=run.started_at, total=0)
        self._interval = interval
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._publish, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()

    def expect(self, total: int) -> None:
        """Note how many tables will be read."""
        with self._lock:
            self._progress = self._progress.model_copy(update={"total": total})

    def begin(self, table: str) -> None:
        """Note that a table is being read."""
        with self._lock:
            self._progress = self._progress.model_copy(update={"reading": (*self._progress.reading, table)})

    def end(self, result: TableResult) -> None:
        """Note the result of a table."""
        with self._lock:
            reading = tuple(table for table in self._progress.reading if table != result.table)
            tables = (*self._progress.tables, result)
            self._progress = self._progress.model_copy(update={"reading": reading, "tables": tables})

    def _publish(self) -> None:
        written: RunProgress | None = None
        at = self._monotonic()
        while not self._ended.wait(self._interval):
            with self._lock:
                progress = self._progress
            if progress is not written or self._monotonic() - at > _SIGN_OF_LIFE:
                with suppress(AnalystError, StoreConflictError, UnsureWriteError):
                    self._store.put(self._key, progress.model_dump_json().encode(), if_version=ANY)
                    written, at = progress, self._monotonic()
        if written is not None:
            with suppress(AnalystError):
                self._store.delete(self._key)
                self._delete_stale()

    def _delete_stale(self) -> None:
        """Delete the progress of runs whose process was killed."""
        for entry in self._store.list(_PROGRESS):
            if entry.age > _STALE:
                self._store.delete(entry.key)


def progress_of(store: Store, run_id: str) -> tuple[RunProgress, timedelta] | None:
    """Return the progress of a run and its age; `None` if the run has published none."""
    found = store.read(f"{_PROGRESS}{run_id}.json") if is_run_id(run_id) else None
    if found is None:
        return None
    return RunProgress.model_validate_json(found.data), timedelta(seconds=found.age)


def keep_part(store: Store, record: RunRecord, part: int) -> None:
    """Keep what a run that was cut has done so far, for its next part; delete what runs of earlier days have left."""
    for entry in store.list(_PARTS):
        if entry.age > _PARTS_KEPT:
            store.delete(entry.key)
    store.put(_part_key(record.run_id, part), record.model_dump_json().encode(), if_version=ANY)


def earlier_parts(store: Store, run_id: str, part: int) -> RunRecord | None:
    """Return what a run has done before this part of it; `None` for the first one."""
    found = store.read(_part_key(run_id, part - 1)) if part else None
    return None if found is None else RunRecord.model_validate_json(found.data)


def _part_key(run_id: str, part: int) -> str:
    return f"{_PARTS}{run_id}-{part}.json"


def under_way(store: Store, limit: int) -> Iterator[RunProgress]:
    """Return the progress of the runs that publish one, newest first."""
    keys = sorted((entry.key for entry in store.list(_PROGRESS)), reverse=True)[:limit]
    found = (store.read(key) for key in keys)
    yield from (RunProgress.model_validate_json(each.data) for each in found if each is not None and each.age < _STALE)


@dataclass(slots=True)
class Run:
    """A run in progress: what it has done so far, and the record that it leaves.

    Extracts, jobs, folds and rebuilds share this life: `begin`, collect results, `end`. `has_effect` states that
    something was done that no table result shows, such as events that a fold archived.
    """

    store: Store
    now: Callable[[], datetime]
    kind: RunKind
    source: str | None
    run_id: str
    started_at: datetime
    job: str | None = None
    tables: dict[str, TableResult] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    error: str | None = None
    snapshot: int | None = None
    has_effect: bool = False

    @classmethod
    def begin(
        cls,
        store: Store,
        now: Callable[[], datetime],
        kind: RunKind,
        source: str | None,
        *,
        run_id: str | None = None,
        job: str | None = None,
    ) -> Self:
        """Start a run now; `run_id` is the id it was triggered with."""
        return cls(store, now, kind, source, run_id or new_run_id(), now(), job)

    def add(self, *results: TableResult) -> None:
        """Add the results of tables; a later result of a table replaces an earlier one."""
        self.tables |= {result.table: result for result in results}

    def note(self, text: str) -> None:
        """Add a warning. After the first 50, further warnings are dropped, so that a record stays small."""
        if len(self.notes) < _MOST_NOTES:
            self.notes.append(text)

    @property
    def status(self) -> RunStatus:
        """`partial` if something failed and something succeeded; `unchanged` if there was nothing to do."""
        failed = [result for result in self.tables.values() if result.status in ("failed", "missing")]
        has_effect = self.has_effect or any(result.status == "ok" for result in self.tables.values())
        if self.error is not None:
            return "partial" if has_effect else "failed"
        if failed:
            return "failed" if len(failed) == len(self.tables) and not has_effect else "partial"
        return "ok" if has_effect else "unchanged"

    @property
    def is_idle(self) -> bool:
        """Whether nothing happened that a record would have to show. Idle jobs leave none."""
        return self.error is None and not self.counts

    def record(self) -> RunRecord:
        """Make the record of the run as it stands now, with the tables in the order of their names."""
        return RunRecord(
            run_id=self.run_id,
            kind=self.kind,
            job=self.job,
            source=self.source,
            status=self.status,
            started_at=self.started_at,
            finished_at=self.now(),
            tables=tuple(self.tables[name] for name in sorted(self.tables)),
            error=self.error,
            snapshot=self.snapshot,
            counts=dict(self.counts),
            notes=tuple(self.notes),
        )

    def end(self) -> RunRecord:
        """Write the record and return it.

        Raises:
            UnavailableError: the store does not respond.
        """
        record = self.record()
        write(self.store, record)
        return record


_MOST_NOTES: Final = 50
_MOST_RESULTS: Final = 20_000
"""Results of tables that are kept in memory, about 20 MB."""


def new_run_id(at: datetime | None = None) -> str:
    """Make the id of a run that starts now, or at another time."""
    return str(ULID() if at is None else ULID.from_datetime(at))


def began(run_id: str) -> datetime:
    """Return the time at which a run id was made."""
    return datetime.fromtimestamp(ULID.from_str(run_id).timestamp, UTC)


def is_run_id(text: str) -> bool:
    """Return whether a string is a run id."""
    try:
        ULID.from_str(text)
    except ValueError:
        return False
    return True


def write(store: Store, record: RunRecord) -> None:
    """Write the record of a run. If a run was started twice, the record of the call that ended first stays.

    Raises:
        UnavailableError: the store does not respond.
    """
    put_once(store, _key(record.run_id), record.model_dump_json().encode())


def read(store: Store, run_id: str, *, today: date) -> RunRecord:
    """Read the record of a run. Records of `today` are not looked for in archives.

    Raises:
        NotFoundError: no run with this id has ended.
        UnavailableError: the store does not respond.
    """
    lines = _lines(store, run_id, today) if is_run_id(run_id) else None
    if lines is None:
        raise NotFoundError(f"no run with the id '{run_id}' has ended; `da admin runs` lists the last ones")
    return _record(lines)


def newest(store: Store, *, today: date, limit: int, days: int = 7) -> list[RunRecord]:
    """Read the records of the last days, newest first.

    Raises:
        UnavailableError: the store does not respond.
    """
    return RecentRuns(store).newest(today=today, limit=limit, days=days)


def unseen(store: Store, seen: set[str], *, today: date, limit: int, days: int = 7) -> list[RunRecord]:
    """Read the records of the last days whose names are not in `seen`, newest first, and add the names of those days to it.

    Raises:
        UnavailableError: the store does not respond.
    """
    names = [*_newest_first(store, today, days)]
    found = [day.lines(name) for day, name in [pair for pair in names if pair[1] not in seen][:limit]]
    seen.clear()
    seen.update(name for _, name in names)
    return [_record(lines) for lines in found if lines is not None]


class RecentRuns:
    """The newest records. Those that were read before are in memory, since a record never changes. Thread-safe."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._known: dict[str, RunRecord] = {}
        self._results = 0

    def newest(self, *, today: date, limit: int, days: int = 7) -> list[RunRecord]:
        """Return the records of the last days, newest first.

        Raises:
            UnavailableError: the store does not respond.
        """
        found = (self._read(day, name) for day, name in _newest_first(self._store, today, days))
        return list(islice((record for record in found if record is not None), limit))

    def _read(self, day: Day, name: str) -> RunRecord | None:
        known = self._known.get(name)
        if known is None and (lines := day.lines(name)) is not None:
            known = _record(lines)
            self._keep(name, known)
        return known

    def _keep(self, name: str, record: RunRecord) -> None:
        """Keep a record, and forget the oldest ones when all have too many results."""
        with self._lock:
            if self._known.setdefault(name, record) is record:
                self._results += 1 + len(record.tables)
            while self._results > _MOST_RESULTS:
                oldest = self._known.pop(min(self._known))
                self._results -= 1 + len(oldest.tables)


def _newest_first(store: Store, today: date, days: int) -> Iterator[tuple[Day, str]]:
    """Return the names of the records of the last days, newest first, with the day in which each is."""
    for back in range(days):
        day = Day.open(store, folder_of(PREFIX, today - timedelta(days=back)))
        yield from ((day, name) for name in reversed(day.names))


def _record(lines: Lines) -> RunRecord:
    return RunRecord.model_validate_json(b"".join(lines))


def _lines(store: Store, run_id: str, today: date) -> Lines | None:
    folder, name = folder_of(PREFIX, began(run_id).date()), f"{run_id}.json"
    if began(run_id).date() < today:
        return Day.open(store, folder).lines(name)
    found = store.read(folder + name)
    return None if found is None else (found.data,)


def _key(run_id: str) -> str:
    return f"{folder_of(PREFIX, began(run_id).date())}{run_id}.json"
