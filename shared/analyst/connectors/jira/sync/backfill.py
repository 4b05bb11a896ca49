"""Backfilling: reading all issues once in the order of their creation, then what was updated since, again and again.

Jira's index lags behind, and tells of a change only once it knows of it; so what is read overlaps with what was read.
Bounds are epoch milliseconds of Jira's own clock: other times are of the time zone of an account, and of minutes. Every
batch is published with how far it came, so that a run that is cut off goes on where it was.
"""

import logging
import re
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from analyst import logs
from analyst.connectors.jira.api.client import RECONCILED
from analyst.connectors.jira.api.http import MissingError
from analyst.connectors.jira.api.issues import Jira, known
from analyst.connectors.jira.issue import documents, times
from analyst.connectors.jira.issue.documents import Document
from analyst.connectors.jira.issue.state import IssueState
from analyst.connectors.jira.warehouse.progress import MOST_FAILED, Progress
from analyst.connectors.jira.warehouse.publish import Absorbed, Change
from analyst.errors import AnalystError, InvalidInputError, SourceError

_LOG = logging.getLogger(f"{logs.ROOT}.jira")
_BATCH: Final = 500
_BATCH_BYTES: Final = 12 << 20
ORDER: Final = re.compile(r"\border\s+by\b", re.IGNORECASE)
"""What a query of somebody else must not say."""

Absorb = Callable[[Mapping[str, Change], Progress | None], Absorbed]
"""Changes what is known of issues, publishes it, and keeps how far the source was read if that is given."""

Find = Callable[[Collection[str]], dict[str, IssueState]]
"""Tells what is known of issues, by their ids."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Which issues are of a source: those of some projects, or of all, that a query finds if there is one."""

    projects: tuple[str, ...] = ()
    jql: str | None = None

    def __post_init__(self) -> None:
        """Refuse a query that has an order of its own.

        Raises:
            InvalidInputError: it has one.
        """
        if self.jql and ORDER.search(self.jql):
            raise InvalidInputError("leave ORDER BY out of the JQL: issues are read in an order of our own")

    def and_(self, *conditions: str, order: str = "") -> str:
        """Write a query for the issues that fulfil further conditions."""
        projects = ", ".join(f'"{key}"' for key in self.projects)
        parts = [f"({self.jql})" if self.jql else "", f"project in ({projects})" if projects else "", *conditions]
        return " AND ".join(filter(None, parts)) + (f" ORDER BY {order} ASC" if order else "")


@dataclass(slots=True)
class Tally:
    """What a backfill has done: `counts` of issues `read`, `fetched`, `known` already, `gone` and `failed`.

    `failures` tell why, by issue. One that is not `is_complete` has had its time, and goes on at the next one.
    """

    counts: Counter[str] = field(default_factory=Counter)
    failures: dict[str, str] = field(default_factory=dict)
    is_complete: bool = True


@dataclass(frozen=True, slots=True)
class Backfill:
    """One run. After `seconds` it leaves the rest to the next one. `recent` are issues that were updated last.

    One that `is_forced` fetches also what is known as it is.
    """

    jira: Jira
    scope: Scope
    find: Find
    absorb: Absorb
    recent: Callable[[], Sequence[str]] = tuple
    seconds: float = 3000.0
    monotonic: Callable[[], float] = time.monotonic
    is_forced: bool = False

    def go_on(self, progress: Progress | None, tally: Tally) -> None:
        """Read what was not read yet, and what was updated since.

        Raises:
            AnalystError: Jira or the store does not answer; what was published before stays.
        """
        until = self.monotonic() + self.seconds
        progress = progress or Progress(self.jira.now(), created=0)
        if progress.failed:
            progress = self._retry(progress, tally)
        if progress.created is not None:
            progress = self._read(self.next_query(progress), "created", progress, tally, until)
            if not tally.is_complete:
                return
            progress = progress.through()
        progress = self._read(self.next_query(progress), "updated", progress, tally, until)
        self.absorb({}, progress)

    def again(self, since: int | None, jql: str | None, tally: Tally) -> None:
        """Read what was updated since a time, in epoch ms, or what a query finds; how far the source was read stays."""
        until = self.monotonic() + self.seconds
        self._read(self.query(since, jql), "updated", None, tally, until)

    def anew(self, created: int, tally: Tally) -> int:
        """Read what was created since a time, in epoch ms, and tell how far it came."""
        progress = Progress(0, created=created)
        until = self.monotonic() + self.seconds
        return self._read(self.next_query(progress), "created", progress, tally, until).created or created

    def next_query(self, progress: Progress | None) -> str:
        """Write the query of what `go_on` reads first."""
        if progress is None or progress.created is not None:
            return self.scope.and_(f"created >= {progress.created if progress else 0}", order="created")
        return self.scope.and_(f"updated >= {progress.began_at()}", order="updated")

    def query(self, since: int | None, jql: str | None) -> str:
        """Write the query of `again`."""
        narrower = Scope(jql=jql).jql
        return self.scope.and_(f"({narrower})" if narrower else "", f"updated >= {since or 0}", order="updated")

    def _read(self, jql: str, by: str, progress: Progress | None, tally: Tally, until: float) -> Progress:
        reconcile = [] if by == "created" else list(self.recent())[:RECONCILED]
        pages = self.jira.client.search(jql, changes=True, reconcile=reconcile)
        for batch in _batches(_ahead(pages)):
            progress = self._take(batch, by, progress, tally)
            if self.monotonic() > until:
                tally.is_complete = False
                break
        return progress or Progress(0)

    def _take(self, batch: Sequence[Document], by: str, progress: Progress | None, tally: Tally) -> Progress | None:
        """Complete the issues of a batch, and publish them with how far it came."""
        there = {} if self.is_forced else self.find([_id(found) for found in batch])
        tally.counts["read"] += len(batch)
        wanted = [found for found in batch if not _is_known(there.get(_id(found)), found)]
        tally.counts["known"] += len(batch) - len(wanted)
        changes, failed = self._fetch({_id(found): found for found in wanted}, tally)
        if progress is not None:
            reached = max(times.micros(documents.fields(found).get(by)) or 0 for found in batch) // 1000
            progress = progress.after(reached, changes.keys(), failed)
            if len(progress.failed) > MOST_FAILED:
                raise SourceError(f"more than {MOST_FAILED} issues can't be had: {min(tally.failures.values())}")
        if changes:  # else how far it came is kept at the end
            progress = _without(progress, self.absorb(changes, progress).withheld)
        _LOG.info("issues were read", extra={"fields": {"by": by, **tally.counts}})
        return progress

    def _retry(self, progress: Progress, tally: Tally) -> Progress:
        changes, failed = self._fetch(dict.fromkeys(sorted(progress.failed)), tally)
        progress = progress.after(0, changes.keys(), failed)
        return _without(progress, self.absorb(changes, progress).withheld) or progress

    def _fetch(self, wanted: Mapping[str, Document | None], tally: Tally) -> tuple[dict[str, Change], set[str]]:
        """Fetch issues, those whose answer of a search is there by completing it; tell which could not be had.

        Raises:
            AnalystError: Jira can't be asked at all any more.
        """

        def fetch(issue_id: str) -> Document:
            found = wanted[issue_id]
            return self.jira.issue(issue_id) if found is None else self.jira.completed(found)

        changes: dict[str, Change] = {}
        failed: set[str] = set()
        for issue_id, answer in self.jira.each(wanted, fetch):
            if isinstance(answer, MissingError):
                changes[issue_id] = IssueState.gone
                tally.counts["gone"] += 1
            elif isinstance(answer, AnalystError):
                self.jira.bear(answer)
                failed.add(issue_id)
                tally.counts["failed"] += 1
                tally.failures[issue_id] = str(answer)
            else:
                changes[issue_id] = partial(known if self.is_forced else newer, document=answer)
                tally.counts["fetched"] += 1
        return changes, failed


def newer(state: IssueState, *, document: Document) -> IssueState:
    """Know what was fetched, unless something as new was fetched meanwhile."""
    if state.rest is not None and not state.is_gone and documents.updated(state.rest) >= documents.updated(document):
        return state
    return known(state, document)


def _without(progress: Progress | None, withheld: Collection[str]) -> Progress | None:
    """Keep issues whose disappearance is not believed among those that are tried again."""
    return progress.after(0, (), withheld) if progress is not None and withheld else progress


def _id(found: Document) -> str:
    return documents.issue_id(found.get("id")) or ""


def _is_known(state: IssueState | None, found: Document) -> bool:
    """Tell whether an issue was fetched as it is now; one that was deleted is known for good."""
    if state is None or (state.rest is None and not state.is_tombstone):
        return False
    if state.is_tombstone:
        return True
    return not state.is_gone and documents.updated(state.rest or {}) >= documents.updated(found)


def _ahead(pages: Iterator[list[Document]]) -> Iterator[list[Document]]:
    """Ask for the next page while something is done with one."""
    with ThreadPoolExecutor(1, thread_name_prefix="jira-search") as pool:
        coming = pool.submit(next, pages, None)
        while (page := coming.result()) is not None:
            coming = pool.submit(next, pages, None)
            yield page


def _batches(pages: Iterator[list[Document]]) -> Iterator[list[Document]]:
    """Gather pages into batches that are worth a publish and no more than memory has room for."""
    batch: list[Document] = []
    size = 0
    for page in pages:
        for found in page:
            if not _id(found):
                continue
            batch.append(found)
            size += len(documents.canonical(found))
            if len(batch) >= _BATCH or size >= _BATCH_BYTES:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch
