"""The extract of a Jira source."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import AwareDatetime, Field

from analyst.connectors.extract_function import profile_later
from analyst.connectors.jira.api.issues import PARALLEL
from analyst.connectors.jira.job import Job
from analyst.connectors.jira.source import open_source
from analyst.connectors.jira.sync import backfill
from analyst.context import Context
from analyst.extract_run import ExtractAnswer, ExtractRequest, ask_for_profiles
from analyst.http import Allow, Answer, function
from analyst.state.fields import Input


class BackfillOrder(Input):
    """Which issues to read. By default: issues never read, and those updated since they were.

    With `since` or `jql`: only issues updated since that time, or found by that query (without ORDER BY); the progress of the source does not change. `parallel` is the number of issues fetched at the same time. A `dry_run` only counts.
    """

    since: AwareDatetime | None = None
    jql: Annotated[str, Field(min_length=1, max_length=10_000)] | None = None
    parallel: Annotated[int, Field(ge=1, le=16)] = PARALLEL
    dry_run: bool = False


class BackfillRequest(ExtractRequest, BackfillOrder):
    """Which issues of which source to read. All `tables` are always read together.

    By default: issues never read, and those updated since they were. With `since` or `jql`: only issues updated since
    that time, or found by that query; the progress of the source does not change. A `dry_run` only counts.
    """


class BackfillAnswer(ExtractAnswer):
    """The result of a backfill. If it is not complete, its time ran out, and another call, already requested, resumes it.

    `counts`: issues `read` in searches, `fetched`, already `known`, `gone`, `failed` and `changed`, and values that became
    NULL (`misshapen …`). After a dry run, `jql` is the query, and `found` about how many issues it finds.
    """

    counts: Mapping[str, int] = {}
    notes: tuple[str, ...] = ()
    is_complete: bool = True
    jql: str | None = None
    found: int | None = None


@function(
    "POST",
    "/extract/jira",
    allow=Allow.SERVICE,
    answers={207: BackfillAnswer, 404: "The source does not exist.", 422: BackfillAnswer},
    audit="source.extract",
)
def extract_jira(request: BackfillRequest, ctx: Context) -> Answer[BackfillAnswer]:
    """Read new and updated issues of a Jira source, and publish them.

    207: it failed after publishing some issues; 422: none was published. The next run resumes.
    """
    ctx.audited(f"source:{request.source}")
    opened = open_source(ctx, request.source, parallel=request.parallel, look_again=not request.dry_run)
    job = Job.of(opened, None, request.run_id, "extract")
    if request.dry_run:
        jql, found = backfill.estimate(job, request.since, request.jql)
        answer = BackfillAnswer(
            run_id=job.run_id, source=opened.source, status="unchanged", tables=(), jql=jql, found=found
        )
        return Answer(answer)
    tally = backfill.run(job, request.since, request.jql)
    status = job.finish()
    is_complete = tally.is_complete and job.error is None
    is_narrow = request.since is not None or request.jql is not None
    if not tally.is_complete and job.error is None and not is_narrow and tally.counts["fetched"]:
        ctx.tasks.enqueue(
            "/extract/jira", {"source": request.source, "parallel": request.parallel}, name=request.source
        )
    changed = [f"{request.source}.{name}" for name, table in job.tables.items() if table.status == "ok"]
    answer = BackfillAnswer(
        run_id=job.run_id,
        source=request.source,
        status=status,
        profiled=ask_for_profiles(
            profile_later(ctx), {"source": request.source, "tables": changed, "run_id": job.run_id}
        ),
        tables=tuple(job.tables.values()),
        error=job.error,
        rebuild=job.rebuild,
        counts=dict(job.counts),
        notes=tuple(job.notes),
        is_complete=is_complete,
    )
    return Answer(answer, status=answer.http_status)
