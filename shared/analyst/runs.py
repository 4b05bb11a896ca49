"""Runs of extracts, jobs and rebuilds. Each run leaves one immutable record, stored under the day on which it started."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Final, Literal, Self

from pydantic import BaseModel, ConfigDict
from ulid import ULID

from analyst.days import Day, Lines, folder_of
from analyst.errors import NotFoundError
from analyst.store import Store
from analyst.store.compare_and_swap import put_once

PREFIX = "state/runs/"
RunKind = Literal["extract", "rebuild", "job"]
RunStatus = Literal["ok", "unchanged", "partial", "failed"]
TableStatus = Literal["ok", "unchanged", "failed", "missing", "superseded", "vanished"]


class TableResult(BaseModel):
    """The result of one table in a run. `ms` counts from the start of its own reading.

    `passed_over` is the number of rows that an increment skipped because they lie before its cursor. `notes` are warnings
    about single rows or files; `note` is a warning about the table as a whole, such as that its files are gone.
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

    `job` names a job of a source other than its extract. `counts` state how much it did, `notes` are warnings.
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
        """Add a warning. After the first 50 further warnings are dropped, so that a record stays small."""
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


def new_run_id(at: datetime | None = None) -> str:
    """Make the id of a run that starts now, or at another time."""
    return str(ULID() if at is None else ULID.from_datetime(at))


def began(run_id: str) -> datetime:
    """Return the time at which a run id was made."""
    return datetime.fromtimestamp(ULID.from_str(run_id).timestamp, UTC)


def is_run_id(text: str) -> bool:
    """Return whether a text is a run id."""
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
    return RunRecord.model_validate_json(b"".join(lines))


def newest(store: Store, *, today: date, limit: int, days: int = 7) -> list[RunRecord]:
    """Read the records of the last days, newest first.

    Raises:
        UnavailableError: the store does not respond.
    """
    return list(islice(_newest(store, today, days), limit))


def _newest(store: Store, today: date, days: int) -> Iterator[RunRecord]:
    for back in range(days):
        day = Day.open(store, folder_of(PREFIX, today - timedelta(days=back)))
        found = (day.lines(name) for name in reversed(day.names))
        yield from (RunRecord.model_validate_json(b"".join(lines)) for lines in found if lines is not None)


def _lines(store: Store, run_id: str, today: date) -> Lines | None:
    folder, name = folder_of(PREFIX, began(run_id).date()), f"{run_id}.json"
    if began(run_id).date() < today:
        return Day.open(store, folder).lines(name)
    found = store.read(folder + name)
    return None if found is None else (found.data,)


def _key(run_id: str) -> str:
    return f"{folder_of(PREFIX, began(run_id).date())}{run_id}.json"
