"""Admission: authentication, authorization and CSRF protection of requests."""

from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from werkzeug.wrappers import Request

from analyst.access import SERVICE, Caller, Role, Scope
from analyst.addresses import parts_of
from analyst.audit import Note
from analyst.auth import sessions
from analyst.auth.callers import Credentials, Identification, is_secret
from analyst.context import Process
from analyst.errors import ConflictError, ForbiddenError, UnauthenticatedError
from analyst.http.answers import Cookie, cookie_of
from analyst.http.spec import Allow, FunctionSpec
from analyst.settings import Settings

if TYPE_CHECKING:
    from analyst.state.users import User

SESSION_COOKIE: Final = "da_session"
_VIEW_COOKIE: Final = "da_view_as"
_VIEW_LASTS: Final = 3600
_SAFE: Final = ("GET", "HEAD")
_READ_ONLY: Final = "you are viewing pages as {email}, so you can change nothing; end this first, on any page"
_LACKS: Final = "this access token does not have the scope '{scope}'; sign in, or use one that has it"
_READS: Final = "'{name}' can't be called by a script, whose token only reads the API"
_NONE: Final = "the request has no credentials; sign in, or send an access token: 'Authorization: Bearer <token>'"


def identify(spec: FunctionSpec, request: Request, process: Process) -> Caller | None:
    """Return the caller; `None` for functions that anyone may call without credentials.

    Raises:
        UnauthenticatedError: the credentials are missing or invalid.
        ForbiddenError: the request comes from another site's page.
        StateTooNewError: a newer version wrote the state.
    """
    shown = _credentials(request)
    if spec.is_page or (shown.authorization is None and shown.cookie is not None):
        _refuse_other_pages(request, process, is_signed_in=shown.cookie is not None)
    if spec.allow is Allow.ANYBODY:
        return None
    if spec.accepts is not None and _is_own_token(spec.accepts, shown, process):
        return SERVICE
    token = process.settings.service_token
    resource = None if spec.resource is None else (process.settings.base_url or "").rstrip("/") + spec.resource
    identification = Identification(process.access, token, lambda: process.keys, process.identify_service, resource)
    caller = identification.caller(shown, process.clock())
    if caller is None:
        raise UnauthenticatedError(_NONE)
    if caller.is_service:
        process.access.current()  # its proof needs no state, but no job may run on the state of a newer version
    return caller


def _is_own_token(setting: str, shown: Credentials, process: Process) -> bool:
    scheme, _, given = (shown.authorization or "").strip().partition(" ")
    return scheme.lower() == "bearer" and is_secret(given.strip(), getattr(process.settings, setting))


def authorize(spec: FunctionSpec, caller: Caller | None) -> None:
    """Check that a caller may call the function.

    Raises:
        ForbiddenError: the caller's role or the token's scope is not sufficient.
    """
    if spec.allow is Allow.ANYBODY or caller is None:
        return
    if caller.reads_only and not spec.is_read:
        raise ForbiddenError(_READS.format(name=spec.name))
    least = Role.ADMIN if spec.allow is Allow.SERVICE else spec.allow
    if isinstance(least, Role) and caller.lacks_scope_for(least):
        raise ForbiddenError(_LACKS.format(scope=Scope.ADMIN))
    if not _may(caller, spec.allow):
        raise ForbiddenError(f"this requires {_allowed_callers(spec.allow)}")
    if not caller.is_service and spec.scope is not None and spec.scope not in caller.scopes:
        raise ForbiddenError(_LACKS.format(scope=spec.scope))


def view_as(caller: Caller, person: "User", *, secure: bool) -> Cookie:
    """Return the cookie with which an administrator views pages as another person; other sessions ignore it.

    Raises:
        ConflictError: the caller has no session, or the person is the caller or is deactivated.
    """
    if caller.session_id is None:
        raise ConflictError("viewing pages as another person needs a session; sign in with a browser")
    if person.id == caller.user_id or not person.active:
        raise ConflictError(f"{person.email} is you, or is deactivated; choose an active person")
    return Cookie(_VIEW_COOKIE, f"{caller.session_id}:{person.id}", _VIEW_LASTS, secure=secure)


def own_eyes(*, secure: bool) -> Cookie:
    """Return the cookie that ends viewing pages as another person."""
    return Cookie(_VIEW_COOKIE, "", 0, secure=secure)


def seen_through(
    spec: FunctionSpec, request: Request, process: Process, caller: Caller | None, note: Note
) -> Caller | None:
    """Return the caller whose rights a request has: the caller, or the user whom an administrator views pages as.

    The viewed user has their own rights and no more, nothing is changed in their name, and each look is audited.

    Raises:
        ForbiddenError: the request would change something, or the viewed user may not call the function.
    """
    viewed = None if spec.own_eyes or caller is None else _viewed(request, process, caller)
    if viewed is None:
        return caller
    note.action = "view_as.look"
    note.resources = (f"user:{viewed.user_id}",)
    note.params["path"] = spec.path.text
    if request.method not in _SAFE:
        raise ForbiddenError(_READ_ONLY.format(email=viewed.email))
    authorize(spec, viewed)
    return viewed


def seen_by(request: Request, process: Process) -> Caller | None:
    """Return for whom a browser shows pages: the signed-in user, or the user whom an administrator views pages as.

    Raises:
        UnauthenticatedError: the session has ended.
    """
    shown = _credentials(request)
    if shown.authorization is not None or shown.cookie is None:
        return None
    caller = sessions.identify(process.keys, shown.cookie, process.access, process.clock())
    return _viewed(request, process, caller) or caller


def viewed_by(request: Request, process: Process) -> str | None:
    """Return the e-mail address of the administrator who views a page as another user, if one does."""
    if cookie_of(request, _VIEW_COOKIE) is None:
        return None
    shown = _credentials(request)
    if shown.authorization is not None or shown.cookie is None:
        return None
    caller = sessions.identify(process.keys, shown.cookie, process.access, process.clock())
    return caller.email if _viewed(request, process, caller) is not None else None


def _viewed(request: Request, process: Process, caller: Caller) -> Caller | None:
    cookie = cookie_of(request, _VIEW_COOKIE)
    if cookie is None or caller.session_id is None or not caller.includes(Role.ADMIN):
        return None
    session_id, _, user_id = cookie.partition(":")
    user = process.access.current().users.get(user_id)
    if session_id != caller.session_id or user is None or user_id == caller.user_id:
        return None
    return Caller(user_id, user.email, user.role, frozenset(user.groups), session_id=caller.session_id)


def shows_credentials(request: Request) -> bool:
    """Return whether a request has credentials, valid or not."""
    return _credentials(request) != Credentials()


def _credentials(request: Request) -> Credentials:
    return Credentials(request.headers.get("Authorization"), cookie_of(request, SESSION_COOKIE))


def is_own_origin(request: Request, settings: Settings) -> bool:
    """Return whether a request has no origin, as those of programs, or that of this server."""
    origin = request.headers.get("Origin")
    ours = {request.host, urlsplit(settings.base_url or "").netloc} - {""}
    return origin is None or parts_of(origin).netloc in ours


def _refuse_other_pages(request: Request, process: Process, *, is_signed_in: bool) -> None:
    """Refuse changes that a page of another site made a browser send (CSRF); browsers send their origin.

    A browser that sends no origin is refused if it sends a cookie. Programs send no cookies.
    """
    if request.method in _SAFE:
        return
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        is_ours = site in ("same-origin", "none")
    elif "Origin" in request.headers:
        is_ours = is_own_origin(request, process.settings)
    else:
        is_ours = not is_signed_in
    if not is_ours:
        raise ForbiddenError("the request came from a page of another site; open the page on this server and try again")


def _may(caller: Caller, allow: Role | Allow) -> bool:
    if isinstance(allow, Role):
        return caller.includes(allow)
    return allow is Allow.CALLER or caller.is_service or caller.includes(Role.ADMIN)


def _allowed_callers(allow: Role | Allow) -> str:
    if allow is Allow.SERVICE:
        return "the service token, or the role admin"
    if allow is Role.VIEWER:
        return "a user; services can't call it"
    return f"the role {allow.value}{' or higher' if allow is not Role.ADMIN else ''}"
