"""`da explore`: what a table contains, before it is queried."""

import json as json_
from datetime import datetime
from typing import Annotated, Any

import typer

from da.errors import DaError, RefusedError
from da.options import Json, complete_tables
from da.output import print_json, print_table, say
from da.server import Server, segment
from da.session import session
from da.text import ago_text, bytes_text, count_text

Name = Annotated[
    str, typer.Argument(metavar="TABLE", help="A table, by view name or ID.", autocompletion=complete_tables)
]

_NOT_FOUND = 404


def explore(table: Name, json: Json = False) -> None:
    """Show what a table contains: its columns with their ranges, ten rows, how fresh it is and who registered it.

    The server answers, so the table need not be mirrored.

    Examples:
      da explore orders
      da explore shop.orders --json
    """
    with session(timeout=3700.0) as server:
        table_id = _id_of(server, table.lower())
        try:
            schema = server.get(f"/api/tables/{segment(table_id)}/schema")
        except RefusedError as error:
            if error.status == _NOT_FOUND:
                raise DaError(f"{error}; to list all tables, run: da tables") from None
            raise
        is_remote = schema["query_mode"] == "remote"
        ranges = [] if is_remote else _ranges(server, schema["sql_name"])
        sample = {"rows": []} if is_remote else server.get(f"/api/tables/{segment(table_id)}/sample", rows=10)
    if json:
        print_json({**schema, "ranges": ranges, "sample": sample["rows"]})
        return
    _show(schema, ranges, sample["rows"])


def _id_of(server: Server, name: str) -> str:
    """Return the id of a table that is named by its view or id."""
    if "." in name:
        return name
    found = server.get("/api/catalog/tables", q=name)["tables"]
    for each in found:
        if each["view"] == name:
            return str(each["id"])
    raise DaError(f"there is no table '{name}'; to list all tables, run: da tables")


def _ranges(server: Server, sql_name: str) -> list[dict[str, Any]]:
    sql = f"select column_name, min, max, least(approx_unique, count), null_percentage from (summarize {sql_name})"
    answer = server.post("/api/query", {"sql": sql, "limit": None, "receipt": False}, again=True)
    names = ("name", "min", "max", "distinct", "null_percent")
    return [dict(zip(names, row, strict=True)) for row in answer["rows"]]


def _show(schema: dict[str, Any], ranges: list[dict[str, Any]], rows: list[list[Any]]) -> None:
    facts = [
        "" if schema["rows"] is None else count_text(schema["rows"], "row"),
        bytes_text(schema["size_bytes"]) if schema["size_bytes"] else "",
        f"updated {ago_text(datetime.fromisoformat(schema['updated']))}" if schema["updated"] else "",
        f"synced {schema['sync_schedule']}" if schema["sync_schedule"] else "",
        f"registered by {schema['owner']}" if schema["owner"] else "",
    ]
    say(f"{schema['view']} ({schema['id']}): {', '.join(fact for fact in facts if fact)}")
    for text in (schema["description"], schema["notice"] and f"Note: {schema['notice']}."):
        if text:
            say(text)
    say()
    known = {each["name"]: each for each in ranges}
    key = set(schema["primary_key"])
    print_table(
        ("column", "type", "min", "max", "distinct", "nulls", "description"),
        [
            (
                f"{each['name']} (key)" if each["name"] in key else each["name"],
                each["type"],
                _text(known.get(each["name"], {}).get("min")),
                _text(known.get(each["name"], {}).get("max")),
                _text(known.get(each["name"], {}).get("distinct")),
                _percent(known.get(each["name"], {}).get("null_percent")),
                each["description"],
            )
            for each in schema["columns"]
        ],
        right=("distinct", "nulls"),
        optional=("description", "distinct", "nulls"),
    )
    if rows:
        say()
        names = tuple(each["name"] for each in schema["columns"])
        print_table(names, [tuple(map(_text, row)) for row in rows], optional=names[3:])


def _text(value: Any) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else json_.dumps(value, ensure_ascii=False)
    return text if len(text) <= _WIDEST else text[: _WIDEST - 1] + "…"


def _percent(value: Any) -> str:
    return "" if value is None else f"{float(value):g} %"


_WIDEST = 30
