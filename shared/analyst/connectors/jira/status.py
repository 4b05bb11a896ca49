"""The status of a Jira source: progress, waiting webhooks, and how its jobs and the last check ended."""

from datetime import datetime
from typing import Final

from pydantic import BaseModel, ConfigDict

from analyst import runs
from analyst.connectors.jira.inbox.webhook import WebhookHealth, Webhooks
from analyst.connectors.jira.issue import times
from analyst.connectors.jira.source import open_source
from analyst.connectors.jira.sync.check import CheckReport, Reports
from analyst.connectors.jira.warehouse.progress import Progress
from analyst.context import Context
from analyst.runs import RunRecord, RunStatus

_RECORDS: Final = 100


class JobStanding(BaseModel):
    """The last result of a job or the extract."""

    model_config = ConfigDict(frozen=True)

    job: str
    run_id: str
    status: RunStatus
    finished_at: datetime
    counts: dict[str, int]
    notes: tuple[str, ...]
    error: str | None


class JiraStatus(BaseModel):
    """The status of a source. Times are those of Jira's clock.

    `read_until` is the last update that was read. While `reading_from` is set, only issues created before it were read.
    `failed` issues could not be fetched and are retried. `unresolved` are configured fields that Jira does not have.
    """

    model_config = ConfigDict(frozen=True)

    webhooks: WebhookHealth
    read_until: datetime | None
    reading_from: datetime | None
    failed: tuple[str, ...]
    unresolved: tuple[str, ...]
    jobs: tuple[JobStanding, ...]
    check: CheckReport | None


def status_of(ctx: Context) -> JiraStatus:
    """Return the status of the source that webhooks are received for.

    Raises:
        NotFoundError: no such source exists.
        InvalidInputError: it is of another type, or its config or custom fields are invalid.
    """
    opened = open_source(ctx, ctx.settings.jira_source)
    progress = Progress.read(opened.warehouse.cursor())
    is_first = progress is None or progress.created is not None
    return JiraStatus(
        webhooks=Webhooks(ctx).health(),
        read_until=None if progress is None or is_first else times.of_micros(progress.updated * 1000),
        reading_from=times.of_micros((progress.created or 0) * 1000) if progress and is_first else None,
        failed=tuple(sorted(progress.failed)) if progress else (),
        unresolved=opened.warehouse.options.unresolved,
        jobs=tuple(_newest(ctx, opened.source)),
        check=Reports(ctx.store, opened.source).newest(),
    )


def _newest(ctx: Context, source: str) -> list[JobStanding]:
    found: dict[str, RunRecord] = {}
    for record in runs.newest(ctx.store, today=ctx.now.date(), limit=_RECORDS, days=2):
        if record.source == source and record.kind != "rebuild":
            found.setdefault(record.job or "extract", record)
    return [
        JobStanding(
            job=name,
            run_id=record.run_id,
            status=record.status,
            finished_at=record.finished_at,
            counts=dict(record.counts),
            notes=record.notes,
            error=record.error,
        )
        for name, record in sorted(found.items())
    ]
