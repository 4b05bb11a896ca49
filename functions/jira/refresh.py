"""Reading issues of Jira anew: a renamed project or an anonymised person changes issues without updating them."""

from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Annotated, Self

from pydantic import AwareDatetime, Field, StringConstraints, model_validator

from analyst.connectors.jira.api.http import MissingError
from analyst.connectors.jira.api.issues import known
from analyst.connectors.jira.issue import documents, times
from analyst.connectors.jira.issue.state import IssueState
from analyst.connectors.jira.job import Job, JobAnswer, JobRequest, answer_of, begin
from analyst.connectors.jira.sync.backfill import Backfill, Tally
from analyst.connectors.jira.warehouse.parts import RAW
from analyst.connectors.jira.warehouse.progress import Progress
from analyst.connectors.jira.warehouse.publish import Absorbed, Change
from analyst.context import Context
from analyst.errors import AnalystError
from analyst.http import Allow, Answer, function
from analyst.state.fields import Input

_MOST_KEYS = 1000
_SECONDS = 3000.0

IssueName = Annotated[str, StringConstraints(pattern=r"^(?:[A-Za-z][A-Za-z0-9_]{0,31}-[0-9]{1,18}|[0-9]{1,18})$")]
"""The key of an issue, or its id."""


class RefreshOrder(Input):
    """Which issues to read anew, whether or not they were updated: some by their `keys`, or all (`all_issues`).

    All are read in the order of their creation; with `created_from` those that were created since.
    """

    keys: Annotated[tuple[IssueName, ...], Field(max_length=_MOST_KEYS)] = ()
    all_issues: bool = False
    created_from: AwareDatetime | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if bool(self.keys) == self.all_issues:
            raise ValueError("give keys of issues, or all_issues")
        return self


class RefreshRequest(JobRequest, RefreshOrder):
    """Which issues of which source to read anew, whether or not they were updated: some by their `keys`, or all."""


class RefreshAnswer(JobAnswer):
    """How it ended. `counts` are of issues: `read`, `fetched`, `changed`, `missing` in Jira, `failed`, `withheld`.

    One that is not complete has had its time: ask again with its `next_from` as `created_from`.
    """

    is_complete: bool = True
    next_from: AwareDatetime | None = None


@function(
    "POST",
    "/extract/jira/refresh",
    allow=Allow.SERVICE,
    answers={207: RefreshAnswer, 404: "There is no such source.", 422: RefreshAnswer},
    audit="source.refresh",
)
def refresh_jira(request: RefreshRequest, ctx: Context) -> Answer[RefreshAnswer]:
    """Read issues anew, and publish what is different; how far the source was read stays as it is."""
    job = begin(ctx, "refresh", request)
    tally = Tally()
    reached: list[datetime | None] = []
    if request.keys:
        job.attempt(lambda: _some(job, dict.fromkeys(key.upper() for key in request.keys)))
    else:
        job.attempt(lambda: reached.append(_all(job, request.created_from, tally)))
    job.counts.update(tally.counts)
    job.note_failures(tally.failures)
    ended = answer_of(job)
    is_complete = tally.is_complete and job.error is None
    next_from = reached[0] if reached and not is_complete else None
    answer = RefreshAnswer(**ended.body.model_dump(), is_complete=is_complete, next_from=next_from)
    return Answer(answer, status=ended.status)


def _some(job: Job, keys: Mapping[str, None]) -> None:
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


def _all(job: Job, created: datetime | None, tally: Tally) -> datetime | None:
    def absorb(changes: Mapping[str, Change], _progress: Progress | None) -> Absorbed:
        return job.absorb(changes)

    opened = job.opened
    backfill = Backfill(job.jira, opened.scope, opened.warehouse.find, absorb, seconds=_SECONDS, is_forced=True)
    reached = backfill.anew(0 if created is None else round(created.timestamp() * 1000), tally)
    job.jira.settle()
    return times.of_micros(reached * 1000)
