"""Administration of the Jira source: backfill, consistency check, refresh, replay and status."""

from collections.abc import Mapping
from typing import Any

from analyst.access import Role
from analyst.connectors.jira.status import JiraStatus, status_of
from analyst.context import Context
from analyst.errors import InvalidInputError, SourceError
from analyst.http import function
from analyst.state.fields import Input
from functions.extract.jira_issues import BackfillAnswer, BackfillOrder
from functions.jira.check import CheckAnswer, CheckOrder
from functions.jira.refresh import RefreshAnswer, RefreshOrder
from functions.jira.replay import ReplayAnswer, ReplayOrder

_NONE = "There is no Jira source."
_FAILED = "The job failed; `detail` gives the reason."


@function(
    "POST", "/api/admin/jira/backfill", allow=Role.ADMIN, answers={404: _NONE, 422: _FAILED}, audit="source.backfill"
)
def backfill(order: BackfillOrder, ctx: Context) -> BackfillAnswer:
    """Read issues from Jira. An incomplete backfill continues where it stopped when it is called again."""
    return BackfillAnswer.model_validate(_called(ctx, "/extract/jira", order))


@function("POST", "/api/admin/jira/check", allow=Role.ADMIN, answers={404: _NONE, 422: _FAILED}, audit="source.check")
def check(order: CheckOrder, ctx: Context) -> CheckAnswer:
    """Compare the published issues with Jira by id, and read the missing and stale ones again."""
    return CheckAnswer.model_validate(_called(ctx, "/extract/jira/check", order))


@function("POST", "/api/admin/jira/replay", allow=Role.ADMIN, answers={404: _NONE, 422: _FAILED}, audit="source.replay")
def replay(order: ReplayOrder, ctx: Context) -> ReplayAnswer:
    """Apply archived webhook events again, without calling Jira."""
    return ReplayAnswer.model_validate(_called(ctx, "/extract/jira/replay", order))


@function(
    "POST", "/api/admin/jira/refresh", allow=Role.ADMIN, answers={404: _NONE, 422: _FAILED}, audit="source.refresh"
)
def refresh(order: RefreshOrder, ctx: Context) -> RefreshAnswer:
    """Read issues from Jira again even if they have not changed: the given keys, or all issues."""
    return RefreshAnswer.model_validate(_called(ctx, "/extract/jira/refresh", order))


@function("GET", "/api/admin/jira/status", allow=Role.ADMIN, answers={404: _NONE})
def show_status(ctx: Context) -> JiraStatus:
    """Return how far Jira was read, the number of waiting events, and the last result of each job."""
    return status_of(ctx)


def _called(ctx: Context, path: str, order: Input) -> Mapping[str, Any]:
    """Run a function of the source, and raise its error if it fails as a whole.

    Raises:
        AnalystError: the function failed.
    """
    source = ctx.settings.jira_source
    ctx.audited(f"source:{source}")
    try:
        return ctx.tasks.call(path, {"source": source, **order.model_dump(mode="json")})
    except InvalidInputError as error:
        answer = error.details.get("answer")
        reason = answer.get("error") if isinstance(answer, dict) else None
        raise SourceError(reason or str(error)) from error
