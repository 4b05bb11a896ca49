"""Merging what came anew into what an incremental table has.

With a primary key the new row of a key replaces the old one, and of several new ones the last counts; rows end in the
order of the key, so that equal content is equal bytes. Without a key, rows are added behind, in files of their own.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from analyst.contract import parquet
from analyst.contract.connector import Cursor
from analyst.errors import SourceError
from analyst.names import quote, quote_text

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


def merge_by_key(
    con: "DuckDBPyConnection", base: Sequence[Path], new: Sequence[Path], key: Sequence[str], into: Path
) -> list[Path]:
    """Write base and new rows merged by primary key into an empty folder. Columns are united by name.

    Raises:
        SourceError: the new rows lack a column of the key.
    """
    columns = [row[0] for row in con.execute(f"describe from {_scan(new)}").fetchall()]
    if missing := [name for name in key if name not in columns]:
        raise SourceError(f"the primary key column {missing[0]!r} is not in the table; it has {', '.join(columns)}")
    keys = ", ".join(quote(name) for name in key)
    sides = [_numbered(base, age=0)] if base else []
    query = f"""
        select * exclude (_age, filename, file_row_number)
        from ({" union all by name ".join([*sides, _numbered(new, age=1)])})
        qualify row_number() over (partition by {keys} order by _age desc, filename desc, file_row_number desc) = 1
        order by {", ".join(f"{quote(name)} nulls first" for name in key)}
    """
    return parquet.write(con, query, into)


def after(con: "DuckDBPyConnection", new: Sequence[Path], column: str, cursor: Cursor, into: Path) -> list[Path]:
    """Write those of the new rows whose cursor lies beyond one that was published meanwhile."""
    kind = next(row[1] for row in con.execute(f"describe from {_scan(new)}").fetchall() if row[0] == column)
    return parquet.write(
        con, f"select * from {_scan(new)} where {quote(column)} > cast({quote_text(str(cursor))} as {kind})", into
    )


def later(con: "DuckDBPyConnection", kind: str, one: Cursor, other: Cursor) -> Cursor:
    """Tell the greater of two cursors, compared as values of the column's type."""
    if one is None or other is None:
        return one if other is None else other
    row = con.execute(f"select cast(? as {kind}) >= cast(? as {kind})", [str(one), str(other)]).fetchone()
    return one if row and row[0] else other


def _numbered(paths: Sequence[Path], *, age: int) -> str:
    return f"select *, {age} as _age from {_scan(paths, numbered=True)}"


def _scan(paths: Sequence[Path], *, numbered: bool = False) -> str:
    files = ", ".join(quote_text(str(path)) for path in paths)
    extra = ", filename = true, file_row_number = true" if numbered else ""
    return f"read_parquet([{files}], union_by_name = true{extra})"
