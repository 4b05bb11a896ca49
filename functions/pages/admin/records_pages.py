"""The audit log, snapshots with rollback, and the settings."""

from typing import Annotated, Any, Final
from urllib.parse import urlencode

from pydantic import Field, StringConstraints

from analyst.access import Role
from analyst.audit import Outcome
from analyst.context import Context
from analyst.http import Redirect, View, function
from analyst.http.pages import Form, ask
from analyst.names import Name
from analyst.snapshots import SnapshotNumber
from functions.api import snapshots
from functions.api.admin import admin_audit, admin_config

_LONGEST_TEXT: Final = 256 * 1024
_Short = Annotated[str, StringConstraints(max_length=300)]


class AuditFilterForm(Form):
    """Filters of the audit log: a person's address or id, the beginning of an action, a resource, days, an outcome."""

    user: _Short | None = None
    action: _Short | None = None
    resource: _Short | None = None
    outcome: Outcome | None = None
    since: Annotated[str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\d$")] | None = None
    until: Annotated[str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\d$")] | None = None


class AuditPageQuery(AuditFilterForm):
    """Filters of the audit log, and where to continue."""

    cursor: _Short | None = None


class RollbackForm(Form):
    """A snapshot to publish again; `preview` only shows what would change."""

    number: SnapshotNumber
    preview: bool = False


class ReleaseForm(Form):
    """A source to release."""

    source: Name


class ConfigForm(Form):
    """The text of a config/instance.yaml to check."""

    text: Annotated[str, Field(max_length=_LONGEST_TEXT)] = ""


@function("GET", "/admin/audit", allow=Role.ADMIN, audit="audit.read")
def audit_page(query: AuditPageQuery, ctx: Context) -> View:
    """Show audit events, newest first."""
    given: dict[str, Any] = query.model_dump(mode="json", exclude_none=True)
    days = {name: f"{given[name]}T00:00:00Z" for name in ("since", "until") if name in given}
    found = ask(ctx, admin_audit.read_audit, **dict(given, **days), limit=100)
    more = urlencode({**given, "cursor": found.next}) if found.next else None
    data = {"events": found.events, "next": found.next}
    extras = {
        "section": "/admin/audit",
        "wanted": query,
        "more": more,
        "outcomes": tuple(Outcome),
        "user_shown": ctx.access.current().email_of(query.user or ""),
    }
    return View("admin_audit.html", "Audit log", data, extras, "/admin")


@function("POST", "/admin/audit", allow=Role.ADMIN)
def filter_audit_form(form: AuditFilterForm, ctx: Context) -> View | Redirect:
    """Go to the events that match. Addresses are no part of a URL: a person is named by id there."""
    given = form.model_dump(mode="json", exclude_none=True)
    if form.user is not None:
        given["user"] = ctx.access.current().user_id_of(form.user)
    return Redirect(f"/admin/audit?{urlencode(given)}", 303)


@function("GET", "/admin/snapshots", allow=Role.ADMIN)
def snapshots_page(ctx: Context) -> View:
    """Show the snapshots that are kept, and the sources that a rollback holds back."""
    return _snapshots(ctx)


@function("POST", "/admin/snapshots", allow=Role.ADMIN)
def rollback_form(form: RollbackForm, ctx: Context) -> View | Redirect:
    """Publish an earlier snapshot again, or show what that would change."""
    answer = ask(ctx, snapshots.roll_back_to, number=form.number, dry_run=form.preview)
    return _snapshots(ctx, preview=answer, number=form.number) if form.preview else Redirect("/admin/snapshots", 303)


@function("POST", "/admin/snapshots/release", allow=Role.ADMIN)
def release_form(form: ReleaseForm, ctx: Context) -> View | Redirect:
    """Release a source that a rollback holds back."""
    ask(ctx, snapshots.release_sources, sources=(form.source,))
    return Redirect("/admin/snapshots", 303)


@function("GET", "/admin/settings", allow=Role.ADMIN)
def settings_page(ctx: Context) -> View:
    """Show the settings with the origin of each, without secrets."""
    return _settings(ctx)


@function("POST", "/admin/settings", allow=Role.ADMIN, body_limit=4 << 20)
def check_settings_form(form: ConfigForm, ctx: Context) -> View:
    """Check the text of a config/instance.yaml, without applying it."""
    return _settings(ctx, findings=ask(ctx, admin_config.check_config, text=form.text), text=form.text)


def _snapshots(ctx: Context, **extras: Any) -> View:
    data = snapshots.list_snapshots.function.call(ctx).__dict__  # the scope of this page is `admin`, not `read`
    shown = {"section": "/admin/snapshots", "preview": None, "number": None, **extras}
    return View("admin_snapshots.html", "Snapshots", data, shown, "/admin")


def _settings(ctx: Context, **extras: Any) -> View:
    shown = {"section": "/admin/settings", "findings": None, "text": "", **extras}
    return View("admin_settings.html", "Settings", ask(ctx, admin_config.get_config).__dict__, shown, "/admin")
