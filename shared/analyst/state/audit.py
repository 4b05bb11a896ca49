"""The audit log: who did what to what, written in the edit that does it. Secrets never go in."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4

from analyst.access import Caller
from analyst.state.rows import insert

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
    values = {
        "id": str(uuid4()),
        "timestamp": actor.at,
        "user_id": actor.user_id,
        "action": action,
        "resource": resource,
        "params": json.dumps(params),
        "result": "ok",
        "request_id": actor.request_id,
    }
    insert(db, "audit_log", values)
