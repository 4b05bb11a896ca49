"""Writing Avro object container files, as far as manifests need it: records of numbers, texts, bytes, unions and arrays.

Nothing is ever read, and the schemas are few and fixed, so this is less than the 13 MB of fastavro, which tests read the
files with. The bytes depend on the records alone, because the sync marker is a hash of them.

Source: the Avro specification 1.12, 'Binary Encoding' and 'Object Container Files'.
"""

import hashlib
import json
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

Record = Mapping[str, Any]
Schema = str | Mapping[str, Any] | list[Any]

_MAGIC: Final = b"Obj\x01"
_RECORDS: Final = 1000
"""Records in one block: a reader holds one block at a time."""


def container(schema: Mapping[str, Any], metadata: Mapping[str, str], records: Iterable[Record]) -> bytes:
    """Return a file of records with a schema and further metadata."""
    write = _writer(schema)
    rows = list(records)
    blocks: list[tuple[int, bytes]] = []
    for start in range(0, len(rows), _RECORDS):
        part = rows[start : start + _RECORDS]
        body = bytearray()
        for row in part:
            write(body, row)
        deflate = zlib.compressobj(wbits=-15)
        blocks.append((len(part), deflate.compress(bytes(body)) + deflate.flush()))
    header = bytearray(_MAGIC)
    fields = {"avro.schema": json.dumps(schema, separators=(",", ":")), "avro.codec": "deflate", **metadata}
    _long(header, len(fields))
    for name, text in fields.items():
        _bytes(header, name.encode())
        _bytes(header, text.encode())
    _long(header, 0)
    marker = hashlib.sha256(header + b"".join(data for _, data in blocks)).digest()[:16]
    file = header + marker
    for count, data in blocks:
        _long(file, count)
        _bytes(file, data)
        file += marker
    return bytes(file)


Write = Callable[[bytearray, Any], None]


def _long(into: bytearray, value: int) -> None:
    value = (value << 1) ^ (value >> 63)  # zigzag
    while value > 0x7F:  # noqa: PLR2004 - seven bits a byte
        into.append(value & 0x7F | 0x80)
        value >>= 7
    into.append(value)


def _bytes(into: bytearray, data: bytes) -> None:
    _long(into, len(data))
    into += data


def _text(into: bytearray, text: str) -> None:
    _bytes(into, text.encode())


def _flag(into: bytearray, value: bool) -> None:
    into.append(value)


_SIMPLE: Final[Mapping[str, Write]] = {
    "int": _long,
    "long": _long,
    "string": _text,
    "bytes": _bytes,
    "boolean": _flag,
}


def _writer(schema: Schema) -> Write:
    if isinstance(schema, str):
        return _SIMPLE[schema]
    if isinstance(schema, list):
        return _optional(schema)
    match schema["type"]:
        case "record":
            fields = [(field["name"], _writer(field["type"])) for field in schema["fields"]]
            return _record(fields)
        case "array":
            return _array(_writer(schema["items"]))
    return _SIMPLE[schema["type"]]


def _record(fields: list[tuple[str, Write]]) -> Write:
    def record(into: bytearray, value: Record) -> None:
        for name, write in fields:
            write(into, value.get(name))

    return record


def _optional(schema: list[Any]) -> Write:
    """Return what writes a value or null: the only unions in manifests are `["null", type]`."""
    _null, kind = schema
    write = _writer(kind)

    def optional(into: bytearray, value: Any) -> None:
        into.append(0 if value is None else 2)
        if value is not None:
            write(into, value)

    return optional


def _array(write: Write) -> Write:
    def array(into: bytearray, values: list[Any]) -> None:
        if values:
            _long(into, len(values))
            for value in values:
                write(into, value)
        _long(into, 0)

    return array
