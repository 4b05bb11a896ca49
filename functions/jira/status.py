"""How it is with a Jira source: how far it was read, what waits, what its jobs and the last check came to."""

from datetime import datetime
from typing import Final

from pydantic import BaseModel, ConfigDict

from analyst import runs
from analyst.connectors.jira.issue import times
from analyst.connectors.jira.source import open_source
from analyst.connectors.jira.sync.check import CheckReport, Reports
from analyst.connectors.jira.warehouse.progress import Progress
from analyst.context import Context
from analyst.runs import RunRecord, RunStatus
from functions.jira.webhook import WebhookHealth, health_of

_RECORDS: Final = 100


class JobStanding(BaseModel):
    """How a job, or the extract, ended last."""

    model_config = ConfigDict(frozen=True)

    job: str
    run_id: str
    status: RunStatus
    finished_at: datetime
    counts: dict[str, int]
    notes: tuple[str, ...]
    error: str | None


class JiraStatus(BaseModel):
    """How it is with a source.

    `read_until` is when the last issue was updated that was read, by Jira's clock. While `reading_from` is there, not all
    issues were read once: only those that were created before. `failed` issues could not be had, and are tried again.
    `unresolved` are fields of the settings that Jira does not have.
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
    """Tell how it is with the source that webhooks are of.

    Raises:
        NotFoundError: there is no such source.
        InvalidInputError: it is of another type, or its config or custom fields can't be used.
    """
    opened = open_source(ctx, ctx.settings.jira_source)
    progress = Progress.read(opened.warehouse.cursor())
    is_first = progress is None or progress.created is not None
    return JiraStatus(
        webhooks=health_of(ctx),
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
