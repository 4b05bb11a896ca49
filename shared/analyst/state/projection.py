"""Make the access list of the system state: all that the read path needs, and nothing that is secret."""

import json
from datetime import datetime
from typing import TYPE_CHECKING

from analyst.access import AccessList, Grant, Registration, Token, User
from analyst.state.rows import fetch

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


def project(db: "DuckDBPyConnection", version: int, now: datetime) -> AccessList:
    """Make the access list of a version: active users, their tokens that are valid `now`, tables, and live grants."""
    return AccessList(
        version=version,
        users=_users(db),
        groups={row["id"]: row["name"] for row in fetch(db, "select id, name from groups order by id")},
        tokens=_tokens(db, now),
        tables=_tables(db),
        grants=_grants(db),
        revoked_sessions=_revoked_sessions(db, now),
    )


def _users(db: "DuckDBPyConnection") -> dict[str, User]:
    rows = fetch(
        db,
        """
        select u.id, email, name, role, sessions_valid_from,
            coalesce(list(m.group_id order by m.group_id) filter (m.group_id is not null), []) as groups
        from users u left join group_members m on m.user_id = u.id
        where active group by all order by u.id
        """,
    )
    return {row["id"]: User.model_validate(row) for row in rows}


def _tokens(db: "DuckDBPyConnection", now: datetime) -> dict[str, Token]:
    rows = fetch(
        db,
        """
        select t.sha256, t.user_id as user, t.id, t.name, t.expires_at as expires, t.scopes
        from tokens t join users u on u.id = t.user_id
        where u.active and t.revoked_at is null and t.expires_at > ? order by t.id
        """,
        [now],
    )
    return {row["sha256"]: Token.model_validate({**row, "scopes": json.loads(row["scopes"])}) for row in rows}


def _tables(db: "DuckDBPyConnection") -> dict[str, Registration]:
    rows = fetch(db, "from table_registry order by registered_at, id")
    return {row["id"]: Registration.model_validate(row) for row in rows}


def _grants(db: "DuckDBPyConnection") -> tuple[Grant, ...]:
    rows = fetch(
        db,
        """
        select user_id as user, group_id as group, table_uuid as table, source, bucket
        from grants where user_id is null or user_id in (select id from users where active)
        order by created_at, id
        """,
    )
    return tuple(Grant.model_validate(row) for row in rows)


def _revoked_sessions(db: "DuckDBPyConnection", now: datetime) -> tuple[str, ...]:
    rows = fetch(db, "select id from revoked_sessions where expires_at > ? order by id", [now])
    return tuple(row["id"] for row in rows)
