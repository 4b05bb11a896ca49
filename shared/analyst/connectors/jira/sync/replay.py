"""Folding the archive of webhooks again."""

from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from typing import Final

from analyst.connectors.jira.inbox.batch import Facts
from analyst.connectors.jira.inbox.inbox import Received
from analyst.connectors.jira.job import Job
from analyst.errors import UnavailableError

_BYTES_AT_ONCE: Final = 32 * 1024 * 1024
_AT_ONCE: Final = 1_000


def replay(job: Job, since: datetime | None, until: datetime | None, changed: set[str]) -> None:
    """Fold the events of these hours again, a part at a time; `changed` is given the ids of issues that are known anew.

    Raises:
        AnalystError: what is published can't be read, or the store does not answer.
        UnavailableError: a part of the archive is damaged; the rest is folded.
    """
    damaged: list[str] = []
    archived = job.opened.archive.events(damaged, since, until)
    job.counts["events"] = 0
    while batch := list(_some(archived)):
        facts = Facts.of(batch)
        changed |= job.absorb(facts.changes()).changed
        told = {"events": len(batch), "set_aside": len(facts.set_aside), "unread": len(facts.unread)}
        job.counts.update({name: count for name, count in told.items() if count})
    if damaged:
        more = f", and so are {len(damaged) - 1} more" if damaged[1:] else ""
        raise UnavailableError(f"{damaged[0]} is damaged{more}; put it back from a copy, or delete it")


def _some(events: Iterator[Received]) -> Iterator[Received]:
    """Take as many as fit into memory."""
    size = 0
    for event in islice(events, _AT_ONCE):
        yield event
        size += len(event.body)
        if size > _BYTES_AT_ONCE:
            return
