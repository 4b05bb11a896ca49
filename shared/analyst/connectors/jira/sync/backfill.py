"""Reading issues from Jira: all of them once in the order of creation, then updated ones; and again on request.

Jira's index lags, so every increment overlaps with the one before. Bounds are epoch milliseconds of Jira's own clock,
because JQL interprets other times in the account's time zone, in whole minutes. The progress is published with every
batch, so an interrupted run resumes where it stopped.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Final

from analyst import logs
from analyst.connectors.jira.api.client import RECONCILED
from analyst.connectors.jira.api.http import MissingError
from analyst.connectors.jira.api.issues import Jira, known
from analyst.connectors.jira.issue import documents, times
from analyst.connectors.jira.issue.documents import Document
from analyst.connectors.jira.issue.state import IssueState
from analyst.connectors.jira.job import UNASKED, Job
from analyst.connectors.jira.source import Opened, Scope
from analyst.connectors.jira.warehouse.parts import RAW
from analyst.connectors.jira.warehouse.progress import MOST_FAILED, Progress
from analyst.connectors.jira.warehouse.publish import Absorbed, Change
from analyst.errors import AnalystError, SourceError

_LOG = logging.getLogger(f"{logs.ROOT}.jira")
_BATCH: Final = 500
_BATCH_BYTES: Final = 12 << 20
_FILES: Final = 2

Absorb = Callable[[Mapping[str, Change], Progress | None], Absorbed]
"""Publishes changes of issues, with the progress of the source if it is given."""

Find = Callable[[Collection[str]], dict[str, IssueState]]
"""Returns the known states of issues by their ids."""


@dataclass(slots=True)
class Tally:
    """What a backfill has done: `counts` of issues `read`, `fetched`, already `known`, `gone` and `failed`.

    `failures` are the reasons by issue. If it is not `is_complete`, its time was up, and the next one resumes.
    """

    counts: Counter[str] = field(default_factory=Counter)
    failures: dict[str, str] = field(default_factory=dict)
    is_complete: bool = True


@dataclass(frozen=True, slots=True)
class Backfill:
    """The dependencies of a backfill. After `seconds` it leaves the rest to the next one.

    `recent` lists the issues that were updated last. If it `is_forced`, it also fetches issues that are known unchanged.
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
        """Read issues that were never read, and those updated since.

        Raises:
            AnalystError: Jira or the store does not respond; what was published before stays.
        """
        until = self.monotonic() + self.seconds
        progress = (progress or Progress(self.jira.now(), created=0)).within(self.scope.and_())
        if progress.failed:
            progress = self._retry(progress, tally)
        if progress.created is not None:
            progress = self._read(self.next_query(progress), "created", progress, tally, until)
            if not tally.is_complete:
                self.absorb({}, progress)  # the last batches may have had no changes
                return
            progress = progress.through()
        progress = self._read(self.next_query(progress), "updated", progress, tally, until)
        self.absorb({}, progress)

    def again(self, since: int | None, jql: str | None, tally: Tally) -> None:
        """Read issues updated since a time, in epoch ms, or found by a query; the progress stays."""
        until = self.monotonic() + self.seconds
        self._read(self.query(since, jql), "updated", None, tally, until)

    def reread(self, created: int, tally: Tally) -> int:
        """Read issues created since a time, in epoch ms, and return the creation time that was reached."""
        progress = Progress(0, created=created)
        until = self.monotonic() + self.seconds
        return self._read(self.next_query(progress), "created", progress, tally, until).created or created

    def next_query(self, progress: Progress | None) -> str:
        """Return the query of what `go_on` reads first."""
        progress = progress and progress.within(self.scope.and_())
        if progress is None or progress.created is not None:
            return self.scope.and_(f"created >= {progress.created if progress else 0}", order="created")
        return self.scope.and_(f"updated >= {progress.began_at()}", order="updated")

    def query(self, since: int | None, jql: str | None) -> str:
        """Return the query of `again`."""
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
        """Complete the issues of a batch, and publish them with the progress."""
        known = {} if self.is_forced else self.find([_id(found) for found in batch])
        tally.counts["read"] += len(batch)
        wanted = [found for found in batch if not _is_known(known.get(_id(found)), found)]
        tally.counts["known"] += len(batch) - len(wanted)
        changes, failed = self._fetch({_id(found): found for found in wanted}, tally)
        if progress is not None:
            reached = max(times.micros(documents.fields(found).get(by)) or 0 for found in batch) // 1000
            progress = progress.after(reached, changes.keys(), failed)
            if len(progress.failed) > MOST_FAILED:
                raise SourceError(f"more than {MOST_FAILED} issues can't be fetched: {min(tally.failures.values())}")
        if changes:  # a batch without changes is not worth a publish: its progress is kept with the next one
            progress = _without(progress, self.absorb(changes, progress).withheld)
        _LOG.info("issues were read", extra={"fields": {"by": by, **tally.counts}})
        return progress

    def _retry(self, progress: Progress, tally: Tally) -> Progress:
        changes, failed = self._fetch(dict.fromkeys(sorted(progress.failed)), tally)
        progress = progress.after(0, changes.keys(), failed)
        return _without(progress, self.absorb(changes, progress).withheld) or progress

    def _fetch(self, wanted: Mapping[str, Document | None], tally: Tally) -> tuple[dict[str, Change], set[str]]:
        """Fetch issues, or complete answers of a search; return the changes, and the ids of issues that failed.

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
    """Update a state with a fetched document, unless one at least as new was fetched in the meantime."""
    if state.rest is not None and not state.is_gone and documents.updated(state.rest) >= documents.updated(document):
        return state
    return known(state, document)


def _without(progress: Progress | None, withheld: Collection[str]) -> Progress | None:
    """Retry issues later whose disappearance is not believed."""
    return progress.after(0, (), withheld) if progress is not None and withheld else progress


def _id(found: Document) -> str:
    return documents.issue_id(found.get("id")) or ""


def _is_known(state: IssueState | None, found: Document) -> bool:
    """Return whether an issue was fetched in its present form; a deleted one is known for good."""
    if state is None or (state.rest is None and not state.is_tombstone):
        return False
    if state.is_tombstone:
        return True
    return not state.is_gone and documents.updated(state.rest or {}) >= documents.updated(found)


def _ahead(pages: Iterator[list[Document]]) -> Iterator[list[Document]]:
    """Request the next page while the current one is processed."""
    with ThreadPoolExecutor(1, thread_name_prefix="jira-search") as pool:
        coming = pool.submit(next, pages, None)
        while (page := coming.result()) is not None:
            coming = pool.submit(next, pages, None)
            yield page


def _batches(pages: Iterator[list[Document]]) -> Iterator[list[Document]]:
    """Collect pages into batches that are worth a publish and fit into memory."""
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


def of_job(job: Job) -> Backfill:
    """Return the backfill of a run of the extract."""

    def absorb(changes: Mapping[str, Change], progress: Progress | None) -> Absorbed:
        return job.absorb(changes, None if progress is None else progress.cursor())

    opened = job.opened
    return Backfill(job.jira, opened.scope, opened.warehouse.find, absorb, lambda: _recent(opened), _seconds(opened))


def _seconds(opened: Opened) -> float:
    """Return the seconds after which a run leaves the rest to the next one."""
    return opened.ctx.settings.task_seconds


def read_issues(job: Job, since: datetime | None, jql: str | None, tally: Tally) -> None:
    """Read issues that are new or updated; with `since` or `jql` only the selected ones, and the progress stays.

    Without a credential nothing is read, and tables whose options changed are rebuilt.

    Raises:
        AnalystError: Jira or the store does not respond; what was published before stays.
    """
    is_narrow = since is not None or jql is not None
    if job.opened.jira is None and not is_narrow:
        job.note(UNASKED)
        job.absorb({})
    elif is_narrow:
        of_job(job).again(_millis(since), jql, tally)
        job.jira.settle()
    else:
        of_job(job).go_on(Progress.read(job.opened.warehouse.cursor()), tally)


def run(job: Job, since: datetime | None, jql: str | None) -> Tally:
    """Read issues like `read_issues`, and note the counts and failures in the job."""
    tally = Tally()
    job.attempt(lambda: read_issues(job, since, jql, tally))
    job.counts += tally.counts
    job.note_failures(tally.failures)
    for name in job.opened.warehouse.options.unresolved:
        job.note(f"Jira has no field {name!r}")
    for name, ids in job.opened.warehouse.options.former.items():
        job.note(
            f"Jira has no field named {name!r} any more; its column still has the values of {' and '.join(ids)}: "
            "write that id in jira.custom_fields"
        )
    if job.error is None:
        job.add_unchanged()
    return tally


def estimate(job: Job, since: datetime | None, jql: str | None) -> tuple[str, int]:
    """Return the query that `read_issues` would begin with, and about how many issues it finds.

    Raises:
        AnalystError: Jira or the store does not respond.
    """
    backfill = of_job(job)
    query = (
        backfill.next_query(Progress.read(job.opened.warehouse.cursor()))
        if since is None and jql is None
        else backfill.query(_millis(since), jql)
    )
    return query, job.jira.client.count(query.partition(" ORDER BY ")[0])


def _millis(moment: datetime | None) -> int | None:
    return None if moment is None else round(moment.timestamp() * 1000)


def _recent(opened: Opened) -> list[str]:
    """List the issues that were updated last: a webhook brought them here, and Jira's index may not have them yet."""
    with opened.look() as published:
        published.con.execute("create temp table recent (id varchar, updated timestamptz)")
        files = published.newest("issues", "updated_at", _FILES)
        published.take("issues", "recent", "issue_id, updated_at", "updated_at is not null", files=files)
        found = published.rows("select id from recent order by updated desc, id limit 50")
    return [issue_id for (issue_id,) in found]


def refresh_some(job: Job, keys: Mapping[str, None]) -> None:
    """Read issues again by their keys or ids, and publish them; those that Jira does not have are gone.

    Raises:
        AnalystError: the published tables can't be read, the store does not respond, or Jira can't be believed.
    """
    changes: dict[str, Change] = {}
    missing: list[str] = []
    for key, answer in job.jira.each(keys, job.jira.issue):
        job.counts["read"] += 1
        if isinstance(answer, MissingError):
            missing.append(key)
        elif isinstance(answer, AnalystError):
            job.jira.bear(answer)
            job.counts["failed"] += 1
            job.note(f"{key}: {answer}")
        elif (issue_id := documents.issue_id(answer.get("id"))) is not None:
            job.counts["fetched"] += 1
            changes[issue_id] = partial(known, document=answer)
    for key in missing:
        job.counts["missing"] += 1
        job.note(f"Jira has no issue {key!r}, or its account may not see it")
    gone = [issue_id for issue_id in _ids_of(job, missing) if issue_id not in changes]
    job.absorb({**dict.fromkeys(gone, IssueState.gone), **changes})


def _ids_of(job: Job, keys: list[str]) -> list[str]:
    """Return the ids of published issues by their keys or ids."""
    if not keys:
        return []
    with job.opened.look() as published:
        published.con.execute("create temp table known (id varchar, key varchar)")
        published.take(RAW, "known", "issue_id, issue_key", "deleted_at is null")
        query = "select id from known where key in (select unnest(?::varchar[])) or id in (select unnest(?::varchar[]))"
        return [issue_id for (issue_id,) in published.rows(query, (keys, keys))]


def refresh_all(job: Job, created: datetime | None, tally: Tally) -> datetime | None:
    """Read all issues again that were created since a time; return the creation time that was reached.

    Raises:
        AnalystError: Jira or the store does not respond, or the published tables can't be read.
    """

    def absorb(changes: Mapping[str, Change], _progress: Progress | None) -> Absorbed:
        return job.absorb(changes)

    opened = job.opened
    backfill = Backfill(job.jira, opened.scope, opened.warehouse.find, absorb, seconds=_seconds(opened), is_forced=True)
    reached = backfill.reread(_millis(created) or 0, tally)
    job.jira.settle()
    return times.of_micros(reached * 1000)
