"""Run records: what each extract and rebuild did, one immutable object each."""

from datetime import UTC, date, datetime, timedelta
from typing import Literal

from pydantic import BaseModel, ConfigDict
from ulid import ULID

from analyst.errors import NotFoundError
from analyst.store import Store
from analyst.store.swapping import put_once

PREFIX = "state/runs/"
RunStatus = Literal["ok", "unchanged", "partial", "failed"]
TableStatus = Literal["ok", "unchanged", "failed", "missing", "superseded"]


class TableResult(BaseModel):
    """How one table fared. `ms` counts from when its turn came."""

    model_config = ConfigDict(frozen=True)

    table: str
    status: TableStatus
    rows: int | None = None
    size_bytes: int | None = None
    rejected: int = 0
    rejects: tuple[str, ...] = ()
    error: str | None = None
    ms: int = 0


class RunRecord(BaseModel):
    """One run, as it ended. `run_id` is a ULID, so that records sort by when their runs began."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    kind: Literal["extract", "rebuild"]
    source: str | None
    status: RunStatus
    started_at: datetime
    finished_at: datetime
    tables: tuple[TableResult, ...] = ()
    error: str | None = None
    snapshot: int | None = None


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


def read(store: Store, run_id: str) -> RunRecord:
    """Read one run's record.

    Raises:
        NotFoundError: no such run has ended.
    """
    found = store.read(_key(run_id)) if is_run_id(run_id) else None
    if found is None:
        raise NotFoundError(f"no run {run_id} has ended")
    return RunRecord.model_validate_json(found.data)


def newest(store: Store, *, today: date, limit: int, days: int = 7) -> list[RunRecord]:
    """Read the newest records of the last days, newest first."""
    keys: list[str] = []
    for back in range(days):
        listed = [entry.key for entry in store.list(_day(today - timedelta(days=back)))]
        keys.extend(sorted(listed, reverse=True))
        if len(keys) >= limit:
            break
    found = (store.read(key) for key in keys[:limit])
    return [RunRecord.model_validate_json(item.data) for item in found if item is not None]


def _key(run_id: str) -> str:
    return f"{_day(began(run_id).date())}{run_id}.json"


def _day(day: date) -> str:
    return f"{PREFIX}date={day.isoformat()}/"
