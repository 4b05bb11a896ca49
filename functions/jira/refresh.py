"""Reading issues of Jira anew: a renamed project or an anonymised person changes issues without updating them."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import AwareDatetime, Field, model_validator

from analyst.connectors.jira.job import JobAnswer, JobRequest, answer_of, begin
from analyst.connectors.jira.sync.backfill import Tally, refresh_all, refresh_some
from analyst.context import Context
from analyst.http import Allow, Answer, function
from analyst.state.fields import Input
from analyst.validation import Matching

_MOST_KEYS = 1000

IssueName = Annotated[
    str,
    Matching(
        r"^(?:[A-Za-z][A-Za-z0-9_]{0,31}-[0-9]{1,18}|[0-9]{1,18})$",
        "the key or id of an issue, such as SHOP-42 or 10042",
    ),
]
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
        job.attempt(lambda: refresh_some(job, dict.fromkeys(key.upper() for key in request.keys)))
    else:
        job.attempt(lambda: reached.append(refresh_all(job, request.created_from, tally)))
    job.counts.update(tally.counts)
    job.note_failures(tally.failures)
    ended = answer_of(job)
    is_complete = tally.is_complete and job.error is None
    next_from = reached[0] if reached and not is_complete else None
    answer = RefreshAnswer(**ended.body.model_dump(), is_complete=is_complete, next_from=next_from)
    return Answer(answer, status=ended.status)
