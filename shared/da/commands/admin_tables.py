"""`da admin tables`: the table registry."""

from typing import Annotated, Any, Literal

import typer

from da.errors import DaError, UsageError
from da.help import Commands
from da.options import DryRun, Json, SyncSchedule, Yes, complete_ids, confirm, read_options
from da.output import print_json, print_table, respond, say, say_fact, say_warning
from da.server import Server, segment
from da.session import session

app = Commands("List, register, change and remove tables.")

Table = Annotated[str, typer.Argument(metavar="SOURCE.TABLE", help="ID of the table.", autocompletion=complete_ids)]
SourceTable = Annotated[str | None, typer.Option(help="Name of the table at the source, if different.")]
Description = Annotated[str | None, typer.Option(help="Description of the table.")]
Bucket = Annotated[str | None, typer.Option(help="Bucket of the table, for grants on SOURCE.BUCKET.*.")]
QueryMode = Annotated[
    Literal["local", "remote", "materialized"] | None, typer.Option(help="Where the table is queried.")
]
Strategy = Annotated[
    Literal["full_refresh", "incremental"] | None, typer.Option(help="Whether a sync reads all rows or only changes.")
]
PrimaryKey = Annotated[str | None, typer.Option(metavar="COLUMN,…", help="Columns that identify a row.")]
CursorColumn = Annotated[str | None, typer.Option(help="Column that increases with every change.")]
Public = Annotated[bool | None, typer.Option("--public/--private", help="Whether every user can read it.")]
Options = Annotated[
    list[str] | None,
    typer.Option(
        "--option", "-o", metavar="KEY=VALUE", help="Option of the connector; a value in [] or {} is JSON. Repeatable."
    ),
]
_CLEARED = ("bucket", "cursor_column", "description", "primary_key", "sync_schedule")
"""What `--unset` removes from a registration besides options."""


def register_table(
    table: Annotated[str, typer.Argument(metavar="SOURCE.TABLE", help="ID of the table.")],
    *,
    source_table: SourceTable = None,
    description: Description = None,
    bucket: Bucket = None,
    query_mode: QueryMode = None,
    sync_strategy: Strategy = None,
    primary_key: PrimaryKey = None,
    cursor_column: CursorColumn = None,
    sync_schedule: SyncSchedule = None,
    public: Public = None,
    server_only: Annotated[
        bool, typer.Option("--server-only", help="Keep the table on the server; its files can't be downloaded.")
    ] = False,
    option: Options = None,
    json: Json = False,
) -> None:
    """Register a table of a source.

    The next sync of the source publishes the table. Discovery registers the files of a csv source automatically; a
    table that was removed is read again once it is registered.

    Examples:
      da admin tables add shop.orders --primary-key order_id
      da admin tables add shop.events --option 'files=events/*.csv'
    """
    fields = _fields(
        source_table=source_table,
        description=description,
        bucket=bucket,
        query_mode=query_mode,
        sync_strategy=sync_strategy,
        primary_key=primary_key,
        cursor_column=cursor_column,
        sync_schedule=sync_schedule,
        is_public=public,
        server_only=server_only or None,
        options=read_options(option or ()) or None,
    )
    with session() as server:
        made = server.post(f"/api/admin/tables/{segment(table)}", fields)
    if json:
        print_json(made)
        return
    readers = "every user" if made.get("is_public") else "users with a grant"
    say(f"Registered {table}, readable by {readers}. To publish it, run: da admin sync {table.partition('.')[0]}")


def list_tables(
    source: Annotated[str | None, typer.Option(help="Only the tables of this source.")] = None, json: Json = False
) -> None:
    """List registered tables.

    Examples:
      da admin tables list
      da admin tables list --source shop
    """
    with session() as server:
        tables = server.get("/api/admin/tables", source=source)["tables"]
    if json:
        print_json(tables)
        return
    rows = [
        (
            table["id"],
            table["query_mode"],
            "server only" if table.get("server_only") else "public" if table.get("is_public") else "granted",
            table.get("sync_strategy"),
            table.get("sync_schedule") or "",
            table.get("description") or "",
        )
        for table in tables
    ]
    columns = ("table", "mode", "readers", "strategy", "schedule", "description")
    empty = "There are no tables; to register those of all sources, run: da admin sync"
    print_table(columns, rows, optional=("strategy", "mode", "schedule"), empty=empty)


def show_table(table: Table, json: Json = False) -> None:
    """Show how a table is registered.

    Examples:
      da admin tables show shop.orders
    """
    with session() as server:
        found = server.get(f"/api/admin/tables/{segment(table)}")
    if json:
        print_json(found)
        return
    readers = "nobody, it stays on the server" if found["server_only"] else "everybody" if found["is_public"] else ""
    facts = {
        "from": found["source_table"],
        "about": found["description"],
        "bucket": found["bucket"],
        "mode": found["query_mode"],
        "strategy": found["sync_strategy"],
        "key": ", ".join(found["primary_key"]),
        "cursor": found["cursor_column"],
        "schedule": found["sync_schedule"] or "that of the source",
        "readers": readers or "users with a grant",
        **found["options"],
    }
    for name, value in facts.items():
        if value:
            say_fact(name, str(value))


def update_table(
    table: Table,
    *,
    source_table: SourceTable = None,
    description: Description = None,
    bucket: Bucket = None,
    query_mode: QueryMode = None,
    sync_strategy: Strategy = None,
    primary_key: PrimaryKey = None,
    cursor_column: CursorColumn = None,
    sync_schedule: SyncSchedule = None,
    public: Public = None,
    server_only: Annotated[
        bool | None,
        typer.Option("--server-only/--mirrored", help="Keep the table on the server, or let laptops mirror it."),
    ] = None,
    option: Options = None,
    unset: Annotated[
        list[str] | None,
        typer.Option("--unset", metavar="KEY", help=f"Option to remove, or {', '.join(_CLEARED)}. Repeatable."),
    ] = None,
    json: Json = False,
) -> None:
    """Change how a table is registered. What you omit stays unchanged.

    Examples:
      da admin tables update shop.orders --description 'One row per order'
      da admin tables update shop.orders --option nullstr=NA --unset delimiter
      da admin tables update shop.orders --sync-strategy full_refresh --unset cursor_column
    """
    fields = _fields(
        source_table=source_table,
        description=description,
        bucket=bucket,
        query_mode=query_mode,
        sync_strategy=sync_strategy,
        primary_key=primary_key,
        cursor_column=cursor_column,
        sync_schedule=sync_schedule,
        is_public=public,
        server_only=server_only,
    )
    if not fields and not option and not unset:
        raise UsageError("nothing to change: give an option, such as '--description'")
    with session() as server:
        place = f"/api/admin/tables/{segment(table)}"
        if option or unset:
            options = {**server.get(place)["options"], **read_options(option or ())}
            for key in unset or ():
                if key in options:
                    del options[key]
                elif key in _CLEARED:
                    fields[key] = None
                else:
                    raise DaError(f"the table '{table}' has no option '{key}'; it has {', '.join(options) or 'none'}")
            fields["options"] = options
        made = server.put(place, fields)
        problem = _problem(server, table) if {"options", "primary_key", "cursor_column"} & fields.keys() else None
    if problem:
        say_warning(f"{table} can't be read like this: {problem}")
    respond(made, f"Changed {table}. To read it again, run: da admin sync {table}", json=json)


def remove_table(table: Table, dry_run: DryRun = False, yes: Yes = False, json: Json = False) -> None:
    """Remove a table: its registration, the grants on it, and its data.

    Its file at the source stays, and discovery ignores it from now on; da admin tables add reads it again. Laptops drop
    the table at their next sync.

    Examples:
      da admin tables remove shop.orders
    """
    with session() as server:
        found = server.get(f"/api/admin/tables/{segment(table)}")
        if not json:
            say(f"Goes: the registration of {table}, the grants on it, and its data")
            say(f"Stays: '{found['source_table']}' at the source; the audit log; earlier snapshots until they expire")
        if not dry_run:
            confirm(f"Remove the table {table}?", yes=yes)
            server.delete(f"/api/admin/tables/{segment(table)}")
    hint = f"To read it again, run: da admin tables add {table}"
    if json or not dry_run:
        respond({"id": table, "removed": not dry_run}, f"Removed {table}. {hint}", json=json)


def _problem(server: Server, table: str) -> str | None:
    """Return why the next sync could not read a table, as far as a preview shows it."""
    source, _, name = table.partition(".")
    try:
        found = server.post(f"/api/admin/sources/{segment(source)}/preview", {"tables": [name]}, again=True)
    except DaError:
        return None
    return next((each["problem"] for each in found["tables"] if each["name"] == name), None)


def _fields(*, primary_key: str | None, **fields: Any) -> dict[str, Any]:
    """Return the fields that were given."""
    key = [column.strip() for column in primary_key.split(",")] if primary_key else None
    return {name: value for name, value in {**fields, "primary_key": key}.items() if value is not None}


app.command("list")(list_tables)
app.command("add")(register_table)
app.command("show")(show_table)
app.command("update")(update_table)
app.command("remove")(remove_table)
