"""The extract of a Jira source: what is not known of its issues is read."""

from collections.abc import Mapping
from typing import Annotated, Final

from pydantic import AwareDatetime, Field

from analyst import runs
from analyst.connectors.jira.api.issues import PARALLEL
from analyst.connectors.jira.job import UNASKED, Job
from analyst.connectors.jira.source import Opened, open_source
from analyst.connectors.jira.sync.backfill import Backfill, Tally
from analyst.connectors.jira.warehouse.progress import Progress
from analyst.connectors.jira.warehouse.publish import Absorbed, Change
from analyst.context import Context
from analyst.extract_run import ExtractAnswer, ExtractRequest
from analyst.http import Allow, Answer, function
from analyst.state.fields import Input

PATH: Final = "/extract/jira"
_SECONDS: Final = 3000.0
_FILES: Final = 2


class BackfillOrder(Input):
    """Which issues to read: those that were not read yet, and what was updated since.

    With `since` or `jql` it is what was updated since then, or what a query finds (without ORDER BY), and how far the
    source was read stays as it was. `parallel` issues are completed at the same time. A `dry_run` only counts.
    """

    since: AwareDatetime | None = None
    jql: Annotated[str, Field(min_length=1, max_length=10_000)] | None = None
    parallel: Annotated[int, Field(ge=1, le=16)] = PARALLEL
    dry_run: bool = False


class BackfillRequest(ExtractRequest, BackfillOrder):
    """Which issues of which source to read: those that were not read yet, and what was updated since.

    With `since` or `jql` it is what was updated since then, or what a query finds, and how far the source was read stays
    as it was. A `dry_run` only counts. `tables` are all read together, whichever are asked for.
    """


class BackfillAnswer(ExtractAnswer):
    """How a backfill ended.

    `counts` are of issues: `read` in searches, `fetched`, `known` already, `gone`, `failed` and `changed`; and of values
    that became NULL (`misshapen …`). One that is not complete has had its time: the next one goes on where it was. Of a
    dry run, `jql` is what would be asked, and `found` about how many issues that finds.
    """

    counts: Mapping[str, int] = {}
    notes: tuple[str, ...] = ()
    is_complete: bool = True
    jql: str | None = None
    found: int | None = None


@function(
    "POST",
    PATH,
    allow=Allow.SERVICE,
    answers={207: BackfillAnswer, 404: "There is no such source.", 422: BackfillAnswer},
    audit="source.extract",
)
def extract_jira(request: BackfillRequest, ctx: Context) -> Answer[BackfillAnswer]:
    """Read the issues of a Jira source that are not known as they are, and publish them.

    207 means that it broke off after some were published, 422 that none were; the next one goes on.
    """
    ctx.audited(f"source:{request.source}")
    opened = open_source(ctx, request.source, parallel=request.parallel, look_again=not request.dry_run)
    job = Job(opened, "extract", None, request.run_id or runs.new_run_id(), ctx.clock())
    tally = Tally()
    if request.dry_run:
        return Answer(_counted(request, job))
    job.attempt(lambda: _backfill(request, job, tally))
    job.counts += tally.counts
    job.note_failures(tally.failures)
    for name in opened.warehouse.options.unresolved:
        job.note(f"Jira has no field {name!r}")
    status = job.end(all_tables=True)
    answer = BackfillAnswer(
        run_id=job.run_id,
        source=request.source,
        status=status,
        tables=tuple(job.tables.values()),
        error=job.error,
        rebuild=job.rebuild,
        counts=dict(job.counts),
        notes=tuple(job.notes),
        is_complete=tally.is_complete and job.error is None,
    )
    return Answer(answer, status=answer.http_status)


def _backfill(request: BackfillRequest, job: Job, tally: Tally) -> None:
    if job.opened.jira is None and not _is_narrow(request):
        job.note(UNASKED)
        job.absorb({})
        return
    backfill = _of(job)
    if _is_narrow(request):
        backfill.again(_millis(request), request.jql, tally)
        job.jira.settle()
    else:
        backfill.go_on(Progress.read(job.opened.warehouse.cursor()), tally)


def _counted(request: BackfillRequest, job: Job) -> BackfillAnswer:
    """Tell what would be read."""
    backfill = _of(job)
    progress = Progress.read(job.opened.warehouse.cursor())
    jql = backfill.query(_millis(request), request.jql) if _is_narrow(request) else backfill.next_query(progress)
    found = job.jira.client.count(jql.partition(" ORDER BY ")[0])
    return BackfillAnswer(
        run_id=job.run_id, source=job.opened.source, status="unchanged", tables=(), jql=jql, found=found
    )


def _of(job: Job) -> Backfill:
    def absorb(changes: Mapping[str, Change], progress: Progress | None) -> Absorbed:
        return job.absorb(changes, None if progress is None else progress.cursor())

    opened = job.opened
    return Backfill(job.jira, opened.scope, opened.warehouse.find, absorb, lambda: recent(opened), _SECONDS)


def recent(opened: Opened) -> list[str]:
    """Tell the issues that were updated last: webhooks have told of them, and Jira's index may not know it yet."""
    with opened.look() as published:
        published.con.execute("create temp table recent (id varchar, updated timestamptz)")
        files = published.newest("issues", "updated_at", _FILES)
        published.take("issues", "recent", "issue_id, updated_at", "updated_at is not null", files=files)
        found = published.rows("select id from recent order by updated desc, id limit 50")
    return [issue_id for (issue_id,) in found]


def _is_narrow(request: BackfillRequest) -> bool:
    return request.since is not None or request.jql is not None


def _millis(request: BackfillRequest) -> int | None:
    return None if request.since is None else round(request.since.timestamp() * 1000)
