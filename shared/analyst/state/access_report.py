"""The access report: who can read which table and why, by the current state."""

from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from analyst.access import AccessList, Caller, Role
from analyst.access.explanation import Explanation, explain
from analyst.errors import NotFoundError
from analyst.names import TableId, did_you_mean
from analyst.state.fields import Input, Line, Output
from analyst.state.users import User, get_user

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


class AccessQuery(Input):
    """The user (e-mail address or id), the table, or both to explain; by default the caller. `limit` and `offset` select a page."""

    user: Line | None = None
    table: TableId | None = None
    limit: Annotated[int, Field(ge=1, le=10_000)] = 1000
    offset: Annotated[int, Field(ge=0, le=10_000_000)] = 0


class AccessReport(Output):
    """The readable tables of a user, the readers of a table, or the answer for a user and a table, with the reasons.

    `access` is one page of `count` entries.
    """

    user: User | None
    count: int
    access: tuple[Explanation, ...]


def report(
    db: "DuckDBPyConnection", access: AccessList, caller: Caller, query: AccessQuery, published: AbstractSet[str]
) -> AccessReport:
    """Explain access by an access list. `published` are the ids of the tables in the newest snapshot.

    Raises:
        NotFoundError: the user or table does not exist.
    """
    if query.table is not None and query.table not in access.tables.keys() | published:
        known = access.tables.keys() | published
        raise NotFoundError(
            f"there is no table {query.table!r}: it is neither registered nor published{did_you_mean(query.table, known)}"
        )
    if query.table is not None and query.user is None:
        return _report(access, None, [(who, query.table) for who in _readers(access, query.table)], query, published)
    user = get_user(db, query.user or caller.user_id or "")
    who = _person(access, user)
    tables = _readable(access, who, published) if query.table is None else [query.table]
    return _report(access, user, [(who, table) for table in tables], query, published)


def _report(
    access: AccessList,
    user: User | None,
    asked: list[tuple[Caller, str]],
    query: AccessQuery,
    published: AbstractSet[str],
) -> AccessReport:
    active = user is None or user.active
    page = asked[query.offset : query.offset + query.limit]
    found = (explain(access, who, table, active=active, published=table in published) for who, table in page)
    return AccessReport(user=user, count=len(asked), access=tuple(found))


def _readers(access: AccessList, table: str) -> list[Caller]:
    """Find the users who may read a table, by e-mail."""
    people = (_caller(access, id_) for id_ in sorted(access.users, key=lambda id_: access.users[id_].email))
    return [who for who in people if access.may_read(who, table)]


def _readable(access: AccessList, who: Caller, published: AbstractSet[str]) -> list[str]:
    """Find the tables that a user may read, including unregistered ones; none for a deactivated user."""
    if who.user_id not in access.users:
        return []
    return sorted(access.readable(who) | (published if who.role is Role.ADMIN else set()))


def _person(access: AccessList, user: User) -> Caller:
    is_listed = user.active and user.id in access.users  # not if they were added since the list was read
    return _caller(access, user.id) if is_listed else Caller(user.id, user.email, user.role)


def _caller(access: AccessList, user_id: str) -> Caller:
    user = access.users[user_id]
    return Caller(user_id, user.email, user.role, frozenset(user.groups))
