"""Feedback: reports that something is wrong."""

from typing import Annotated

from pydantic import StringConstraints

from analyst import feedback
from analyst.access import Role
from analyst.context import Context
from analyst.feedback import Feedback, Kind
from analyst.http import function
from analyst.state.fields import Input, Output


class NewFeedback(Input):
    """What is wrong, in the caller's words. `about` is the id of a table, the name of a metric, or the id of a receipt."""

    kind: Kind
    about: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
    text: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=10_000)]


class FeedbackList(Output):
    """Messages, newest first."""

    feedback: tuple[Feedback, ...]


@function(
    "POST",
    "/api/feedback",
    allow=Role.VIEWER,
    status=201,
    answers={404: "The table or metric does not exist.", 422: "A text consists of spaces only."},
    audit="feedback.add",
)
def give_feedback(new: NewFeedback, ctx: Context) -> Feedback:
    """Report that something about a table, a metric or an answer is wrong, to its owners and the administrators."""
    ctx.audited(f"{new.kind}:{new.about}")
    return feedback.add(
        ctx.store,
        ctx.snapshots.current(),
        ctx.access.current(),
        ctx.caller,
        kind=new.kind,
        about=new.about,
        text=new.text,
        at=ctx.now,
    )


@function("GET", "/api/feedback", allow=Role.VIEWER)
def list_feedback(ctx: Context) -> FeedbackList:
    """List the caller's own messages, and those about tables and metrics that the caller owns."""
    found = feedback.visible_feedback(ctx.store, ctx.snapshots.current(), ctx.access.current(), ctx.caller)
    return FeedbackList(feedback=tuple(feedback.of_owner(ctx.store, found, ctx.caller)))


@function("GET", "/api/admin/feedback", allow=Role.KM_ADMIN)
def list_all_feedback(ctx: Context) -> FeedbackList:
    """List all messages about what the caller can read."""
    found = feedback.visible_feedback(ctx.store, ctx.snapshots.current(), ctx.access.current(), ctx.caller)
    return FeedbackList(feedback=tuple(found))
