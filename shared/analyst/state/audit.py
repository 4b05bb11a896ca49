"""The audit log: who did what to what, written in the edit that does it. It never contains secrets."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Protocol

from analyst.access import Caller, CallerKind, redacted
from analyst.audit.events import new_id
from analyst.state.rows import insert_all

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


EVENTS: Final = """
    select
        a.id, a.timestamp as "at", a.action, case when coalesce(a.result, 'ok') = 'ok' then 'ok' else 'failed' end as outcome,
        a.caller, a.user_id, coalesce(a.email, u.email) as email, a.token_id,
        case when a.resource is null then [] else [a.resource] end as resources, a.params::varchar as params,
        a.request_id, a.client_address, a.client_kind, a.duration_ms
    from audit_log a left join users u on u.id = a.user_id
"""
"""The query of all rows as events (`analyst.audit`)."""


@dataclass(frozen=True, slots=True)
class Actor:
    """The author of an edit, with time, request and client.

    Without a user, it is the service, or this program itself. `began` is the start of the request by
    `time.perf_counter`.
    """

    user_id: str | None
    at: datetime
    request_id: str | None = None
    kind: CallerKind | None = None
    email: str | None = None
    token_id: str | None = None
    client_address: str | None = None
    client_kind: str | None = None
    began: float | None = None


class Request(Protocol):
    """The source of an actor, such as the context of a function."""

    @property
    def caller_or_none(self) -> Caller | None:
        """The caller; `None` if the function can be called without credentials."""

    @property
    def now(self) -> datetime:
        """The time of the request."""

    @property
    def request_id(self) -> str:
        """The id in the log."""

    @property
    def client_address(self) -> str | None:
        """The IP address of the client."""

    @property
    def client_kind(self) -> str:
        """The kind of client, according to the request."""

    @property
    def began(self) -> float:
        """The start of the request by `time.perf_counter`."""


def actor(request: Request) -> Actor:
    """Return the actor of an edit requested by a request."""
    caller = request.caller_or_none
    client = (request.client_address, request.client_kind, request.began)
    if caller is None:
        return Actor(None, request.now, request.request_id, CallerKind.ANONYMOUS, None, None, *client)
    identity = (caller.kind, caller.email, caller.token_id)
    return Actor(caller.user_id, request.now, request.request_id, *identity, *client)


def record(db: "DuckDBPyConnection", actor: Actor, action: str, resource: str, **params: Any) -> None:
    """Write a row of the audit log. `params` are JSON values without secrets."""
    record_all(db, actor, action, {resource: params})


def record_all(
    db: "DuckDBPyConnection", actor: Actor, action: str, params_by_resource: Mapping[str, Mapping[str, Any]]
) -> None:
    """Write a row for each affected resource."""
    insert_all(db, "audit_log", [_row(actor, action, *each) for each in params_by_resource.items()])


def _row(actor: Actor, action: str, resource: str, params: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": new_id(actor.at),
        "timestamp": actor.at,
        "user_id": actor.user_id,
        "action": action,
        "resource": resource,
        "params": json.dumps(redacted(params)),
        "result": "ok",
        "duration_ms": None if actor.began is None else round((time.perf_counter() - actor.began) * 1000),
        "request_id": actor.request_id,
        "caller": actor.kind,
        "email": actor.email,
        "token_id": actor.token_id,
        "client_address": actor.client_address,
        "client_kind": actor.client_kind,
    }
