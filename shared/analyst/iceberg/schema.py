"""The columns of a table as an Iceberg schema, from the names of their DuckDB types, without DuckDB.

Our Parquet files have no field ids, so readers find columns by name (`schema.name-mapping.default`). A name keeps its
id in every version of a table: an earlier version is read by the same mapping.

Source: the Iceberg table spec, 'Schemas and Data Types', 'Appendix C: JSON serialization', 'Column Projection' and
'Appendix D: Single-value serialization'.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from analyst.catalog import Column
from analyst.errors import AnalystError
from analyst.type_names import TypeName, parse_type

Json = dict[str, Any]

Ids = Mapping[str, int]
"""Ids of fields by their place: the JSON list of the names from the column down."""

_TYPES: Final = {
    "BOOLEAN": "boolean",
    **dict.fromkeys(("TINYINT", "SMALLINT", "INTEGER", "UTINYINT", "USMALLINT"), "int"),
    **dict.fromkeys(("BIGINT", "UINTEGER"), "long"),
    "FLOAT": "float",
    "DOUBLE": "double",
    **dict.fromkeys(("VARCHAR", "JSON", "ENUM"), "string"),
    "BLOB": "binary",
    "DATE": "date",
    **dict.fromkeys(("TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS"), "timestamp"),
    **dict.fromkeys(("TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ"), "timestamptz"),
    "TIME": "time",
    "UUID": "uuid",
}
"""DuckDB's simple types, and how Iceberg names what its Parquet writer makes of them.

Not among them is what has another form in Parquet than Iceberg expects: HUGEINT (a DOUBLE), UBIGINT (an unsigned
integer of 64 bits), TIMESTAMP_NS, TIME WITH TIME ZONE, INTERVAL and BIT. Our connectors publish none of these
(`analyst.types`).
"""


class UnsupportedTypeError(AnalystError):
    """A column has a type that Iceberg can't express, or whose Parquet form Iceberg readers can't read."""

    status = 406
    code = "unsupported"


def schema_fields(columns: Iterable[Column], known: Ids) -> tuple[list[Json], dict[str, int]]:
    """Return the fields of columns, and all ids: those `known`, and new ones for names that are new.

    Raises:
        UnsupportedTypeError: a column has a type that has no counterpart; the message lists all such columns.
    """
    ids = dict(known)
    fields: list[Json] = []
    wrong: list[str] = []
    for column in columns:
        try:
            fields.append(_field((column.name,), parse_type(column.type), ids))
        except ValueError:
            wrong.append(f"{column.name!r} ({column.type[:100]})")
    if wrong:
        raise UnsupportedTypeError(
            f"Iceberg has no counterpart of the types of these columns: {', '.join(wrong[:20])}; cast them where the table "
            "is made, or read it with `da`, DuckDB or the query API"
        )
    return fields, ids


def with_docs(fields: Sequence[Json], columns: Iterable[Column]) -> list[Json]:
    """Return fields with the descriptions of their columns."""
    docs = {column.name: column.description for column in columns}
    return [{**field, "doc": doc} if (doc := docs.get(field["name"])) else field for field in fields]


def name_mapping(ids: Ids) -> list[Json]:
    """Return the mapping of names to ids, by which readers find the columns of Parquet files.

    It has the names of all versions: one that is read as of an earlier time may have columns that are gone.
    """
    top: list[Json] = []
    nodes: dict[tuple[str, ...], Json] = {}
    for text, id_ in ids.items():
        place = tuple(json.loads(text))
        nodes[place] = {"field-id": id_, "names": [place[-1]]}
        parent = nodes.get(place[:-1])
        (top if parent is None else parent.setdefault("fields", [])).append(nodes[place])
    return top


def _field(place: tuple[str, ...], kind: TypeName, ids: dict[str, int]) -> Json:
    id_ = _id(place, ids)
    return {"id": id_, "name": place[-1], "required": False, "type": _type(place, kind, ids)}


def _id(place: tuple[str, ...], ids: dict[str, int]) -> int:
    return ids.setdefault(json.dumps(place, ensure_ascii=False, separators=(",", ":")), len(ids) + 1)


def _type(place: tuple[str, ...], kind: TypeName, ids: dict[str, int]) -> str | Json:
    """Return a type as Iceberg has it.

    Raises:
        ValueError: Iceberg has no counterpart of it.
    """
    match kind.name:
        case "STRUCT":
            return {"type": "struct", "fields": [_field((*place, name), member, ids) for name, member in kind.members]}
        case "LIST" | "MAP":
            made: Json = {"type": kind.name.lower()}
            for name, member in kind.members:
                made[f"{name}-id"] = _id((*place, name), ids)
                made[name] = _type((*place, name), member, ids)
                if name != "key":
                    made[f"{name}-required"] = False
            return made
        case "DECIMAL":
            return f"decimal({', '.join(kind.digits)})"
        case simple if simple in _TYPES:
            return _TYPES[simple]
    raise ValueError(kind.name)


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SMALLEST: Final = timedelta(microseconds=1)


def _whole(size: int) -> Callable[[Any], bytes]:
    return lambda value: int(value).to_bytes(size, "little", signed=True)


def _time(value: Any) -> bytes:
    time = datetime.fromisoformat(value)
    return _whole(8)((time.replace(tzinfo=time.tzinfo or UTC) - _EPOCH) // _SMALLEST)


_BOUNDS: Final[Mapping[str, Callable[[Any], bytes]]] = {
    "int": _whole(4),
    "long": _whole(8),
    "string": lambda value: str(value).encode(),
    "date": lambda value: _whole(4)((date.fromisoformat(value) - _EPOCH.date()).days),
    "timestamp": _time,
    "timestamptz": _time,
}


def bound(kind: str | Json, value: Any) -> bytes | None:
    """Return a minimum or maximum from the statistics of a file in Iceberg's form; `None` if it can't be converted."""
    write = _BOUNDS.get(kind) if isinstance(kind, str) else None
    if write is None or value is None:
        return None
    try:
        return write(value)
    except (ValueError, TypeError, OverflowError):  # such as a year that Python has no dates for
        return None


def is_retyped(before: Sequence[Json], now: Sequence[Json]) -> bool:
    """Return whether a column whose bounds may be stored has another type now."""
    types = {field["id"]: field["type"] for field in now}
    return any(
        isinstance(field["type"], str)
        and field["type"] in _BOUNDS
        and types.get(field["id"], field["type"]) != field["type"]
        for field in before
    )
