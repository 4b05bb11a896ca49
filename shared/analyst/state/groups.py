"""Groups of users, for grants to many at once."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated
from uuid import uuid4

from analyst.errors import ConflictError, NotFoundError
from analyst.names import did_you_mean, identity
from analyst.state.audit import Actor, record
from analyst.state.fields import Input, Line, Output
from analyst.state.rows import execute, fetch, fetch_one, insert
from analyst.validation import Matching

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_SELECT = """
    select g.id, g.name, g.created_at,
        coalesce(
            list({'id': u.id, 'email': u.email} order by u.email) filter (u.id is not null), []
        ) as members
    from groups g left join group_members m on m.group_id = g.id left join users u on u.id = m.user_id
"""
_GROUPED = "group by all order by g.name"
_INVISIBLE = r"\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
"""Marks of direction and spaces of no width, with which two names look the same."""

_VISIBLE = rf"^[^\x00-\x20\x7f{_INVISIBLE}]([^\x00-\x1f\x7f{_INVISIBLE}]*[^\x00-\x20\x7f{_INVISIBLE}])?$"
"""It includes the pattern of lines, because a JSON schema shows one pattern of a text."""


class Member(Output):
    """A member of a group."""

    id: str
    email: str


class Group(Output):
    """A group and its members."""

    id: str
    name: str
    members: tuple[Member, ...]
    created_at: datetime


class NewGroup(Input):
    """A new group."""

    name: Annotated[Line, Matching(_VISIBLE, "a name without invisible characters")]


def list_groups(db: "DuckDBPyConnection") -> tuple[Group, ...]:
    """List all groups by name."""
    return tuple(Group.model_validate(row) for row in fetch(db, f"{_SELECT} {_GROUPED}"))


def get_group(db: "DuckDBPyConnection", group: str) -> Group:
    """Return a group by id or name; the case of the name and the encoding of its accents do not matter.

    Raises:
        NotFoundError: it does not exist.
    """
    rows = fetch(db, f"{_SELECT} where g.id = $group or g.name = $group {_GROUPED}", {"group": group})
    if not rows:
        known = _names(db)
        if same := [name for name in known if identity(name) == identity(group)]:
            return get_group(db, same[0])
        raise NotFoundError(f"there is no group {group!r}{did_you_mean(group, known)}")
    return Group.model_validate(next((row for row in rows if row["id"] == group), rows[0]))


def create_group(db: "DuckDBPyConnection", actor: Actor, new: NewGroup) -> Group:
    """Add a group.

    Raises:
        ConflictError: a group exists whose name is the same but for case or the encoding of accents: rules that name
            groups, such as `native_sql`, don't distinguish them, and neither do people.
    """
    if same := [name for name in _names(db) if identity(name) == identity(new.name)]:
        raise ConflictError(f"a group {same[0]!r} already exists")
    id_ = str(uuid4())
    insert(db, "groups", {"id": id_, "name": new.name, "created_at": actor.at, "created_by": actor.user_id})
    record(db, actor, "group.create", f"group:{id_}", name=new.name)
    return get_group(db, id_)


def _names(db: "DuckDBPyConnection") -> list[str]:
    return [str(row["name"]) for row in fetch(db, "select name from groups order by name")]


def delete_group(db: "DuckDBPyConnection", actor: Actor, group_id: str) -> None:
    """Remove a group and its grants.

    Raises:
        NotFoundError: it does not exist.
    """
    name = _name(db, group_id)
    for table in ("grants", "group_members"):
        execute(db, f"delete from {table} where group_id = ?", [group_id])
    execute(db, "delete from groups where id = ?", [group_id])
    record(db, actor, "group.delete", f"group:{group_id}", name=name)


def add_member(db: "DuckDBPyConnection", actor: Actor, group_id: str, user_id: str) -> None:
    """Add a user to a group; an existing membership is not an error.

    Raises:
        NotFoundError: the group or user does not exist.
    """
    _require_both(db, group_id, user_id)
    if not _is_member(db, group_id, user_id):
        values = {"group_id": group_id, "user_id": user_id, "added_at": actor.at, "added_by": actor.user_id}
        insert(db, "group_members", values)
        record(db, actor, "group.add_member", f"group:{group_id}", user=user_id)


def remove_member(db: "DuckDBPyConnection", actor: Actor, group_id: str, user_id: str) -> None:
    """Remove a user from a group; a missing membership is not an error.

    Raises:
        NotFoundError: the group or user does not exist.
    """
    _require_both(db, group_id, user_id)
    if _is_member(db, group_id, user_id):
        execute(db, "delete from group_members where group_id = ? and user_id = ?", [group_id, user_id])
        record(db, actor, "group.remove_member", f"group:{group_id}", user=user_id)


def _require_both(db: "DuckDBPyConnection", group_id: str, user_id: str) -> None:
    _name(db, group_id)
    if not fetch_one(db, "from users where id = ?", [user_id]):
        raise NotFoundError(f"there is no user {user_id!r}")


def _is_member(db: "DuckDBPyConnection", group_id: str, user_id: str) -> bool:
    return fetch_one(db, "from group_members where group_id = ? and user_id = ?", [group_id, user_id]) is not None


def _name(db: "DuckDBPyConnection", group_id: str) -> str:
    row = fetch_one(db, "from groups where id = ?", [group_id])
    if row is None:
        raise NotFoundError(f"there is no group {group_id!r}")
    return str(row["name"])
