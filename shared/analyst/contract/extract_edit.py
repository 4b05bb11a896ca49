"""Editing an extract.duckdb: a copy is changed and swapped in, and the edit is repeated if another writer came first."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from ulid import ULID

from analyst import duckdb_files
from analyst.contract import extract_file
from analyst.contract.extract_file import RECENT, BaseTables
from analyst.contract.model import EDITS_KEPT, SCHEMA, Extract, column_types, create_statements, extract_key
from analyst.duckdb_files import raised_as
from analyst.errors import ContractError
from analyst.store import Object, Store
from analyst.store.compare_and_swap import swap

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

T = TypeVar("T")


def read_extract(store: Store, source: str, folder: Path, *, with_details: bool = False) -> tuple[Extract, str | None]:
    """Read a source's current extract with its version; a missing one is empty.

    `with_details`, the originals of the columns and the parts of tables are read too, which takes some 10 ms.

    Raises:
        ContractError: the extract can't be read.
    """
    found = store.read(extract_key(source))
    if found is None:
        return Extract(), None
    digest = duckdb_files.digest_of(found.data)
    if (known := RECENT.get(source, digest, with_details=with_details)) is not None:
        return known, found.version
    with _local(found.data, folder) as (path, con, _):
        duckdb_files.attach(con, path, "extract", what=extract_key(source))
        extract, tables = extract_file.opened(con, "extract", source=source)
        if with_details and extract.meta:
            named = extract_file.originals(con, "extract", what=extract_key(source))
            parts = extract_file.read_parts(con, "extract", source=source, tables=tables)
            extract = replace(extract, originals=named, parts=parts)
        RECENT.add(source, digest, len(found.data), extract, with_details=with_details)
        return extract, found.version


def edit_extract(
    store: Store,
    source: str,
    change: Callable[["DuckDBPyConnection", Extract, Path], T],
    *,
    now: Callable[[], datetime],
    folder: Path,
) -> tuple[str, T]:
    """Change a copy of the extract, attached as `extract`, and swap it in; return its version and the result of `change`.

    `change` runs again on the new state whenever another writer swapped first. The folder that it is given is the only
    one that its connection can access, so macros, defaults and views that somebody else wrote can't read or write
    anything else.

    Raises:
        ContractError: the existing extract can't be read or changed; it stays as it is.
        UnavailableError: the store does not respond, others win the swap for a minute, or the disk is full.
    """
    what, edit = extract_key(source), str(ULID())
    results: list[T] = []

    def edited(current: Object | None) -> bytes:
        with _local(None if current is None else current.data, folder) as (path, con, home):
            is_plain = current is None or path in duckdb_files.PLAIN
            with raised_as(ContractError, f"{what} can't be changed: ", hide=path):
                _open(con, path, what, is_new=current is None)
                con.execute("begin")  # otherwise every statement would wait for the disk
                base = _base(con, source, current)
                results.append(change(con, base, home))
                _write_edit(con, edit, now())
                con.execute("commit")
                duckdb_files.detach(con, "extract")
            if is_plain:
                duckdb_files.PLAIN.add(path)
            return path.read_bytes()

    def done(current: Object) -> bool:
        with _local(current.data, folder) as (path, con, _):
            duckdb_files.attach(con, path, "extract", what=what)
            return edit in extract_file.read_edits(con, "extract", source=source)

    version = swap(store, what, edited, done=done)
    return version, results[-1]


def replace_rows(con: "DuckDBPyConnection", table: str, rows: Sequence[Sequence[object]]) -> None:
    """Replace all rows about the tables that are named in the first column of `rows`."""
    delete_rows(con, table, [str(row[0]) for row in rows])
    duckdb_files.insert(con, f"extract.main.{table}", column_types(table), rows)


def delete_rows(con: "DuckDBPyConnection", table: str, names: Sequence[str]) -> None:
    """Delete all rows about tables; to find out that there are no rows takes a tenth of the time that a deletion does."""
    if not names or con.execute(f"select count(*) from extract.main.{table}").fetchone() == (0,):
        return
    if len(names) <= _FEW:
        con.execute(f"delete from extract.main.{table} where list_contains(?, table_name)", [list(names)])
        return
    listed = json.dumps(list(names))
    con.execute(
        f"delete from extract.main.{table} where table_name in (select unnest(from_json(?, '[\"varchar\"]')))", [listed]
    )


_FEW: Final = 16
"""Names that are compared one after the other: planning the join by which more are found takes longer."""


@contextmanager
def _local(data: bytes | None, folder: Path) -> Iterator[tuple[Path, "DuckDBPyConnection", Path]]:
    """Provide a local copy of an extract, a connection that can access only its folder, and a folder for stand-ins."""
    if data is None or len(data) <= duckdb_files.SMALL:
        with duckdb_files.lent_confined() as (con, home):
            path = home / "extract.duckdb"
            if data is not None:
                path.write_bytes(data)
            yield path, con, home
    else:
        with (
            duckdb_files.scratch(folder) as home,
            duckdb_files.in_memory() as stand_ins,
            duckdb_files.connect(threads=1) as con,
        ):
            path = home / "extract.duckdb"
            path.write_bytes(data)
            duckdb_files.confine(con, home, stand_ins)
            yield path, con, stand_ins


def _open(con: "DuckDBPyConnection", path: Path, what: str, *, is_new: bool) -> None:
    if is_new:
        duckdb_files.create(con, path, "extract")
    else:
        duckdb_files.attach(con, path, "extract", what=what, writable=True)


def _base(con: "DuckDBPyConnection", source: str, current: Object | None) -> Extract:
    """Read the extract that is changed, and create missing tables of the contract."""
    if current is None:
        con.execute(create_statements("extract"))
        return Extract()
    tables = BaseTables.look(con)
    base = RECENT.get(source, duckdb_files.digest_of(current.data))
    if base is None:
        base = extract_file.read(con, "extract", source=source, tables=tables)
    if not tables.of("extract").keys() >= SCHEMA.keys():
        con.execute(create_statements("extract"))
        tables = BaseTables.look(con)
    extract_file.require_editable(con, "extract", source=source, tables=tables)
    return base


def _write_edit(con: "DuckDBPyConnection", edit: str, now: datetime) -> None:
    con.execute('insert into extract.main._edits (id, "at") values (?, ?)', [edit, now])
    (count,) = con.execute("select count(*) from extract.main._edits").fetchone() or (0,)
    if count <= EDITS_KEPT:
        return
    con.execute(
        "delete from extract.main._edits "
        "where rowid not in (select rowid from extract.main._edits order by rowid desc limit ?)",
        [EDITS_KEPT],
    )
