"""`da tables`: list the tables you can query."""

from datetime import datetime
from difflib import get_close_matches
from typing import Annotated, Any

import typer

from da.errors import DaError
from da.mirror.manifest import NO_TABLES, Table, noticed
from da.mirror.snapshots import Snapshots, is_snapshot
from da.mirror.workspace import Workspace
from da.options import Json, complete_tables
from da.output import print_json, print_table, say, say_fact
from da.session import session
from da.text import ago_text, bytes_text, count_text, local_time

Name = Annotated[
    str | None,
    typer.Argument(
        metavar="[TABLE]", help="Show the columns of this table, by view name or ID.", autocompletion=complete_tables
    ),
]
OfServer = Annotated[bool, typer.Option("--snapshots", help="List the snapshots on the server instead.")]


def tables(name: Name = None, snapshots: OfServer = False, json: Json = False) -> None:
    """List tables, or the columns of one table.

    Shows the state at the last sync: mirrored tables, tables that can only be queried on the server, and your snapshots
    (see da snapshot).

    Examples:
      da tables
      da tables orders       # the columns of a table
      da tables --snapshots  # the snapshots on the server
    """
    if snapshots:
        _list_snapshots(json=json)
        return
    workspace = Workspace.find()
    if workspace.checked_at() is None:
        raise workspace.missing()
    kept = [each.table for each in Snapshots(workspace)]
    known = [*workspace.state().tables.values(), *kept]
    if name is None:
        _list(workspace, known, json=json)
    else:
        _show(workspace, _named(name, known), json=json)


def _list_snapshots(*, json: bool) -> None:
    with session() as server:
        found = server.get("/api/snapshots")
    known = found["snapshots"]
    if json:
        print_json(known)
        return
    rows = [
        (
            each["snapshot"],
            local_time(each["published_at"]),
            "current" if each["is_current"] else "",
        )
        for each in known
    ]
    empty = "There are no snapshots; an administrator publishes one with: da admin sync"
    print_table(("snapshot", "published", ""), rows, right=("snapshot",), empty=empty)
    for held in found.get("held_back") or []:
        say(f"{held['source']} is held back at snapshot {held['snapshot']} by a rollback.")


def _list(workspace: Workspace, known: list[Table], *, json: bool) -> None:
    if json:
        print_json([_document(workspace, table) for table in known])
        return
    rows = [
        (
            table.view,
            table.id,
            _place(table),
            "" if table.rows is None else f"{table.rows:,}",
            _size(table),
            _updated(table),
            table.description,
        )
        for table in known
    ]
    columns = ("view", "table", "where", "rows", "size", "updated", "description")
    optional = ("where", "size", "updated", "view")
    print_table(columns, rows, right=("rows", "size"), optional=optional, empty=NO_TABLES)
    for notice in noticed(known):
        say(f"Note: {notice}.")


def _show(workspace: Workspace, table: Table, *, json: bool) -> None:
    if json:
        columns = [{"name": each.name, "type": each.type, "description": each.description} for each in table.columns]
        files = [str(workspace.path(table.id, file)) for file in table.files]
        if is_snapshot(table):
            files = [str(Snapshots(workspace).path(Snapshots(workspace).find(table.view)))]
        print_json({**_document(workspace, table), "columns": columns, "files": files})
        return
    rows = "" if table.rows is None else count_text(table.rows, "row")
    facts = [_place(table), rows, _size(table), _updated(table)]
    say(f"{table.view} ({table.id}): {', '.join(fact for fact in facts if fact)}")
    if table.description:
        say(table.description)
    for label in ("grain", "tier", "owners", "tags"):
        if value := table.about.get(label):
            say_fact(label, value if isinstance(value, str) else ", ".join(value))
    for note in table.about.get("notes") or ():
        say(f"Know: {note}")
    for notice in noticed([table]):
        say(f"Note: {notice}.")
    say()
    print_table(("column", "type", "description"), [(each.name, each.type, each.description) for each in table.columns])


def _named(name: str, known: list[Table]) -> Table:
    found = next((table for table in known if name.lower() in {table.view, table.id}), None)
    if found is None:
        names = [name for table in known for name in (table.view, table.id)]
        near = get_close_matches(name.lower(), names, n=2, cutoff=0.6)
        hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else "; to fetch new tables, run: da sync"
        raise DaError(f"there is no table '{name}'{hint}")
    return found


def _document(workspace: Workspace, table: Table) -> dict[str, Any]:
    return {
        "id": table.id,
        "view": table.view,
        "where": "snapshot" if is_snapshot(table) else table.place,
        "rows": table.rows,
        "size_bytes": table.size_bytes,
        "updated": table.updated,
        "description": table.description,
        "about": dict(table.about),
        "notice": table.notice,
        "folder": _folder(workspace, table),
    }


def _folder(workspace: Workspace, table: Table) -> str | None:
    if is_snapshot(table):
        return str(Snapshots(workspace).folder)
    return str(workspace.folder(table.id)) if table.is_mirrored else None


def _place(table: Table) -> str:
    return "snapshot" if is_snapshot(table) else table.place.replace("_", " ")


def _size(table: Table) -> str:
    return bytes_text(table.size_bytes) if table.size_bytes else ""


def _updated(table: Table) -> str:
    try:
        return ago_text(datetime.fromisoformat(table.updated)) if table.updated else ""
    except (ValueError, TypeError):
        return ""
