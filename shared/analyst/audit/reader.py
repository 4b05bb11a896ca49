"""Reading events from the bucket, newest first and on demand."""

import json
import re
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from heapq import heappush, heappushpop, merge
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from pydantic import ValidationError
from ulid import ULID

from analyst import duckdb_files
from analyst.addresses import normal_email
from analyst.audit.archives import ARCHIVE_PREFIX, rows_of
from analyst.audit.events import AuditEvent, Outcome, Place
from analyst.audit.writer import PREFIX, SPREAD, SUFFIX, folder_of
from analyst.errors import UnavailableError
from analyst.store import ObjectMissingError, Store

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


_AT_ONCE: Final = 200


@dataclass(frozen=True, slots=True)
class Wanted:
    """The filter of a search, among events before a place and since a time (ms since 1970).

    `user` is an id or an e-mail address, `action` a prefix; `None` matches anything.
    """

    before: Place
    since_ms: int
    user: str | None = None
    action: str | None = None
    resource: str | None = None
    outcome: Outcome | None = None
    request_id: str | None = None

    def matches(self, event: AuditEvent) -> bool:
        """Return whether an event matches."""
        place = event.place
        return (
            place < self.before
            and place.ms >= self.since_ms
            and (self.user is None or self.user == event.user_id or normal_email(self.user) == event.email)
            and (self.action is None or event.action.startswith(self.action))
            and (self.resource is None or self.resource in event.resources)
            and (self.outcome is None or event.outcome is self.outcome)
            and (self.request_id is None or event.request_id == self.request_id)
        )

    def among(self, db: "DuckDBPyConnection", rows: str) -> "Iterator[AuditEvent]":
        """Return the matching events, newest first, from the rows of a query; its columns are their fields."""
        before: Place | None = self.before
        while before is not None:
            found = self._page(db, rows, before)
            yield from found
            before = found[-1].place if len(found) == _AT_ONCE else None

    def _page(self, db: "DuckDBPyConnection", rows: str, before: Place) -> list[AuditEvent]:
        result = db.execute(
            f"""
            from ({rows})
            where (epoch_ms("at"), id) < ($ms, $id) and epoch_ms("at") >= $since_ms
                and ($user is null or user_id = $user or email = lower($user))
                and ($action is null or starts_with("action", $action))
                and ($resource is null or list_contains(resources, $resource))
                and ($outcome is null or outcome = $outcome)
                and ($request_id is null or request_id = $request_id)
            order by epoch_ms("at") desc, id desc limit {_AT_ONCE}
            """,
            {
                "ms": before.ms,
                "id": before.id,
                "since_ms": self.since_ms,
                "user": self.user,
                "action": self.action,
                "resource": self.resource,
                "outcome": self.outcome,
                "request_id": self.request_id,
            },
        )
        names = [column[0] for column in result.description]
        return [_event(dict(zip(names, row, strict=True))) for row in result.fetchall()]


def _event(row: dict[str, Any]) -> AuditEvent:
    named = {name: _aware(value) for name, value in row.items() if value is not None}
    return AuditEvent.model_validate({**named, "params": json.loads(row["params"] or "{}")})


def _aware(value: Any) -> Any:
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) else value


_BATCH: Final = re.compile(rf"([0-7][0-9A-HJKMNP-TV-Z]{{25}}){re.escape(SUFFIX)}")
_FOLDER: Final = re.compile(r"date=(\d{4}-\d{2}-\d{2})")
_EPOCH: Final = date(1970, 1, 1).toordinal()
_DAY_MS: Final = 86_400_000
_SPREAD_MS: Final = SPREAD // timedelta(milliseconds=1)
_READS_AT_ONCE: Final = 16
_CHUNK: Final = 64
_MOST_LISTED: Final = 20_000


@dataclass(frozen=True, slots=True)
class Reached:
    """All matching events not before a position have been returned."""

    place: Place


Item = AuditEvent | Reached


class _GatheredError(Exception):
    """A listed object is gone, because it has been archived in the meantime."""


@dataclass(frozen=True)
class Events:
    """The events in a bucket, for use in a `with` statement. Remote archives are downloaded to `scratch`."""

    store: Store
    memory_limit: str
    scratch: Path | None = None
    _held: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def newest(self, wanted: Wanted) -> Iterator[Item]:
        """Yield matching events, newest first, and in between how far the search has got.

        Raises:
            UnavailableError: the store does not respond, or an object is damaged.
        """
        for day in self._days(wanted):
            left: Wanted | None = wanted
            while left is not None:
                left = yield from self._some_of_day(day, left)
            if Place(day * _DAY_MS) < wanted.before:
                yield Reached(Place(day * _DAY_MS))

    def _days(self, wanted: Wanted) -> list[int]:
        """List the days (since 1970) that may contain matches, newest first."""
        first, last = wanted.since_ms // _DAY_MS, wanted.before.ms // _DAY_MS
        days = (_number(name) for name in self.store.list_folders(PREFIX))
        return sorted((day for day in days if day is not None and first <= day <= last), reverse=True)

    def _some_of_day(self, day: int, wanted: Wanted) -> Generator[Item, None, Wanted | None]:
        """Yield the matches of a day. Returns the rest of the search, `None` if there is none."""
        folder = _folder(day)
        names = _newest((entry.key.removeprefix(folder) for entry in self.store.list(folder)), wanted)
        batches = self._batched(folder, names[:_MOST_LISTED], wanted)
        # listed afterwards: an archive exists before the first of its batches is deleted
        archives = (self._archived(entry.key, wanted) for entry in self.store.list(f"{folder}{ARCHIVE_PREFIX}"))
        reached = wanted.before
        try:
            for item in merge(batches, *archives, key=attrgetter("place"), reverse=True):
                if isinstance(item, Reached) or item.place < reached:  # otherwise it is in a batch and in an archive
                    yield item
                reached = item.place
        except _GatheredError:
            return replace(wanted, before=reached)
        more = names[_MOST_LISTED:]
        return replace(wanted, before=_just_after(more[0])) if more else None

    def _batched(self, folder: str, names: Sequence[str], wanted: Wanted) -> Iterator[Item]:
        """Yield the events of batches. Those already read may hold events that come after some of the next ones."""
        pending: list[AuditEvent] = []
        for start in range(0, len(names), _CHUNK):
            read = self._pool.map(lambda name: self._read(folder + name), names[start : start + _CHUNK])
            pending += [event for events in read for event in events if wanted.matches(event)]
            pending.sort(key=attrgetter("place"))
            left = names[start + _CHUNK : start + _CHUNK + 1]
            floor = _just_after(left[0]) if left else Place(0)
            while pending and pending[-1].place > floor:
                yield pending.pop()
            if left and floor < wanted.before:
                yield Reached(floor)

    def _read(self, key: str) -> list[AuditEvent]:
        found = self.store.read(key)
        if found is None:
            raise _GatheredError
        try:
            return [AuditEvent.model_validate_json(line) for line in found.data.splitlines()]
        except ValidationError as error:
            raise UnavailableError(f"{key!r} is damaged; restore it from a backup, or delete it") from error

    def _archived(self, key: str, wanted: Wanted) -> Iterator[Item]:
        path = self.store.local_path(key)
        if path is None:
            path = self._folder / key.rsplit("/", 1)[1]
            try:
                self.store.download(key, path)
            except ObjectMissingError:
                raise _GatheredError from None
        with duckdb_files.raised_as(UnavailableError, f"{key!r} can't be read: ", hide=path):
            yield from wanted.among(self._db, rows_of([path]))

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return self._held.enter_context(ThreadPoolExecutor(_READS_AT_ONCE))

    @cached_property
    def _folder(self) -> Path:
        return self._held.enter_context(duckdb_files.scratch(self.scratch))

    @cached_property
    def _db(self) -> "DuckDBPyConnection":
        return self._held.enter_context(duckdb_files.lent(memory_limit=self.memory_limit))


def _newest(names: Iterable[str], wanted: Wanted) -> list[str]:
    """Return the newest batches that may contain matches, one more than are listed at once; newest first."""
    newest: list[str] = []
    for name in names:
        if _BATCH.fullmatch(name) and wanted.since_ms <= _ms(name) <= wanted.before.ms + _SPREAD_MS:
            put = heappush if len(newest) <= _MOST_LISTED else heappushpop
            put(newest, name)
    return sorted(newest, reverse=True)


def _number(folder: str) -> int | None:
    found = _FOLDER.fullmatch(folder)
    try:
        return None if found is None else date.fromisoformat(found[1]).toordinal() - _EPOCH
    except ValueError:
        return None


def _folder(day: int) -> str:
    return folder_of(datetime.fromtimestamp(day * _DAY_MS / 1000, UTC))


def _ms(name: str) -> int:
    """Return the time in a batch's name, in ms since 1970."""
    return ULID.from_str(name.removesuffix(SUFFIX)).milliseconds


def _just_after(name: str) -> Place:
    """Return the position before which all events of a batch are."""
    return Place(_ms(name), f"{name.removesuffix(SUFFIX)} ")
