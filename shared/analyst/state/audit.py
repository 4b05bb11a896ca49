"""The audit log: who did what to what, written in the edit that does it. Secrets never go in."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4

from analyst.access import Caller
from analyst.state.rows import insert_all

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


@dataclass(frozen=True, slots=True)
class Actor:
    """Who makes an edit, when, and in which request. Without a user it is the service, or this program itself."""

    user_id: str | None
    at: datetime
    request_id: str | None = None


class Request(Protocol):
    """What an actor is made of; the context of a function is one."""

    @property
    def caller_or_none(self) -> Caller | None:
        """Who makes the request, `None` where anybody may."""

    @property
    def now(self) -> datetime:
        """When it came."""

    @property
    def request_id(self) -> str:
        """Under which it is logged."""


def actor(request: Request) -> Actor:
    """Give the actor of an edit that a request asks for."""
    caller = request.caller_or_none
    return Actor(None if caller is None else caller.user_id, request.now, request.request_id)


def record(db: "DuckDBPyConnection", actor: Actor, action: str, resource: str, **params: Any) -> None:
    """Write a row of the audit log. `params` are JSON values, and no secrets."""
    record_all(db, actor, action, {resource: params})


def record_all(
    db: "DuckDBPyConnection", actor: Actor, action: str, params_by_resource: Mapping[str, Mapping[str, Any]]
) -> None:
    """Write a row for each resource that the action was done to."""
    insert_all(db, "audit_log", [_row(actor, action, *each) for each in params_by_resource.items()])


def _row(actor: Actor, action: str, resource: str, params: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": str(uuid4()),
        "timestamp": actor.at,
        "user_id": actor.user_id,
        "action": action,
        "resource": resource,
        "params": json.dumps(params),
        "result": "ok",
        "request_id": actor.request_id,
    }
