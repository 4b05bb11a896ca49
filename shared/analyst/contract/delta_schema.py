"""The schema of a Delta table: the columns of its files, in Delta's words.

Source: the Delta transaction log protocol, 'Schema Serialization Format'.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from analyst.contract.model import FileRow
from analyst.contract.views import columns_of

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from duckdb.sqltypes import DuckDBPyType

_NAMES = {
    "BOOLEAN": "boolean",
    "TINYINT": "byte",
    "SMALLINT": "short",
    "INTEGER": "integer",
    "BIGINT": "long",
    "FLOAT": "float",
    "DOUBLE": "double",
    "VARCHAR": "string",
    "JSON": "string",
    "BLOB": "binary",
    "DATE": "date",
    "TIMESTAMP": "timestamp_ntz",
    "TIMESTAMP WITH TIME ZONE": "timestamp",
}

Schema = dict[str, Any]


def delta_schema(con: "DuckDBPyConnection", files: Sequence[FileRow]) -> Schema | None:
    """Give the columns of files, united by name, as a Delta schema; `None` if it can't hold them.

    It can't if a column is of different types in different files, or of a type that is not portable.
    """
    types: dict[str, str] = {}
    for file in files:
        for column in columns_of(file):
            if types.setdefault(column.name, column.type) != column.type:
                return None
    try:
        fields = [_field(name, con.sqltype(kind)) for name, kind in types.items()]
    except KeyError:
        return None
    return {"type": "struct", "fields": fields}


def needs_timestamp_ntz(schema: Mapping[str, Any]) -> bool:
    """Tell whether a schema has times without a zone, which are a feature of its own."""
    return "'timestamp_ntz'" in repr(schema)


def _field(name: str, kind: "DuckDBPyType") -> Schema:
    return {"name": name, "type": _type(kind), "nullable": True, "metadata": {}}


def _type(kind: "DuckDBPyType") -> str | Schema:
    if kind.id == "decimal":
        (_, precision), (_, scale) = kind.children
        return f"decimal({precision},{scale})"
    if kind.id not in ("struct", "list", "array", "map"):
        return _NAMES[str(kind)]
    children = cast("list[tuple[str, DuckDBPyType]]", kind.children)
    if kind.id == "struct":
        return {"type": "struct", "fields": [_field(name, member) for name, member in children]}
    if kind.id == "map":
        (_, key), (_, value) = children
        return {"type": "map", "keyType": _type(key), "valueType": _type(value), "valueContainsNull": True}
    return {"type": "array", "elementType": _type(children[0][1]), "containsNull": True}
