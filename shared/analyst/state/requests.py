"""Requests for access: a user requests a table, an administrator approves or denies the request.

A request does not reveal whether a table exists: it is accepted for any id, and only the reviewer sees its target.
"""

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal
from uuid import uuid4

from analyst.access import AccessList, Caller
from analyst.errors import ConflictError, NotFoundError
from analyst.names import TableId
from analyst.state.audit import Actor, record
from analyst.state.fields import Id, Input, Line, Note, Output
from analyst.state.grants import NewPermission, ensure_permission
from analyst.state.groups import get_group
from analyst.state.registry import find_table
from analyst.state.rows import fetch, fetch_one, insert, update

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

Status = Literal["pending", "approved", "denied"]

MOST_PENDING: Final = 20
"""The maximum number of pending requests of one user."""

_SHOWN: Final = 1000
_SELECT: Final = """
    select r.id, r.table_id as table, r.reason, r.status, r.created_at, r.reviewed_at, r.answer,
        r.user_id, coalesce(u.email, r.user_email) as user, coalesce(a.email, r.reviewed_by) as reviewed_by,
        t.id is not null as registered, r.table_uuid is not null and t.id is null as outdated
    from access_requests r
    left join users u on u.id = r.user_id
    left join users a on a.id = r.reviewed_by
    left join table_registry t on t.id = r.table_id and coalesce(r.table_uuid, t.uuid) = t.uuid
"""
_NEWEST: Final = f"order by r.created_at desc nulls last, r.id limit {_SHOWN}"


class NewAccessRequest(Input):
    """A table, and the reason for the request."""

    table: TableId
    reason: Note


class AccessRequest(Output):
    """A request for access. `answer` is the comment of the administrator who decided it."""

    id: str
    table: str
    reason: str | None
    status: Status
    created_at: datetime | None
    reviewed_at: datetime | None
    answer: str | None


class ReviewedRequest(AccessRequest):
    """A request for access with its requester and reviewer (e-mail addresses), and whether the table is registered.

    `outdated` means that the table was removed since, even if another table has its id now.
    """

    user_id: str
    user: str
    reviewed_by: str | None
    registered: bool
    outdated: bool = False


class RequestQuery(Input):
    """Filter for requests: the pending ones, or all."""

    status: Literal["pending", "all"] = "pending"


class Approval(Input):
    """Approval of a request: `group` grants the table to one of the requester's groups (name or id) instead of the user."""

    id: Id
    group: Line | None = None
    answer: Note | None = None


class Denial(Input):
    """Denial of a request, with an optional comment."""

    id: Id
    answer: Note | None = None


def ask(
    db: "DuckDBPyConnection", actor: Actor, caller: Caller, access: AccessList, new: NewAccessRequest
) -> AccessRequest:
    """Request access to a table. The result is the same for every table that the caller can't read, existing or not.

    Raises:
        ConflictError: the caller can read it already, has requested it, or has too many pending requests.
    """
    if access.may_read(caller, new.table):
        raise ConflictError(f"you can already read the table {new.table!r}")
    waiting = fetch(db, "from access_requests where user_id = ? and status = 'pending'", [caller.user_id])
    if any(row["table_id"] == new.table for row in waiting):
        raise ConflictError(f"you have already requested access to {new.table!r}; an administrator has not decided yet")
    if len(waiting) >= MOST_PENDING:
        raise ConflictError(
            f"you already have {MOST_PENDING} pending requests; try again when some of them are decided"
        )
    id_ = str(uuid4())
    table = find_table(db, new.table)
    asked = {"user_id": caller.user_id, "user_email": caller.email, "table_id": new.table, "reason": new.reason}
    meant = {"table_uuid": table and table.uuid, "status": "pending", "created_at": actor.at}
    insert(db, "access_requests", {"id": id_, **asked, **meant})
    record(db, actor, "request.create", f"request:{id_}", table=new.table)
    return AccessRequest.model_validate(_row(db, id_))


def list_own(db: "DuckDBPyConnection", user_id: str) -> tuple[AccessRequest, ...]:
    """List the requests of a user, newest first."""
    rows = fetch(db, f"{_SELECT} where r.user_id = ? {_NEWEST}", [user_id])
    return tuple(AccessRequest.model_validate(row) for row in rows)


def list_requests(db: "DuckDBPyConnection", query: RequestQuery) -> tuple[ReviewedRequest, ...]:
    """List the requests of all users, newest first."""
    where = "where r.status = 'pending'" if query.status == "pending" else ""
    return tuple(ReviewedRequest.model_validate(row) for row in fetch(db, f"{_SELECT} {where} {_NEWEST}"))


def approve(db: "DuckDBPyConnection", actor: Actor, approval: Approval) -> ReviewedRequest:
    """Grant the requested access.

    Raises:
        NotFoundError: the request or group does not exist.
        ConflictError: it was decided before, there is no such table, it was removed since and another one has its id
            now, or the grant would not reach the requester.
    """
    request = _pending(db, approval.id)
    if request.outdated and find_table(db, request.table) is not None:
        raise ConflictError(
            f"the request is outdated: {request.table!r} was removed and another table is registered under this id; "
            "deny it"
        )
    if find_table(db, request.table) is None:
        raise ConflictError(f"the table {request.table!r} is not registered; register it first, or deny the request")
    if not fetch_one(db, "from users where id = ? and active", [request.user_id]):
        raise ConflictError(f"{request.user} is no longer an active user; deny the request")
    to = {"user": request.user_id} if approval.group is None else {"group": _group_of(db, request, approval.group)}
    ensure_permission(db, actor, NewPermission(table=request.table, **to))
    return _answered(db, actor, request, "approved", approval.answer, **to)


def deny(db: "DuckDBPyConnection", actor: Actor, denial: Denial) -> ReviewedRequest:
    """Deny a request. The requester may request access again.

    Raises:
        NotFoundError: it does not exist.
        ConflictError: it was decided before.
    """
    return _answered(db, actor, _pending(db, denial.id), "denied", denial.answer)


def _row(db: "DuckDBPyConnection", request_id: str) -> dict[str, Any]:
    row = fetch_one(db, f"{_SELECT} where r.id = ?", [request_id])
    if row is None:
        raise NotFoundError(f"there is no request {request_id!r}")
    return row


def _pending(db: "DuckDBPyConnection", request_id: str) -> ReviewedRequest:
    request = ReviewedRequest.model_validate(_row(db, request_id))
    if request.status != "pending":
        raise ConflictError(f"the request was already {request.status} by {request.reviewed_by}")
    return request


def _group_of(db: "DuckDBPyConnection", request: ReviewedRequest, name: str) -> str:
    group = get_group(db, name)
    if all(member.id != request.user_id for member in group.members):
        raise ConflictError(f"{request.user} is not a member of the group {group.name!r}; add them first")
    return group.id


def _answered(
    db: "DuckDBPyConnection", actor: Actor, request: ReviewedRequest, status: Status, answer: str | None, **to: str
) -> ReviewedRequest:
    changes = {"status": status, "answer": answer, "reviewed_by": actor.user_id, "reviewed_at": actor.at}
    update(db, "access_requests", {"id": request.id}, changes)
    action = "request.approve" if status == "approved" else "request.deny"
    record(db, actor, action, f"request:{request.id}", table=request.table, asked_by=request.user_id, **to)
    return ReviewedRequest.model_validate(_row(db, request.id))
