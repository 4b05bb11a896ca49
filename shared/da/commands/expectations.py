"""`da expectations`: what is expected of a table, and whether it is met."""

import json as json_
from pathlib import Path
from typing import Annotated, Any

import typer

from da.errors import DaError, RefusedError, UsageError
from da.mirror.workspace import Workspace
from da.options import Json, complete_tables
from da.output import print_json, print_table, respond, say
from da.server import segment
from da.session import session
from da.text import local_time

Table = Annotated[
    str, typer.Argument(metavar="TABLE", help="A table by view name or ID.", autocompletion=complete_tables)
]
History = Annotated[bool, typer.Option("--history", help="List earlier checks and changes of columns.")]
File = Annotated[Path, typer.Argument(metavar="FILE", help="A JSON file with a list of expectations.")]

_NOT_FOUND = 404


def expectations(table: Table, history: History = False, json: Json = False) -> None:
    """Show the expectations of a table, with the results of the last check.

    Examples:
      da expectations orders
      da expectations shop.orders --history
    """
    table_id = _id_of(table)
    with session() as server:
        try:
            found = server.get(f"/api/tables/{segment(table_id)}/expectations")
        except RefusedError as error:
            if error.status == _NOT_FOUND:
                raise DaError(f"{error}; to list all tables, run: da tables") from None
            raise
    if json:
        print_json(found)
    elif history:
        _show_history(found)
    else:
        _show(found)


def set_expectations(table: Table, file: File, json: Json = False) -> None:
    """Replace the expectations of a table with those of a JSON file; an empty list removes them.

    Each has a kind (not_null, unique, range, set, regex, freshness, row_count or sql), a severity (warn or block), and what
    the kind needs. The next sync that reads the table checks them.

    Examples:
      da admin expect shop.orders orders.json
    """
    try:
        listed = json_.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise DaError(f"can't read '{file}': {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"'{file}' is not valid JSON: {error}") from None
    if not isinstance(listed, list):
        raise UsageError(f'\'{file}\' has no list of expectations (expected something like [{{"kind": "unique", …}}])')
    table_id = _id_of(table)
    with session() as server:
        made = server.put(f"/api/admin/tables/{segment(table_id)}/expectations", {"expectations": listed})
    respond(made, f"{table_id} now has {len(listed)} expectations; its next sync checks them.", json=json)


def _id_of(name: str) -> str:
    known = Workspace.find().state().tables.values()
    return next((each.id for each in known if name.lower() in {each.view, each.id}), name.lower())


def _show(found: dict[str, Any]) -> None:
    last = found["checks"][0] if found["checks"] else None
    results = {each["label"]: each for each in last["results"]} if last else {}
    rows = []
    for each in found["expectations"]:
        label = each["name"] or f"{each['kind']} {', '.join(each['columns'])}".strip()
        result = results.get(label)
        state = "not checked yet" if result is None else "met" if result["passed"] else "not met"
        rows.append((label, each["severity"], state, (result and result["message"]) or ""))
    table = found["table"]
    empty = f"{table} has no expectations; to add some, run: da admin expect {table} FILE"
    print_table(("expectation", "severity", "state", "finding"), rows, empty=empty)
    if last:
        say(f"Checked {local_time(last['at'])}{'' if last['published'] else '; that version was not published'}.")


def _show_history(found: dict[str, Any]) -> None:
    checks = [
        (
            local_time(each["at"]),
            f"{each['rows']:,}",
            "yes" if each["published"] else "no",
            "; ".join(result["message"] or result["label"] for result in each["results"] if not result["passed"]),
        )
        for each in found["checks"]
    ]
    columns = ("checked", "rows", "published", "not met")
    empty = f"{found['table']} has not been checked yet; checks run at each sync: da admin sync"
    print_table(columns, checks, right=("rows",), empty=empty)
    if found["column_changes"]:
        say()
        changes = [(local_time(each["at"]), _change(each)) for each in found["column_changes"]]
        print_table(("changed", "columns"), changes)


def _change(change: dict[str, Any]) -> str:
    parts = [f"added {name} ({kind})" for name, kind in change["added"].items()]
    parts += [f"removed {name}" for name in change["removed"]]
    parts += [f"{name} is {after}, was {before}" for name, (before, after) in change["changed"].items()]
    return "; ".join(parts)
