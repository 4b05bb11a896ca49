"""Usage by day, counted from the audit log: which tables people use, how many queries they run, and how many fail.

A day is the object `state/usage/<date>.json`, which is counted up from where it ended. Events of the last minute are
left to the next count, because one that happened earlier may be written a moment later.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from analyst.access import AccessList
from analyst.audit import AuditEvent, Outcome
from analyst.audit.events import Place, milliseconds
from analyst.audit.reader import Events, Wanted
from analyst.store import ANY, Object, Store

PREFIX: Final = "state/usage/"
USES: Final = frozenset(
    {
        "query",
        "data.urls",
        "data.download",
        "table.sample",
        "table.schema",
        "catalog.table",
        "catalog.profile",
        "mcp",
        "sharing.query",
        "sharing.changes",
    }
)
"""Actions with which people read tables."""
_QUERIES: Final = frozenset({"query", "mcp", "sharing.query"})
_SETTLED: Final = timedelta(minutes=1)
_FIRST_DAYS: Final = 7
"""Days that are counted when nothing has been counted before."""
KEPT: Final = timedelta(days=400)


class UserUsage(BaseModel):
    """What one person did on one day. `tables` counts the reads of each; `failures` are requests that ended in an error."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    tables: Mapping[str, int] = {}
    queries: int = 0
    failures: int = 0
    denied: int = 0


class DayUsage(BaseModel):
    """What people did on one day, by user id. `ms` and `id` are the place of the last event that is counted."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    day: date
    ms: int = 0
    id: str = ""
    is_complete: bool = False
    users: Mapping[str, UserUsage] = {}


@dataclass(frozen=True, slots=True)
class Counting:
    """Counts usage. Only one process at a time should."""

    store: Store
    now: Callable[[], datetime]
    memory_limit: str
    scratch: Path | None = None

    def update(self) -> None:
        """Count all that has happened since the last call.

        Raises:
            UnavailableError: the store does not respond.
        """
        until = self.now().astimezone(UTC) - _SETTLED
        known = sorted(entry.key for entry in self.store.list(PREFIX))
        first = _day_of(known[-1]) if known else until.date() - timedelta(days=_FIRST_DAYS - 1)
        for number in range((until.date() - first).days + 1):
            self._count(first + timedelta(days=number), until)

    def _count(self, day: date, until: datetime) -> None:
        before = _read(day, self.store.read(_key(day)))
        if before.is_complete:
            return
        starts = datetime(day.year, day.month, day.day, tzinfo=UTC)
        ends = min(starts + timedelta(days=1), until)
        wanted = Wanted(before=Place(milliseconds(ends)), since_ms=max(milliseconds(starts), before.ms))
        with Events(self.store, self.memory_limit, self.scratch) as events:
            found = [item for item in events.newest(wanted) if isinstance(item, AuditEvent)]
        fresh = [event for event in found if event.place > Place(before.ms, before.id)]
        is_complete = ends < until
        if fresh or is_complete:
            after = counted(before, fresh).model_copy(update={"is_complete": is_complete})
            self.store.put(_key(day), after.model_dump_json(exclude_defaults=True).encode(), if_version=ANY)


def counted(before: DayUsage, events: Iterable[AuditEvent]) -> DayUsage:
    """Return the usage of a day with further events of it."""
    users = dict(before.users)
    last = Place(before.ms, before.id)
    for event in events:
        last = max(last, event.place)
        if event.user_id is not None:
            users[event.user_id] = _with(users.get(event.user_id, UserUsage()), event)
    return before.model_copy(update={"users": users, "ms": last.ms, "id": last.id})


def _with(before: UserUsage, event: AuditEvent) -> UserUsage:
    if event.outcome is Outcome.DENIED:
        return before.model_copy(update={"denied": before.denied + event.count})
    queries = before.queries + (event.count if event.action in _QUERIES else 0)
    if event.outcome is Outcome.FAILED:
        return before.model_copy(update={"queries": queries, "failures": before.failures + event.count})
    tables = dict(before.tables)
    if event.action in USES:
        for name in event.resources:
            if name.startswith(_TABLE):
                table = name.removeprefix(_TABLE)
                tables[table] = tables.get(table, 0) + event.count
    return before.model_copy(update={"tables": tables, "queries": queries})


_TABLE: Final = "table:"


def days(store: Store, today: date, back: int) -> list[DayUsage]:
    """Return the usage of today and of the days before, `back` in all, newest first; days without any are left out.

    Raises:
        UnavailableError: the store does not respond.
    """
    wanted = {_key(today - timedelta(days=number)) for number in range(back)}
    keys = sorted((entry.key for entry in store.list(PREFIX) if entry.key in wanted), reverse=True)
    return [_read(_day_of(key), store.read(key)) for key in keys]


def readers(found: Iterable[DayUsage]) -> dict[str, set[str]]:
    """Return the ids of the users who have read each table."""
    read: dict[str, set[str]] = {}
    for day in found:
        for user_id, usage in day.users.items():
            for table in usage.tables:
                read.setdefault(table, set()).add(user_id)
    return read


def _key(day: date) -> str:
    return f"{PREFIX}{day.isoformat()}.json"


def _day_of(key: str) -> date:
    return date.fromisoformat(key.removeprefix(PREFIX).removesuffix(".json"))


def _read(day: date, found: Object | None) -> DayUsage:
    """Parse a day; one of another version is counted again."""
    try:
        return DayUsage(day=day) if found is None else DayUsage.model_validate_json(found.data)
    except ValidationError:
        return DayUsage(day=day)


class DayTotal(BaseModel):
    """The usage of one day: the number of active people, and what they did."""

    model_config = ConfigDict(frozen=True)

    day: date
    people: int
    queries: int
    failures: int
    denied: int


class TableTotal(BaseModel):
    """How often a table was read, and by how many people."""

    model_config = ConfigDict(frozen=True)

    table: str
    reads: int
    people: int


class PersonTotal(BaseModel):
    """The usage of one person. `email` is null if the person is no longer an active user."""

    model_config = ConfigDict(frozen=True)

    user_id: str
    email: str | None
    queries: int
    reads: int
    tables: int
    failures: int
    denied: int
    last_day: date


class UsageOverview(BaseModel):
    """Usage by day, newest first; by table and by person, the most active first. Tables without `reads` were not read."""

    model_config = ConfigDict(frozen=True)

    days: tuple[DayTotal, ...]
    tables: tuple[TableTotal, ...]
    people: tuple[PersonTotal, ...]


def overview(found: Sequence[DayUsage], access: AccessList) -> UsageOverview:
    """Sum up days, newest first. Registered tables that nobody has read are listed, too."""
    reads: Counter[str] = Counter(dict.fromkeys(access.tables, 0))
    for day in found:
        for usage in day.users.values():
            reads.update(usage.tables)
    by_table = readers(found)
    tables = (TableTotal(table=id_, reads=count, people=len(by_table.get(id_, ()))) for id_, count in reads.items())
    people: dict[str, list[tuple[date, UserUsage]]] = {}
    for day in found:
        for user_id, usage in day.users.items():
            people.setdefault(user_id, []).append((day.day, usage))
    totals = (_person(user_id, each, access) for user_id, each in people.items())
    return UsageOverview(
        days=tuple(_day(day) for day in found),
        tables=tuple(sorted(tables, key=lambda each: (-each.reads, each.table))),
        people=tuple(sorted(totals, key=lambda each: (-each.queries - each.reads, each.user_id))),
    )


def _day(day: DayUsage) -> DayTotal:
    each = day.users.values()
    return DayTotal(
        day=day.day,
        people=len(each),
        queries=sum(usage.queries for usage in each),
        failures=sum(usage.failures for usage in each),
        denied=sum(usage.denied for usage in each),
    )


def _person(user_id: str, found: Sequence[tuple[date, UserUsage]], access: AccessList) -> PersonTotal:
    user = access.users.get(user_id)
    return PersonTotal(
        user_id=user_id,
        email=user and user.email,
        queries=sum(usage.queries for _, usage in found),
        reads=sum(sum(usage.tables.values()) for _, usage in found),
        tables=len({table for _, usage in found for table in usage.tables}),
        failures=sum(usage.failures for _, usage in found),
        denied=sum(usage.denied for _, usage in found),
        last_day=max(day for day, _ in found),
    )
