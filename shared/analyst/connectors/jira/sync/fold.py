"""Folding: what waits in the inbox is put upon what is known, a batch at a time, until nothing waits any more.

Each step may be cut off: what was published is found so by the next fold, events stay in the inbox until they are in the
archive, and to fold one again changes nothing.
"""

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from analyst import logs
from analyst.connectors.jira.api.issues import Fetching, Jira
from analyst.connectors.jira.inbox.archive import Archive, Archived
from analyst.connectors.jira.inbox.batch import Facts
from analyst.connectors.jira.inbox.inbox import Inbox
from analyst.connectors.jira.job import Outcome
from analyst.connectors.jira.warehouse.publish import Absorbed, Change, Warehouse
from analyst.contract.model import extract_key
from analyst.extract_run import RebuildOutcome
from analyst.store import Entry

_LOG = logging.getLogger(f"{logs.ROOT}.jira")
_MOST_EVENTS: Final = 1_000
_MOST_BYTES: Final = 32 * 1024 * 1024
_LONGEST_REST: Final = 1.0
_RESTED: Final = 0.4

Rebuild = Callable[[str | None], RebuildOutcome | None]
"""Has a snapshot built if the newest one lacks a version of the source's extract."""


@dataclass(slots=True)
class Tally(Outcome):
    """What came of a fold. `left` are the events that stay in the inbox, `failures` why, by issue.

    One that `is_cut` has had its time, and more waits; so it does behind `left` when Jira can't be asked at all (`is_stuck`).
    """

    left: set[str] = field(default_factory=set)
    failures: dict[str, str] = field(default_factory=dict)
    is_cut: bool = False
    is_stuck: bool = False


@dataclass(frozen=True, slots=True)
class Folding:
    """What a fold works with.

    `interval` is in seconds, between two publishes; after `seconds` it leaves the rest to the next one. Without `jira`,
    what events say of an issue is all there is.
    """

    inbox: Inbox
    archive: Archive
    warehouse: Warehouse
    rebuild: Rebuild
    jira: Jira | None = None
    interval: float = 0.0
    seconds: float = 50.0
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def run(self, tally: Tally, check: Callable[[], None]) -> None:
        """Fold until nothing waits; `check` tells whether we may go on.

        Raises:
            AnalystError: what is published can't be read, the store does not answer, or others publish all the time.
        """
        until = self.monotonic() + self.seconds
        fetching, took = Fetching(self.jira), 0.0
        while entries := self._next(tally.left):
            if self.monotonic() > until:
                tally.is_cut = True
                return
            check()
            rested = self._rest(took)
            began = self.monotonic()
            self._fold(self._next(tally.left) if rested else entries, tally, fetching)
            took = self.monotonic() - began
            if fetching.stopped is not None:
                tally.is_stuck = self.waits(tally)
                return
        if not tally.counts:
            self._publish({}, tally)  # what an earlier one has left

    def waits(self, tally: Tally) -> bool:
        """Tell whether there is more than what stays in the inbox for now."""
        return bool(self._next(tally.left))

    def _next(self, left: Collection[str]) -> list[Entry]:
        """List the next batch, without what stays in the inbox for now."""
        batch: list[Entry] = []
        size = 0
        for entry in self.inbox.waiting():
            if entry.key.removeprefix(self.inbox.prefix) in left:
                continue
            size += entry.size
            if batch and size > _MOST_BYTES:
                break
            batch.append(entry)
            if len(batch) == _MOST_EVENTS:
                break
        return batch

    def _rest(self, took: float) -> bool:
        """Let the time pass that lies between two publishes, or a part of what the last batch `took`; tell whether it did.

        So webhooks have their share of the processor meanwhile, and what comes faster comes in larger batches.
        """
        seconds = min(took * _RESTED, _LONGEST_REST)
        if self.interval:
            last = self.warehouse.store.head(extract_key(self.warehouse.source))
            seconds = 0.0 if last is None else self.interval - last.age
        if seconds > 0:
            self.sleep(seconds)
        return seconds > 0

    def _fold(self, entries: Sequence[Entry], tally: Tally, fetching: Fetching) -> None:
        facts = Facts.of(self.inbox.read(entries))
        fetched = fetching.fetch(facts.to_fetch(self.warehouse.options.projects))
        absorbed = self._publish(facts.changes(fetched), tally)
        failed = fetched.failed | dict.fromkeys(absorbed.withheld, absorbed.doubt or "")
        left = {event.name for event in facts.about(failed)}
        done = [*facts.set_aside, *(Archived(event) for event, _ in facts.told if event.name not in left)]
        self.archive.put(done)
        self.inbox.remove([one.event.name for one in done])
        tally.left |= left
        tally.failures |= failed
        tally.counts["events"] += len(done)
        if facts.set_aside:
            tally.counts["set_aside"] += len(facts.set_aside)
        for one in facts.set_aside:
            tally.note(f"{one.event.name} was set aside: {one.set_aside}")
        unread = {name: members for name, members in facts.unread.items() if name not in left}
        if unread:
            tally.counts["unread"] += len(unread)
        for name, members in unread.items():
            tally.note(f"{name} was read but for its {' and '.join(members)}")

    def _publish(self, changes: Mapping[str, Change], tally: Tally) -> Absorbed:
        absorbed = self.warehouse.absorb(changes)
        tally.take_down(absorbed)
        tally.rebuild = self.rebuild(absorbed.version) or tally.rebuild
        if changes:
            tally.counts["issues"] += len(absorbed.changed)
        if absorbed.tables:
            fields = {"source": self.warehouse.source, "issues": len(absorbed.changed), "tables": len(absorbed.tables)}
            _LOG.info("events were folded", extra={"fields": fields})
        return absorbed
