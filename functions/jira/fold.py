"""The fold: what webhooks brought becomes tables."""

from datetime import datetime
from http import HTTPStatus
from typing import Literal

from pydantic import BaseModel, ConfigDict

from analyst import runs
from analyst.connectors.jira.job import FOLD, JobRequest
from analyst.connectors.jira.source import Opened, interval_of, open_source
from analyst.connectors.jira.sync.fold import Folding, Tally
from analyst.context import Context
from analyst.errors import ContractError, LeaseLostError, SourceError
from analyst.extract_run import HTTP_STATUS, RebuildOutcome
from analyst.http import Allow, Answer, function
from analyst.runs import RunRecord, RunStatus


class FoldAnswer(BaseModel):
    """How a fold ended. `running` means that another one is at it, and sees to what this one came for.

    `counts` has `events` that were folded, `issues` of which something else is known now, `set_aside` events, those that
    were read but for a part (`unread`), and values that became NULL (`misshapen …`). `left` events stay in the inbox for
    the next fold; `error` tells why.
    """

    model_config = ConfigDict(frozen=True)

    run_id: str
    source: str
    status: RunStatus | Literal["running"]
    counts: dict[str, int] = {}
    notes: tuple[str, ...] = ()
    left: int = 0
    error: str | None = None
    rebuild: RebuildOutcome | None = None

    @property
    def http_status(self) -> int:
        """Work that another sees to is accepted, what was done in part is another answer."""
        return HTTPStatus.ACCEPTED if self.status == "running" else HTTP_STATUS[self.status]


@function(
    "POST",
    FOLD,
    allow=Allow.SERVICE,
    answers={202: FoldAnswer, 207: FoldAnswer, 404: "There is no such source.", 422: FoldAnswer},
)
def fold_jira(request: JobRequest, ctx: Context) -> Answer[FoldAnswer]:
    """Put what webhooks brought into the tables, and publish them.

    202 means that another fold is running and will see to it. 207 means that some events stay for the next one, since
    Jira could not be asked about their issues; 422 that none was folded.
    """
    opened = open_source(ctx, request.source_in(ctx.settings))
    answer = fold(opened, request.run_id or runs.new_run_id())
    return Answer(answer, status=answer.http_status)


def fold(opened: Opened, run_id: str) -> FoldAnswer:
    """Fold what waits, and keep a record of it unless nothing did.

    Raises:
        UnavailableError: the store does not answer, or others publish all the time.
    """
    ctx, source, started = opened.ctx, opened.source, opened.ctx.clock()
    interval = interval_of(ctx.settings)
    folding = Folding(opened.inbox, opened.archive, opened.warehouse, opened.rebuild, opened.jira, interval)
    tally, error, is_over = Tally(), None, False
    while not is_over:
        with opened.alone(run_id) as held:
            if held is None:
                break
            try:
                folding.run(tally, held.check)
            except LeaseLostError:
                break
            except (ContractError, SourceError) as failure:
                error = str(failure)
        # what came while the lease was about to be given back has found it held, and was left to us
        is_over = error is not None or tally.is_cut or tally.is_stuck or not folding.waits(tally)
    if tally.is_cut:
        ctx.tasks.enqueue_alone(FOLD, {"source": source})
    answer = _answer(tally, run_id, source, error, is_over=is_over)
    if tally.counts or answer.error:
        runs.write(ctx.store, _record(answer, tally, started, ctx.clock()))
    return answer


def _answer(tally: Tally, run_id: str, source: str, error: str | None, *, is_over: bool) -> FoldAnswer:
    if error is None and tally.left:
        failed = f"{len(tally.failures)} issues" if len(tally.failures) > 1 else "one issue"
        waiting = f"{len(tally.left)} events{' and all behind them' if tally.is_stuck else ''}"
        error = (
            f"Jira's answers about {failed} can't be had or believed, so {waiting} wait: {min(tally.failures.values())}"
        )
    folded = tally.counts["events"] > 0
    status: RunStatus = "ok" if folded or tally.tables else "unchanged"
    if error is not None:
        status = "partial" if folded else "failed"
    return FoldAnswer(
        run_id=run_id,
        source=source,
        status=status if is_over or tally.counts else "running",
        counts=dict(tally.counts),
        notes=tuple(tally.notes),
        left=len(tally.left),
        error=error,
        rebuild=tally.rebuild,
    )


def _record(answer: FoldAnswer, tally: Tally, started: datetime, finished: datetime) -> RunRecord:
    return RunRecord(
        run_id=answer.run_id,
        kind="job",
        job="fold",
        source=answer.source,
        status="ok" if answer.status == "running" else answer.status,
        started_at=started,
        finished_at=finished,
        tables=tuple(tally.tables[name] for name in sorted(tally.tables)),
        error=answer.error,
        counts=answer.counts,
        notes=answer.notes,
    )
