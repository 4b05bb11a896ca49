"""Thrift's compact protocol, in which Parquet writes footers and page headers: structs are read and written without loss.

Source: https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT, UUID = range(1, 14)
"""The types of values. The type of a boolean field is its value."""

Struct = dict[int, tuple[int, Any]]
"""The fields of a struct by their ids: the type of each, and its value. A list is the type of its items and the items."""

_LONG = 0xF
"""In the header of a list: its size does not fit, and follows."""

_MAX_DEPTH = 64
_VARINT_BYTES = 10


class DamagedError(Exception):
    """The bytes are not Thrift's compact protocol, or contain a map, which Parquet has none of."""


class ShortError(DamagedError):
    """The bytes end within a value."""


@dataclass(slots=True)
class Reader:
    """Reads values one after another; `at` is the position of the next one. Every method raises `DamagedError`."""

    data: bytes
    at: int = 0

    def struct(self, depth: int = 0) -> Struct:
        """Read a struct."""
        if depth > _MAX_DEPTH:
            raise DamagedError
        return {number: (kind, self.value(kind, depth)) for number, kind in self.fields()}

    def fields(self) -> Iterator[tuple[int, int]]:
        """Yield the id and the type of each field of a struct; the caller reads the value."""
        last = 0
        while header := self._byte():
            last = last + (header >> 4) if header >> 4 else self._integer()
            yield last, header & 0xF

    def items(self) -> Iterator[int]:
        """Yield the type of each item of a list; the caller reads the item."""
        kind, size = self._list_header()
        for _ in range(size):
            yield kind

    def value(self, kind: int, depth: int = 0) -> Any:  # noqa: PLR0911 - one for each type
        """Read a value of a type, which the header of its field or list states."""
        match kind:
            case 1 | 2:
                return kind == TRUE
            case 3:
                return self._byte()
            case 4 | 5 | 6:
                return self._integer()
            case 7:
                return self._take(8)
            case 8:
                return self._take(self._varint())
            case 9 | 10:
                return self._list(depth)
            case 12:
                return self.struct(depth + 1)
            case 13:
                return self._take(16)
            case _:
                raise DamagedError

    def skip(self, kind: int, depth: int = 0) -> None:
        """Pass over a value of a type, without building it."""
        match kind:
            case 8:
                self._take(self._varint())
            case 9 | 10:
                for item in self.items():
                    self.skip(BYTE if item in (TRUE, FALSE) else item, depth + 1)
            case 12:
                if depth > _MAX_DEPTH:
                    raise DamagedError
                for _number, member in self.fields():
                    self.skip(member, depth + 1)
            case _:
                self.value(kind)

    def _list(self, depth: int) -> tuple[int, list[Any]]:
        kind, size = self._list_header()
        if size > len(self.data) - self.at:  # every item has a byte at least
            raise ShortError
        if kind in (TRUE, FALSE):
            return kind, [self._byte() == TRUE for _ in range(size)]
        return kind, [self.value(kind, depth) for _ in range(size)]

    def _list_header(self) -> tuple[int, int]:
        header = self._byte()
        return header & 0xF, self._varint() if header >> 4 == _LONG else header >> 4

    def _byte(self) -> int:
        if self.at >= len(self.data):
            raise ShortError
        self.at += 1
        return self.data[self.at - 1]

    def _take(self, size: int) -> bytes:
        if self.at + size > len(self.data):
            raise ShortError
        self.at += size
        return self.data[self.at - size : self.at]

    def _integer(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def _varint(self) -> int:
        value = 0
        for place in range(_VARINT_BYTES):
            byte = self._byte()
            value |= (byte & 0x7F) << (7 * place)
            if byte < 0x80:  # noqa: PLR2004 - the bit that marks a continuation
                return value
        raise DamagedError


def encoded_struct(fields: Struct) -> bytes:
    """Return the bytes of a struct."""
    encoded, last = bytearray(), 0
    for number, (kind, value) in sorted(fields.items()):
        type_id = (TRUE if value else FALSE) if kind in (TRUE, FALSE) else kind
        step = number - last  # four bits hold a step up to 15; after a greater one, the id follows
        encoded += bytes([step << 4 | type_id]) if 0 < step <= 15 else bytes([type_id]) + _integer(number)  # noqa: PLR2004
        if kind not in (TRUE, FALSE):
            encoded += _encoded(kind, value)
        last = number
    return bytes(encoded) + b"\x00"


def encoded_list(kind: int, items: list[Any]) -> bytes:
    """Return the bytes of a list of items of a type."""
    size = len(items)
    header = bytes([size << 4 | kind]) if size < _LONG else bytes([_LONG << 4 | kind]) + _varint(size)
    if kind in (TRUE, FALSE):
        return header + bytes(TRUE if item else FALSE for item in items)
    return header + b"".join(_encoded(kind, item) for item in items)


def _encoded(kind: int, value: Any) -> bytes:
    match kind:
        case 3:
            return bytes([value])
        case 4 | 5 | 6:
            return _integer(value)
        case 8:
            return _varint(len(value)) + bytes(value)
        case 9 | 10:
            return encoded_list(*value)
        case 12:
            return encoded_struct(value)
        case _:
            return bytes(value)


def _integer(value: int) -> bytes:
    return _varint((value << 1) ^ (value >> 63))


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:  # noqa: PLR2004 - seven bits a byte
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])
