"""Reading issues of Jira anew: a renamed project or an anonymised person changes issues without updating them."""

from collections.abc import Mapping
from datetime import datetime
from functools import partial

from analyst.connectors.jira.api.http import MissingError
from analyst.connectors.jira.api.issues import known
from analyst.connectors.jira.issue import documents, times
from analyst.connectors.jira.issue.state import IssueState
from analyst.connectors.jira.job import Job
from analyst.connectors.jira.sync.backfill import Backfill, Tally
from analyst.connectors.jira.warehouse.parts import RAW
from analyst.connectors.jira.warehouse.progress import Progress
from analyst.connectors.jira.warehouse.publish import Absorbed, Change
from analyst.errors import AnalystError

_SECONDS = 3000.0


def refresh_some(job: Job, keys: Mapping[str, None]) -> None:
    """Read issues anew by their keys or ids, and publish them; those that Jira does not have are gone.

    Raises:
        AnalystError: what is published can't be read, the store does not answer, or Jira may not be believed.
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
    """Find the ids under which issues are known."""
    if not keys:
        return []
    with job.opened.look() as published:
        published.con.execute("create temp table known (id varchar, key varchar)")
        published.take(RAW, "known", "issue_id, issue_key", "deleted_at is null")
        query = "select id from known where key in (select unnest(?::varchar[])) or id in (select unnest(?::varchar[]))"
        return [issue_id for (issue_id,) in published.rows(query, (keys, keys))]


def refresh_all(job: Job, created: datetime | None, tally: Tally) -> datetime | None:
    """Read all issues anew that were created since; return the creation time that it came to.

    Raises:
        AnalystError: Jira or the store does not answer, or what is published can't be read.
    """

    def absorb(changes: Mapping[str, Change], _progress: Progress | None) -> Absorbed:
        return job.absorb(changes)

    opened = job.opened
    backfill = Backfill(job.jira, opened.scope, opened.warehouse.find, absorb, seconds=_SECONDS, is_forced=True)
    reached = backfill.anew(0 if created is None else round(created.timestamp() * 1000), tally)
    job.jira.settle()
    return times.of_micros(reached * 1000)
