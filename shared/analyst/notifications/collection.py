"""Collection: finds events in the records that runs and edits leave, and posts notifications about them.

The records are the truth, and a call only a hint: whatever happened since the last one is found by any later one. What
was found is kept in `state/notifications/known.json`, which is written last. A call that dies before posts the same
notifications again, whose ids are the same, so nothing is lost and nothing is reported twice.

A table that fails is reported once, when it begins to fail, and once more when it can be synced again.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from math import inf
from typing import TYPE_CHECKING, Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from analyst import runs, usage
from analyst.access import AccessList, Caller, Role
from analyst.days import Day, folder_of
from analyst.descriptions import Texts
from analyst.errors import InvalidInputError
from analyst.memory.item import Item as MemoryItem
from analyst.memory.items import Memory, everything
from analyst.notifications import memory_events, preferences
from analyst.notifications.delivery import post
from analyst.notifications.notification import (
    MOST_ITEMS,
    Item,
    Kind,
    Notification,
    caller_of,
    notification_id,
    seen_by,
)
from analyst.notifications.outbox import PREFIX, Destination, Outbox
from analyst.notifications.preferences import Preferences
from analyst.quality import expectations
from analyst.quality.expectations import Check, Expected
from analyst.runs import RunRecord, TableResult
from analyst.schedule import Schedule
from analyst.settings import Settings
from analyst.state import registry, sources
from analyst.state.registry import RegisteredTable
from analyst.state.requests import RequestQuery, ReviewedRequest, list_requests
from analyst.state.source_types import EXTERNAL
from analyst.store import ANY, Store
from analyst.store.recent import Recent

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_KEY: Final = f"{PREFIX}known.json"
_FIRST: Final = timedelta(hours=1)
"""How far back the first collection looks."""
_LONGEST_RUN: Final = timedelta(days=1)
"""A run that takes longer publishes nothing, and its record is not looked for."""
_FARTHEST: Final = timedelta(days=7)
"""How far back a collection looks if there was none for a while."""
_OVERLAP: Final = timedelta(minutes=10)
_STALE_AFTER: Final = timedelta(hours=24)
_USED_WITHIN: Final = 30
"""Days for which a person counts as a user of a table that they have read."""
_LONGEST: Final = 300


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class TableState(_Value):
    """What was reported of a table: whether it fails, is stale or does not meet expectations. `ok_at` is its last good run."""

    ok_at: AwareDatetime | None = None
    is_failing: bool = False
    is_stale: bool = False
    unmet: tuple[str, ...] = ()


class Known(_Value):
    """What was found so far. `seen` are runs whose records were read, of the last two days."""

    at: AwareDatetime | None = None
    seen: frozenset[str] = frozenset()
    tables: Mapping[str, TableState] = {}
    failing_sources: frozenset[str] = frozenset()


class Collected(_Value):
    """What a collection did: the number of events, and the channels of people for which something waits."""

    events: int = 0
    to_send: tuple[Destination, ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to report about tables, or (without `items`) to people with a role, or to one person."""

    key: str
    at: datetime
    kind: Kind
    title: str = ""
    text: str = ""
    items: tuple[Item, ...] = ()
    details: Mapping[str, str] = field(default_factory=dict)
    """Details by table, which only administrators see: errors can name files and values."""
    url: str | None = None
    only: str | None = None
    """The id of the one user whom it concerns."""


@dataclass(frozen=True)
class World:
    """What is registered, as of a collection."""

    tables: Mapping[str, RegisteredTable]
    schedules: Mapping[str, str]
    """Schedules by table, where they have one."""
    requests: tuple[ReviewedRequest, ...]

    @classmethod
    def read(cls, db: "DuckDBPyConnection", default: str) -> "World":
        """Read it from the open system state."""
        known = {source.name: source for source in sources.list_sources(db) if source.type != EXTERNAL}
        tables = {table.id: table for table in registry.list_tables(db)}
        schedules = {
            id_: table.sync_schedule or known[table.source].sync_schedule or default
            for id_, table in tables.items()
            if table.source in known
        }
        return cls(tables, schedules, list_requests(db, RequestQuery(status="all")))

    def item(self, table: str, text: str = "") -> Item:
        """Return a table as it is registered now."""
        registered = self.tables.get(table)
        return Item(table=table, registration=registered and registered.uuid, text=text)


@dataclass(frozen=True)
class Collection:
    """One collection."""

    store: Store
    settings: Settings
    now: datetime
    world: World
    access: AccessList
    texts: Texts

    def collect(self) -> Collected:
        """Find what happened since the last collection, and post it.

        Raises:
            UnavailableError: the store does not respond.
        """
        before = self._known()
        fresh, seen = self._records(before)
        tables, failing = dict(before.tables), before.failing_sources
        found: list[Finding] = []
        for record in sorted(fresh, key=lambda record: record.finished_at):
            found += self._about_tables(record, tables)
            failing, more = _about_source(record, failing)
            found += more
        found += self._stale(tables)
        found += self._about_requests(before.at or self.now - _FIRST)
        found += self._about_memory((before.at or self.now - _FIRST) - _OVERLAP)
        sent = [place for finding in found for place in self._post(finding)]
        waiting = dict.fromkeys((*sent, *Outbox(self.store).waiting()))
        kept = {id_: state for id_, state in tables.items() if id_ in self.world.tables}
        after = Known(at=self.now, seen=seen, tables=kept, failing_sources=failing)
        self.store.put(_KEY, after.model_dump_json(exclude_defaults=True).encode(), if_version=ANY)
        return Collected(events=len(found), to_send=tuple(waiting))

    def _known(self) -> Known:
        found = self.store.read(_KEY)
        try:
            return Known() if found is None else Known.model_validate_json(found.data)
        except ValidationError:
            return Known()

    def _records(self, before: Known) -> tuple[list[RunRecord], frozenset[str]]:
        """Return the records that are new, and the ids of all that the next collection lists, too."""
        listed_again = (self.now - _LONGEST_RUN).date()
        since = self.now - _FIRST if before.at is None else None
        first = max((before.at or self.now) - _LONGEST_RUN, self.now - _FARTHEST).date()
        ids, fresh = set[str](), list[RunRecord]()
        for number in range((self.now.date() - first).days + 1):
            date = first + timedelta(days=number)
            day = Day.open(self.store, folder_of(runs.PREFIX, date))
            found = [name.removesuffix(".json") for name in day.names]
            ids |= set(found) if date >= listed_again else set()
            for run_id in found:
                lines = None if run_id in before.seen else day.lines(f"{run_id}.json")
                if lines is not None:
                    fresh.append(RunRecord.model_validate_json(b"".join(lines)))
        return [record for record in fresh if since is None or record.finished_at >= since], frozenset(ids)

    def _about_tables(self, record: RunRecord, tables: dict[str, TableState]) -> Iterator[Finding]:
        """Update what is known of the tables of a run, and say what has changed."""
        if record.kind == "rebuild" or record.source is None:
            return
        failed: dict[str, str] = {}
        again: list[str] = []
        unmet: dict[str, str] = {}
        for result in record.tables:
            id_ = f"{record.source}.{result.table}"
            before = tables.get(id_, TableState())
            check = self._check(id_, record)
            labels = tuple(one.label for one in check.results if not one.passed) if check else before.unmet
            is_failing = result.status in _FAILED and not (check and not check.published)
            tables[id_] = TableState(
                ok_at=record.finished_at if result.status in _GOOD else before.ok_at,
                is_failing=is_failing,
                is_stale=before.is_stale and result.status not in _GOOD,
                unmet=labels,
            )
            if check and set(labels) - set(before.unmet):
                unmet[id_] = "; ".join(f"{one.label}: {one.message}" for one in check.results if not one.passed)
            if is_failing and not before.is_failing:
                failed[id_] = _reason(result)
            elif before.is_failing and not is_failing and result.status in _GOOD:
                again.append(id_)
        run = record.run_id
        yield from self._finding(f"failed {run}", record, "table_failed", failed, "its last good state stays available")
        yield from self._finding(
            f"unmet {run}", record, "expectation_failed", unmet, "see its page for what is expected"
        )
        if again:
            items = tuple(self.world.item(id_) for id_ in again[:MOST_ITEMS])
            yield Finding(
                f"again {run}", record.finished_at, "table_failed", "Synced again", items=items, url="/catalog"
            )

    def _finding(
        self, key: str, record: RunRecord, kind: Kind, details: Mapping[str, str], text: str
    ) -> Iterator[Finding]:
        if details:
            items = tuple(self.world.item(id_, text) for id_ in list(details)[:MOST_ITEMS])
            url = f"/tables/{next(iter(details)).replace('.', '/')}" if len(details) == 1 else "/catalog"
            yield Finding(key, record.finished_at, kind, items=items, details=details, url=url)

    def _check(self, table: str, record: RunRecord) -> Check | None:
        """Return the check of expectations that belongs to a run."""
        registered = self.world.tables.get(table)
        expected = self._expected.get(table)
        if registered is None or expected is None or expected.registration != registered.uuid:
            return None
        checks = expectations.history(self.store, table, registered.uuid).checks
        return next((each for each in checks if record.started_at <= each.at <= record.finished_at), None)

    def _stale(self, tables: dict[str, TableState]) -> Iterator[Finding]:
        """Find tables whose last good run is a day longer ago than their schedule says."""
        late: dict[tuple[str, datetime, str], list[Item]] = {}
        for id_, schedule in self.world.schedules.items():
            known = tables.get(id_)
            if known is None or known.ok_at is None or known.is_stale or not self._is_late(schedule, known.ok_at):
                continue
            tables[id_] = known.model_copy(update={"is_stale": True})
            # Grouped by what decides when they become late, so that a repeated call finds the same groups.
            group = late.setdefault((self.world.tables[id_].source, known.ok_at, schedule), [])
            group.append(self.world.item(id_, f"last synced on {known.ok_at:%Y-%m-%d at %H:%M} UTC"))
        for (source, ok_at, schedule), items in late.items():
            key = f"stale {source} {ok_at.isoformat()} {schedule}"
            yield Finding(key, ok_at + _STALE_AFTER, "table_stale", items=tuple(items[:MOST_ITEMS]), url="/catalog")

    def _is_late(self, schedule: str, ok_at: datetime) -> bool:
        try:
            due = Schedule.parse(schedule).next_due(ok_at)
        except InvalidInputError:
            return False
        return due is not None and self.now - due > _STALE_AFTER

    def _about_requests(self, since: datetime) -> Iterator[Finding]:
        """Find requests for access that were made or answered."""
        start = since - _OVERLAP
        for request in self.world.requests:
            if request.status == "pending" and request.created_at is not None and request.created_at >= start:
                yield Finding(
                    f"received {request.id}",
                    request.created_at,
                    "request_received",
                    f"{request.user} requests access to {request.table}",
                    request.reason or "",
                    url="/admin/requests",
                )
            if request.status != "pending" and request.reviewed_at is not None and request.reviewed_at >= start:
                answer = f"{request.reviewed_by or 'An administrator'}: {request.answer}" if request.answer else ""
                yield Finding(
                    f"answered {request.id}",
                    request.reviewed_at,
                    "request_answered",
                    f"Your request for {request.table} was {request.status}",
                    answer,
                    url="/account",
                    only=request.user_id,
                )

    def _about_memory(self, since: datetime) -> Iterator[Finding]:
        """Find items of the memory that wait, were decided on, or are in force now."""
        books = Recent(self.store, inf, time.monotonic)  # one reading is enough

        def seen_by(caller: Caller) -> list[MemoryItem]:
            return Memory(self.store, self.settings, self.access, caller, self.now, books).items()

        for each in memory_events.events(everything(books, self.now), self.access, seen_by, since):
            yield Finding(each.key, each.at, each.kind, each.title, each.text, url=each.url, only=each.user_id)

    def _post(self, finding: Finding) -> list[Destination]:
        """Post a finding to everybody whom it concerns: to each, what they may see."""
        found: list[Destination] = []
        for user_id in self.access.users if finding.only is None else (finding.only,):
            caller = caller_of(self.access, user_id)
            if caller is None:
                continue
            notification = self._notification(finding, caller)
            seen = None if notification is None else seen_by(notification, self.access, caller)
            if seen is not None:
                found += post(self.store, self.settings, seen, [user_id])
        return found

    def _notification(self, finding: Finding, caller: Caller) -> Notification | None:
        items = finding.items
        if items and caller.user_id is not None:
            mine = self._concerned.preferences.get(caller.user_id, Preferences())
            items = tuple(item for item in items if self._concerned.concerns(item.table, caller, mine))
            if not items:
                return None
            if caller.includes(Role.ADMIN):
                items = tuple(
                    item.model_copy(update={"text": finding.details.get(item.table, item.text)}) for item in items
                )
        return Notification(
            id=notification_id(finding.key, finding.at),
            at=finding.at,
            kind=finding.kind,
            title=finding.title,
            text=finding.text,
            items=items,
            url=finding.url,
        )

    @cached_property
    def _expected(self) -> Mapping[str, Expected]:
        return expectations.everything(self.store)

    @cached_property
    def _concerned(self) -> "Concerned":
        """Who is notified about tables: read once, and only if there is a notification about one."""
        owners = {id_: frozenset(each.said.owners) for id_, each in self.texts.said.items()}
        used = usage.days(self.store, self.now.date(), _USED_WITHIN)
        return Concerned(usage.readers(used), owners, preferences.everybody(self.store))


@dataclass(frozen=True)
class Concerned:
    """Who is notified of a table: those who have used it lately, watch it or own it, and do not mute it."""

    readers: Mapping[str, set[str]]
    owners: Mapping[str, frozenset[str]]
    preferences: Mapping[str, Preferences]

    def concerns(self, table: str, caller: Caller, mine: Preferences) -> bool:
        """Return whether a person is notified of a table."""
        if mine.mutes(table):
            return False
        owns = caller.email is not None and caller.email in self.owners.get(table, frozenset())
        return owns or mine.wants(table) or caller.user_id in self.readers.get(table, set())


_FAILED: Final = ("failed", "missing", "vanished")
_GOOD: Final = ("ok", "unchanged")


def _reason(result: TableResult) -> str:
    if result.status == "vanished":
        return "the source no longer has it"
    text = " ".join((result.error or result.note or "").split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _about_source(record: RunRecord, failing: frozenset[str]) -> tuple[frozenset[str], list[Finding]]:
    """Return the sources that fail as a whole after a run, and what has changed."""
    source = record.source
    if record.kind != "extract" or source is None:
        return failing, []
    is_failing = record.error is not None and not any(result.status in _GOOD for result in record.tables)
    if is_failing == (source in failing):
        return failing, []
    url = f"/admin/runs/{record.run_id}"
    if not is_failing:
        found = Finding(
            f"source again {record.run_id}", record.finished_at, "source_failed", f"{source} can be read again", url=url
        )
        return failing - {source}, [found]
    reason = " ".join((record.error or "").split())[:_LONGEST]
    found = Finding(
        f"source {record.run_id}",
        record.finished_at,
        "source_failed",
        f"The source {source} can't be read",
        reason,
        url=url,
    )
    return failing | {source}, [found]
