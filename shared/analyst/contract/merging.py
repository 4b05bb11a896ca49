"""Merging what came anew into what an incremental table has.

With a primary key the row of the greatest cursor counts, whichever run read it; where the cursor does not tell, a new
row replaces the old one, and of several new ones the last counts. Rows end in the order of the key, so that equal content
is equal bytes. Without a key, rows are added behind, in files of their own.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from analyst.contract import parquet
from analyst.contract.connector import Cursor
from analyst.duckdb_files import told_as
from analyst.errors import SourceError
from analyst.names import quote, quote_text
from analyst.types import checked_type

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_ANEW = "take the table out of the registry and add it again to read it anew"


def merge_by_key(
    con: "DuckDBPyConnection",
    base: Sequence[Path],
    new: Sequence[Path],
    into: Path,
    *,
    key: Sequence[str],
    cursor: str | None,
) -> list[Path]:
    """Write base and new rows merged by primary key into an empty folder. Columns are united by name.

    Raises:
        SourceError: the new rows lack a column of the key or a value in it, or a column's types do not go together.
    """
    with told_as(SourceError):
        _check_key(con, new, key)
    if base:
        check_types(con, base, new)
    latest = [f"{quote(cursor)} desc nulls last"] if cursor is not None and cursor in _types(con, new) else []
    sides = [_numbered(base, is_new=False)] if base else []
    query = f"""
        select * exclude ("is new", "row number")
        from ({" union all by name ".join([*sides, _numbered(new, is_new=True)])})
        qualify row_number() over (
            partition by {", ".join(map(quote, key))} order by {", ".join([*latest, '"is new" desc', '"row number" desc'])}
        ) = 1
        order by {", ".join(map(quote, key))}
    """
    return parquet.write(con, query, into)


def after(con: "DuckDBPyConnection", new: Sequence[Path], column: str, cursor: Cursor, into: Path) -> list[Path]:
    """Write those of the new rows whose cursor lies beyond one that was published meanwhile.

    Raises:
        SourceError: they have no such column, or the cursor does not fit it.
    """
    kind = _types(con, new).get(column)
    if kind is None:
        raise SourceError(f"the cursor column {column!r} is not in the table")
    return parquet.write(
        con, f"select * from {_scan(new)} where {quote(column)} > cast({quote_text(str(cursor))} as {kind})", into
    )


def later(con: "DuckDBPyConnection", kind: str, one: Cursor, other: Cursor) -> Cursor:
    """Tell the greater of two cursors, compared as values of the column's type.

    Raises:
        SourceError: one of them does not fit the type.
    """
    if one is None or other is None:
        return one if other is None else other
    with told_as(SourceError):
        checked = checked_type(kind)
        row = con.execute(f"select cast(? as {checked}) >= cast(? as {checked})", [str(one), str(other)]).fetchone()
    return one if row and row[0] else other


def united(con: "DuckDBPyConnection", paths: Sequence[Path], into: Path) -> list[Path]:
    """Write the rows of files anew, each column of one type in all of them, into an empty folder."""
    return parquet.write(con, f"select * from {_scan(paths)}", into)


def check_types(con: "DuckDBPyConnection", base: Sequence[Path], new: Sequence[Path]) -> None:
    """Make sure that old and new rows can be read as one table without losing data.

    Raises:
        SourceError: a column has come to be of another type, and a value does not survive it; names both.
    """
    old, now, united = _types(con, base), _types(con, new), _types(con, [*base, *new])
    for name in old.keys() & now.keys():
        if old[name] != now[name]:
            changed = f"the column {name!r} was {old[name]} and is now {now[name]}"
            for paths, kind in ((base, old[name]), (new, now[name])):
                with told_as(SourceError, f"{changed}, which do not go together; {_ANEW}: "):
                    lost = _lost(con, _scan(paths), quote(name), kind, united[name])
                if lost is not None:
                    raise SourceError(f"{changed}, and {lost} does not fit {united[name]}; {_ANEW}")


def _lost(con: "DuckDBPyConnection", scan: str, column: str, kind: str, target: str) -> str | None:
    """Find a value that does not survive a cast there and back, as text."""
    back = f"try_cast(try_cast({column} as {target}) as {kind})"
    query = f"select cast({column} as varchar) from {scan} where {back} is distinct from {column} limit 1"
    found = con.execute(query).fetchone()
    return None if found is None else str(found[0])


def _check_key(con: "DuckDBPyConnection", new: Sequence[Path], key: Sequence[str]) -> None:
    columns = _types(con, new)
    if missing := [name for name in key if name not in columns]:
        raise SourceError(f"the primary key column {missing[0]!r} is not in the table; it has {', '.join(columns)}")
    counts = ", ".join(f"count(*) filter ({quote(name)} is null)" for name in key)
    for name, count in zip(key, con.execute(f"select {counts} from {_scan(new)}").fetchall()[0], strict=True):
        if count:
            raise SourceError(f"the primary key column {name!r} has no value in {count} rows")


def _types(con: "DuckDBPyConnection", paths: Sequence[Path]) -> Mapping[str, str]:
    with told_as(SourceError):
        return {row[0]: checked_type(row[1]) for row in con.execute(f"describe from {_scan(paths)}").fetchall()}


def _numbered(paths: Sequence[Path], *, is_new: bool) -> str:
    """Number rows in their order; names with a space are no names of columns."""
    return f'select *, {is_new} as "is new", row_number() over () as "row number" from {_scan(paths)}'


def _scan(paths: Sequence[Path]) -> str:
    files = ", ".join(quote_text(str(path)) for path in paths)
    return f"read_parquet([{files}], union_by_name = true, hive_partitioning = false)"
