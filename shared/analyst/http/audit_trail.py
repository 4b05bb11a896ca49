"""Which requests are audited, and under which action, before they are answered."""

import time
from http import HTTPStatus
from typing import Any, Final

from analyst.access import TOKEN_PREFIX, TOKEN_SHOWN, CallerKind, redacted
from analyst.audit import DENIED, UNCHANGED, AuditEvent, Note, Outcome, Rule
from analyst.audit.events import new_id
from analyst.clients import client_address, client_kind
from analyst.context import Process
from analyst.http.admission import shows_credentials
from analyst.http.exchange import Exchange
from analyst.http.spec import Allow, FunctionSpec

_DENIED: Final = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS)
_CREDENTIALS: Final = "auth.credentials"
_MOST_RESOURCES: Final = 1000
_LONGEST: Final = 300


def audit(exchange: Exchange, status: int, process: Process) -> None:
    """Record what happened, if it is audited; a response must not be sent before this returns.

    Raises:
        UnavailableError: the store does not respond.
    """
    spec = exchange.spec
    if spec is None or not _is_audited(spec, exchange, status):
        return
    event = _event(spec, exchange, status, process)
    process.audit.write(event, _rule(event, exchange))


def _is_audited(spec: FunctionSpec, exchange: Exchange, status: int) -> bool:
    if exchange.note.action is not None:
        return True
    if spec.audit is not None and (spec.audit_success or status >= HTTPStatus.BAD_REQUEST):
        return spec.allow is Allow.ANYBODY or exchange.caller is not None or _is_refused(exchange, status)
    return _is_refused(exchange, status)


def _is_refused(exchange: Exchange, status: int) -> bool:
    """Return whether authorization failed. A request without credentials has attempted nothing."""
    if status == HTTPStatus.UNAUTHORIZED:
        return _proof_is_input(exchange) or shows_credentials(exchange.request)
    return status in _DENIED


def _proof_is_input(exchange: Exchange) -> bool:
    """Return whether the function itself checks credentials: a password, a link, a secret."""
    return exchange.spec is not None and exchange.spec.allow is Allow.ANYBODY


def _rule(event: AuditEvent, exchange: Exchange) -> Rule | None:
    if event.outcome is Outcome.DENIED:
        return DENIED
    is_unchanged = exchange.note.is_unchanged or event.status == HTTPStatus.NOT_MODIFIED
    return UNCHANGED if event.outcome is Outcome.OK and is_unchanged else None


def _event(spec: FunctionSpec, exchange: Exchange, status: int, process: Process) -> AuditEvent:
    note, request, now = exchange.note, exchange.request, process.clock()
    forwarded_for = request.headers.get("X-Forwarded-For")
    return AuditEvent(
        id=new_id(now),
        at=now,
        action=note.action or _action(spec, exchange, status),
        outcome=_outcome(status),
        **_caller_fields(exchange),
        resources=note.resources[:_MOST_RESOURCES] or _asked_for(spec, exchange, status),
        params={**_shown(exchange, status), **_uncounted(note), **redacted(note.params)},
        status=status,
        code=getattr(exchange.error, "code", None) if status >= HTTPStatus.BAD_REQUEST else None,
        request_id=exchange.request_id,
        client_address=client_address(request.remote_addr, forwarded_for, process.settings.trusted_proxies),
        client_kind=client_kind(request.headers.get("User-Agent")),
        duration_ms=round((time.perf_counter() - exchange.began) * 1000),
    )


def _action(spec: FunctionSpec, exchange: Exchange, status: int) -> str:
    is_unknown = status == HTTPStatus.UNAUTHORIZED and not _proof_is_input(exchange)
    return _CREDENTIALS if is_unknown else spec.action


def _outcome(status: int) -> Outcome:
    if status in _DENIED:
        return Outcome.DENIED
    return Outcome.OK if status < HTTPStatus.BAD_REQUEST else Outcome.FAILED


def _caller_fields(exchange: Exchange) -> dict[str, Any]:
    caller, note = exchange.caller, exchange.note
    if caller is None:
        kind = CallerKind.ANONYMOUS if note.user_id is None else CallerKind.USER
        return {"caller": kind, "user_id": note.user_id, "email": note.email}
    return {"caller": caller.kind, "user_id": caller.user_id, "email": caller.email, "token_id": caller.token_id}


def _asked_for(spec: FunctionSpec, exchange: Exchange, status: int) -> tuple[str, ...]:
    """Return the path of a failed request, without possible secrets: a link's token, if anyone may call the function."""
    if status < HTTPStatus.BAD_REQUEST:
        return ()
    path = spec.path.text if spec.allow is Allow.ANYBODY else exchange.request.path
    return (f"path:{redacted(path)[:_LONGEST]}",)


def _uncounted(note: Note) -> dict[str, int]:
    more = len(note.resources) - _MOST_RESOURCES
    return {"more_resources": more} if more > 0 else {}


def _shown(exchange: Exchange, status: int) -> dict[str, str]:
    """Return the method of a refused request, and the prefix of its access token, as in the list of tokens."""
    if status not in _DENIED:
        return {}
    token = (exchange.request.headers.get("Authorization") or "").partition(" ")[2].strip()
    prefix = {"prefix": token[:TOKEN_SHOWN]} if token.startswith(TOKEN_PREFIX) else {}
    return {"method": exchange.request.method, **prefix}
