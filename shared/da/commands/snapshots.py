"""`da snapshot`: results of the server that are kept as local tables."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from da.commands.query import LONGEST_QUERY, read_sql
from da.errors import DaError, UsageError
from da.help import Commands
from da.mirror.snapshots import SOURCE, Snapshot, Snapshots
from da.mirror.workspace import Workspace
from da.options import Json, Yes, confirm
from da.output import print_json, print_table, respond, say
from da.session import session
from da.text import ago_text, bytes_text, count_text

app = Commands("Keep results from the server as local tables.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the snapshot.")]
Names = Annotated[list[str] | None, typer.Argument(metavar="[NAME…]", help="Snapshots; all if omitted.")]
Sql = Annotated[
    str | None, typer.Option("--sql", metavar="SQL", help="SQL to run on the server; - reads it from stdin.")
]
File = Annotated[Path | None, typer.Option("--file", "-F", metavar="PATH", help="Read the SQL from a file.")]


@app.command("create")
def create(name: Name, *, sql: Sql = None, file: File = None, json: Json = False) -> None:
    """Run SQL on the server, and keep its whole result as a local table.

    The table is named NAME and snapshots.NAME in SQL. It stays as it is until you refresh or drop it, even if da sync
    updates the mirror. Its receipt is kept with it: da verify user/snapshots/NAME.json computes it again.

    Examples:
      da snapshot create clicks_2026 --sql "select * from events.clicks where year = 2026"
      da query "select count(*) from clicks_2026"
    """
    if sql is None and file is None:
        raise UsageError("no SQL given; give some with '--sql' or '--file'")
    workspace = Workspace.find()
    if workspace.checked_at() is None:
        raise workspace.missing()
    text = read_sql(sql, file)
    with workspace.locked():
        kept = Snapshots(workspace)
        plain = kept.require_free(name, workspace.state())
        with session(timeout=LONGEST_QUERY) as server:
            made = kept.take(server, plain, text)
        notes = kept.publish()
    _say(notes)
    respond(_document(kept, made), f"Created {SOURCE}.{plain}: {_summary(made)}.", json=json)


@app.command("list")
def list_snapshots(json: Json = False) -> None:
    """List the snapshots of the workspace.

    Examples:
      da snapshot list
    """
    kept = Snapshots(Workspace.find())
    found = list(kept)
    if json:
        print_json([_document(kept, each) for each in found])
        return
    rows = [
        (
            each.name,
            f"{each.rows:,}",
            bytes_text(each.size_bytes),
            ago_text(datetime.fromisoformat(each.at)),
            " ".join(each.sql.split()),
        )
        for each in found
    ]
    empty = "There are no snapshots; to create one, run: da snapshot create NAME --sql SQL"
    print_table(("snapshot", "rows", "size", "computed", "sql"), rows, right=("rows", "size"), empty=empty)


@app.command("refresh")
def refresh(names: Names = None, *, json: Json = False) -> None:
    """Compute snapshots again, over the current tables of the server.

    A snapshot that fails stays as it is. Exits with 1 if one failed.

    Examples:
      da snapshot refresh clicks_2026
      da snapshot refresh
    """
    workspace = Workspace.find()
    made, failed = list[Snapshot](), dict[str, str]()
    with workspace.locked():
        kept = Snapshots(workspace)
        wanted = [kept.find(name) for name in names] if names else list(kept)
        if wanted:
            with session(timeout=LONGEST_QUERY) as server:
                for each in wanted:
                    try:
                        made.append(kept.take(server, each.name, each.sql))
                    except DaError as error:
                        failed[each.name] = str(error)
            _say(kept.publish())
    if json:
        print_json([_document(kept, each) for each in made])
    for each in () if json else made:
        say(f"Refreshed {SOURCE}.{each.name}: {_summary(each)}.")
    for name, reason in failed.items():
        say(f"{SOURCE}.{name} stays as it is: {reason}", err=True)
    if failed:
        raise typer.Exit(1)


@app.command("drop")
def drop(name: Name, *, yes: Yes = False, json: Json = False) -> None:
    """Delete a snapshot: its table, its rows and its receipt.

    Examples:
      da snapshot drop clicks_2026
    """
    workspace = Workspace.find()
    kept = Snapshots(workspace)
    found = kept.find(name)
    confirm(f"Delete the snapshot {found.name}?", yes=yes)
    with workspace.locked():
        kept.drop(found)
        _say(kept.publish())
    respond({"name": found.name, "dropped": True}, f"Dropped {SOURCE}.{found.name}.", json=json)


def _document(kept: Snapshots, snapshot: Snapshot) -> dict[str, object]:
    return {**snapshot.to_json(), "file": str(kept.path(snapshot))}


def _summary(snapshot: Snapshot) -> str:
    return f"{count_text(snapshot.rows, 'row')}, {bytes_text(snapshot.size_bytes)}, from snapshot {snapshot.snapshot} of the server"


def _say(notes: Sequence[str]) -> None:
    for note in notes:
        say(f"Note: {note}.", err=True)
