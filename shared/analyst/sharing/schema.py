"""The columns of a table as a Delta schema, from the names of their DuckDB types, without DuckDB.

Source: the Delta transaction log protocol, 'Schema Serialization Format'.
"""

import json
from collections.abc import Iterable
from typing import Any

from analyst.catalog import Column
from analyst.contract.delta import TYPES, needs_timestamp_ntz
from analyst.errors import InvalidInputError
from analyst.type_names import TypeName, parse_type


def schema_of(columns: Iterable[Column], *, with_ntz: bool = True) -> dict[str, Any]:
    """Return the schema of columns, with their descriptions as comments.

    Without `with_ntz`, times without a zone are declared as instants in UTC, which readers of the parquet format need.

    Raises:
        InvalidInputError: a type is not one that Delta can express.
    """
    fields = [
        {
            "name": column.name,
            "type": _type_of(column.type, with_ntz=with_ntz),
            "nullable": True,
            "metadata": {"comment": column.description} if column.description else {},
        }
        for column in columns
    ]
    return {"type": "struct", "fields": fields}


def schema_text(columns: Iterable[Column], *, with_ntz: bool = True) -> str:
    """Return the schema as the text that the protocol has."""
    return json.dumps(schema_of(columns, with_ntz=with_ntz), ensure_ascii=False, separators=(",", ":"))


def has_ntz(columns: Iterable[Column]) -> bool:
    """Return whether there are times without a zone, for which readers of the delta format need a feature."""
    return needs_timestamp_ntz(schema_of(columns))


def _type_of(text: str, *, with_ntz: bool) -> str | dict[str, Any]:
    try:
        return _type(parse_type(text), with_ntz=with_ntz)
    except ValueError:
        raise InvalidInputError(f"the type {text[:200]!r} can't be shared, because Delta has no such type") from None


def _type(kind: TypeName, *, with_ntz: bool) -> str | dict[str, Any]:
    """Return a type as Delta has it.

    Raises:
        ValueError: Delta has no counterpart of it.
    """
    members = [(name, _type(member, with_ntz=with_ntz)) for name, member in kind.members]
    match kind.name:
        case "STRUCT":
            fields = [{"name": name, "type": member, "nullable": True, "metadata": {}} for name, member in members]
            return {"type": "struct", "fields": fields}
        case "MAP":
            (_, key), (_, value) = members
            return {"type": "map", "keyType": key, "valueType": value, "valueContainsNull": True}
        case "LIST":
            return {"type": "array", "elementType": members[0][1], "containsNull": True}
        case "DECIMAL":
            return f"decimal({','.join(kind.digits)})"
        case "TIMESTAMP" if not with_ntz:
            return "timestamp"
        case simple if simple in TYPES:
            return TYPES[simple]
    raise ValueError(kind.name)
