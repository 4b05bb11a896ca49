"""The rows of a wide table that another one lacks, found and written by groups of columns.

DuckDB's windows and unions hold some vectors of every column, so 3,000 columns of a few thousand rows exceed 300 MB. Here
each row has the number of its class: at first all rows are of one class, and each group of columns divides the classes
into those of rows that are equal in it, too. Equality is that of DuckDB's own windows, not of hashes. The rows that are
left over are then copied 100 columns at a time.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from analyst.contract import column_groups
from analyst.duckdb_files import raised_as
from analyst.errors import SourceError
from analyst.names import quote

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


@dataclass(frozen=True, slots=True)
class Side:
    """Rows: the query of all columns, and the terms by which they are compared, by column.

    Rows that do not meet one of the `conditions`, also by column, are left out.
    """

    scan: str
    terms: Mapping[str, str]
    conditions: Mapping[str, str]


def write(
    con: "DuckDBPyConnection", left: Side, right: Side, columns: Sequence[str], into: Path, *, each: bool
) -> list[Path]:
    """Write the rows of `left`, in order and with these columns, that are missing in `right`, to an empty folder.

    With `each`, a row of `right` removes one equal row of `left`, else all. The connection has one thread afterwards.

    Raises:
        SourceError: types are incompatible.
    """
    _classify(con, left, right)
    with raised_as(SourceError):
        con.execute(f"""
            create or replace temp table "kept" as select "row number" from (
                select "row number", row_number() over (partition by "row class", "row number" > 0 order by "row number") as "nth equal",
                    count(*) filter ("row number" < 0) over (partition by "row class") as "other rows"
                from "classes"
            ) where "row number" > 0 and {'"nth equal" > "other rows"' if each else '"other rows" = 0'}
        """)
        con.execute('drop table "classes"')
    try:
        return column_groups.write(con, [*_queries(left, columns, "kept", "row number", "row number")], into)
    finally:
        con.execute('drop table if exists "kept"')


def write_joined(
    con: "DuckDBPyConnection", left: Side, right: Side, columns: tuple[Sequence[str], Sequence[str]], into: Path
) -> list[Path]:
    """Write the rows of `left` that have an equal one of their own in `right`, in order, to an empty folder.

    They have the first `columns` of `left` and the others of the equal row. The connection has one thread afterwards.

    Raises:
        SourceError: types are incompatible.
    """
    _classify(con, left, right)
    with raised_as(SourceError):
        con.execute("""
            create or replace temp table "pairs" as select l."row number" as "left row", r."row number" as "right row" from (
                select "row class", "row number", row_number() over (partition by "row class" order by "row number") as "nth equal"
                from "classes" where "row number" > 0
            ) l join (
                select "row class", -"row number" as "row number", row_number() over (partition by "row class" order by -"row number") as "nth equal"
                from "classes" where "row number" < 0
            ) r using ("row class", "nth equal")
        """)
        con.execute('drop table "classes"')
    queries = [
        *_queries(left, columns[0], "pairs", "left row", "left row"),
        *_queries(right, columns[1], "pairs", "right row", "left row"),
    ]
    try:
        return column_groups.write(con, queries, into)
    finally:
        con.execute('drop table if exists "pairs"')


def _queries(side: Side, columns: Sequence[str], chosen: str, number: str, order: str) -> Iterator[str]:
    """Yield a query for each group of columns, of the rows whose `number` is in the table `chosen`, which has the order."""
    for start in range(0, len(columns), column_groups.GROUP):
        listed = ", ".join(map(quote, columns[start : start + column_groups.GROUP]))
        numbered = f"select {listed}, row_number() over () as {quote(number)} from ({side.scan})"
        yield f"select {listed} from ({numbered}) join {quote(chosen)} using ({quote(number)}) order by {quote(order)}"


def _classify(con: "DuckDBPyConnection", left: Side, right: Side) -> None:
    """Make the table of rows with their classes; those on the right have negative numbers."""
    with raised_as(SourceError):
        con.execute("set threads = 1; set preserve_insertion_order = true")  # or the numbers of rows would differ
        con.execute(f"""
            create or replace temp table "classes" as
            select row_number() over () as "row number", 0::bigint as "row class" from ({left.scan})
            union all select -row_number() over () as "row number", 0::bigint as "row class" from ({right.scan})
        """)
        names = list(left.terms)
        for start in range(0, len(names), column_groups.GROUP):
            _divide(con, left, right, names[start : start + column_groups.GROUP])


def _divide(con: "DuckDBPyConnection", left: Side, right: Side, names: Sequence[str]) -> None:
    """Divide the classes of rows by a group of columns; each is named by its first row."""
    compared = ", ".join(map(quote, names))
    sides = " union all by name ".join(_numbered(side, names, sign) for side, sign in ((left, ""), (right, "-")))
    con.execute(f"""
        create or replace temp table "divided" as
        select "row number", min("row number") over (partition by "row class", {compared}) as "row class"
        from ({sides}) join "classes" using ("row number") where "is compared"
    """)
    con.execute('drop table "classes"; alter table "divided" rename to "classes"')


def _numbered(side: Side, names: Sequence[str], sign: str) -> str:
    listed = ", ".join(f"{side.terms[name]} as {quote(name)}" for name in names if name in side.terms)
    condition = " and ".join(f"({side.conditions[name]})" for name in names if name in side.conditions) or "true"
    terms = f"{listed}, " if listed else ""
    return f'select {terms}{sign}row_number() over () as "row number", coalesce({condition}, false) as "is compared" from ({side.scan})'
