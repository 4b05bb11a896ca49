"""Parquet files written in groups of columns and joined: those of wide tables, and those of which few columns change.

DuckDB holds some vectors of 32 KiB for every column that it writes, and a row group of all of them: 3,000 columns of 3,000
rows took 430 to 650 MB. Files of some of the columns take little each, and can be joined without reading them again: a
parquet file consists of chunks of columns, one after the other, and a footer with their offsets.

Source: the Apache Parquet format, `parquet.thrift`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from analyst.contract import parquet
from analyst.contract.thrift import I16, I32, I64, LIST, STRUCT, DamagedError, Reader, Struct, encoded_struct
from analyst.duckdb_files import raised_as
from analyst.errors import SourceError
from analyst.names import quote, quote_text

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

GROUP = 100
"""The number of columns written at once."""

WIDE = 250
"""Tables with more columns are written in groups. Of others, the size of the rows limits what fits into memory."""

_ROW_GROUP_ROWS = 4096
"""Small, because files are only cut between row groups: one of 3,000 columns of numbers has up to 100 MB."""

_OPTIONS = f"format parquet, compression zstd, compression_level 1, row_group_size {_ROW_GROUP_ROWS}"
_MAGIC = b"PAR1"
_CHUNK = 1 << 20
_CUT_BYTES = 32 * 1024 * 1024

_COLUMN_ORDERS = 7

_FOOTER = frozenset({1, 2, 3, 4, 6, _COLUMN_ORDERS})
_ROW_GROUP = frozenset({1, 2, 3, 5, 6})
_PLACES = frozenset({2, 3})
_INDEX_PAGE, _FILTER, _FILTER_BYTES = 10, 14, 15
"""The fields that DuckDB writes of a file, a row group and a chunk, and fields of the metadata of a chunk."""


def select(con: "DuckDBPyConnection", terms: Mapping[str, str], source: str, into: Path) -> list[Path]:
    """Write the rows of a source, in order, to an empty folder; `terms` are the SQL of the columns by name.

    Raises:
        SourceError: a value does not fit, or the query fails.
        UnavailableError: there is not enough memory or disk.
    """
    listed = [f"{term} as {quote(name)}" for name, term in terms.items()]
    if len(listed) <= WIDE:
        return parquet.write(con, f"select {', '.join(listed)} from {source}", into)
    groups = [listed[start : start + GROUP] for start in range(0, len(listed), GROUP)]
    return write(con, [f"select {', '.join(group)} from {source}" for group in groups], into)


def write(con: "DuckDBPyConnection", queries: Sequence[str], into: Path) -> list[Path]:
    """Write queries of the same rows, with different columns, to Parquet files with all of these columns.

    A file ends after the row group that brings it to 32 MB. The connection has one thread and preserves the order of rows
    afterwards.

    Raises:
        SourceError: a query fails, or the queries return different numbers of rows.
        UnavailableError: there is not enough memory or disk.
    """
    groups = [into / f"group{number}.parquet" for number in range(len(queries))]
    with raised_as(SourceError):
        con.execute("set threads = 1; set preserve_insertion_order = true")  # all groups have the same row groups
        for query, path in zip(queries, groups, strict=True):
            con.execute(f"copy ({parquet.portable_select(con, query)}) to {quote_text(str(path))} ({_OPTIONS})")
    written = _joined(list(map(_Group.read, groups)), into)
    for path in groups:
        path.unlink()
    return written


def ends_by_rows(path: Path, rows: int) -> bool:
    """Return whether the row groups of a file end after a number of rows, and not because of the bytes in them.

    DuckDB rounds the number up. Some of the columns alone are then cut in the same way.
    """
    first, *others = [_value(one, 3) for one in _Group.read(path).row_groups] or [0]
    return not others or (rows <= first < 2 * rows and {*others[:-1]} <= {first} and others[-1] <= first)


def with_columns(path: Path, columns: Path, into: Path) -> bool:
    """Write a file again with some of its columns taken from a file of these alone; return whether that is possible.

    The columns that stay are copied as they are compressed. If DuckDB wrote both files with the same options, the result is,
    byte for byte, what it writes if it is given all columns. It is not possible if the files differ in the types of these
    columns or in their row groups, or if another version wrote one; then nothing is written.
    """
    old, new = _Group.read(path), _Group.read(columns)
    if not _are_alike(old, new):
        return False
    with path.open("rb") as kept, columns.open("rb") as changed, into.open("wb") as file:
        file.write(_MAGIC)
        row_groups, filters = list[Struct](), list[tuple[Struct, BinaryIO]]()
        for before, after in zip(old.row_groups, new.row_groups, strict=True):
            begin, chunks, others = file.tell(), list[Struct](), {_path(chunk): chunk for chunk in _items(after, 1)}
            for chunk in _items(before, 1):
                chosen = others.get(_path(chunk), chunk)
                source: BinaryIO = kept if chosen is chunk else changed
                copied = _copied(chosen, source, file)
                chunks.append(copied)
                if _FILTER in (metadata := _value(chosen, 3)):
                    _value(copied, 3).update({key: metadata[key] for key in (_FILTER, _FILTER_BYTES)})
                    filters.append((_value(copied, 3), source))
            size = sum(_value(_value(chunk, 3), 6) for chunk in chunks)
            places = {2: (I64, size), 5: (I64, begin), 6: (I64, file.tell() - begin)}
            row_groups.append({**before, 1: (LIST, (STRUCT, chunks)), **places})
        for metadata, source in filters:
            begin = file.tell()
            _copy(source, _value(metadata, _FILTER), _value(metadata, _FILTER_BYTES), file)
            metadata[_FILTER] = (I64, begin)
        footer = encoded_struct({**old.footer, 4: (LIST, (STRUCT, row_groups))})
        file.write(footer + len(footer).to_bytes(4, "little") + _MAGIC)
    return True


def _are_alike(old: "_Group", new: "_Group") -> bool:
    """Return whether the columns of a file can replace those of another file, and both have nothing that is unknown here."""
    footers = old.footer, new.footer
    if any(footer.keys() != _FOOTER or _items(footer, _COLUMN_ORDERS) != _orders(footer) for footer in footers):
        return False
    if any(old.footer[key] != new.footer[key] for key in (1, 3, 6)):
        return False
    known = old.columns
    if any(known.get(name) != column for name, column in new.columns.items()):
        return False
    if [_value(one, 3) for one in old.row_groups] != [_value(one, 3) for one in new.row_groups]:
        return False
    return all(_is_plain(one) for group in (old, new) for one in group.row_groups)


def _orders(footer: Struct) -> list[Struct]:
    """Return the orders of columns as DuckDB writes them, the same one for each column that has values."""
    return [{1: (STRUCT, {})} for element in _items(footer, 2) if not _children(element)]


def _is_plain(row_group: Struct) -> bool:
    """Return whether a row group has the fields that DuckDB writes, and no others."""
    if row_group.keys() != _ROW_GROUP:
        return False
    return all(
        chunk.keys() == _PLACES
        and _INDEX_PAGE not in (metadata := _value(chunk, 3))
        and (_FILTER in metadata) == (_FILTER_BYTES in metadata)
        for chunk in _items(row_group, 1)
    )


def _path(chunk: Struct) -> tuple[bytes, ...]:
    """Return the names that lead to the column of a chunk."""
    return tuple(_items(_value(chunk, 3), 3))


@dataclass(frozen=True, slots=True)
class _Group:
    """A Parquet file with some of the columns."""

    path: Path
    footer: Struct

    @classmethod
    def read(cls, path: Path) -> "_Group":
        with path.open("rb") as file:
            end = file.seek(-8, 2)
            size = int.from_bytes(file.read(4), "little")
            file.seek(end - size)
            try:
                return cls(path, Reader(file.read(size)).struct())
            except DamagedError as error:
                raise SourceError(
                    f"{path.name} can't be read: its footer is malformed; read the table again"
                ) from error

    @property
    def schema(self) -> list[Struct]:
        return _items(self.footer, 2)

    @property
    def row_groups(self) -> list[Struct]:
        return _items(self.footer, 4)

    @property
    def columns(self) -> dict[bytes, list[Struct]]:
        """The elements of the schema of each column."""
        found, flat = dict[bytes, list[Struct]](), iter(self.schema[1:])
        for element in flat:
            column, missing = [element], _children(element)
            while missing:
                column.append(next(flat))
                missing += _children(column[-1]) - 1
            found[_value(element, 4)] = column
        return found


def _joined(groups: Sequence[_Group], into: Path) -> list[Path]:
    """Join the row groups of files side by side, into files of 32 MB and the rest of a row group."""
    counts = {tuple(_value(row_group, 3) for row_group in group.row_groups) for group in groups}
    if len(counts) > 1:
        raise SourceError("the groups of columns have different rows; read the table again")
    written = list[Path]()
    number, total = 0, len(groups[0].row_groups)
    while number < total or not written:
        path, done = into / f"{len(written):05}.parquet", list[Struct]()
        with path.open("wb") as file:
            file.write(_MAGIC)
            while number < total and (not done or file.tell() < _CUT_BYTES):
                done.append(_row_group(groups, number, len(done), file))
                number += 1
            footer = encoded_struct(_footer_of(groups, done))
            file.write(footer + len(footer).to_bytes(4, "little") + _MAGIC)
        written.append(path)
    return written


def _row_group(groups: Sequence[_Group], number: int, ordinal: int, file: BinaryIO) -> Struct:
    """Copy one row group of each file one after another, and describe them as one."""
    begin, chunks, size = file.tell(), list[Struct](), 0
    parts = [group.row_groups[number] for group in groups]
    for group, part in zip(groups, parts, strict=True):
        with group.path.open("rb") as source:
            for chunk in _items(part, 1):
                chunks.append(_copied(chunk, source, file))
        size += _value(part, 2)
    return {
        1: (LIST, (STRUCT, chunks)),
        2: (I64, size),
        3: (I64, _value(parts[0], 3)),
        5: (I64, begin),
        6: (I64, file.tell() - begin),
        7: (I16, ordinal),
    }


def _copied(chunk: Struct, source: BinaryIO, file: BinaryIO) -> Struct:
    """Copy the pages of a chunk and return their new place; its indexes and filters are dropped."""
    metadata: Struct = {
        key: field for key, field in _value(chunk, 3).items() if key not in (_INDEX_PAGE, _FILTER, _FILTER_BYTES)
    }
    begin = min(_value(metadata, key) for key in (9, 11) if key in metadata)
    moved = file.tell() - begin
    _copy(source, begin, _value(metadata, 7), file)
    for key in (9, 11):
        if key in metadata:
            metadata[key] = (I64, _value(metadata, key) + moved)
    return {2: (I64, 0), 3: (STRUCT, metadata)}


def _copy(source: BinaryIO, begin: int, size: int, file: BinaryIO) -> None:
    source.seek(begin)
    while size > 0:
        piece = source.read(min(size, _CHUNK))
        if not piece:
            raise SourceError("a group of columns can't be joined: its file is truncated; read the table again")
        file.write(piece)
        size -= len(piece)


def _footer_of(groups: Sequence[_Group], row_groups: list[Struct]) -> Struct:
    first = groups[0].footer
    root, columns = dict(groups[0].schema[0]), [one for group in groups for one in group.schema[1:]]
    root[5] = (I32, sum(_value(group.schema[0], 5) for group in groups))
    footer = {key: field for key, field in first.items() if key in (1, 6)}
    footer[2] = (LIST, (STRUCT, [root, *columns]))
    footer[3] = (I64, sum(_value(one, 3) for one in row_groups))
    footer[4] = (LIST, (STRUCT, row_groups))
    if all(_COLUMN_ORDERS in group.footer for group in groups):
        footer[_COLUMN_ORDERS] = (
            LIST,
            (STRUCT, [one for group in groups for one in _items(group.footer, _COLUMN_ORDERS)]),
        )
    return footer


def _children(element: Struct) -> int:
    return int(_value(element, 5)) if 5 in element else 0  # noqa: PLR2004 - `SchemaElement.num_children`


def _value(struct: Struct, field: int) -> Any:
    return struct[field][1]


def _items(struct: Struct, field: int) -> list[Any]:
    found: list[Any] = struct[field][1][1] if field in struct else []
    return found
