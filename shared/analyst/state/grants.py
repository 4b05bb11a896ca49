"""Grants: which user or group may read which table, bucket or source."""

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, Self
from uuid import uuid4

from pydantic import ConfigDict, model_validator

from analyst.errors import ConflictError, NotFoundError
from analyst.names import Name, TableId
from analyst.state.audit import Actor, record
from analyst.state.fields import Input, Line, Output
from analyst.state.groups import get_group
from analyst.state.registry import get_table
from analyst.state.rows import execute, fetch, fetch_one, insert
from analyst.state.sources import get_source
from analyst.state.users import get_user

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_SELECT = """
    select p.*, t.id as table, coalesce(u.email, g.name) as principal
    from grants p
    left join table_registry t on t.uuid = p.table_uuid
    left join users u on u.id = p.user_id
    left join groups g on g.id = p.group_id
"""
_TO_USER = "(p.user_id = $user or p.group_id in (select group_id from group_members where user_id = $user))"
_TO_GROUP = "p.group_id = $group"
_ON_TABLE = "(p.table_uuid = $uuid or (p.source = $source and (p.bucket is null or p.bucket = $bucket)))"
_ORDER = "order by p.created_at, p.id"


class Principal(Output):
    """The user or group that received a grant. `name` is an e-mail address for users."""

    type: Literal["user", "group"]
    id: str
    name: str


class Permission(Output):
    """A grant on a table, on a source, or on one bucket of a source."""

    id: str
    principal: Principal
    table: str | None
    source: str | None
    bucket: str | None
    created_at: datetime
    created_by: str | None


def _named(name: str, **null: str) -> dict[str, Any]:
    """Describe inputs that contain this field and have null in some others."""
    empty = {other: {"type": "null"} for other in null.values()}
    return {"required": [name], "properties": {name: {"type": "string"}, **empty}}


class NewPermission(Input):
    """A new grant: to a user (e-mail address or id) or a group (name or id), on a table, a source, or a bucket of a source."""

    model_config = ConfigDict(
        json_schema_extra={
            "allOf": [
                {"oneOf": [_named("user", but="group"), _named("group", but="user")]},
                {"oneOf": [_named("source", but="table"), _named("table", but="source", without="bucket")]},
            ]
        }
    )

    user: Line | None = None
    group: Line | None = None
    table: TableId | None = None
    source: Name | None = None
    bucket: Line | None = None

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        if (self.user is None) == (self.group is None):
            raise ValueError("specify either a user or a group")
        if (self.table is None) == (self.source is None):
            raise ValueError("specify either a table or a source")
        if self.bucket is not None and self.source is None:
            raise ValueError("a bucket requires its source")
        return self


class PermissionQuery(Input):
    """Filter for grants: those that apply to a user (directly or through a group), to a group, or to a table."""

    user: Line | None = None
    group: Line | None = None
    table: TableId | None = None


def list_permissions(db: "DuckDBPyConnection", query: PermissionQuery) -> tuple[Permission, ...]:
    """List the grants that match all parts of the filter.

    Raises:
        NotFoundError: the user, group or table does not exist.
    """
    conditions: list[str] = []
    values: dict[str, Any] = {}
    if query.user is not None:
        conditions.append(_TO_USER)
        values["user"] = get_user(db, query.user).id
    if query.group is not None:
        conditions.append(_TO_GROUP)
        values["group"] = get_group(db, query.group).id
    if query.table is not None:
        conditions.append(_ON_TABLE)
        table = get_table(db, query.table)
        values |= {"uuid": table.uuid, "source": table.source, "bucket": table.bucket}
    return tuple(_permission(row) for row in fetch(db, f"{_SELECT} {_where(conditions)} {_ORDER}", values))


def create_permission(db: "DuckDBPyConnection", actor: Actor, new: NewPermission) -> Permission:
    """Add a grant.

    Raises:
        NotFoundError: the user, group, table, source or bucket does not exist.
        ConflictError: the same grant exists.
    """
    fields = {**_principal(db, new), **_target(db, new)}
    if _same(db, fields):
        raise ConflictError("the same permission is already granted")
    return _grant(db, actor, new, fields)


def ensure_permission(db: "DuckDBPyConnection", actor: Actor, new: NewPermission) -> Permission:
    """Add a grant, or return the same existing one.

    Raises:
        NotFoundError: the user, group, table, source or bucket does not exist.
    """
    fields = {**_principal(db, new), **_target(db, new)}
    return _same(db, fields) or _grant(db, actor, new, fields)


def get_permission(db: "DuckDBPyConnection", grant_id: str) -> Permission:
    """Return a grant.

    Raises:
        NotFoundError: it does not exist.
    """
    row = fetch_one(db, f"{_SELECT} where p.id = ?", [grant_id])
    if row is None:
        raise NotFoundError(f"there is no permission {grant_id!r}")
    return _permission(row)


def delete_permission(db: "DuckDBPyConnection", actor: Actor, grant_id: str) -> None:
    """Revoke a grant.

    Raises:
        NotFoundError: it does not exist.
    """
    grant = get_permission(db, grant_id)
    execute(db, "delete from grants where id = ?", [grant_id])
    target = grant.model_dump(include={"table", "source", "bucket"}, exclude_none=True)
    record(db, actor, "grant.delete", f"grant:{grant_id}", principal=grant.principal.model_dump(), **target)


def _grant(db: "DuckDBPyConnection", actor: Actor, new: NewPermission, fields: dict[str, str | None]) -> Permission:
    id_ = str(uuid4())
    insert(db, "grants", {"id": id_, **fields, "created_at": actor.at, "created_by": actor.user_id})
    record(db, actor, "grant.create", f"grant:{id_}", **new.model_dump(exclude_none=True), **_ids(fields))
    return get_permission(db, id_)


def _same(db: "DuckDBPyConnection", fields: dict[str, str | None]) -> Permission | None:
    same = " and ".join(f"p.{name} is not distinct from ${name}" for name in fields)
    row = fetch_one(db, f"{_SELECT} where {same}", fields)
    return None if row is None else _permission(row)


def _principal(db: "DuckDBPyConnection", new: NewPermission) -> dict[str, str | None]:
    if new.user is not None:
        return {"user_id": get_user(db, new.user).id, "group_id": None}
    return {"user_id": None, "group_id": get_group(db, new.group or "").id}


def _target(db: "DuckDBPyConnection", new: NewPermission) -> dict[str, str | None]:
    if new.table is not None:
        return {"table_uuid": get_table(db, new.table).uuid, "source": None, "bucket": None}
    source = get_source(db, new.source or "").name
    if new.bucket is not None and not _has_bucket(db, source, new.bucket):
        raise NotFoundError(f"source {source!r} has no table in the bucket {new.bucket!r}")
    return {"table_uuid": None, "source": source, "bucket": new.bucket}


def _has_bucket(db: "DuckDBPyConnection", source: str, bucket: str) -> bool:
    return fetch_one(db, "from table_registry where source = ? and bucket = ?", [source, bucket]) is not None


def _ids(fields: dict[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in fields.items() if value is not None and name not in ("source", "bucket")}


def _where(conditions: Iterable[str]) -> str:
    text = " and ".join(conditions)
    return f"where {text}" if text else ""


def _permission(row: dict[str, Any]) -> Permission:
    kind: Literal["user", "group"] = "user" if row["user_id"] is not None else "group"
    principal = Principal(type=kind, id=row[f"{kind}_id"], name=row["principal"])
    return Permission(
        id=row["id"],
        principal=principal,
        table=row["table"],
        source=row["source"],
        bucket=row["bucket"],
        created_at=row["created_at"],
        created_by=row["created_by"],
    )
