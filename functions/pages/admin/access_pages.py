"""Grants, the answer to who can read what and why, and requests for access."""

from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from pydantic import StringConstraints

from analyst.access import Role
from analyst.context import Context
from analyst.errors import AnalystError
from analyst.http import Redirect, View, function
from analyst.http.pages import Form, ask, reason_of
from analyst.names import Name, TableId
from analyst.state.fields import Id, Note
from functions.api import access, access_requests, permissions

_Short = Annotated[str, StringConstraints(max_length=500)]


class AccessPageQuery(Form):
    """A person, a table, or both: who can read what, and why."""

    user: _Short | None = None
    table: TableId | None = None


class GrantForm(Form):
    """A grant to a user or a group, on a table, a source or a bucket of a source."""

    kind: Literal["user", "group"] = "user"
    to: _Short
    table: TableId | None = None
    source: Name | None = None
    bucket: _Short | None = None


class GrantPath(Form):
    """The id of a grant."""

    id: Id


class RequestsQuery(Form):
    """Which requests to show."""

    status: Literal["pending", "all"] = "pending"


class DecisionForm(Form):
    """The decision about a request."""

    id: Id
    decision: Literal["approve", "deny"]
    answer: Note | None = None
    group: _Short | None = None


@function("GET", "/admin/access", allow=Role.ADMIN)
def access_page(query: AccessPageQuery, ctx: Context) -> View:
    """Show the grants, and who can read what, with the reasons."""
    data: dict[str, Any] = {
        "grants": ask(ctx, permissions.list_permissions).permissions,
        "report": None,
        "problem": None,
    }
    if query.user or query.table:
        try:
            data["report"] = ask(ctx, access.explain_access, user=query.user, table=query.table, limit=500)
        except AnalystError as error:
            data["problem"] = reason_of(error)
    extras = {
        "section": "/admin/access",
        "wanted": query,
        "user_shown": ctx.access.current().email_of(query.user or ""),
    }
    return View("admin_access.html", "Access", data, extras, "/admin")


@function("POST", "/admin/access/explain", allow=Role.ADMIN)
def explain_access_form(form: AccessPageQuery, ctx: Context) -> View | Redirect:
    """Go to the explanation. Addresses are no part of a URL: a person is named by id there."""
    given = {"user": form.user and ctx.access.current().user_id_of(form.user), "table": form.table}
    return Redirect(f"/admin/access?{urlencode({k: v for k, v in given.items() if v is not None})}", 303)


@function("POST", "/admin/access", allow=Role.ADMIN)
def add_grant_form(form: GrantForm, ctx: Context) -> View | Redirect:
    """Grant a table, a source, or a bucket of a source to a user or a group."""
    on = {"table": form.table, "source": form.source, "bucket": form.bucket}
    ask(ctx, permissions.create_permission, **{form.kind: form.to}, **{k: v for k, v in on.items() if v is not None})
    return Redirect("/admin/access", 303)


@function("POST", "/admin/access/{id}/revoke", allow=Role.ADMIN)
def revoke_grant_form(form: GrantPath, ctx: Context) -> View | Redirect:
    """Revoke a grant."""
    ask(ctx, permissions.delete_permission, id=form.id)
    return Redirect("/admin/access", 303)


@function("GET", "/admin/requests", allow=Role.ADMIN)
def requests_page(query: RequestsQuery, ctx: Context) -> View:
    """Show the requests for access."""
    found = ask(ctx, access_requests.list_access_requests, status=query.status).requests
    extras = {"section": "/admin/requests", "status": query.status}
    return View("admin_requests.html", "Requests", {"requests": found}, extras, "/admin")


@function("POST", "/admin/requests/{id}", allow=Role.ADMIN)
def decide_request_form(form: DecisionForm, ctx: Context) -> View | Redirect:
    """Approve or deny a request for access."""
    if form.decision == "approve":
        ask(ctx, access_requests.approve_access_request, id=form.id, group=form.group, answer=form.answer)
    else:
        ask(ctx, access_requests.deny_access_request, id=form.id, answer=form.answer)
    return Redirect("/admin/requests", 303)
