"""`da admin discover`: the tables that sources offer, and their registration."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from da.errors import DaError, UsageError
from da.options import DryRun, Json, Yes, confirm
from da.output import print_json, print_table, say, say_warning
from da.session import session
from da.text import bytes_text, count_text

_TIMEOUT = 300.0
_PLACE = "/api/admin/discover-tables"

Source = Annotated[str | None, typer.Argument(metavar="[SOURCE]", help="Source to look at; all if omitted.")]


def discover(
    source: Source = None,
    *,
    register: Annotated[bool, typer.Option("--register", help="Register the tables that are new.")] = False,
    table: Annotated[
        list[str] | None, typer.Option("--table", "-t", metavar="NAME", help="Only this table. Repeatable.")
    ] = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """List the tables that a source offers, and register them.

    Shows the id that each table has or would get: if several buckets have a table of the same name, the bucket is added
    to the name. With --register, all new tables are registered, or only those given with --table. Exits with 1 if a
    source can't be listed.

    Examples:
      da admin discover kbc
      da admin discover kbc --register --dry-run
      da admin discover kbc --register --table contacts --table orders
    """
    if dry_run and not register:
        raise UsageError("--dry-run needs --register: without it, nothing is changed anyway")
    with session(_TIMEOUT) as server:
        if not register:
            found = server.get(_PLACE, source=source)
        else:
            body: dict[str, Any] = {"source": source, "tables": table or None}
            found = server.post(_PLACE, {**body, "dry_run": True}, again=True)
            if not dry_run and found["registered"]:
                confirm(f"Register {count_text(len(found['registered']), 'table')}?", yes=yes or json)
                found = server.post(_PLACE, {**body, "tables": _names(found)})
    if json:
        print_json(found)
    else:
        _print(found, set(table or ()), source, register=register)
    if found["problems"]:
        raise DaError("; ".join(f"{one['source']}: {one['error']}" for one in found["problems"]))


def _names(found: Mapping[str, Any]) -> list[str]:
    """Return what was shown, so that nothing else is registered."""
    return [id_.partition(".")[2] for id_ in found["registered"]]


def _print(found: Mapping[str, Any], only: set[str], source: str | None, *, register: bool) -> None:
    chosen = set(found["registered"])
    rows = [
        (
            table["id"],
            table["source_table"],
            "" if table["rows"] is None else f"{table['rows']:,}",
            "" if table["size_bytes"] is None else bytes_text(table["size_bytes"]),
            _state(table, chosen, dry_run=found["dry_run"]),
            (table["description"] or "").split("\n")[0],
        )
        for table in found["tables"]
        if not only or table["name"] in only
    ]
    columns = ("table", "from", "rows", "size", "state", "description")
    empty = "There are no tables to list; to add a source, run: da admin sources add"
    print_table(columns, rows, right=("rows", "size"), optional=("description", "size", "rows"), empty=empty)
    for table in found["tables"]:
        if table["problem"]:
            say_warning(f"{table['id']}: {table['problem']}")
    if not register:
        new = sum(not table["is_registered"] and not table["is_removed"] for table in found["tables"])
        if new:
            what = f"{count_text(new, 'table')} not registered"
            say(f"{what}; to register, run: da admin discover {f'{source} ' if source else ''}--register")
    elif found["dry_run"]:
        say(f"Would register {count_text(len(chosen), 'table')}.")
    elif chosen:
        sources = sorted({id_.partition(".")[0] for id_ in chosen})
        say(f"Registered {count_text(len(chosen), 'table')}. To publish, run: da admin sync {' '.join(sources)}")
    else:
        say("Nothing to register: all tables are registered.")


def _state(table: Mapping[str, Any], chosen: set[str], *, dry_run: bool) -> str:
    if table["id"] in chosen:
        return "would be registered" if dry_run else "registered now"
    if table["problem"]:
        return "can't be read"
    if table["is_registered"]:
        return "registered"
    return "removed" if table["is_removed"] else "new"
