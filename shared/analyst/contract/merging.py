"""Merging new rows into an incremental table.

With a primary key, the row with the greatest cursor is kept, whichever run read it; if the cursor does not decide, a
new row replaces the old one, and of several new ones the last is kept. The result is sorted by key, so equal content
produces equal bytes. Without a key, rows that are missing in the table are appended in files of their own: rows are a bag, and rows
that are read again, on the boundary of the cursor or without a cursor, are already there as often as they were read.

A column that becomes text can't absorb values that were published as numbers or times, because their original text is
unknown. Then the whole source is read, its rows replace those made from the same texts, and of the rows that the source
no longer has only those are kept whose text is certain.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from analyst.contract import column_groups, cursors, parquet, wide_difference
from analyst.contract.key_ranges import Order
from analyst.contract.parquet import MAX_FILE_BYTES
from analyst.contract.wide_difference import Side
from analyst.duckdb_files import raised_as
from analyst.errors import SourceError
from analyst.names import quote, quote_text
from analyst.types import checked_type, survives

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_AT_ONCE = 200
"""Columns that are compared by one query: each opens the files again, which takes long where they are wide."""

_PAIRS = 64
"""Old and new files are compared by the columns that they have if there are no more combinations, as each takes a pass."""

_ANEW = "remove the table from the registry and add it again to read all of it"


_WHOLE = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "DECIMAL(38,0)", "DECIMAL(20,0)")
"""Types whose values each have exactly one text."""


@dataclass(frozen=True, slots=True)
class Increment:
    """The rows that a keyed table receives: parquet files with `new` rows, and with the keys of `deleted` ones.

    `is_whole` means that the new rows are all rows of the source. `cursor` is the column that decides between two rows
    with one key; see `merge_by_key`.
    """

    new: Sequence[Path]
    order: Order
    cursor: str | None = None
    deleted: Sequence[Path] = ()
    is_whole: bool = False

    @property
    def deletion(self) -> str:
        """The query of the deleted keys that are the key of a row of `old`."""
        same = " and ".join(f"old.{quote(name)} = gone.{quote(name)}" for name in self.order.key)
        return f"select 1 from {scan(self.deleted)} gone where {same}"


class WidenError(SourceError):
    """The types of some columns have changed, and a value of each does not fit the type that unites both."""

    def __init__(self, message: str, columns: tuple[str, ...]) -> None:
        super().__init__(message)
        self.columns = columns


def merge_by_key(
    con: "DuckDBPyConnection",
    base: Sequence[Path],
    increment: Increment,
    into: Path,
    *,
    is_unique: bool = False,
    file_bytes: int = MAX_FILE_BYTES,
) -> list[Path]:
    """Write base and new rows, merged by primary key, to an empty folder: in their order, columns united by name.

    This reads and writes the whole table: `contract.keyed_merge` does so only where the files can't be merged one by
    one. A new row whose key is among those of deleted ones stays. `is_unique` means that no two new rows have one key.

    Raises:
        SourceError: the new rows have no such key column or a NULL in it, or a column's types are incompatible.
    """
    new, order = increment.new, increment.order
    check_order(con, new, order)
    base = going_with(con, base, new, into / "base", key=order.key, is_whole=increment.is_whole)
    types = column_types(con, new)
    if not base:
        query = f"from {scan(new)}" if is_unique else latest(new, order.key, increment.cursor, types)
    else:
        kept, key = _numbered(base, is_new=False), ", ".join(map(quote, order.key))
        if increment.deleted:
            kept = f"select * from ({kept}) old where not exists ({increment.deletion})"
        query = f"""
            select * exclude ("is new", "row number") from ({kept} union all by name {_numbered(new, is_new=True)})
            qualify row_number() over (partition by {key} order by {preferred(increment.cursor, types)}) = 1
        """
    if base or not is_unique or not _is_sorted(con, new, order):
        query = f"select * from ({query}) order by {order.sql}"
    return parquet.write(
        con, query, _folder(into / "merged"), file_bytes=file_bytes, group_rows=parquet.KEYED_GROUP_ROWS
    )


def _is_sorted(con: "DuckDBPyConnection", new: Sequence[Path], order: Order) -> bool:
    """Return whether rows are in order already, as exports by an ascending id are: sorting takes half of a first load."""
    if len(order.columns) > 1:
        return False  # comparing rows of several columns takes as long as sorting them
    column = quote(order.columns[0])
    query = f"select {column} as this, lag({column}) over () as before from {scan(new)}"
    with raised_as(SourceError):
        found = con.execute(f"select coalesce(bool_and(this > before), true) from ({query})").fetchall()
    return bool(found[0][0])


def latest(new: Sequence[Path], key: Sequence[str], cursor: str | None, types: Mapping[str, str]) -> str:
    """Return the query of the new rows that count: of several with one key the one of the greatest cursor, else the last."""
    return f"""
        select * exclude ("is new", "row number") from ({_numbered(new, is_new=True)})
        qualify row_number() over (partition by {", ".join(map(quote, key))} order by {preferred(cursor, types)}) = 1
    """


def preferred(cursor: str | None, types: Mapping[str, str]) -> str:
    """Return the terms that sort the rows of one key, the one that counts first, by "is new" and "row number".

    A cursor without a place in the order loses to any other: NaN would be the greatest double, and stay forever.
    """
    terms = ['"is new" desc', '"row number" desc']
    if cursor is not None and cursor in types:
        name = quote(cursor)
        terms.insert(0, f"case when {cursors.on_line(name, types[cursor])} then {name} end desc nulls last")
    return ", ".join(terms)


def repeated_keys(con: "DuckDBPyConnection", new: Sequence[Path], key: Sequence[str]) -> int:
    """Count the keys that several of the new rows share."""
    terms = ", ".join(map(quote, key))
    with raised_as(SourceError):
        row = con.execute(
            f"select count(*) from (select {terms} from {scan(new)} group by {terms} having count(*) > 1)"
        ).fetchone()
    return int(row[0]) if row else 0


def appended(
    con: "DuckDBPyConnection", base: Sequence[Path], new: Sequence[Path], into: Path
) -> tuple[Sequence[Path], Sequence[Path]]:
    """Return the files of the base that stay, and files of all other rows, in an empty folder.

    A new row is added if it is missing in the base, or occurs less often there. Only the columns that both files have
    identify a row: a column may come, go and return. If rows that are read again have values in a column that a file of
    the base lacks, these rows get them, and keep those of columns that are gone: a row that stayed as it was would be
    taken for another one by the next increment. Without a common column, all new rows are added.
    """
    old, read = _by_columns(con, base), _by_columns(con, new)
    if len(old) * len(read) > _PAIRS:
        old, read = ({frozenset(column_types(con, paths)): paths} for paths in (base, new))
    pairs = sorted(((was, now) for was in old for now in read if was & now), key=lambda pair: -len(pair[0] & pair[1]))
    if len(old) == len(read) == 1 and pairs and (added := _only_added(con, base, new, into)) is not None:
        return base, added
    left, matches = dict(old), dict[frozenset[str], list[_Match]]()
    for number, (was, now) in enumerate(pairs):
        match = _Match.of(con, left[was], read[now])
        matches.setdefault(was, []).append(match)
        left[was] = _lacking(con, match.base, match.new, match.shared, _folder(into / f"left{number}"))
        read[now] = _lacking(con, match.new, match.base, match.shared, _folder(into / f"new{number}"))
    stay, more = list[Path](), list[Path]()
    for number, (was, paths) in enumerate(old.items()):
        joined = _joined(con, matches.get(was, ()), into / f"joined{number}")
        if joined:
            more += [*left[was], *joined]
        else:
            stay += paths
    return stay, [*more, *(path for paths in read.values() for path in paths)]


def _only_added(
    con: "DuckDBPyConnection", base: Sequence[Path], new: Sequence[Path], into: Path
) -> Sequence[Path] | None:
    """Return the rows to add; `None` if rows of the base get values in other columns."""
    match = _Match.of(con, base, new)
    return None if match.later else _lacking(con, new, base, match.shared, _folder(into / "added"))


@dataclass(frozen=True, slots=True)
class _Match:
    """Files of the base and new ones, the columns that both have, and `later` ones in which rows of both have new values."""

    base: Sequence[Path]
    new: Sequence[Path]
    shared: Sequence[str]
    later: Sequence[str]

    @classmethod
    def of(cls, con: "DuckDBPyConnection", base: Sequence[Path], new: Sequence[Path]) -> "_Match":
        columns, known = column_types(con, new), column_types(con, base)
        shared, later = ([name for name in columns if (name in known) == is_known] for is_known in (True, False))
        return cls(base, new, shared, later if later and _have_values(con, base, new, shared, later) else ())


def _joined(con: "DuckDBPyConnection", matches: Sequence[_Match], into: Path) -> list[Path]:
    """Write the rows of the base that are among the new ones, if some of them get values in later columns."""
    if not any(match.later for match in matches):
        return []
    made = list[Path]()
    for number, match in enumerate(matches):
        terms = {name: quote(name) for name in match.shared}
        left, right = (Side(f"from {scan(paths)}", terms, {}) for paths in (match.base, match.new))
        columns = (list(column_types(con, match.base)), match.later)
        made += wide_difference.write_joined(con, left, right, columns, _folder(into / str(number)))
    with raised_as(SourceError):
        found = con.execute(f"select 1 from {scan(made)} limit 1").fetchall()
    return made if found else []


def _by_columns(con: "DuckDBPyConnection", paths: Sequence[Path]) -> dict[frozenset[str], Sequence[Path]]:
    """Return files by the columns that they have."""
    found = dict[frozenset[str], list[Path]]()
    for path in paths:
        found.setdefault(frozenset(column_types(con, [path])), []).append(path)
    return {**found}


def _have_values(
    con: "DuckDBPyConnection", base: Sequence[Path], new: Sequence[Path], columns: Sequence[str], later: Sequence[str]
) -> bool:
    """Return whether new rows that are in the base, as far as it has their columns, have values in `later` ones.

    That is taken for granted of wide tables, of which the comparison would hold all columns in memory.
    """
    if len(columns) + len(later) > column_groups.WIDE:
        return True
    listed, has_value = ", ".join(map(quote, columns)), " or ".join(f"{quote(name)} is not null" for name in later)
    query = f"select {listed} from {scan(new)} where {has_value} intersect select {listed} from {scan(base)} limit 1"
    with raised_as(SourceError):
        return bool(con.execute(query).fetchall())


def _lacking(
    con: "DuckDBPyConnection", left: Sequence[Path], right: Sequence[Path], columns: Sequence[str], into: Path
) -> list[Path]:
    """Write the rows on the left that are missing on the right, or occur less often there; these columns identify a row."""
    every = list(column_types(con, left))
    if len(every) > column_groups.WIDE:
        terms = {name: quote(name) for name in columns}
        more, less = (Side(f"from {scan(paths)}", terms, {}) for paths in (left, right))
        return wide_difference.write(con, more, less, every, into, each=True)
    return parquet.write(con, _minus(f"from {scan(left)}", f"from {scan(right)}", columns), into)


def _common(con: "DuckDBPyConnection", base: Sequence[Path], new: Sequence[Path]) -> list[str]:
    old = column_types(con, base)
    return [name for name in column_types(con, new) if name in old]


def least(con: "DuckDBPyConnection", new: Sequence[Path], cursor: str) -> tuple[str | None, bool]:
    """Return the least cursor of some rows as text, and whether any row has a cursor without a place in the order."""
    kind = column_types(con, new).get(cursor)
    if kind is None:
        return None, True
    on_line = cursors.on_line(quote(cursor), kind)
    with raised_as(SourceError):
        row = con.execute(
            f"select cast(min({quote(cursor)}) filter ({on_line}) as varchar), bool_or(not {on_line}) from {scan(new)}"
        ).fetchone()
    return (row[0], bool(row[1])) if row else (None, True)


def going_with(
    con: "DuckDBPyConnection",
    base: Sequence[Path],
    new: Sequence[Path],
    into: Path,
    *,
    key: Sequence[str] = (),
    is_whole: bool = False,
) -> Sequence[Path]:
    """Return the rows of the base that are kept, as files that can be united with those of the new rows.

    All rows are kept, unless the new rows are the whole source and the original texts of a column are unknown. Without
    a key, a row is identified by all its values.

    Raises:
        SourceError: a column's types are incompatible.
    """
    if not base:
        return base
    into.mkdir(parents=True, exist_ok=True)
    with raised_as(SourceError):
        base = _without_empty_columns(con, base, new, into / "typed")
    old, now = column_types(con, base), column_types(con, new)
    lost = {
        name: (old[name], now[name])
        for name in old.keys() & now.keys()
        if not cursors.are_kindred(old[name], now[name])
    }
    if lost and is_whole:
        with raised_as(SourceError):
            base = _not_read_again(con, base, new, _folder(into / "rest"), lost=lost, key=key)
            base = _without_empty_columns(con, base, new, into / "rest typed")
            _check_certain(con, base, lost)
    check_types(con, base, new)
    return base


def _without_empty_columns(
    con: "DuckDBPyConnection", base: Sequence[Path], new: Sequence[Path], into: Path
) -> Sequence[Path]:
    """Cast columns of the base that have no value yet, and so no type either, to the types of the new rows."""
    old, now = column_types(con, base), column_types(con, new)
    differing = [name for name in old if name in now and old[name] != now[name]]
    if not differing:
        return base
    empty = list[str]()
    for start in range(0, len(differing), _AT_ONCE):
        names = differing[start : start + _AT_ONCE]
        counts = con.execute(f"select {', '.join(f'count({quote(name)})' for name in names)} from {scan(base)}")
        empty += [name for name, count in zip(names, counts.fetchall()[0], strict=True) if count == 0]
    if not empty:
        return base
    typed, made = {name: f"cast(null as {checked_type(now[name])})" for name in empty}, list[Path]()
    for number, (own, alike) in enumerate(_by_columns(con, base).items()):
        terms = {name: typed.get(name, quote(name)) for name in old if name in own}
        made += column_groups.select(con, terms, scan(alike), _folder(into / str(number)))
    return made


def _not_read_again(
    con: "DuckDBPyConnection",
    base: Sequence[Path],
    new: Sequence[Path],
    into: Path,
    *,
    lost: Mapping[str, tuple[str, str]],
    key: Sequence[str],
) -> list[Path]:
    """Write the rows of the base that no new row was made from the same text as."""
    columns = list(key) or _common(con, base, new)
    known = {name: _as_it_was(quote(name), *lost[name]) if name in lost else quote(name) for name in columns}
    terms = ", ".join(f"{value} as {quote(name)}" for name, value in known.items())
    conditions = {name: f"{quote(name)} is null or {known[name]} is not null" for name in columns if name in lost}
    if len(every := list(column_types(con, base))) > column_groups.WIDE:
        left = Side(f"from {scan(base)}", {name: quote(name) for name in columns}, {})
        right = Side(f"from {scan(new)}", known, conditions)
        return wide_difference.write(con, left, right, every, into, each=not key)
    meets = " and ".join(f"({one})" for one in conditions.values())
    again = f"select {terms} from {scan(new)} where {meets or 'true'}"
    return parquet.write(con, _minus(f"from {scan(base)}", again, columns, each=not key), into)


def _as_it_was(value: str, old: str, now: str) -> str:
    """Return the SQL of the value as which a text was published under the column's old type; NULL if it was not."""
    if now != "VARCHAR":
        return f"try_cast({value} as {checked_type(old)})"
    if old in _WHOLE:  # '007' and '+7' were never published as 7, so they are distinct values
        whole = f"try_cast({value} as {checked_type(old)})"
        return f"case when cast({whole} as varchar) = {value} then {whole} end"
    if old == "BOOLEAN":
        return f"case when lower({value}) in ('true', 'false') then try_cast({value} as boolean) end"
    if old == "DATE":
        moment = f"try_cast({value} as timestamp)"
        return f"case when {moment} = date_trunc('day', {moment}) then cast({moment} as date) end"
    if cursors.family(old) == "number":
        number = f"replace({value}, ',', '.')"
        padded = f"regexp_matches({value}, '^[-+]?0[0-9]')"
        return f"case when not {padded} then try_cast({number} as {checked_type(old)}) end"
    return f"try_cast({value} as {checked_type(old)})"


def _check_certain(con: "DuckDBPyConnection", rest: Sequence[Path], lost: Mapping[str, tuple[str, str]]) -> None:
    """Check that the original texts of rows that the source no longer has are certain.

    Raises:
        SourceError: they are not; the message names the column and a value.
    """
    unsure = [name for name, (old, now) in lost.items() if now == "VARCHAR" and old not in _WHOLE]
    for start in range(0, len(unsure), _AT_ONCE):
        names = unsure[start : start + _AT_ONCE]
        terms = ", ".join(f"count({quote(name)}), cast(min({quote(name)}) as varchar)" for name in names)
        found = con.execute(f"select {terms} from {scan(rest)}").fetchall()[0]
        for name, count, value in zip(names, found[::2], found[1::2], strict=True):
            if count:
                raise SourceError(
                    f"the column {name!r} was {lost[name][0]} and now contains text, but the original text of {count} published rows "
                    f"that the source no longer has, such as {value}, is unknown; put their files back, configure the type "
                    f"of {name!r}, or {_ANEW}"
                )


def _minus(left: str, right: str, columns: Sequence[str], *, each: bool = True) -> str:
    """Return the query of the rows of `left`, in order, that are missing in `right`.

    Rows are equal if these columns are. With `each`, a row of `right` removes one equal row of `left`, else all.
    """
    same = ", ".join(map(quote, columns))
    return f"""
        select * exclude ("is left", "row number", "nth equal", "other rows") from (
            select *, row_number() over (partition by "is left", {same} order by "row number") as "nth equal",
                count(*) filter (not "is left") over (partition by {same}) as "other rows"
            from (
                select *, true as "is left", row_number() over () as "row number" from ({left})
                union all by name
                select {same}, false as "is left", 0 as "row number" from ({right})
            )
        )
        where "is left" and {'"nth equal" > "other rows"' if each else '"other rows" = 0'}
        order by "row number"
    """


def _folder(path: Path) -> Path:
    path.mkdir(parents=True)
    return path


def united(con: "DuckDBPyConnection", paths: Sequence[Path], into: Path) -> list[Path]:
    """Rewrite the rows of files to an empty folder, with one type for each column."""
    columns = column_types(con, paths)
    return column_groups.select(con, {name: quote(name) for name in columns}, scan(paths), into)


def united_apart(con: "DuckDBPyConnection", paths: Sequence[Path], into: Path) -> list[Path]:
    """Rewrite the rows of files like `united`, but those of files with other columns to other files."""
    types, made = column_types(con, paths), list[Path]()
    for number, (names, alike) in enumerate(_by_columns(con, paths).items()):
        terms = {name: f"cast({quote(name)} as {kind})" for name, kind in types.items() if name in names}
        made += column_groups.select(con, terms, scan(alike), _folder(into / str(number)))
    return made


def sorted_by(
    con: "DuckDBPyConnection", paths: Sequence[Path], into: Path, *, order: Order, file_bytes: int
) -> list[Path]:
    """Rewrite the rows of files of a keyed table, whose keys are distinct, to an empty folder, sorted by its order."""
    query = f"select * from {scan(paths)} order by {order.sql}"
    return parquet.write(con, query, into, file_bytes=file_bytes, group_rows=parquet.KEYED_GROUP_ROWS)


def check_types(con: "DuckDBPyConnection", base: Sequence[Path], new: Sequence[Path]) -> None:
    """Check that old and new rows can be united without losing data.

    Raises:
        WidenError: the types of columns have changed, and values do not survive the cast; the message names the first.
    """
    old, now, united = column_types(con, base), column_types(con, new), column_types(con, [*base, *new])
    differing = [name for name in old if name in now and old[name] != now[name]]
    lost: dict[str, str] = {}
    for start in range(0, len(differing), _AT_ONCE):
        names = differing[start : start + _AT_ONCE]
        for paths, types in ((base, old), (new, now)):
            casts = {name: (types[name], united[name]) for name in names}
            try:
                found = _lost(con, scan(paths), casts)
            except SourceError:
                for name in names:  # which of them is it?
                    _lost(
                        con,
                        scan(paths),
                        {name: casts[name]},
                        f"{_changed(name, old, now)}, which are incompatible; {_ANEW}: ",
                    )
                raise
            lost = {**found, **lost}
    if lost:
        name = next(name for name in differing if name in lost)
        message = f"{_changed(name, old, now)}, and {lost[name]} does not fit {united[name]}; {_ANEW}"
        raise WidenError(message, tuple(lost))


def _changed(name: str, old: Mapping[str, str], now: Mapping[str, str]) -> str:
    return f"the column {name!r} was {old[name]} and is now {now[name]}"


def _lost(
    con: "DuckDBPyConnection", scan: str, casts: Mapping[str, tuple[str, str]], prefix: str = ""
) -> dict[str, str]:
    """Return by column, as text, a value that is not the same in the second type."""

    def term(column: str, kind: str, target: str) -> str:
        return f"min(cast({column} as varchar)) filter (not ({survives(con, column, kind, target)}))"

    terms = ", ".join(term(quote(name), *types) for name, types in casts.items())
    with raised_as(SourceError, prefix):
        values = con.execute(f"select {terms} from {scan}").fetchall()[0]
    return {name: str(value) for name, value in zip(casts, values, strict=True) if value is not None}


def check_order(con: "DuckDBPyConnection", new: Sequence[Path], order: Order) -> None:
    """Check that new rows have the columns of an order, and a value in each column of the key.

    Raises:
        SourceError: they do not.
    """
    columns, key = column_types(con, new), order.key
    if missing := [name for name in order.clustered_by if name not in columns]:
        raise SourceError(
            f"the clustering column {missing[0]!r} is not in the table; its columns are {', '.join(columns)}"
        )
    if missing := [name for name in key if name not in columns]:
        raise SourceError(
            f"the primary key column {missing[0]!r} is not in the table; its columns are {', '.join(columns)}"
        )
    counts = ", ".join(f"count(*) filter ({quote(name)} is null)" for name in key)
    with raised_as(SourceError):
        found = con.execute(f"select {counts} from {scan(new)}").fetchall()[0]
    for name, count in zip(key, found, strict=True):
        if count:
            raise SourceError(
                f"the primary key column {name!r} is NULL in {count} rows; fill it in at the source, or choose another key"
            )


def column_types(con: "DuckDBPyConnection", paths: Sequence[Path]) -> Mapping[str, str]:
    """Return the columns of parquet files, united by name, with their types."""
    with raised_as(SourceError):
        return {row[0]: checked_type(row[1]) for row in con.execute(f"describe from {scan(paths)}").fetchall()}


def _numbered(paths: Sequence[Path], *, is_new: bool) -> str:
    """Number rows in order; a column's name never contains a space, so the added names are free."""
    return f'select *, {is_new} as "is new", row_number() over () as "row number" from {scan(paths)}'


def scan(paths: Sequence[Path]) -> str:
    """Return the SQL that reads parquet files as one table, with columns united by name."""
    files = ", ".join(quote_text(str(path)) for path in paths)
    return f"read_parquet([{files}], union_by_name = true, hive_partitioning = false)"
