"""Writing audit events: a writer waits until the store has its event, and concurrent writers share one object.

The first writer writes at once. Events that arrive during a write are written together by the next one. An object is named
by the id of its newest event. Its events are at most a second apart and of one day, so that a reader knows from the name
what an object can contain.
"""

import logging
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from analyst.audit.events import AuditEvent
from analyst.errors import AnalystError, UnavailableError
from analyst.store import Store, UnsureWriteError
from analyst.store.compare_and_swap import put_once

_MOST_SIDES: Final = 10_000


@dataclass(frozen=True, slots=True)
class Rule:
    """Of the events of one side within a span of `seconds`, the first `at_once` are written and the rest are counted."""

    name: str
    at_once: int
    seconds: int
    side: Callable[[AuditEvent], Hashable]


UNCHANGED: Final = Rule(
    "unchanged", 1, 3600, lambda event: (event.caller, event.user_id, event.token_id, event.action, event.resources)
)
"""Responses that report no change: one for each caller, resource and hour."""

DENIED: Final = Rule("denied", 30, 60, lambda event: (event.client_address, event.caller, event.user_id, event.action))
"""Failed authorizations: limited per address, user if known, and attempted resource, in a minute."""


@dataclass(slots=True)
class _Span:
    """The events of one key within one period. `number` is that of the period since 1970."""

    rule: Rule
    number: int
    written: int = 0
    counted: dict[str, AuditEvent] = field(default_factory=dict)

    @property
    def ends(self) -> datetime:
        return datetime.fromtimestamp((self.number + 1) * self.rule.seconds, UTC)


class Tally:
    """Counts events by rules. Thread-safe. Beyond `most` keys, all further ones count as one."""

    def __init__(self, most: int = _MOST_SIDES) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._spans: dict[Hashable, _Span] = {}
        self._over: dict[Hashable, AuditEvent] = {}

    def count(self, event: AuditEvent, rule: Rule) -> bool:
        """Count an event; return whether it is only counted, and not to be written."""
        with self._lock:
            span = self._span(event, rule)
            if span.written < rule.at_once:
                span.written += 1
                return False
            known = span.counted.get(event.action)
            span.counted[event.action] = event if known is None else known.joined(event)
            return True

    def undo(self, event: AuditEvent, rule: Rule) -> None:
        """Allow another event to be written in place of this one, whose write failed."""
        with self._lock:
            span = self._span(event, rule)
            span.written = max(0, span.written - 1)

    def next_end(self) -> datetime | None:
        """Return when the first period with counted events ends; `None` if there is none."""
        with self._lock:
            return min((span.ends for span in self._spans.values() if span.counted), default=None)

    def take(self, ended_by: datetime | None) -> list[AuditEvent]:
        """Remove and return the counts of periods that have ended, of all if `ended_by` is `None`."""
        with self._lock:
            self._end(ended_by)
            taken, self._over = self._over, {}
            return list(taken.values())

    def put_back(self, events: Iterable[AuditEvent]) -> None:
        """Put back events that could not be written."""
        with self._lock:
            self._keep(events)

    def _span(self, event: AuditEvent, rule: Rule) -> _Span:
        number = int(event.at.timestamp()) // rule.seconds
        side: Hashable = (rule.name, rule.side(event))
        if side not in self._spans and len(self._spans) >= self._most:
            self._end(event.at)
            side = side if len(self._spans) < self._most else (rule.name, None)
        span = self._spans.get(side)
        if span is None or span.number < number:
            if span is not None:
                self._keep(span.counted.values())
            span = self._spans[side] = _Span(rule, number)
        return span

    def _end(self, by: datetime | None) -> None:
        ended = [side for side, span in self._spans.items() if by is None or span.ends <= by]
        for side in ended:
            self._keep(self._spans.pop(side).counted.values())

    def _keep(self, events: Iterable[AuditEvent]) -> None:
        """Keep events for writing. If writing fails for long, more and more of them are merged."""
        for event in events:
            alike: Hashable = (event.action, event.resources, event.caller, event.user_id, event.client_address)
            if len(self._over) >= self._most and alike not in self._over:
                alike = event.action
            known = self._over.get(alike)
            self._over[alike] = event if known is None else known.joined(event)


log = logging.getLogger(__name__)

PREFIX: Final = "state/audit/"
SUFFIX: Final = ".jsonl"
SPREAD: Final = timedelta(seconds=1)
"""The maximum time between the events of one object."""

_AGAIN_AFTER: Final = 60.0
_ATTEMPTS: Final = 2


class Later(Protocol):
    """Runs a function after some seconds, unless the process has ended by then."""

    def __call__(self, seconds: float, work: Callable[[], None]) -> None:
        """Run the function later."""


@dataclass(slots=True)
class _Batch:
    """Events that are written together, and the error if that failed."""

    events: list[AuditEvent] = field(default_factory=list)
    written: threading.Event = field(default_factory=threading.Event)
    error: BaseException | None = None


def by_a_timer(seconds: float, work: Callable[[], None]) -> None:
    """Run a function after some seconds, unless the process has ended by then."""
    timer = threading.Timer(seconds, work)
    timer.daemon = True
    timer.start()


class Audit:
    """Writes the events of a process. Thread-safe.

    Args:
        store: the bucket.
        clock: returns the time.
        later: runs a write for which there is no other occasion.
    """

    def __init__(self, store: Store, clock: Callable[[], datetime], *, later: Later = by_a_timer) -> None:
        self._store = store
        self._clock = clock
        self._later = later
        self._tally = Tally()
        self._gate = threading.Lock()
        self._turn = threading.Lock()
        self._next = _Batch()
        self._is_waiting = False

    def write(self, event: AuditEvent, rule: Rule | None = None) -> None:
        """Write an event, or count it if the rule says so. When this returns, it is in the bucket or counted.

        Raises:
            UnavailableError: the store does not respond. The event may have been written nevertheless.
        """
        if rule is None:
            self._commit(event)
        elif self._tally.count(event, rule):
            self._wait_for_the_end()
        else:
            self._commit_first(event, rule)

    def close(self) -> None:
        """Write the events counted so far, because the process is about to end.

        Raises:
            UnavailableError: the store does not respond.
        """
        with self._turn:
            self._put([], ended_by=None)

    def _commit_first(self, event: AuditEvent, rule: Rule) -> None:
        try:
            self._commit(event)
        except BaseException:
            self._tally.undo(event, rule)
            raise

    def _commit(self, event: AuditEvent) -> None:
        with self._gate:
            batch = self._next
            batch.events.append(event)
            leads = len(batch.events) == 1
        if leads:
            self._lead(batch)
        else:
            batch.written.wait()
        if isinstance(batch.error, AnalystError):
            message = (
                "the request could not be recorded in the audit log, so it was not answered; try again in a moment"
            )
            raise UnavailableError(message) from batch.error
        if batch.error is not None:
            raise batch.error

    def _lead(self, batch: _Batch) -> None:
        """Write a batch once those before it are written; until then it accepts more."""
        with self._turn:
            # The batch is closed only now that the earlier write has ended, so it has everything that arrived meanwhile:
            # under load, one object per write of the store, however many requests wait for it.
            with self._gate:
                self._next = _Batch()
            try:
                self._put(batch.events, ended_by=self._clock())
            except BaseException as error:  # noqa: BLE001 - the waiting threads must learn of it, and raise it
                batch.error = error
            batch.written.set()

    def _put(self, events: Sequence[AuditEvent], ended_by: datetime | None) -> None:
        """Write events, together with those counted until a time."""
        counted = self._tally.take(ended_by)
        try:
            now = self._clock()
            for part in _parts([*events, *(event.again(now) for event in counted)]):
                self._put_part(part)
        except BaseException:
            self._tally.put_back(counted)
            raise

    def _put_part(self, events: Sequence[AuditEvent]) -> None:
        newest = events[-1]
        lines = "".join(event.model_dump_json(exclude_defaults=True) + "\n" for event in events)
        _put(self._store, f"{folder_of(newest.at)}{newest.id}{SUFFIX}", lines.encode())

    def _wait_for_the_end(self) -> None:
        """Schedule the writing of counted events for the end of their span, in case nothing else is written then."""
        with self._gate:
            ends = None if self._is_waiting else self._tally.next_end()
            self._is_waiting = self._is_waiting or ends is not None
        if ends is not None:
            self._later(max(1.0, (ends - self._clock()).total_seconds() + 1), self._end)

    def _end(self) -> None:
        try:
            with self._turn:
                self._put([], ended_by=self._clock())
        except Exception:
            log.exception("counted audit events could not be written; retrying with the next write")
            self._later(_AGAIN_AFTER, self._end)
            return
        with self._gate:
            self._is_waiting = False
        self._wait_for_the_end()


def folder_of(at: datetime) -> str:
    """Return the prefix of the events of a day."""
    return f"{PREFIX}date={at.date().isoformat()}/"


def _put(store: Store, key: str, data: bytes) -> None:
    """Write a batch; immediately repeat it if the response is lost, which would otherwise fail a successful call."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            put_once(store, key, data, most=1)
        except UnsureWriteError:
            if attempt == _ATTEMPTS:
                raise
        else:
            return


def _parts(events: Iterable[AuditEvent]) -> Iterator[list[AuditEvent]]:
    """Group events that may be in one object, in order."""
    part: list[AuditEvent] = []
    for event in sorted(events, key=lambda each: each.place):
        if part and (event.at - part[0].at > SPREAD or event.at.date() != part[0].at.date()):
            yield part
            part = []
        part.append(event)
    if part:
        yield part
