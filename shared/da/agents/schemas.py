"""The tools: their names, descriptions and schemas, and the check of arguments.

The schemas use a small part of JSON Schema, which `check` understands. Outputs are objects throughout, because older
clients accept nothing else.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final

from da.agents.warehouse import Json, ToolError

MOST_ROWS: Final = 10_000
_TYPES: Final[Mapping[str, Callable[[Any], bool]]] = {
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
    "null": lambda value: value is None,
}


def _object(required: tuple[str, ...] = (), **properties: Any) -> Json:
    return {
        "type": "object",
        "properties": properties,
        **({"required": list(required)} if required else {}),
        "additionalProperties": False,
    }


def _text(description: str, longest: int, **more: Any) -> Json:
    return {"type": "string", "description": description, "maxLength": longest, **more}


def _whole(description: str, least: int, most: int, **more: Any) -> Json:
    return {"type": "integer", "description": description, "minimum": least, "maximum": most, **more}


def _list(description: str, items: Json, most: int) -> Json:
    return {"type": "array", "description": description, "items": items, "maxItems": most}


_OPTIONAL_TEXT: Final = {"type": ["string", "null"]}
_OPTIONAL_COUNT: Final = {"type": ["integer", "null"]}
_ANY_OBJECT: Final = {"type": "object"}

COMMON: Final[Json] = {
    "truncated": {"type": "boolean", "description": "Whether there is more than this answer shows."},
    "total": {"type": ["integer", "null"], "description": "The total number; null if unknown."},
    "snapshot": {"type": "integer", "description": "The number of the snapshot of the data."},
    "as_of": {"type": ["string", "null"], "description": "The time of the data (ISO 8601)."},
    "rest": {"type": ["string", "null"], "description": "How to get what this answer does not show."},
    "notes": {"type": "array", "items": {"type": "string"}, "description": "Remarks of this program on the answer."},
    "receipt": {"type": ["object", "null"], "description": "With it, verify_receipt computes the result again."},
}
"""What every answer has."""


def _output(**properties: Any) -> Json:
    return {
        "type": "object",
        "properties": {**COMMON, **properties},
        "required": [*COMMON, *properties],
        "additionalProperties": False,
    }


_COLUMNS: Final = {
    "type": "array",
    "items": _object(("name", "type"), name={"type": "string"}, type={"type": "string"}),
}
_ROWS: Final = {"type": "array", "items": {"type": "array"}}
_TABLE: Final = _text("A table, by id (shop.orders) or by view name (orders).", 200, minLength=1)
_LIMIT: Final = _whole("The maximum number of rows.", 0, MOST_ROWS, default=100)
_SNAPSHOT: Final = _whole("The number of an earlier snapshot; the newest by default.", 1, 999_999_999)
_RESULT: Final = _output(
    columns=_COLUMNS,
    rows=_ROWS,
    tables={"type": "array", "items": {"type": "string"}},
    sql={"type": "string"},
    url=_OPTIONAL_TEXT,
)


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool. `input` and `output` are JSON Schemas; without the permission `needs`, it is not offered."""

    name: str
    title: str
    description: str
    input: Json
    output: Json
    needs: str = "read"

    def described(self) -> Json:
        """Return it as `tools/list` has it."""
        return {
            "name": self.name,
            "title": self.title,
            "description": self.description,
            "inputSchema": self.input,
            "outputSchema": self.output,
            "annotations": {
                "title": self.title,
                "readOnlyHint": True,
                "destructiveHint": False,
                "idempotentHint": True,
                "openWorldHint": False,
            },
        }


TOOLS: Final = (
    Tool(
        "find",
        "Find tables and metrics",
        "Search the tables and metrics that the user can read, best match first; without a text, list them. The text can be a "
        "question: if nothing has all of its words, those with the most are returned. The first tables come with their columns, "
        "so a statement can follow at once. Prefer a metric to SQL of your own where one fits.",
        _object(
            text=_text("Words to search for, or a question.", 1000),
            kind={
                "type": "string",
                "enum": ["all", "table", "metric"],
                "default": "all",
                "description": "What to find.",
            },
            limit=_whole("The maximum number of results.", 1, 200, default=20),
            offset=_whole("How many to skip.", 0, 1_000_000, default=0),
        ),
        _output(
            hits={
                "type": "array",
                "items": _object(
                    (
                        "kind",
                        "id",
                        "title",
                        "description",
                        "rows",
                        "updated",
                        "matched",
                        "sql_name",
                        "columns",
                        "dimensions",
                    ),
                    kind={"type": "string"},
                    id={"type": "string"},
                    title={"type": "string"},
                    description=_OPTIONAL_TEXT,
                    rows=_OPTIONAL_COUNT,
                    updated=_OPTIONAL_TEXT,
                    matched={"type": "array", "items": {"type": "string"}},
                    sql_name=_OPTIONAL_TEXT,
                    columns={"type": "array", "items": {"type": "string"}},
                    dimensions={"type": "array", "items": {"type": "string"}},
                ),
            }
        ),
    ),
    Tool(
        "describe_table",
        "Describe a table",
        "Return a table's columns with their types, descriptions and statistics, its size, freshness, notes, and the tables it "
        "is joined with. Call it before you write SQL. Descriptions are never cut; if there are many columns, 'rest' says how "
        "to get the others.",
        _object(
            ("table",),
            table=_TABLE,
            column_offset=_whole("How many columns to skip.", 0, 100_000, default=0),
        ),
        _output(table=_ANY_OBJECT, columns={"type": "array", "items": _ANY_OBJECT}),
    ),
    Tool(
        "describe_metric",
        "Describe a metric",
        "Return what a metric measures, how it is computed, by what it can be grouped, and questions that it answers.",
        _object(("name",), name=_text("The name of a metric.", 200, minLength=1)),
        _output(metric=_ANY_OBJECT),
    ),
    Tool(
        "sample_table",
        "Sample a table",
        "Return some rows of a table, to see what its values look like. They are not a random sample: use query to compute.",
        _object(("table",), table=_TABLE, rows=_whole("How many rows.", 1, 100, default=10)),
        _RESULT,
        "query",
    ),
    Tool(
        "query",
        "Run SQL",
        "Run one read-only SELECT in DuckDB's dialect over the tables that the user can read. Aggregate in SQL rather than "
        "reading rows. A table is named orders or shop.orders. The answer has at most about 20,000 characters: 'truncated', "
        "'total' and 'rest' say what is missing. Pass the user's values as parameters ($name), not in the text.",
        _object(
            ("sql",),
            sql=_text("The statement.", 200_000, minLength=1),
            parameters={"type": ["object", "array"], "description": "Values of $name, or in order those of ?."},
            limit=_LIMIT,
            offset=_whole("How many rows to skip; the statement needs ORDER BY.", 0, 1_000_000_000, default=0),
            snapshot=_SNAPSHOT,
            whole_result={
                "type": "boolean",
                "default": False,
                "description": "Return a URL of a Parquet file with all rows instead of rows (not on a mirror).",
            },
        ),
        _RESULT,
        "query",
    ),
    Tool(
        "run_metric",
        "Compute a metric",
        "Compute a metric, optionally by dimensions, by a unit of time and under conditions. The answer has the SQL that ran.",
        _object(
            ("name",),
            name=_text("The name of a metric.", 200, minLength=1),
            by=_list("Dimensions to group by.", _text("A dimension.", 200), 20),
            where=_list("Conditions in SQL, all of which must hold.", _text("A condition.", 10_000), 20),
            grain=_text("A unit of time to group by: hour, day, week, month, quarter, year.", 20),
            limit=_LIMIT,
        ),
        _RESULT,
        "query",
    ),
    Tool(
        "changes",
        "What changed since a snapshot",
        "Return which tables were added, removed or changed since an earlier snapshot or time: rows, columns and files.",
        _object(
            ("since",),
            since={
                "type": ["string", "integer"],
                "description": "The number of a snapshot, 'yesterday', or a time such as 2026-03-01 or 2026-03-01T08:00Z.",
                "maxLength": 40,
            },
            table=_TABLE,
        ),
        _output(since=_ANY_OBJECT, tables={"type": "array", "items": _ANY_OBJECT}),
    ),
    Tool(
        "diff_table",
        "Rows that changed since a snapshot",
        "Return the rows of a table that were added, changed or removed since an earlier snapshot or time, by its key if it "
        "has one. Only files that changed are read. 'counts' has the numbers, 'rows' the first rows.",
        _object(
            ("table", "since"),
            table=_TABLE,
            since={
                "type": ["string", "integer"],
                "description": "The number of a snapshot, 'yesterday', or a time such as 2026-03-01.",
                "maxLength": 40,
            },
            limit=_LIMIT,
        ),
        _output(
            since=_ANY_OBJECT,
            key={"type": "array", "items": {"type": "string"}},
            counts=_ANY_OBJECT,
            schema_changes=_ANY_OBJECT,
            columns=_COLUMNS,
            rows=_ROWS,
        ),
        "query",
    ),
    Tool(
        "file_urls",
        "URLs of a table's files",
        "Return signed URLs of the Parquet files of tables (on a mirror: paths), for programs that process whole tables. "
        "The URLs need no credentials until they expire: don't pass them on.",
        _object(("tables",), tables=_list("Tables, by id or view name.", _TABLE, 20)),
        _output(files={"type": "array", "items": _ANY_OBJECT}, expires_in=_OPTIONAL_COUNT),
        "sync",
    ),
    Tool(
        "verify_receipt",
        "Verify a receipt",
        "Compute the result of a receipt again, and report whether it is the same and, if not, what has changed.",
        _object(
            ("receipt",), receipt={"type": "object", "description": "A receipt, exactly as an answer contained it."}
        ),
        _output(verdict={"type": "string"}, message={"type": "string"}, verification=_ANY_OBJECT),
        "query",
    ),
)

BY_NAME: Final = {tool.name: tool for tool in TOOLS}


def check(tool: Tool, arguments: Json) -> Json:
    """Check the arguments of a call and return them with the defaults of those that are missing.

    Raises:
        ToolError: they do not fit; the message lists up to 10 problems and says what is expected.
    """
    problems = list(_problems(arguments, tool.input, ""))
    if problems:
        raise ToolError(f"the arguments of {tool.name} are not valid: {'; '.join(problems[:10])}")
    defaults = {name: each["default"] for name, each in tool.input["properties"].items() if "default" in each}
    return {**defaults, **{name: value for name, value in arguments.items() if value is not None}}


def _problems(value: Any, schema: Json, place: str) -> list[str]:
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    what = f"'{place}'" if place else "the value"
    if kinds and not any(_TYPES[kind](value) for kind in kinds):
        return [f"{what} must be {' or '.join(map(_article, kinds))}"]
    return [*_bounds(value, schema, what), *_members(value, schema, place)]


def _bounds(value: Any, schema: Json, what: str) -> list[str]:
    found = []
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{what} must be one of {', '.join(map(repr, schema['enum']))}")
    if isinstance(value, int | float) and not isinstance(value, bool):
        least, most = schema.get("minimum", value), schema.get("maximum", value)
        if not least <= value <= most:
            found.append(f"{what} must be from {least} to {most}")
    if isinstance(value, str):
        if len(value) > schema.get("maxLength", len(value)):
            found.append(f"{what} must have at most {schema['maxLength']} characters")
        if len(value) < schema.get("minLength", 0) or "\x00" in value or re.search("[\ud800-\udfff]", value):
            found.append(f"{what} must be a text that is not empty, without NUL characters")
    if isinstance(value, list) and len(value) > schema.get("maxItems", len(value)):
        found.append(f"{what} must have at most {schema['maxItems']} items")
    return found


def _members(value: Any, schema: Json, place: str) -> list[str]:
    if isinstance(value, list):
        items = schema.get("items", {})
        return [each for at, item in enumerate(value) for each in _problems(item, items, f"{place}[{at}]")]
    known = schema.get("properties")
    if not isinstance(value, dict) or known is None:
        return []
    found = [f"'{name}' is missing" for name in schema.get("required", ()) if value.get(name) is None]
    for name, member in value.items():
        if name in known:
            if member is not None:  # models send null for what they leave out
                found += _problems(member, known[name], name if not place else f"{place}.{name}")
        else:
            near = get_close_matches(str(name)[:100], known, 1)
            hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(map(repr, known))}"
            found.append(f"'{str(name)[:100]}' is not an argument; {hint}")
    return found


def _article(kind: str) -> str:
    return {"integer": "a whole number", "array": "a list", "object": "an object", "string": "a text"}.get(kind, kind)
