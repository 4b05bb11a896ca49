"""The footer of a parquet file, read and changed without loss, and the checksums of its pages.

DuckDB reads some types lossily and reports the converted type, so the declared types are read from the file itself.
DuckDB does not verify checksums either.

Source: the Apache Parquet format, `parquet.thrift` and 'File format'.
"""

import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from analyst.contract.thrift import (
    BINARY,
    FALSE,
    I32,
    STRUCT,
    TRUE,
    DamagedError,
    Reader,
    ShortError,
    Struct,
    encoded_list,
)
from analyst.errors import SourceError

MAX_FOOTER_BYTES = 256 * 1024 * 1024
_TAIL_BYTES = 8
_MAX_DEPTH = 64
_MAX_PAGE_HEADER_BYTES = 64 * 1024 * 1024
_FIRST_READ = 4096
_CHUNK = 1 << 20

INT32, INT64, INT96, FIXED = 1, 2, 3, 7
"""Physical types (`Type`)."""

_DECIMAL, _INTERVAL = 5, 21
"""Converted types (`ConvertedType`)."""

_DATA_PAGE, _DICTIONARY_PAGE, _DATA_PAGE_V2 = 0, 2, 3
_LOGICAL_LIST, _LOGICAL_DECIMAL, _LOGICAL_TIME, _LOGICAL_TIMESTAMP = 3, 5, 7, 8
_LOGICAL_UUID, _LOGICAL_VARIANT = 14, 16
_CONVERTED_LIST = 3
_REPEATED = 2
"""A repetition type (`FieldRepetitionType`)."""
_MILLIS, _NANOS = 1, 3
_TIMESTAMP_MILLIS = 9
_WRITE_AGAIN = "the file is damaged; write it again"


_UNSOUND = (LookupError, TypeError, ValueError, AttributeError, OverflowError)
"""The exceptions of reading values whose types are not those of the format."""


@dataclass(frozen=True, slots=True)
class Element:
    """One element of a schema, a column or a group, with the elements in it. `fields` is the `SchemaElement`."""

    fields: Struct
    children: tuple["Element", ...] = ()

    @property
    def name(self) -> str:
        """Its name in the file."""
        return str(self._value(4, b"").decode("utf-8", "replace"))

    @property
    def digits(self) -> tuple[int, int] | None:
        """The precision and scale of a decimal."""
        logical: Struct = self._value(10, {})
        if _LOGICAL_DECIMAL in logical:
            decimal: Struct = logical[_LOGICAL_DECIMAL][1]
            return decimal.get(2, (0, 0))[1], decimal.get(1, (0, 0))[1]
        return (self._value(8, 0), self._value(7, 0)) if self._value(6, None) == _DECIMAL else None

    @property
    def loses_nanoseconds(self) -> bool:
        """Whether DuckDB drops its nanoseconds: it is an INT96, or a time or an instant in nanoseconds.

        DuckDB has a type for timestamps in nanoseconds without a zone.
        """
        logical: Struct = self._value(10, {})
        for kind in (_LOGICAL_TIME, _LOGICAL_TIMESTAMP):
            annotation: Struct = logical[kind][1] if kind in logical else {}
            if _NANOS in annotation.get(2, (0, {}))[1]:
                return kind == _LOGICAL_TIME or bool(annotation.get(1, (0, False))[1])
        return self._value(1, None) == INT96 and not self.children

    @property
    def is_in_milliseconds(self) -> bool:
        """Whether it is a timestamp in milliseconds."""
        logical: Struct = self._value(10, {})
        if _LOGICAL_TIMESTAMP in logical:
            return bool(_MILLIS in logical[_LOGICAL_TIMESTAMP][1].get(2, (0, {}))[1])
        return bool(self._value(6, None) == _TIMESTAMP_MILLIS)

    @property
    def is_variant(self) -> bool:
        """Whether it is a group of the type VARIANT."""
        return _LOGICAL_VARIANT in self._value(10, {}) and bool(self.children)

    @property
    def is_list(self) -> bool:
        """Whether it is a group that is a list."""
        return _LOGICAL_LIST in self._value(10, {}) or self._value(6, None) == _CONVERTED_LIST

    @property
    def is_flat(self) -> bool:
        """Whether it has one value in each row at most."""
        return not self.children and self._value(3, 0) != _REPEATED

    @property
    def is_of_bytes(self) -> bool:
        """Whether it has a fixed number of bytes that are neither a decimal nor a UUID."""
        return self._value(1, None) == FIXED and not self.digits and _LOGICAL_UUID not in self._value(10, {})

    def without_variants(self) -> "Element":
        """Return the element in which variants are the groups that store them."""
        fields = {number: value for number, value in self.fields.items() if number != 10 or not self.is_variant}  # noqa: PLR2004 - `SchemaElement.logicalType`
        return Element(fields, tuple(child.without_variants() for child in self.children))

    def raw(self) -> "Element":
        """Return the element with types that DuckDB reads without conversion: integers, and intervals for INT96.

        INT96 and INTERVAL both have twelve bytes in the same encodings; four are an interval's months, four its days,
        four its milliseconds.
        """
        if not self.loses_nanoseconds:
            return Element(self.fields, tuple(child.raw() for child in self.children))
        plain = {number: value for number, value in self.fields.items() if number not in (1, 2, 6, 7, 8, 10)}
        if self._value(1, None) == INT96:
            return Element(plain | {1: (I32, FIXED), 2: (I32, 12), 6: (I32, _INTERVAL)})
        return Element(plain | {1: (I32, INT64)})

    def walk(self) -> Iterator["Element"]:
        """Yield the element and all its descendants, in the order of the file."""
        yield self
        for child in self.children:
            yield from child.walk()

    def _value(self, number: int, default: Any) -> Any:
        return self.fields.get(number, (0, default))[1]


@dataclass(frozen=True, slots=True)
class Footer:
    """The footer of a parquet file; its schema is at `data[start:end]`."""

    root: Element
    data: bytes = field(repr=False)
    start: int
    end: int

    @property
    def columns(self) -> tuple[Element, ...]:
        """The top-level columns, in order."""
        return self.root.children

    def chunks(self, name: str) -> "Iterator[Chunk]":
        """Yield where the pages of each column chunk begin, one by one, because a file can have very many.

        Raises:
            SourceError: the footer is damaged, a column is encrypted, or its values are in another file.
        """
        try:
            yield from _chunks(Reader(self.data), name)
        except (DamagedError, *_UNSOUND) as error:
            raise SourceError(f"{name} can't be read: its footer is malformed; {_WRITE_AGAIN}") from error

    def with_schema(self, root: Element) -> bytes:
        """Return the footer with another schema; the other bytes stay the same."""
        schema = encoded_list(STRUCT, [element.fields for element in root.walk()])
        return self.data[: self.start] + schema + self.data[self.end :]


def read_footer(path: Path, name: str) -> Footer:
    """Read the footer of a parquet file; messages call the file `name`.

    Raises:
        SourceError: it is encrypted, truncated, damaged, or not a parquet file.
    """
    with _opened(path, name) as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(4)
        if size < _TAIL_BYTES + 4 or head not in (b"PAR1", b"PARE"):
            raise SourceError(f"{name} can't be read as parquet: it does not start with PAR1")
        file.seek(size - _TAIL_BYTES)
        length, magic = struct.unpack("<I4s", file.read(_TAIL_BYTES))
        if magic == b"PARE" or head == b"PARE":
            raise _encrypted(name)
        if magic != b"PAR1":
            raise SourceError(f"{name} is truncated: it does not end with PAR1; upload it again")
        if length > min(size - _TAIL_BYTES - 4, MAX_FOOTER_BYTES):
            raise SourceError(f"{name} can't be read: the length of its footer is wrong; {_WRITE_AGAIN}")
        file.seek(size - _TAIL_BYTES - length)
        data = file.read(length)
    try:
        return _footer(data)
    except (DamagedError, *_UNSOUND) as error:
        raise SourceError(f"{name} can't be read: its footer is malformed; {_WRITE_AGAIN}") from error


def _footer(data: bytes) -> Footer:
    reader = Reader(data)
    for number, kind in reader.fields():
        start = reader.at
        value = reader.value(kind)
        if number == 2:  # noqa: PLR2004 - `FileMetaData.schema`
            flat = iter(value[1])
            root = _element(flat, 0)
            if next(flat, None) is not None:
                raise DamagedError
            return Footer(root, data, start, reader.at)
    raise DamagedError


_Shape = dict[int, tuple[tuple[int, ...], "_Shape"]]
"""The fields of a struct that are read: the types that each may have, and, if it is a struct, its own shape."""

_UNIT: _Shape = {1: ((TRUE, FALSE), {}), 2: ((STRUCT,), {})}
_LOGICAL: _Shape = {
    _LOGICAL_DECIMAL: ((STRUCT,), dict.fromkeys((1, 2), ((I32,), {}))),
    _LOGICAL_TIME: ((STRUCT,), _UNIT),
    _LOGICAL_TIMESTAMP: ((STRUCT,), _UNIT),
}
_SCHEMA_ELEMENT: _Shape = {
    **dict.fromkeys((1, 2, 3, 5, 6, 7, 8, 9), ((I32,), {})),
    4: ((BINARY,), {}),
    10: ((STRUCT,), _LOGICAL),
}


def _check_shape(fields: Struct, shape: _Shape) -> None:
    """Check the types of fields once, so that an `Element` can rely on them."""
    for number, (kinds, inner) in shape.items():
        if number in fields:
            kind, value = fields[number]
            if kind not in kinds:
                raise DamagedError
            _check_shape(value, inner)


def _element(flat: Iterator[Struct], depth: int) -> Element:
    fields = next(flat, None)
    if fields is None or depth > _MAX_DEPTH:
        raise DamagedError
    _check_shape(fields, _SCHEMA_ELEMENT)
    count = fields.get(5, (0, 0))[1] or 0
    return Element(fields, tuple(_element(flat, depth + 1) for _ in range(count)))


@dataclass(frozen=True, slots=True)
class Chunk:
    """The position of the first page of one column in one row group, and the number of its values."""

    column: str
    start: int
    values: int


def _chunks(reader: Reader, name: str) -> Iterator[Chunk]:
    for number, kind in reader.fields():
        if number == 4:  # noqa: PLR2004 - `FileMetaData.row_groups`
            for _group in reader.items():
                for member, member_kind in reader.fields():
                    if member == 1:
                        for _chunk in reader.items():
                            yield _chunk_of(reader, name)
                    else:
                        reader.skip(member_kind)
        elif number == 8:  # noqa: PLR2004 - `FileMetaData.encryption_algorithm`
            raise _encrypted(name)
        else:
            reader.skip(kind)


def _chunk_of(reader: Reader, name: str) -> Chunk:
    metadata: Struct = {}
    for number, kind in reader.fields():
        if number == 1:
            raise SourceError(f"{name} stores its values in other files, which is not supported; write it as one file")
        if number in (8, 9):  # `ColumnChunk.crypto_metadata` and `.encrypted_column_metadata`
            raise _encrypted(name)
        if number == 3:  # noqa: PLR2004 - `ColumnChunk.meta_data`
            for member, member_kind in reader.fields():
                if member in (3, 5, 9, 11):
                    metadata[member] = (member_kind, reader.value(member_kind))
                else:
                    reader.skip(member_kind)
        else:
            reader.skip(kind)
    column = ".".join(part.decode("utf-8", "replace") for part in metadata[3][1][1])
    data, dictionary = metadata[9][1], metadata.get(11, (0, 0))[1]
    return Chunk(column, dictionary if 0 < dictionary < data else data, metadata[5][1])


def _encrypted(name: str) -> SourceError:
    return SourceError(f"{name} is encrypted, which is not supported; write it without encryption")


def verify_pages(path: Path, name: str, chunks: Iterable[Chunk]) -> None:
    """Verify the checksums of the pages of a file, where it has them.

    Raises:
        SourceError: a page differs from its checksum, or is not where the footer says.
    """
    with _opened(path, name) as file:
        for chunk in chunks:
            try:
                _verify_chunk(file, chunk)
            except (DamagedError, *_UNSOUND) as error:
                message = str(error) if isinstance(error, DamagedError) else ""
                reason = f"a page of the column {chunk.column!r} is damaged: {message or 'its header is malformed'}"
                raise SourceError(f"{name} can't be read: {reason}; write or upload the file again") from error


def _verify_chunk(file: BinaryIO, chunk: Chunk) -> None:
    at, values = chunk.start, 0
    while values < chunk.values:
        header, size = _page_header(file, at)
        at += size
        length = int(header[3][1])
        if length < 0:
            raise DamagedError
        if 4 in header:  # noqa: PLR2004 - `PageHeader.crc`
            _verify_page(file, at, length, int(header[4][1]))
        at += length
        kind = header[1][1]
        if kind == _DATA_PAGE:
            values += int(header[5][1][1][1])
        elif kind == _DATA_PAGE_V2:
            values += int(header[8][1][1][1])
    if values > chunk.values:
        raise DamagedError("it has more values than the footer states")


def _page_header(file: BinaryIO, at: int) -> tuple[Struct, int]:
    """Read the header of a page, whose length is not stored anywhere; return it and its length."""
    if at < 0:
        raise DamagedError("its position is outside the file")
    wanted = _FIRST_READ
    while True:
        file.seek(at)
        reader = Reader(file.read(wanted))
        try:
            return reader.struct(), reader.at
        except ShortError:
            if len(reader.data) < wanted or wanted >= _MAX_PAGE_HEADER_BYTES:
                raise DamagedError("the file ends before its header does") from None
            wanted *= 16


def _verify_page(file: BinaryIO, at: int, length: int, expected: int) -> None:
    file.seek(at)
    found = 0
    while length:
        piece = file.read(min(length, _CHUNK))
        if not piece:
            raise DamagedError("the file ends within it")
        found, length = zlib.crc32(piece, found), length - len(piece)
    if found != expected & 0xFFFFFFFF:
        raise DamagedError("it differs from its checksum")


@contextmanager
def _opened(path: Path, name: str) -> Iterator[BinaryIO]:
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise SourceError(f"{name} can't be read: {error.strerror or error}") from error
