"""Run records: what each extract and rebuild did, one immutable record each, kept by the day on which it began."""

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Literal

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
    """How one table fared. `ms` counts from when its turn came.

    `passed_over` are rows of the source that an increment did not read, because they lie before its cursor. `notes` and
    `note` are what is worth a look although nothing failed; `note` says how the table as a whole stands, such as that its
    files are gone.
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
    """One run, as it ended. `run_id` is a ULID, so that records sort by when their runs began.

    A `job` of a source besides its extract has a name. `counts` are of what it did, `notes` of what is worth a look.
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


def new_run_id(at: datetime | None = None) -> str:
    """Make the id of a run that begins now, or then."""
    return str(ULID() if at is None else ULID.from_datetime(at))


def began(run_id: str) -> datetime:
    """Tell when a run was made, by its id."""
    return datetime.fromtimestamp(ULID.from_str(run_id).timestamp, UTC)


def is_run_id(text: str) -> bool:
    """Tell whether a text is the id of a run."""
    try:
        ULID.from_str(text)
    except ValueError:
        return False
    return True


def write(store: Store, record: RunRecord) -> None:
    """Keep a run's record. Of a run that was called twice, the record of the call that ended first is kept.

    Raises:
        UnavailableError: the store does not answer.
    """
    put_once(store, _key(record.run_id), record.model_dump_json().encode())


def read(store: Store, run_id: str, *, today: date) -> RunRecord:
    """Read one run's record. Nothing of `today` is in an archive.

    Raises:
        NotFoundError: no such run has ended.
        UnavailableError: the store does not answer.
    """
    lines = _lines(store, run_id, today) if is_run_id(run_id) else None
    if lines is None:
        raise NotFoundError(f"no run {run_id} has ended")
    return _record(lines)


def newest(store: Store, *, today: date, limit: int, days: int = 7) -> list[RunRecord]:
    """Read the newest records of the last days, newest first.

    Raises:
        UnavailableError: the store does not answer.
    """
    return list(islice(_newest(store, today, days), limit))


def _newest(store: Store, today: date, days: int) -> Iterator[RunRecord]:
    for back in range(days):
        day = Day.open(store, folder_of(PREFIX, today - timedelta(days=back)))
        found = (day.lines(name) for name in reversed(day.names))
        yield from (_record(lines) for lines in found if lines is not None)


def _lines(store: Store, run_id: str, today: date) -> Lines | None:
    folder, name = folder_of(PREFIX, began(run_id).date()), f"{run_id}.json"
    if began(run_id).date() < today:
        return Day.open(store, folder).lines(name)
    found = store.read(folder + name)
    return None if found is None else (found.data,)


def _record(lines: Lines) -> RunRecord:
    return RunRecord.model_validate_json(b"".join(lines))


def _key(run_id: str) -> str:
    return f"{folder_of(PREFIX, began(run_id).date())}{run_id}.json"
