"""The rows in which two versions of a table differ, as SQL over `before` and `after`: the files that only one version has.

Files that both versions have cancel out, so they are not read. With a key, rows are matched by it; without one, the
versions are compared as multisets.
"""

from collections.abc import Mapping, Sequence

from da.sql import quote, quote_text


def diff_sql(before: Mapping[str, str], after: Mapping[str, str], key: Sequence[str]) -> str:
    """Return the query of the rows that differ: `change`, the key, `columns` that changed, and `before` and `after` as JSON.

    `before` and `after` are the columns of the versions with their types.
    """
    keys = [name for name in key if name in before and name in after]
    if not keys or len(keys) < len(key):
        return _by_multiset(before, after)
    common = [name for name in after if name in before and name not in keys]
    join = " and ".join(f"b.{quote(name)} is not distinct from a.{quote(name)}" for name in keys)
    keyed = ", ".join(
        f"case when a.here then a.{quote(name)} else b.{quote(name)} end as {quote(name)}" for name in keys
    )
    changed = ", ".join(
        f"case when b.{quote(name)} is distinct from a.{quote(name)} then {quote_text(name)} end" for name in common
    )
    names = f"list_filter([{changed}], x -> x is not null)" if common else "[]::varchar[]"
    differs = " or ".join(f"b.{quote(name)} is distinct from a.{quote(name)}" for name in common) or "false"
    return f"""
select
    case when b.here is null then 'added' when a.here is null then 'removed' else 'changed' end as change,
    {keyed},
    case when b.here and a.here then {names} end as columns,
    case when b.here then to_json({_struct("b", before)}) end as before,
    case when a.here then to_json({_struct("a", after)}) end as after
from (select true as here, * from before) b
full join (select true as here, * from after) a on {join}
where b.here is null or a.here is null or {differs}
""".strip()


def counted_sql(sql: str) -> str:
    """Return the query that counts the rows of a difference by the kind of change."""
    return f"select change, count(*) as rows from (\n{sql}\n) group by change order by change"


def _struct(alias: str, columns: Mapping[str, str]) -> str:
    members = ", ".join(f"{quote_text(name)}: {alias}.{quote(name)}" for name in columns)
    return f"{{{members}}}"


def _by_multiset(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    names = [*after, *(name for name in before if name not in after)]
    old, new = (_listed(names, columns, other) for columns, other in ((before, after), (after, before)))
    row = f"to_json({{{', '.join(f'{quote_text(name)}: {quote(name)}' for name in names)}}})"
    return f"""
with b as (select {old} from before), a as (select {new} from after)
select 'removed' as change, null::varchar[] as columns, {row} as before, null as after
from (select * from b except all select * from a)
union all
select 'added', null, null, {row} from (select * from a except all select * from b)
""".strip()


def _listed(names: Sequence[str], columns: Mapping[str, str], other: Mapping[str, str]) -> str:
    """List columns in one order and of one type: columns missing in a version are NULL, columns whose type changed are compared as text."""
    parts = []
    for name in names:
        if name not in columns:
            parts.append(f"null as {quote(name)}")
        elif other.get(name, columns[name]) != columns[name]:
            parts.append(f"cast({quote(name)} as varchar) as {quote(name)}")
        else:
            parts.append(quote(name))
    return ", ".join(parts)
