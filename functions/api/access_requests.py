"""Requests for access to tables."""

from datetime import timedelta
from typing import Final

from analyst.access import Role
from analyst.auth.limits import Limit
from analyst.context import Context
from analyst.http import function
from analyst.state import actor, requests
from analyst.state.fields import Output
from analyst.state.requests import AccessRequest, Approval, Denial, NewAccessRequest, RequestQuery, ReviewedRequest

ASKED: Final = Limit("access-request", 100, timedelta(hours=1))
"""Requests that one user may send."""

_NONE = "The request does not exist."


class OwnRequests(Output):
    """The caller's requests, newest first."""

    requests: tuple[AccessRequest, ...]


class RequestList(Output):
    """Requests, newest first."""

    requests: tuple[ReviewedRequest, ...]


@function(
    "POST",
    "/api/access-requests",
    allow=Role.VIEWER,
    status=201,
    answers={
        409: "The caller can already read the table, has requested it before, or has too many open requests.",
        429: "The caller has sent too many requests for access.",
    },
)
def request_access(new: NewAccessRequest, ctx: Context) -> AccessRequest:
    """Request access to a table. The response is the same whether or not the table exists."""
    ctx.limits.count(ASKED, ctx.user_id, ctx.now)
    access = ctx.access.current()
    made = ctx.state.edit(lambda db: requests.ask(db, actor(ctx), ctx.caller, access, new))
    ctx.notify_later()
    return made


@function("GET", "/api/access-requests/mine", allow=Role.VIEWER)
def list_own_requests(ctx: Context) -> OwnRequests:
    """List the caller's own requests for access, with the decisions."""
    with ctx.state.read() as db:
        return OwnRequests(requests=requests.list_own(db, ctx.user_id))


@function("GET", "/api/admin/access-requests", allow=Role.ADMIN)
def list_access_requests(query: RequestQuery, ctx: Context) -> RequestList:
    """List the open requests for access, or all of them."""
    with ctx.state.read() as db:
        return RequestList(requests=requests.list_requests(db, query))


@function(
    "POST",
    "/api/admin/access-requests/{id}/approve",
    allow=Role.ADMIN,
    answers={
        404: "The request or group does not exist.",
        409: "The request is already decided, its table does not exist, or the requester is not in the group.",
    },
)
def approve_access_request(request: Approval, ctx: Context) -> ReviewedRequest:
    """Approve a request: grant the table to the requester, or to one of their groups."""
    decided = ctx.state.edit(lambda db: requests.approve(db, actor(ctx), request))
    ctx.notify_later()
    return decided


@function(
    "POST",
    "/api/admin/access-requests/{id}/deny",
    allow=Role.ADMIN,
    answers={404: _NONE, 409: "The request is already decided."},
)
def deny_access_request(request: Denial, ctx: Context) -> ReviewedRequest:
    """Deny a request."""
    decided = ctx.state.edit(lambda db: requests.deny(db, actor(ctx), request))
    ctx.notify_later()
    return decided
