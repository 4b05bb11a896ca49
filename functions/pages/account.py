"""The account page: who one is, one's access tokens, password and requests for access."""

from collections.abc import Callable
from typing import Annotated, Final, Literal

from pydantic import Field

from analyst import saved_queries
from analyst.access import Role, Scope
from analyst.auth import session_list, sessions
from analyst.auth.callers import who_is
from analyst.auth.last_use import with_last_use
from analyst.auth.provider import available_providers
from analyst.auth.providers.password import PROVIDER
from analyst.cli_wheel import NO_ADDRESS, describe_cli
from analyst.context import Context
from analyst.errors import AnalystError, NotFoundError
from analyst.http import Redirect, View, function
from analyst.http.browser_session import signed_out
from analyst.http.pages import Form, ask, refused
from analyst.names import TableId
from analyst.state import actor, requests, tokens
from analyst.state.fields import Id, Input, Line, Note
from analyst.state.requests import NewAccessRequest
from analyst.state.tokens import DAYS, CreatedToken, NewToken
from analyst.state.users import end_session, find_account
from functions.api import feedback, table_choices
from functions.api.access_requests import ASKED
from functions.auth.password import PasswordChange, change_password

_DONE: Final = {
    "requested": "The request was sent. An administrator will decide on it.",
    "revoked": "The access token was revoked.",
    "ended": "The session has ended.",
    "chosen": "Your choice was saved. Your machines apply it at their next sync.",
}
_SCOPES: Final = (
    (Scope.READ, "read the catalog and your account"),
    (Scope.QUERY, "run queries on the server"),
    (Scope.SYNC, "mirror and download tables"),
    (Scope.ADMIN, "manage access tokens, and everything that your role may administer"),
)


class AccountQuery(Input):
    """The change that led to the page, for a confirmation."""

    done: Literal["requested", "revoked", "ended", "chosen"] | None = None


class TokenForm(Input):
    """A new access token."""

    name: Line
    scopes: Annotated[tuple[Scope, ...], Field(min_length=1, max_length=4)]
    expires_in_days: Annotated[int, Field(ge=1, le=3650)] = DAYS


class RevocationForm(Input):
    """The id of an access token."""

    id: Id


class SessionForm(Input):
    """The id of a session."""

    id: Line


class TablesForm(Form):
    """Which tables are mirrored: all but `without`, or only some; each is a list that is separated by spaces."""

    table_mode: Literal["all", "explicit"] = "all"
    only: Annotated[str, Field(max_length=30_000)] = ""
    without: Annotated[str, Field(max_length=30_000)] = ""


class RequestForm(Input):
    """A table, and the reason for the request."""

    table: TableId
    reason: Note


@function("GET", "/account", allow=Role.VIEWER)
def account(query: AccountQuery, ctx: Context) -> View:
    """Show the account of the signed-in user."""
    return _account(ctx, done=query.done)


@function("POST", "/account/tokens", allow=Role.VIEWER, scope=Scope.ADMIN)
def create_account_token(form: TokenForm, ctx: Context) -> View:
    """Create an access token, and show it once."""
    new = NewToken(name=form.name, scopes=form.scopes, expires_in_days=form.expires_in_days)
    try:
        made = ctx.state.edit(lambda db: tokens.create_token(db, actor(ctx), ctx.caller, new))
    except AnalystError as error:
        return refused(_account(ctx), error)
    return _account(ctx, created=made)


@function("POST", "/account/tokens/revoke", allow=Role.VIEWER, scope=Scope.ADMIN)
def revoke_account_token(form: RevocationForm, ctx: Context) -> View | Redirect:
    """Revoke one of the user's access tokens, and go back to the account."""
    return _change(
        "revoked", lambda: ctx.state.edit(lambda db: tokens.revoke_token(db, actor(ctx), ctx.caller, form.id))
    )


@function("POST", "/account/sessions/end", allow=Role.VIEWER, scope=Scope.ADMIN)
def end_account_session(form: SessionForm, ctx: Context) -> View | Redirect:
    """End one of the user's sessions, such as that of a lost laptop or of an agent, and go back to the account."""
    user_id = ctx.user_id
    own = session_list.list_sessions(ctx.store, user_id, ctx.access.current(), ctx.now)
    if all(each.id != form.id for each in own):
        raise NotFoundError("there is no such session; it may have ended already")
    expires = ctx.now + sessions.REFRESH_LASTS
    return _change("ended", lambda: ctx.state.edit(lambda db: end_session(db, actor(ctx), form.id, user_id, expires)))


@function("POST", "/account/requests", allow=Role.VIEWER)
def create_account_request(form: RequestForm, ctx: Context) -> View | Redirect:
    """Request access to a table, and go back to the account."""
    new = NewAccessRequest(table=form.table, reason=form.reason)

    def send() -> object:
        ctx.limits.count(ASKED, ctx.user_id, ctx.now)
        access = ctx.access.current()
        return ctx.state.edit(lambda db: requests.ask(db, actor(ctx), ctx.caller, access, new))

    return _change("requested", send)


@function("POST", "/account/tables", allow=Role.ANALYST)
def choose_tables_form(form: TablesForm, ctx: Context) -> View | Redirect:
    """Save which tables are mirrored to the user's machines."""
    chosen = form.only.split() if form.table_mode == "explicit" else []
    tables = {**dict.fromkeys(chosen, True), **dict.fromkeys(form.without.split(), False)}
    try:
        ask(ctx, table_choices.choose_tables, table_mode=form.table_mode, tables=tables)
    except AnalystError as error:
        return refused(_account(ctx), error)
    return Redirect("/account?done=chosen", 303)


@function("POST", "/account/password", allow=Role.VIEWER, scope=Scope.ADMIN)
def change_account_password(form: PasswordChange, ctx: Context) -> View | Redirect:
    """Change the password, which ends all sessions, and go to the sign-in page."""
    try:
        change_password.function.call(form, ctx)
    except AnalystError as error:
        return refused(_account(ctx), error)
    return Redirect("/login", 303, (signed_out(ctx),))


def _change(done: str, change: Callable[[], object]) -> Redirect:
    """Make a change and go to the account, so that reloading the page repeats nothing. An error gets a page of its own."""
    change()
    return Redirect(f"/account?done={done}", 303)


def _account(ctx: Context, *, created: CreatedToken | None = None, done: str | None = None) -> View:
    with ctx.state.read() as db:
        found = tokens.list_tokens(db, ctx.caller, None)
        own = requests.list_own(db, ctx.user_id)
        known = find_account(db, ctx.user_id)
    listed = session_list.list_sessions(ctx.store, ctx.user_id, ctx.access.current(), ctx.now)
    valid = [token for token in found if token.revoked_at is None and token.expires_at > ctx.now]
    data = {
        "me": who_is(ctx.access.current(), ctx.caller),
        "sessions": [
            {**each.model_dump(exclude={"id"}), "is_this": each.id == ctx.caller.session_id} for each in listed
        ],
        "tokens": with_last_use(ctx.store, valid),
        "requests": own,
        "feedback": ask(ctx, feedback.list_feedback).feedback,
        "mirrored": ask(ctx, table_choices.get_table_choice) if ctx.caller.includes(Role.ANALYST) else None,
        "history": len(saved_queries.history(ctx.store, ctx.user_id)),
    }
    try:
        cli = describe_cli(ctx.settings.base_url)
    except NotFoundError:
        cli = None
    extras = {
        "created": created,
        "session_ids": [each.id for each in listed],
        "scopes": _SCOPES,
        "has_password": PROVIDER in available_providers(ctx.settings)
        and known is not None
        and bool(known.password_hash),
        "cli": cli,
        "address": ctx.settings.base_url or NO_ADDRESS,
        "done": _DONE.get(done or ""),
    }
    return View("account.html", "Your account", data, extras, "/account")
