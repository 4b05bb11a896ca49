"""What comes again and again from one side is counted: so much of it is written, and of the rest how much there was."""

import threading
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from analyst.audit.events import AuditEvent

_MOST_SIDES: Final = 10_000


@dataclass(frozen=True, slots=True)
class Rule:
    """Of what comes from one side within a span of the clock (in seconds) the first `at_once` are written."""

    name: str
    at_once: int
    seconds: int
    side: Callable[[AuditEvent], Hashable]


UNCHANGED: Final = Rule("unchanged", 1, 3600, lambda it: (it.caller, it.user_id, it.token_id, it.action, it.resources))
"""Answers that say that nothing has changed: one for each caller, thing and hour."""

DENIED: Final = Rule("denied", 30, 60, lambda it: (it.client_address, it.caller, it.user_id, it.action))
"""Failed authorizations: as many for each address, user if one is known, and thing that was tried, in a minute."""


@dataclass(slots=True)
class _Span:
    """What one side has done within one span. `number` is that of the span since 1970."""

    rule: Rule
    number: int
    written: int = 0
    counted: dict[str, AuditEvent] = field(default_factory=dict)

    @property
    def ends(self) -> datetime:
        return datetime.fromtimestamp((self.number + 1) * self.rule.seconds, UTC)


class Tally:
    """Counts by rules. Safe to share between threads. Of more than `most` sides the further ones count as one."""

    def __init__(self, most: int = _MOST_SIDES) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._spans: dict[Hashable, _Span] = {}
        self._over: dict[Hashable, AuditEvent] = {}

    def count(self, event: AuditEvent, rule: Rule) -> bool:
        """Count an event; tell whether it was counted only, and is not to be written."""
        with self._lock:
            span = self._span(event, rule)
            if span.written < rule.at_once:
                span.written += 1
                return False
            known = span.counted.get(event.action)
            span.counted[event.action] = event if known is None else known.joined(event)
            return True

    def undo(self, event: AuditEvent, rule: Rule) -> None:
        """Let another one be written in the place of this one, which could not be."""
        with self._lock:
            span = self._span(event, rule)
            span.written = max(0, span.written - 1)

    def next_end(self) -> datetime | None:
        """Tell when the first span ends of which something was counted; `None` if nothing was."""
        with self._lock:
            return min((span.ends for span in self._spans.values() if span.counted), default=None)

    def take(self, ended_by: datetime | None) -> list[AuditEvent]:
        """Take what was counted in spans that have ended, of all spans if `ended_by` is `None`."""
        with self._lock:
            self._end(ended_by)
            taken, self._over = self._over, {}
            return list(taken.values())

    def put_back(self, events: Iterable[AuditEvent]) -> None:
        """Put back what could not be written."""
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
        """Keep what is to be written; while that fails for long, ever more of it becomes one."""
        for event in events:
            alike: Hashable = (event.action, event.resources, event.caller, event.user_id, event.client_address)
            if len(self._over) >= self._most and alike not in self._over:
                alike = event.action
            known = self._over.get(alike)
            self._over[alike] = event if known is None else known.joined(event)
