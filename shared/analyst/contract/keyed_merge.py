"""Merging an increment into a keyed table file by file: only files that contain one of its keys are rewritten.

The ranges of the files (`contract.key_ranges`) exclude most of them; of the others only the columns of the key are
read, to find the keys that a file contains. A file is rewritten if it loses a row or gets another one in its place. New
keys are added to a file next to them that is rewritten anyway or is small, else they become new files. All other files
stay as they are, under their names. Where rows are only replaced, the columns in which none of them differs are copied as
they are compressed: most increments change a few columns.

Every step has one result: rows are sorted by a total order, files are chosen by their rows alone, and each file is
written by one thread. So the bytes are the same whatever the number of threads, and rewriting two files at a time is
safe.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analyst import duckdb_files
from analyst.contract import column_groups, cursors, key_ranges, merging, parquet, wide_merge
from analyst.contract.key_ranges import FileSizes, Order, Range
from analyst.contract.merging import Increment
from analyst.contract.model import FileRow
from analyst.contract.parquet import ParquetFile
from analyst.duckdb_files import raised_as
from analyst.errors import MemoryExhaustedError, SourceError
from analyst.names import quote, quote_text

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

SIDE_BY_SIDE = 2
"""Files that are rewritten at the same time."""

_INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT")
_CONDITIONS = 200
_APPLIED_ROWS = 4096
_ROW_NUMBER = "file_row_number"
"""A column that DuckDB adds to those of a file."""

Files = tuple[ParquetFile | FileRow, ...]


@dataclass(frozen=True, slots=True)
class Merged:
    """The files of a table after a merge, in its order, and the number of keys that several new rows share."""

    files: Files
    repeated_keys: int


@dataclass(frozen=True, slots=True)
class KeyedMerge:
    """One merge into the files `base`. `local` returns a file's copy on this machine; `folder` a new, empty folder."""

    base: tuple[FileRow, ...]
    local: Callable[[FileRow], Path]
    folder: Callable[[], Path]
    memory_limit: str
    sizes: FileSizes = field(default_factory=FileSizes)
    threads: int | None = None
    _parsed: list[Mapping[str, Mapping[str, Any]]] = field(default_factory=list)

    def run(self, increment: Increment) -> Merged:
        """Merge an increment.

        Raises:
            SourceError: the new rows have no such key column or a NULL in it, or a column's types are incompatible.
            UnavailableError: a file can't be downloaded, or memory or disk space is exhausted.
        """
        try:
            return self._run(increment)
        except MemoryExhaustedError:
            with self._connect() as con:
                columns = len(merging.column_types(con, increment.new))
            if columns <= column_groups.WIDE:
                raise
        try:
            return self._merged_by_columns(increment)
        except MemoryExhaustedError as error:
            raise MemoryExhaustedError(
                f"{columns:,} columns are too many to be merged by key within {self.memory_limit} of memory; increase "
                f"MEMORY_LIMIT, or set sync_strategy to full_refresh ({error})"
            ) from error

    def _merged_by_columns(self, increment: Increment) -> Merged:
        """Merge an increment of a wide table; see `contract.wide_merge`."""
        order = increment.order
        with duckdb_files.connect(memory_limit=self.memory_limit, threads=1, temp_dir=self.folder() / "spill") as con:
            base = [self.local(row) for row in self.base]
            paths = wide_merge.merge_by_key(con, base, increment, self.folder())
            files = tuple(key_ranges.recorded(con, parquet.inspect(con, path), order) for path in paths)
            return Merged(files, merging.repeated_keys(con, increment.new, order.key))

    def _run(self, increment: Increment) -> Merged:
        order = increment.order
        with self._connect() as con:
            merging.check_order(con, increment.new, order)
            _check_deleted(con, increment)
            repeated = merging.repeated_keys(con, increment.new, order.key)
            increment, types = self._widened(con, increment)
            ranges = key_ranges.covering(self.base, order) if self.base else None
            if ranges is None or any(types.get(name, kind) != kind for name, kind in self._base_types()):
                base, size = [self.local(row) for row in self.base], self.file_bytes(increment)
                paths = merging.merge_by_key(
                    con, base, increment, self.folder(), is_unique=not repeated, file_bytes=size
                )
                files = tuple(key_ranges.recorded(con, parquet.inspect(con, path), order) for path in paths)
                return Merged(files, repeated)
            plan = _Planning(con, self, increment, ranges, self._stats(), types, is_unique=not repeated).plan()
        return Merged(self._carried_out(plan, order), repeated)

    def _base_types(self) -> Iterator[tuple[str, str]]:
        """Return the columns of all files with their types, of which a column has one in all files of a table."""
        return (
            (name, column_stats["type"]) for file_stats in self._stats() for name, column_stats in file_stats.items()
        )

    def _stats(self) -> Sequence[Mapping[str, Mapping[str, Any]]]:
        """Return the statistics of the files, which take a while to parse where a table is wide."""
        if not self._parsed:
            self._parsed.extend(row.column_stats for row in self.base)
        return self._parsed

    def _widened(self, con: "DuckDBPyConnection", increment: Increment) -> tuple[Increment, Mapping[str, str]]:
        """Cast integers of the new rows to wider ones of the table; return the increment and the types of its columns."""
        types = dict(merging.column_types(con, increment.new))
        wider = {
            name: kind
            for name, kind in self._base_types()
            if kind in _INTEGERS and types.get(name) in _INTEGERS[: _INTEGERS.index(kind)]
        }
        if not wider:
            return increment, types
        terms = {name: f"cast({quote(name)} as {wider[name]})" if name in wider else quote(name) for name in types}
        new = column_groups.select(con, terms, merging.scan(increment.new), self.folder())
        return replace(increment, new=new), types | wider

    def file_bytes(self, increment: Increment) -> int:
        """Return the size of the files that are written."""
        new = sum(path.stat().st_size for path in increment.new)
        return self.sizes.file_bytes(sum(row.size_bytes for row in self.base) + new)

    def _carried_out(self, plan: "_Plan", order: Order) -> Files:
        """Rewrite the files of a plan, some at a time, and put everything in its place."""
        with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
            rewritten = dict(
                zip(
                    plan.touched,
                    pool.map(lambda number: self._rewritten(plan, number, order), plan.touched),
                    strict=True,
                )
            )
        files: list[ParquetFile | FileRow] = [*plan.added]
        for number, row in enumerate(self.base):
            files += rewritten.get(number, (row,))
        kept = [file for file in files if isinstance(file, FileRow) or file.rows]
        if not kept:
            return tuple(files[:1])  # every row is deleted: one empty file keeps the columns
        with self._lent() as con:
            return tuple(file for group in key_ranges.in_order(con, kept, order) for file in group)

    def _rewritten(self, plan: "_Plan", number: int, order: Order) -> Sequence[ParquetFile]:
        """Write a file again with its rows replaced, deleted and added."""
        with self._lent(share=SIDE_BY_SIDE) as con, raised_as(SourceError):
            paths = self._with_few_columns(con, plan, number, order) or self._with_all_columns(con, plan, number, order)
            return [key_ranges.recorded(con, parquet.inspect(con, path), order) for path in paths]

    def _with_few_columns(self, con: "DuckDBPyConnection", plan: "_Plan", number: int, order: Order) -> Sequence[Path]:
        """Write only the columns in which rows differ, and copy the others; nothing if that is not possible.

        It is possible where each row of the file stays in its place. Values that are equal but not the same, such as 0.0 and
        -0.0, have different texts.
        """
        path, size = self.local(self.base[number]), plan.size_of(number, self.base[number])
        names = list(self._stats()[number])
        if number not in plan.differing or not plan.is_narrow(names) or size != parquet.MAX_FILE_BYTES:
            return ()
        if not column_groups.ends_by_rows(path, parquet.KEYED_GROUP_ROWS):
            return ()
        applied = plan.applied_to(number)
        same = " and ".join(f"f.{quote(column)} = n.{quote(column)}" for column in order.key)
        new = {name: f"n.{quote(name)}" if name in plan.columns else "null" for name in names}
        known = plan.differing[number]
        differ = ", ".join(
            f"bool_or(f.{quote(name)} is distinct from {value}"
            f" or cast(f.{quote(name)} as varchar) is distinct from cast({value} as varchar))"
            if name not in known
            else "true"
            for name, value in new.items()
        )
        terms = f'count(*), coalesce(bool_or(n."is gone"), false), {differ}'
        scan = f"read_parquet({quote_text(str(path))}, file_row_number = true, hive_partitioning = false) f"
        rows, is_gone, *flags = con.execute(f"select {terms} from {scan} join {applied} n on {same}").fetchall()[0]
        changed = [name for name, differs in zip(names, flags, strict=True) if differs]
        if rows != plan.touched[number] or is_gone or not changed or not {*changed}.isdisjoint(order.columns):
            return ()
        listed = ", ".join(
            f'case when n."the file" is null then f.{quote(name)} else {new[name]} end as {quote(name)}'
            for name in changed
        )
        query = f"""
            select {", ".join(map(quote, changed))} from (
                select f.file_row_number as "the place", {listed} from {scan} left join {applied} n on {same}
            )
            order by "the place"
        """
        columns = parquet.write(con, query, self.folder(), is_portable=True, group_rows=parquet.KEYED_GROUP_ROWS)
        into = self.folder() / "00000.parquet"
        return (into,) if len(columns) == 1 and column_groups.with_columns(path, columns[0], into) else ()

    def _with_all_columns(self, con: "DuckDBPyConnection", plan: "_Plan", number: int, order: Order) -> Sequence[Path]:
        file = self.base[number]
        scan, applied = (
            f"read_parquet({quote_text(str(self.local(file)))}, hive_partitioning = false)",
            plan.applied_to(number),
        )
        same = " and ".join(f"kept.{quote(column)} = applied.{quote(column)}" for column in order.key)
        query = f"""
            select * from (
                select * from {scan} kept where not exists (select 1 from {applied} applied where {same})
                union all by name
                select * exclude ("the file", "the place", "is gone", "is certain") from {applied} where not "is gone"
            )
            order by {order.sql}
        """
        size = plan.size_of(number, file)
        return parquet.write(
            con, query, self.folder(), is_portable=True, file_bytes=size, group_rows=parquet.KEYED_GROUP_ROWS
        )

    def _connect(self) -> "DuckDBPyConnection":
        temp_dir = self.folder() / "spill"
        return duckdb_files.connect(memory_limit=self.memory_limit, threads=self.threads, temp_dir=temp_dir)

    def _lent(self, *, share: int = 1) -> "AbstractContextManager[DuckDBPyConnection]":
        limit = duckdb_files.shared(self.memory_limit, share)
        return duckdb_files.lent(memory_limit=limit, temp_dir=self.folder() / "spill")


def _check_deleted(con: "DuckDBPyConnection", increment: Increment) -> None:
    if increment.deleted:
        columns = merging.column_types(con, increment.deleted)
        if missing := [name for name in increment.order.key if name not in columns]:
            raise SourceError(f"the deleted rows have no column {missing[0]!r}, which is in the primary key")


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a merge does to each file of the base, by its number.

    `touched` are the files that are rewritten, with the number of rows that they get; `applied` is a parquet file with
    these rows, in the order of "the file", and their `columns`. `differing` are some of the columns in which rows of a file
    differ. `added` are new files.
    """

    touched: Mapping[int, int]
    applied: Path
    columns: Collection[str]
    differing: Mapping[int, Collection[str]]
    added: Sequence[ParquetFile]
    file_bytes: int

    def applied_to(self, number: int) -> str:
        """Return the SQL of the rows for a file."""
        return f'(from read_parquet({quote_text(str(self.applied))}, hive_partitioning = false) where "the file" = {number})'

    def size_of(self, number: int, file: FileRow) -> int:
        """Return the size at which a file is cut.

        One that has grown to twice its size is cut; one that is a little too large would leave a tiny rest.
        """
        expected = file.size_bytes * (1 + self.touched[number] / max(file.rows, 1))
        return self.file_bytes if expected > 2 * self.file_bytes else parquet.MAX_FILE_BYTES

    def is_narrow(self, names: Collection[str]) -> bool:
        """Return whether replaced rows seem to differ from those of a file in few of its columns, of which it has all."""
        if len(names) > column_groups.WIDE or not {*self.columns} <= {*names} or _ROW_NUMBER in map(str.lower, names):
            return False
        return len({column for found in self.differing.values() for column in found}) <= len(names) // 2


@dataclass(frozen=True, slots=True)
class _Planning:
    """Decides what happens to each file. The tables that it makes in `con` may exceed memory; DuckDB spills them.

    new      the increment in its order, each key once: "the place", its columns, "is gone" for a deleted key, and
             "is certain" if the row of the table leaves whatever its cursor is
    matched  "the place" and "the file" of each key that a file contains, and whether the new row "is newer"
    goal     "the place" of each row that counts, and "the file" that it goes into, NULL for a new one

    A column's name never contains a space, so these names are free.
    """

    con: "DuckDBPyConnection"
    merge: KeyedMerge
    increment: Increment
    ranges: Sequence[Range]
    stats: Sequence[Mapping[str, Mapping[str, Any]]]
    types: Mapping[str, str]
    is_unique: bool
    _base_types: dict[str, str] = field(default_factory=dict)
    _differing: dict[int, Collection[str]] = field(default_factory=dict)
    """Columns in which rows of files that were compared differ, by the number of the file."""

    @property
    def base(self) -> tuple[FileRow, ...]:
        return self.merge.base

    def plan(self) -> _Plan:
        for stats in self.stats:
            self._base_types.update({name: column_stats["type"] for name, column_stats in stats.items()})
        with raised_as(SourceError):
            self._number_rows()
            self._match(self._candidates())
            touched = {number for number in self._matched_files() if self._changes(number)}
            self._choose_goals(touched)
            return self._planned()

    def _number_rows(self) -> None:
        """Make `new`: of several rows with one key the one that `merging.latest` prefers, of a deleted key its columns."""
        made, order = self.increment, self.increment.order
        latest = f"from {merging.scan(made.new)}"
        if not self.is_unique:
            latest = merging.latest(made.new, order.key, made.cursor, self.types)
        rows = f'select *, false as "is gone", false as "is certain" from ({latest})'
        if made.deleted:
            gone, new = merging.scan(made.deleted), merging.scan(made.new)
            same = " and ".join(f"gone.{quote(column)} = n.{quote(column)}" for column in order.key)
            terms = ", ".join(f"cast({quote(c)} as {self._base_types[c]}) as {quote(c)}" for c in order.key)
            rows = f"""
                select *, false as "is gone", exists (select 1 from {gone} gone where {same}) as "is certain"
                from ({latest}) n
                union all by name
                select distinct {terms}, true as "is gone", true as "is certain" from {gone} gone
                where not exists (select 1 from {new} n where {same})
            """
        self.con.execute(
            f'create temp table "new" as select row_number() over (order by {order.sql}) as "the place", * from ({rows})'
        )

    def _candidates(self) -> list[int]:
        """Return the files whose range contains one of the keys, as far as the bounds of all of them are known."""
        conditions = [
            found.may_contain(self._base_types, stats) for found, stats in zip(self.ranges, self.stats, strict=True)
        ]
        return [number for number, is_one in enumerate(self._any(conditions)) if is_one]

    def _any(self, conditions: Sequence[str]) -> Iterable[bool]:
        """Return for each condition whether a new row meets it."""
        for start in range(0, len(conditions), _CONDITIONS):
            terms = ", ".join(f"bool_or({condition})" for condition in conditions[start : start + _CONDITIONS])
            yield from (bool(value) for value in self.con.execute(f'select {terms} from "new"').fetchall()[0])

    def _match(self, candidates: Sequence[int]) -> None:
        """Make `matched` from the columns of the key, and of the cursor, of some files."""
        self.con.execute('create temp table "matched" ("the place" bigint, "the file" integer, "is newer" boolean)')
        key, cursor = self.increment.order.key, self.increment.cursor
        same = " and ".join(f"f.{quote(column)} = n.{quote(column)}" for column in key)
        for is_with_cursor in (True, False):  # a file of an earlier run may not have the column
            numbers = [n for n in candidates if (cursor in self.types and cursor in self.stats[n]) == is_with_cursor]
            if not numbers:
                continue
            paths = {number: quote_text(str(self.merge.local(self.base[number]))) for number in numbers}
            columns = dict.fromkeys([*key, *([cursor] if cursor and is_with_cursor else [])])
            wins = self._wins(cursor) if cursor and is_with_cursor else "true"
            listed, scanned = ", ".join(map(str, paths)), ", ".join(paths.values())
            self.con.execute(f"""
                insert into "matched"
                select n."the place", [{listed}][list_position([{scanned}], f."the path")], n."is certain" or {wins}
                from (select {", ".join(map(quote, columns))}, "the path" from read_parquet(
                    [{scanned}], filename = 'the path', hive_partitioning = false)) f
                join "new" n on {same}
            """)

    def _wins(self, cursor: str) -> str:
        """Return the SQL condition that the new row of a key is preferred to the one in a file."""
        kind = self.types[cursor]
        new, old = f"n.{quote(cursor)}", f"f.{quote(cursor)}"
        is_kept = f"{cursors.on_line(old, kind)} and (not {cursors.on_line(new, kind)} or {old} > {new})"
        return f"not ({is_kept})"

    def _matched_files(self) -> list[int]:
        found = self.con.execute(
            'select distinct "the file" from "matched" where "is newer" order by "the file"'
        ).fetchall()
        return [number for (number,) in found]

    def _changes(self, number: int) -> bool:
        """Return whether a row of a file differs from the one that replaces it; reading ends at the first.

        The columns in which other files differed are compared first: reading these alone takes a seventh of the time.
        """
        old, order = set(self.stats[number]), self.increment.order
        terms = {c: f"f.{quote(c)} is distinct from n.{quote(c)}" for c in self.types if c in old}
        terms |= {c: f"n.{quote(c)} is not null" for c in self.types if c not in old}
        terms |= {c: f"f.{quote(c)} is not null" for c in old - self.types.keys() - {*order.columns}}
        seen = {column for found in self._differing.values() for column in found}
        usual = {c: term for c, term in terms.items() if c in seen}
        found = self._different(number, usual) if usual else None
        if found is None and len(usual) < len(terms):
            found = self._different(number, terms)
        if found is not None:
            self._differing[number] = found
        return found is not None

    def _different(self, number: int, terms: Mapping[str, str]) -> list[str] | None:
        """Return the columns in which the first row of a file differs, none of them if it is deleted; `None` if no row does."""
        same = " and ".join(f"f.{quote(column)} = n.{quote(column)}" for column in self.increment.order.key)
        listed, differs = ", ".join(terms.values()), " or ".join(terms.values())
        found = self.con.execute(f"""
            select n."is gone", {listed} from read_parquet({quote_text(str(self.merge.local(self.base[number])))}, hive_partitioning = false) f
            join (select n.* from "new" n join "matched" m using ("the place") where m."the file" = {number} and m."is newer") n on {same}
            where n."is gone" or {differs} limit 1
        """).fetchone()
        if found is None:
            return None
        is_gone, *flags = found
        return [] if is_gone else [column for column, one in zip(terms, flags, strict=True) if one]

    def _choose_goals(self, touched: set[int]) -> None:
        """Make `goal`. A new key belongs to the last file that begins before it, where files are sorted by their first row.

        That file gets it if it is rewritten anyway or small. So small increments next to each other do not leave a file
        each, and files stay apart from each other.
        """
        table_bytes = sum(row.size_bytes for row in self.base)
        open_files = {
            n
            for n, row in enumerate(self.base)
            if n in touched or self.merge.sizes.is_small(row.size_bytes, table_bytes)
        }
        home = "0" if 0 in open_files else "null"
        branches = [
            f"when {self.ranges[n].begins_before(self._base_types)} then {n if n in open_files else 'null'}"
            for n in reversed(range(len(self.base)))
        ]
        listed = ", ".join(map(str, sorted(touched))) or "null"
        self.con.execute(f"""
            create temp table "goal" as
            select "the place", "the file" from "matched" where "is newer" and "the file" in ({listed})
            union all
            select "the place", case {" ".join(branches)} else {home} end from "new"
            where not "is gone" and "the place" not in (select "the place" from "matched")
        """)

    def _planned(self) -> _Plan:
        counted = self.con.execute(
            'select "the file", count(*) from "goal" where "the file" is not null group by "the file" order by "the file"'
        ).fetchall()
        home = self.merge.folder()
        applied = home / "applied.parquet"
        if counted:
            self.con.execute(f"""
                copy (
                    select g."the file", n.* from "new" n join "goal" g using ("the place") where g."the file" is not null
                    order by g."the file", "the place"
                ) to {quote_text(str(applied))} (format parquet, row_group_size {_APPLIED_ROWS})
            """)
        size = self.merge.file_bytes(self.increment)
        query = """
            select * exclude ("the place", "is gone", "is certain") from "new"
            where "the place" in (select "the place" from "goal" where "the file" is null) order by "the place"
        """
        paths = parquet.write(
            self.con, query, self.merge.folder(), is_portable=True, file_bytes=size, group_rows=parquet.KEYED_GROUP_ROWS
        )
        made = [parquet.inspect(self.con, path) for path in paths]
        added = [key_ranges.recorded(self.con, file, self.increment.order) for file in made if file.rows]
        return _Plan(dict(counted), applied, self.types.keys(), self._differing, added, size)
