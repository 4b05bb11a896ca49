"""The fold: events that wait in the inbox are absorbed batch by batch, until none waits; and the replay of the archive.

A fold may be cut off at any step. What it published is found published by the next one, events stay in the inbox until
they are in the archive, and folding an event again changes nothing.
"""

import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from http import HTTPStatus
from itertools import islice
from typing import Final, Literal, Self

from pydantic import BaseModel, ConfigDict

from analyst import logs
from analyst.connectors.jira.api.issues import Fetched, Fetching, Jira, known
from analyst.connectors.jira.inbox.archive import Archive, Archived
from analyst.connectors.jira.inbox.inbox import EVENT_BYTES, Inbox, Received
from analyst.connectors.jira.issue.events import Event, SetAside, read_event
from analyst.connectors.jira.issue.rows import is_foreign
from analyst.connectors.jira.issue.state import IssueState
from analyst.connectors.jira.job import FOLD, Job, JobRun
from analyst.connectors.jira.source import Opened, interval_of
from analyst.connectors.jira.warehouse.publish import Absorbed, Change, Warehouse
from analyst.contract.model import extract_key
from analyst.errors import ContractError, LeaseLostError, SourceError, UnavailableError
from analyst.extract_run import HTTP_STATUS, RebuildOutcome
from analyst.runs import RunStatus
from analyst.store import Entry

_LOG = logging.getLogger(f"{logs.ROOT}.jira")
_MOST_EVENTS: Final = 1_000
_MOST_BYTES: Final = 32 * 1024 * 1024
_LONGEST_REST: Final = 1.0
_RESTED: Final = 0.4

Rebuild = Callable[[str | None], RebuildOutcome | None]
"""Requests a rebuild unless the newest snapshot contains a version of the source's extract."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a batch of events states, joined by issue. `by_event` are the events with the issues that each is about.

    `unread` are the members of their bodies that have an unknown shape, by the name of the event.
    """

    by_issue: dict[str, IssueState] = field(default_factory=dict)
    by_event: list[tuple[Received, frozenset[str]]] = field(default_factory=list)
    set_aside: list[Archived] = field(default_factory=list)
    unread: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, events: Iterable[Received]) -> Self:
        """Parse events."""
        facts = cls()
        for event in events:
            found = _read(event)
            if isinstance(found, SetAside):
                facts.set_aside.append(Archived(event, found.reason))
                continue
            facts.by_event.append((event, frozenset(fact.issue_id for fact in found.facts)))
            if found.unread:
                facts.unread[event.name] = found.unread
            for fact in found.facts:
                known = facts.by_issue.get(fact.issue_id)
                facts.by_issue[fact.issue_id] = fact if known is None else known.joined(fact)
        return facts

    def to_fetch(self, projects: Collection[str] = ()) -> list[str]:
        """Return the issues that Jira may know more about: not deleted ones, nor those of other projects."""
        return [
            issue_id
            for issue_id, fact in self.by_issue.items()
            if not fact.is_tombstone and not is_foreign(fact, projects)
        ]

    def changes(self, fetched: Fetched | None = None) -> dict[str, Change]:
        """Return the changes that follow, without those of issues that could not be fetched."""
        answers = fetched or Fetched()
        return {
            issue_id: partial(_changed, fact=fact, fetched=answers)
            for issue_id, fact in self.by_issue.items()
            if issue_id not in answers.failed
        }

    def about(self, issue_ids: Collection[str]) -> list[Received]:
        """Return the events that are about at least one of these issues."""
        return [event for event, ids in self.by_event if not ids.isdisjoint(issue_ids)]


def _read(event: Received) -> Event | SetAside:
    if len(event.body) > EVENT_BYTES:
        return SetAside(f"it is larger than {EVENT_BYTES} bytes")
    try:
        return read_event(event.body)
    except Exception:  # noqa: BLE001 - one event that we can't parse must not block those behind it
        _LOG.exception("an event can't be parsed", extra={"fields": {"event": event.name}})
        return SetAside("unexpected error; see the log, and replay the archive once the cause is fixed")


def _changed(before: IssueState, *, fact: IssueState, fetched: Fetched) -> IssueState:
    after = before.joined(fact)
    if fact.issue_id in fetched.gone:
        return after.gone()
    answer = fetched.documents.get(fact.issue_id)
    return after if answer is None else known(after, answer)


@dataclass(slots=True, kw_only=True)
class Tally(JobRun):
    """The run of a fold. `left` are the events that stay in the inbox, `failures` the reasons, by issue.

    A run `is_cut` if its time was up and more events wait; it `is_stuck` if Jira can't be asked at all, and more wait.
    """

    left: set[str] = field(default_factory=set)
    failures: dict[str, str] = field(default_factory=dict)
    is_cut: bool = False
    is_stuck: bool = False


@dataclass(frozen=True, slots=True)
class Folding:
    """The dependencies of a fold. `interval` is the least time between two publishes, `seconds` the time of one fold.

    Without `jira`, the content of events is all that is known of an issue.
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
        """Fold until nothing waits or the time is up; `check` raises when the lease is lost.

        Raises:
            AnalystError: the published tables can't be read, the store does not respond, or others publish all the time.
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
            # what arrived during the rest belongs to this batch: it would wait a whole interval otherwise
            self._fold(self._next(tally.left) if rested else entries, tally, fetching)
            took = self.monotonic() - began
            if fetching.stopped is not None:
                tally.is_stuck = self.waits(tally)
                return
        if not tally.counts:
            # an earlier fold may have died between its publish and its rebuild, or the options may have changed
            self._publish({}, tally)

    def waits(self, tally: Tally) -> bool:
        """Return whether events wait other than those that this fold leaves in the inbox."""
        return bool(self._next(tally.left))

    def _next(self, left: Collection[str]) -> list[Entry]:
        """List the next batch, without the events that stay in the inbox."""
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
        """Sleep until the next publish is due, or for a part of the time that the last batch took; return whether it did.

        Meanwhile webhooks get their share of the processor, and a higher rate of events gives larger batches.
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
        done = [*facts.set_aside, *(Archived(event) for event, _ in facts.by_event if event.name not in left)]
        # published, archived, removed, in this order: a crash in between repeats an event, and never loses one
        self.archive.put(done)
        self.inbox.remove([one.event.name for one in done])
        tally.left |= left
        tally.failures |= failed
        tally.counts["events"] += len(done)
        tally.has_effect = tally.has_effect or bool(done)
        if facts.set_aside:
            tally.counts["set_aside"] += len(facts.set_aside)
        for one in facts.set_aside:
            tally.note(f"{one.event.name} could not be read: {one.set_aside}")
        unread = {name: members for name, members in facts.unread.items() if name not in left}
        if unread:
            tally.counts["unread"] += len(unread)
        for name, members in unread.items():
            tally.note(f"{name} was read without its {' and '.join(members)}, which has an unknown format")

    def _publish(self, changes: Mapping[str, Change], tally: Tally) -> Absorbed:
        absorbed = self.warehouse.absorb(changes)
        tally.published(absorbed)
        tally.rebuild = self.rebuild(absorbed.version) or tally.rebuild
        if changes:
            tally.counts["issues"] += len(absorbed.changed)
        if absorbed.tables:
            fields = {"source": self.warehouse.source, "issues": len(absorbed.changed), "tables": len(absorbed.tables)}
            _LOG.info("events were folded", extra={"fields": fields})
        return absorbed


class FoldAnswer(BaseModel):
    """The result of a fold. `running` means that another fold is in progress, and will include the waiting events.

    `counts`: `events` folded, `issues` changed, events `set_aside`, events partly read (`unread`), and values that became
    NULL (`misshapen …`). `left` events stay in the inbox for the next fold; `error` says why.
    """

    model_config = ConfigDict(frozen=True)

    run_id: str
    source: str
    status: RunStatus | Literal["running"]
    counts: dict[str, int] = {}
    notes: tuple[str, ...] = ()
    left: int = 0
    error: str | None = None
    rebuild: RebuildOutcome | None = None

    @property
    def http_status(self) -> int:
        """202 if another fold does the work, otherwise that of any job."""
        return HTTPStatus.ACCEPTED if self.status == "running" else HTTP_STATUS[self.status]


def fold(opened: Opened, run_id: str | None = None) -> FoldAnswer:
    """Fold all waiting events, and leave a record unless the run was idle.

    Raises:
        UnavailableError: the store does not respond, or others publish all the time.
    """
    ctx = opened.ctx
    folding = Folding(
        opened.inbox, opened.archive, opened.warehouse, opened.rebuild, opened.jira, interval_of(ctx.settings)
    )
    tally = Tally.begin(ctx.store, ctx.clock, "job", opened.source, run_id=run_id, job="fold")
    is_over = False
    while not is_over:
        with opened.alone(tally.run_id) as held:
            if held is None:
                break
            try:
                folding.run(tally, held.check)
            except LeaseLostError:
                break
            except (ContractError, SourceError) as failure:
                tally.error = str(failure)
        # An event that arrived after the last look, but before the lease was given back, has started a fold that found
        # the lease taken and left. Nobody else will look, so the one that gave the lease back looks once more.
        is_over = tally.error is not None or tally.is_cut or tally.is_stuck or not folding.waits(tally)
    if tally.is_cut:
        ctx.tasks.enqueue(FOLD, {"source": opened.source}, name=opened.source)
    if tally.error is None and tally.left:
        tally.error = _failure(tally)
    if not tally.is_idle:
        tally.end()
    return FoldAnswer(
        run_id=tally.run_id,
        source=opened.source,
        status=tally.status if is_over or tally.counts else "running",
        counts=dict(tally.counts),
        notes=tuple(tally.notes),
        left=len(tally.left),
        error=tally.error,
        rebuild=tally.rebuild,
    )


def _failure(tally: Tally) -> str:
    issues = f"{len(tally.failures)} issues" if len(tally.failures) > 1 else "one issue"
    waiting = f"{len(tally.left)} events{' and all later ones' if tally.is_stuck else ''} are waiting"
    return f"{issues} could not be fetched from Jira, or the answer is not plausible, so {waiting}: {min(tally.failures.values())}"


_BYTES_AT_ONCE: Final = 32 * 1024 * 1024


def replay(job: Job, since: datetime | None, until: datetime | None, changed: set[str]) -> None:
    """Fold the archived events of these hours again; add the ids of the issues that changed to `changed`.

    Raises:
        AnalystError: the published tables can't be read, or the store does not respond.
        UnavailableError: a part of the archive is damaged; the rest was folded.
    """
    damaged: list[str] = []
    archived = job.opened.archive.events(damaged, since, until)
    job.counts["events"] = 0
    while batch := list(_some(archived)):
        facts = Facts.of(batch)
        changed |= job.absorb(facts.changes()).changed
        counts = {"events": len(batch), "set_aside": len(facts.set_aside), "unread": len(facts.unread)}
        job.counts.update({name: count for name, count in counts.items() if count})
    if damaged:
        more = f", and {len(damaged) - 1} more are" if damaged[1:] else ""
        raise UnavailableError(f"the archive {damaged[0]!r} is damaged{more}; restore it from a backup, or delete it")


def _some(events: Iterator[Received]) -> Iterator[Received]:
    """Yield as many events as fit into memory."""
    size = 0
    for event in islice(events, _MOST_EVENTS):
        yield event
        size += len(event.body)
        if size > _BYTES_AT_ONCE:
            return
