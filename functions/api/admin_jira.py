"""Administering the source of Jira: reading it, comparing it, reading issues anew, folding its archive again."""

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

_NONE = "There is no source of Jira."
_FAILED = "It failed; the message tells why."


@function(
    "POST", "/api/admin/jira/backfill", allow=Role.ADMIN, answers={404: _NONE, 422: _FAILED}, audit="source.backfill"
)
def backfill(order: BackfillOrder, ctx: Context) -> BackfillAnswer:
    """Read issues of Jira; one that is not complete goes on where it was when it is asked for again."""
    return BackfillAnswer.model_validate(_called(ctx, "/extract/jira", order))


@function("POST", "/api/admin/jira/check", allow=Role.ADMIN, answers={404: _NONE, 422: _FAILED}, audit="source.check")
def check(order: CheckOrder, ctx: Context) -> CheckAnswer:
    """Compare issues with Jira by their ids, and read what is missing or stale."""
    return CheckAnswer.model_validate(_called(ctx, "/extract/jira/check", order))


@function("POST", "/api/admin/jira/replay", allow=Role.ADMIN, answers={404: _NONE, 422: _FAILED}, audit="source.replay")
def replay(order: ReplayOrder, ctx: Context) -> ReplayAnswer:
    """Fold webhooks that lie in the archive once more, without asking Jira."""
    return ReplayAnswer.model_validate(_called(ctx, "/extract/jira/replay", order))


@function(
    "POST", "/api/admin/jira/refresh", allow=Role.ADMIN, answers={404: _NONE, 422: _FAILED}, audit="source.refresh"
)
def refresh(order: RefreshOrder, ctx: Context) -> RefreshAnswer:
    """Read issues of Jira anew, whether or not they were updated: some by their keys, or all."""
    return RefreshAnswer.model_validate(_called(ctx, "/extract/jira/refresh", order))


@function("GET", "/api/admin/jira/status", allow=Role.ADMIN, answers={404: _NONE})
def show_status(ctx: Context) -> JiraStatus:
    """Tell how far Jira was read, what waits, and how jobs ended last."""
    return status_of(ctx)


def _called(ctx: Context, path: str, order: Input) -> Mapping[str, Any]:
    """Run a function of the source; when it fails as a whole, its error is ours.

    Raises:
        AnalystError: it failed.
    """
    source = ctx.settings.jira_source
    ctx.audited(f"source:{source}")
    try:
        return ctx.tasks.call(path, {"source": source, **order.model_dump(mode="json")})
    except InvalidInputError as error:
        answer = error.details.get("answer")
        reason = answer.get("error") if isinstance(answer, dict) else None
        raise SourceError(reason or str(error)) from error
