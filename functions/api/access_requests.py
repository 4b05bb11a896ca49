"""Requests for access to tables."""

from datetime import timedelta
from typing import Final

from pydantic import BaseModel, ConfigDict

from analyst.access import Role
from analyst.auth.limits import Limit
from analyst.context import Context
from analyst.http import function
from analyst.state import actor, requests
from analyst.state.requests import AccessRequest, Approval, Denial, NewAccessRequest, RequestQuery, ReviewedRequest

ASKED: Final = Limit("access-request", 100, timedelta(hours=1))
"""How often one user asks."""

_NONE = "There is no such request."


class OwnRequests(BaseModel):
    """The caller's requests, newest first."""

    model_config = ConfigDict(frozen=True)

    requests: tuple[AccessRequest, ...]


class RequestList(BaseModel):
    """Requests, newest first."""

    model_config = ConfigDict(frozen=True)

    requests: tuple[ReviewedRequest, ...]


@function(
    "POST",
    "/api/access-requests",
    allow=Role.VIEWER,
    status=201,
    answers={
        409: "The caller may read it, has asked for it already, or has too many requests waiting.",
        429: "The caller asks too often.",
    },
)
def request_access(new: NewAccessRequest, ctx: Context) -> AccessRequest:
    """Ask for access to a table. The answer does not tell whether there is such a table."""
    ctx.limits.count(ASKED, ctx.caller.user_id or "", ctx.now)
    access = ctx.access.current()
    return ctx.state.edit(lambda db: requests.ask(db, actor(ctx), ctx.caller, access, new))


@function("GET", "/api/access-requests/mine", allow=Role.VIEWER)
def list_own_requests(ctx: Context) -> OwnRequests:
    """List what the caller has asked for, and the answers."""
    with ctx.state.read() as db:
        return OwnRequests(requests=requests.list_own(db, ctx.caller.user_id or ""))


@function("GET", "/api/admin/access-requests", allow=Role.ADMIN)
def list_access_requests(query: RequestQuery, ctx: Context) -> RequestList:
    """List the requests that wait for an answer, or all."""
    with ctx.state.read() as db:
        return RequestList(requests=requests.list_requests(db, query))


@function(
    "POST",
    "/api/admin/access-requests/{id}/approve",
    allow=Role.ADMIN,
    answers={
        404: "There is no such request or group.",
        409: "It was answered before, there is no such table, or the grant would not reach who asked.",
    },
)
def approve_access_request(request: Approval, ctx: Context) -> ReviewedRequest:
    """Grant what was asked for, to who asked or to a group of theirs."""
    return ctx.state.edit(lambda db: requests.approve(db, actor(ctx), request))


@function(
    "POST",
    "/api/admin/access-requests/{id}/deny",
    allow=Role.ADMIN,
    answers={404: _NONE, 409: "It was answered before."},
)
def deny_access_request(request: Denial, ctx: Context) -> ReviewedRequest:
    """Say no to a request."""
    return ctx.state.edit(lambda db: requests.deny(db, actor(ctx), request))
