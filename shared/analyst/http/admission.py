"""Admission: authentication, authorization and CSRF protection of requests."""

from typing import Final
from urllib.parse import urlsplit

from werkzeug.wrappers import Request

from analyst.access import Caller, Role, Scope
from analyst.auth.callers import Credentials, Identification
from analyst.context import Process
from analyst.errors import ForbiddenError, UnauthenticatedError
from analyst.http.spec import Allow, FunctionSpec

_COOKIES: Final = ("__Host-da_session", "da_session")
_SAFE: Final = ("GET", "HEAD")
_LACKS: Final = "this access token does not have the scope '{scope}'; sign in, or use one that has it"
_NONE: Final = "the request has no credentials; sign in, or send an access token: 'Authorization: Bearer <token>'"


def session_cookie(*, secure: bool) -> str:
    """Return the name of the session cookie. Only this server can set one with the prefix, and only over HTTPS."""
    return _COOKIES[0] if secure else _COOKIES[1]


def identify(spec: FunctionSpec, request: Request, process: Process) -> Caller | None:
    """Return the caller; `None` for functions that anyone may call without credentials.

    Raises:
        UnauthenticatedError: the credentials are missing or invalid.
        ForbiddenError: the request comes from another site's page.
    """
    shown = _credentials(request)
    if spec.is_page or (shown.authorization is None and shown.cookie is not None):
        _refuse_other_pages(request, process, is_signed_in=shown.cookie is not None)
    if spec.allow is Allow.ANYBODY:
        return None
    token = process.settings.service_token
    identification = Identification(process.access, token, lambda: process.keys, process.identify_service)
    caller = identification.caller(shown, process.clock())
    if caller is None:
        raise UnauthenticatedError(_NONE)
    return caller


def authorize(spec: FunctionSpec, caller: Caller | None) -> None:
    """Check that a caller may call the function.

    Raises:
        ForbiddenError: the caller's role or the token's scope is not sufficient.
    """
    if spec.allow is Allow.ANYBODY or caller is None:
        return
    least = Role.ADMIN if spec.allow is Allow.SERVICE else spec.allow
    if isinstance(least, Role) and caller.lacks_scope_for(least):
        raise ForbiddenError(_LACKS.format(scope=Scope.ADMIN))
    if not _may(caller, spec.allow):
        raise ForbiddenError(f"this requires {_whom(spec.allow)}")
    if not caller.is_service and spec.scope is not None and spec.scope not in caller.scopes:
        raise ForbiddenError(_LACKS.format(scope=spec.scope))


def shows_credentials(request: Request) -> bool:
    """Return whether a request has credentials, valid or not."""
    return _credentials(request) != Credentials()


def _credentials(request: Request) -> Credentials:
    cookies = (request.cookies.get(name) for name in _COOKIES)
    return Credentials(request.headers.get("Authorization"), next((it for it in cookies if it), None))


def _refuse_other_pages(request: Request, process: Process, *, is_signed_in: bool) -> None:
    """Refuse changes that a page of another site made a browser send (CSRF); browsers send their origin.

    A browser that sends no origin is refused if it sends a cookie. Programs send no cookies.
    """
    if request.method in _SAFE:
        return
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if site is not None:
        is_ours = site in ("same-origin", "none")
    elif origin is not None:
        is_ours = urlsplit(origin).netloc in {request.host, urlsplit(process.settings.base_url or "").netloc} - {""}
    else:
        is_ours = not is_signed_in
    if not is_ours:
        raise ForbiddenError("the request came from a page of another site; open the page on this server and try again")


def _may(caller: Caller, allow: Role | Allow) -> bool:
    if isinstance(allow, Role):
        return caller.includes(allow)
    return allow is Allow.CALLER or caller.is_service or caller.includes(Role.ADMIN)


def _whom(allow: Role | Allow) -> str:
    if allow is Allow.SERVICE:
        return "the service token, or the role admin"
    if allow is Role.VIEWER:
        return "a user; services can't call it"
    return f"the role {allow.value}{' or higher' if allow is not Role.ADMIN else ''}"
