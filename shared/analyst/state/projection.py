"""The projection of the system state to the access list: what the read path needs, without secrets.

DuckDB writes the JSON: made of Python objects, one for each user, token and grant, it took ten times as long.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from analyst.state.rows import fetch

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_TIME: Final = "%Y-%m-%dT%H:%M:%S.%fZ"

_USERS: Final = f"""
    select u.id as key, json_object(
        'email', email, 'name', name, 'role', role, 'groups', coalesce(m.groups, []),
        'sessions_valid_from', strftime(sessions_valid_from, '{_TIME}')
    ) as value
    from users u
    left join (select user_id, list_sort(list(group_id)) as groups from group_members group by all) m on m.user_id = u.id
    where active
"""
_GROUPS: Final = "select id as key, to_json(name) as value from groups"
_TOKENS: Final = f"""
    select t.sha256 as key, json_object(
        'user', t.user_id, 'id', t.id, 'name', t.name, 'expires', strftime(t.expires_at, '{_TIME}'), 'scopes', t.scopes
    ) as value
    from tokens t
    where t.revoked_at is null and t.expires_at > $now and t.user_id in (select id from users where active)
"""
_TABLES: Final = f"""
    select id as key, json_object(
        'uuid', uuid, 'source', source, 'name', name, 'bucket', bucket, 'description', description,
        'is_public', is_public, 'server_only', server_only, 'registered_at', strftime(registered_at, '{_TIME}')
    ) as value, registered_at
    from table_registry
"""
_GRANTS: Final = """
    select {principal} as key, json_object(
        'tables', coalesce(list_sort(list(table_uuid) filter (table_uuid is not null)), []),
        'places', coalesce(list_sort(list(json_array(source, bucket)) filter (source is not null)), [])
    ) as value
    from grants where {principal} {live} group by all
"""
_TO_USERS: Final = _GRANTS.format(principal="user_id", live="in (select id from users where active)")
_TO_GROUPS: Final = _GRANTS.format(principal="group_id", live="is not null")
_WITHDRAWN: Final = f"""
    select uuid as key, json_object('id', id, 'at', strftime("at", '{_TIME}')) as value
    from withdrawn where "at" > $since
"""
_WITHDRAWN_KEPT: Final = timedelta(days=400)
"""For longer than any snapshot is kept."""

_REVOKED: Final = """
    select coalesce(to_json(list_sort(list(id)))::varchar, '[]') as text from revoked_sessions where expires_at > $now
"""


def project(db: "DuckDBPyConnection", version: int, now: datetime) -> bytes:
    """Make the access list of a version, as JSON: active users, their tokens that are valid `now`, tables, live grants.

    Equal states result in equal bytes.
    """
    members = {
        "version": str(version),
        "users": _object(db, _USERS),
        "groups": _object(db, _GROUPS),
        "tokens": _object(db, _TOKENS, now=now),
        "tables": _object(db, _TABLES, order="registered_at, key"),
        "grants": _written({"users": _object(db, _TO_USERS), "groups": _object(db, _TO_GROUPS)}),
        "withdrawn": _object(db, _WITHDRAWN, since=now - _WITHDRAWN_KEPT),
        "revoked_sessions": _text(db, _REVOKED, now=now),
    }
    return _written(members).encode()


def _object(db: "DuckDBPyConnection", rows: str, *, order: str = "key", **values: Any) -> str:
    """Write rows `(key, value)`, values being JSON, as an object."""
    members = f"string_agg(to_json(key) || ':' || value, ',' order by {order})"
    return _text(db, f"select '{{' || coalesce({members}, '') || '}}' as text from ({rows})", **values)


def _text(db: "DuckDBPyConnection", sql: str, **values: Any) -> str:
    (row,) = fetch(db, sql, values)
    return str(row["text"])


def _written(members: Mapping[str, str]) -> str:
    return "{" + ",".join(f'"{name}":{value}' for name, value in members.items()) + "}"
