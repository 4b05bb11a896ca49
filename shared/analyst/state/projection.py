"""The projection of the system state to the access list: the data for the read path, without secrets.

DuckDB writes the JSON: building it from Python objects, one for each user, token and grant, took ten times as long. A large
list is written in parts, because most of the time of an edit went into entries that it does not change.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from analyst import duckdb_files
from analyst.access.parts import PREFIX, Part, PartList
from analyst.names import quote, quote_text
from analyst.state.rows import fetch

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

LARGEST_WHOLE: Final = 2_000
"""Rows of the state up to which the access list is one object, which takes a few milliseconds to write and to read."""

_FORMAT: Final = 1
"""The version of the format of parts: if it changes, all parts are written again."""

_TIME: Final = "%Y-%m-%dT%H:%M:%S.%fZ"
_WITHDRAWN_KEPT: Final = timedelta(days=400)
"""Longer than any snapshot is kept."""


@dataclass(frozen=True, slots=True)
class _Member:
    """A member of the access list (`grants.users` is nested).

    Without a row in `table`, it has no entry. `rows` selects `key` and `value` of its entries, and the `{number}` of
    the part to which each belongs by its `owner`; `{wanted}` limits them to some parts where DuckDB can apply it before
    it aggregates.
    """

    name: str
    table: str
    owner: str
    rows: str
    entry: str = "to_json(key) || ':' || value"
    order: str = "key"
    brackets: str = "{}"


def _grants_to(principal: str, column: str, live: str) -> _Member:
    return _Member(
        f"grants.{principal}",
        "grants",
        column,
        f"""
        select {column} as key, {{number}} as number, json_object(
            'tables', coalesce(list_sort(list(table_uuid) filter (table_uuid is not null)), []),
            'places', coalesce(list_sort(list(json_array(source, bucket)) filter (source is not null)), [])
        ) as value
        from grants where {column} {live} and {{wanted}} group by all
        """,
    )


_MEMBERS: Final = (
    _Member(
        "users",
        "users",
        "u.id",
        f"""
        select u.id as key, {{number}} as number, json_object(
            'email', email, 'name', name, 'role', role, 'groups', coalesce(m.groups, []),
            'sessions_valid_from', strftime(sessions_valid_from, '{_TIME}')
        ) as value
        from users u left join (
            select user_id, list_sort(list(group_id)) as groups from group_members group by all
        ) m on m.user_id = u.id
        where active and {{wanted}}
        """,
    ),
    _Member(
        "groups",
        "groups",
        "id",
        "select id as key, {number} as number, to_json(name) as value from groups where {wanted}",
    ),
    _Member(
        "tokens",
        "tokens",
        "t.user_id",
        f"""
        select t.sha256 as key, {{number}} as number, json_object(
            'user', t.user_id, 'id', t.id, 'name', t.name, 'expires', strftime(t.expires_at, '{_TIME}'), 'scopes', t.scopes
        ) as value
        from tokens t
        where t.revoked_at is null and t.expires_at > $now and t.user_id in (select id from users where active) and {{wanted}}
        """,
    ),
    _Member(
        "tables",
        "table_registry",
        "id",
        f"""
        select id as key, {{number}} as number, json_object(
            'uuid', uuid, 'source', source, 'name', name, 'bucket', bucket, 'description', description,
            'is_public', is_public, 'server_only', server_only, 'registered_at', strftime(registered_at, '{_TIME}')
        ) as value, registered_at
        from table_registry where {{wanted}}
        """,
        order="registered_at, key",
    ),
    _grants_to("users", "user_id", "in (select id from users where active)"),
    _grants_to("groups", "group_id", "is not null"),
    _Member(
        "withdrawn",
        "withdrawn",
        "id",
        f"""
        select uuid as key, {{number}} as number, json_object('id', id, 'at', strftime("at", '{_TIME}')) as value
        from withdrawn where "at" > $since and {{wanted}}
        """,
    ),
    _Member(
        "revoked_sessions",
        "revoked_sessions",
        "user_id",
        """
        select id as key, {number} as number, to_json(id) as value
        from revoked_sessions where expires_at > $now and {wanted}
        """,
        entry="value",
        brackets="[]",
    ),
)


@dataclass(frozen=True, slots=True)
class _Kind:
    """The parts with the entries that belong to one kind of owner.

    `sources` are pairs of an owner's column and the rows of which these entries are made. A part's mark is made of the
    hashes of its owners' rows, with all their columns, so that none that an entry depends on can be forgotten. `rows` is
    the number of rows for which a part is made, of 200 to 400 kB.
    """

    members: frozenset[str]
    rows: int
    sources: tuple[tuple[str, str], ...]


_KINDS: Final[Mapping[str, _Kind]] = {
    "people": _Kind(
        frozenset({"users", "tokens", "grants.users", "revoked_sessions"}),
        4_096,
        (
            ("id", "users where active"),
            ("user_id", "group_members"),
            ("user_id", "tokens where revoked_at is null and expires_at > $now"),
            ("user_id", "grants where user_id is not null"),
            ("user_id", "revoked_sessions where expires_at > $now"),
        ),
    ),
    "groups": _Kind(
        frozenset({"groups", "grants.groups"}),
        4_096,
        (("id", "groups"), ("group_id", "grants where group_id is not null")),
    ),
    "tables": _Kind(
        frozenset({"tables", "withdrawn"}),
        1_024,
        (("id", "table_registry"), ("id", 'withdrawn where "at" > $since')),
    ),
}

_TABLES: Final = sorted({rows.partition(" ")[0] for kind in _KINDS.values() for _, rows in kind.sources})
"""The tables that the access list is made of."""


def project(db: "DuckDBPyConnection", version: int, now: datetime, stored: Mapping[str, int] | None = None) -> bytes:
    """Return the access list of a version, as JSON: active users, tokens valid `now`, tables, live grants.

    `stored` is the result of `rows_stored`, if it is known. Equal states result in equal bytes.
    """
    filled = {table for table, rows in (stored or rows_stored(db)).items() if rows}
    members = [
        member for member in _MEMBERS if member.table in filled
    ]  # even a query that matches nothing takes a millisecond
    with duckdb_files.small_tables(db):
        entries = {member.name: _entries(db, member, now, 1, [0]).get(0, "") for member in members}
    return _written({member.name: entries.get(member.name, "") for member in _MEMBERS}, version=version)


def rows_stored(db: "DuckDBPyConnection") -> Mapping[str, int]:
    """Return the number of rows of each table that the access list is made of, at least those of `rows_behind`.

    Counting all rows of a table reads only its metadata.
    """
    counts = " union all ".join(
        f"select {quote_text(name)} as name, count(*) as rows from {quote(name)}" for name in _TABLES
    )
    return {row["name"]: row["rows"] for row in fetch(db, counts)}


def rows_behind(db: "DuckDBPyConnection", now: datetime) -> Mapping[str, int]:
    """Return the number of rows of which the access list is made, by kind of owner."""
    sources = [(name, rows) for name, kind in _KINDS.items() for _, rows in kind.sources]
    counts = " union all ".join(
        f"select {quote_text(name)} as kind, count(*) as rows from {rows}" for name, rows in sources
    )
    found = _fetch(db, f"select kind, sum(rows)::bigint as rows from ({counts}) group by kind", now)
    return {row["kind"]: row["rows"] for row in found}


def project_parts(
    db: "DuckDBPyConnection",
    version: int,
    now: datetime,
    rows: Mapping[str, int],
    *,
    before: PartList | None,
    prefix: str,
) -> tuple[PartList, dict[str, bytes]]:
    """Return the access list in parts, and by key the parts that are not in the list `before`.

    `rows` are those of `rows_behind`, which decide the number of parts. `prefix` begins the names of written parts: it must
    be new.
    """
    known = {} if before is None else before.parts
    parts: dict[str, Part] = {}
    written: dict[str, bytes] = {}
    for name, kind in _KINDS.items():
        number_of_parts = _power_of_two(rows[name] / kind.rows)
        marks = {f"{name}-{number}": mark for number, mark in _marks(db, kind, now, number_of_parts).items()}
        kept = {called: part for called in marks if (part := known.get(called)) and part.mark == marks[called]}
        changed = {int(called.rpartition("-")[2]): called for called in marks if called not in kept}
        contents = _contents(db, kind, now, number_of_parts, [*changed])
        for number, called in changed.items():
            key = f"{PREFIX}{prefix}-{called}.json"
            written[key] = contents[number]
            kept[called] = Part(key=key, sha256=hashlib.sha256(contents[number]).hexdigest(), mark=marks[called])
        parts |= {called: kept[called] for called in marks}
    return PartList(version=version, parts=parts), written


def _power_of_two(least: float) -> int:
    number = 1
    while number < least:
        number *= 2
    return number


def _marks(db: "DuckDBPyConnection", kind: _Kind, now: datetime, number_of_parts: int) -> dict[int, str]:
    """Return the marks of the parts that have entries, by number."""
    marks: dict[int, list[str]] = {}
    for source, (owner, rows) in enumerate(kind.sources):
        sql = f"""
            select hash({owner}) % {number_of_parts} as number, count(*) as rows, sum(hash(*columns(*))) as hashes
            from {rows} group by number
        """
        for row in _fetch(db, sql, now):
            marks.setdefault(row["number"], [str(_FORMAT)]).append(f"{source}.{row['rows']}.{row['hashes']}")
    return {number: "-".join(marks[number]) for number in sorted(marks)}


def _contents(
    db: "DuckDBPyConnection", kind: _Kind, now: datetime, number_of_parts: int, wanted: list[int]
) -> dict[int, bytes]:
    """Write parts by number."""
    if not wanted:
        return {}
    members = [member for member in _MEMBERS if member.name in kind.members]
    entries = {member.name: _entries(db, member, now, number_of_parts, wanted) for member in members}
    return {number: _written({name: texts.get(number, "") for name, texts in entries.items()}) for number in wanted}


def _entries(
    db: "DuckDBPyConnection", member: _Member, now: datetime, number_of_parts: int, wanted: list[int]
) -> dict[int, str]:
    """Return the entries of a member as JSON without brackets, by the number of the part that they belong to."""
    number = f"hash({member.owner}) % {number_of_parts}"
    rows = member.rows.format(number=number, wanted=f"{number} in ({', '.join(map(str, wanted))})")
    sql = (
        f"select number, string_agg({member.entry}, ',' order by {member.order}) as text from ({rows}) group by number"
    )
    return {row["number"]: row["text"] for row in _fetch(db, sql, now)}


def _fetch(db: "DuckDBPyConnection", sql: str, now: datetime) -> list[dict[str, Any]]:
    values = {"now": now, "since": now - _WITHDRAWN_KEPT}
    return fetch(db, sql, {name: value for name, value in values.items() if f"${name}" in sql})


def _written(entries: Mapping[str, str], **numbers: int) -> bytes:
    """Write an access list, or a part of one, from the entries of its members."""
    members = {name: str(number) for name, number in numbers.items()}
    nested: dict[str, str] = {}
    for member in _MEMBERS:
        if member.name not in entries:
            continue
        outer, _, inner = member.name.partition(".")
        text = f"{member.brackets[0]}{entries[member.name]}{member.brackets[1]}"
        if inner:
            nested[inner] = text
            text = _object(nested)
        members[outer] = text
    return _object(members).encode()


def _object(members: Mapping[str, str]) -> str:
    return "{" + ",".join(f'"{name}":{value}' for name, value in members.items()) + "}"
