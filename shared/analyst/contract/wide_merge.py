"""Merging a keyed table that is too wide for the memory: rows are chosen by their keys, then copied by groups of columns.

DuckDB's sorts, windows and unions hold some vectors of every column, so 3,000 columns of a few thousand rows exceed
300 MB. Here only the columns of the key, the order and the cursor decide which rows count and where each goes; the others
follow their rows, 100 columns at a time. The rows are those of `merging.merge_by_key`. The whole table is written again,
so this is done only where the memory ran out.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from analyst.contract import column_groups, merging
from analyst.contract.merging import Increment
from analyst.duckdb_files import raised_as
from analyst.errors import SourceError
from analyst.names import quote

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


def merge_by_key(
    con: "DuckDBPyConnection",
    base: Sequence[Path],
    increment: Increment,
    into: Path,
) -> list[Path]:
    """Write base and new rows, merged by primary key, to an empty folder, on a connection with one thread.

    Raises:
        SourceError: a column's types are incompatible.
    """
    new, order, cursor = increment.new, increment.order, increment.cursor
    base = merging.going_with(con, base, new, into / "base", key=order.key, is_whole=increment.is_whole)
    types = merging.column_types(con, [*base, *new])
    rows = merging.scan([*base, *new])
    narrow = dict.fromkeys([*order.columns, *([cursor] if cursor and cursor in types else [])])
    kept = f"""
        select *, "row number" > {_count(con, base)} as "is new" from (
            select {", ".join(map(quote, narrow))}, row_number() over () as "row number" from {rows}
        )
    """
    if increment.deleted:
        kept = f'select * from ({kept}) old where "is new" or not exists ({increment.deletion})'
    with raised_as(SourceError):
        con.execute(f"""
            create temp table "kept" as select row_number() over (order by {order.sql}) as "the place", "row number"
            from (
                from ({kept})
                qualify row_number() over (
                    partition by {", ".join(map(quote, order.key))} order by {merging.preferred(cursor, types)}
                ) = 1
            )
        """)
    groups, names = list[str](), list(types)
    for start in range(0, len(names), column_groups.GROUP):
        listed = ", ".join(map(quote, names[start : start + column_groups.GROUP]))
        numbered = f'select {listed}, row_number() over () as "row number" from {rows}'
        groups.append(f'select {listed} from ({numbered}) join "kept" using ("row number") order by "the place"')
    folder = into / "merged"
    folder.mkdir()
    return column_groups.write(con, groups, folder)


def _count(con: "DuckDBPyConnection", paths: Sequence[Path]) -> int:
    if not paths:
        return 0
    row = con.execute(f"select count(*) from {merging.scan(paths)}").fetchone()
    return int(row[0]) if row else 0
