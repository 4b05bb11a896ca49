"""`da admin`: sources and the table registry."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from da.config import is_loopback
from da.errors import UsageError
from da.options import Json, SyncSchedule, read_options
from da.output import print_json, print_table, respond, say
from da.server import segment
from da.session import session

Options = Annotated[
    list[str] | None,
    typer.Option(
        "--option", "-o", metavar="KEY=VALUE", help="Option of the connector; a value in [] or {} is JSON. Repeatable."
    ),
]


def add_source(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the source.")],
    *,
    kind: Annotated[str, typer.Option("--type", help="Type of the source.")] = "csv",
    path: Annotated[str | None, typer.Option(help="Folder or URL of its files, as seen by the server.")] = None,
    sync_schedule: SyncSchedule = None,
    option: Options = None,
    json: Json = False,
) -> None:
    """Add a source.

    For a csv source, each file in the folder becomes a table.
    """
    if kind == "csv" and path is None:
        raise UsageError("a csv source needs --path: the folder with its files")
    with session() as server:
        said = {"sync_schedule": sync_schedule} if sync_schedule else {}
        config = {**({"path": _as_the_server_sees(path, server.address)} if path else {}), **read_options(option or ())}
        made = server.post(f"/api/admin/sources/{segment(name)}", {"type": kind, "config": config, **said})
    respond(made, f"Added the source {name}. To sync it, run: da admin sync {name}", json=json)


def list_sources(json: Json = False) -> None:
    """List sources."""
    with session() as server:
        sources = server.get("/api/admin/sources")["sources"]
    if json:
        print_json(sources)
        return
    rows = [
        (source["name"], source["type"], source.get("sync_schedule") or "", _config_text(source["config"]))
        for source in sources
    ]
    print_table(("source", "type", "schedule", "config"), rows)


def register_table(
    table: Annotated[str, typer.Argument(metavar="SOURCE.TABLE", help="ID of the table.")],
    *,
    source_table: Annotated[str | None, typer.Option(help="Name of the table at the source, if different.")] = None,
    description: Annotated[str | None, typer.Option(help="Description of the table.")] = None,
    bucket: Annotated[str | None, typer.Option(help="Bucket of the table, for grants on SOURCE.BUCKET.*.")] = None,
    query_mode: Annotated[
        Literal["local", "remote", "materialized"] | None, typer.Option(help="Where the table is queried.")
    ] = None,
    sync_strategy: Annotated[
        Literal["full_refresh", "incremental"] | None,
        typer.Option(help="Whether a sync reads all rows or only changes."),
    ] = None,
    primary_key: Annotated[str | None, typer.Option(metavar="COLUMN,…", help="Columns that identify a row.")] = None,
    cursor_column: Annotated[str | None, typer.Option(help="Column that increases with every change.")] = None,
    sync_schedule: SyncSchedule = None,
    public: Annotated[bool | None, typer.Option("--public/--private", help="Whether every user can read it.")] = None,
    server_only: Annotated[
        bool, typer.Option("--server-only", help="Keep the table on the server; its files can't be downloaded.")
    ] = False,
    option: Options = None,
    json: Json = False,
) -> None:
    """Register a table of a source.

    The next sync of the source publishes the table.
    """
    said = {
        "source_table": source_table,
        "description": description,
        "bucket": bucket,
        "query_mode": query_mode,
        "sync_strategy": sync_strategy,
        "primary_key": [column.strip() for column in primary_key.split(",")] if primary_key else None,
        "cursor_column": cursor_column,
        "sync_schedule": sync_schedule,
        "is_public": public,
        "server_only": server_only or None,
        "options": read_options(option or ()) or None,
    }
    with session() as server:
        body = {key: value for key, value in said.items() if value is not None}
        made = server.post(f"/api/admin/tables/{segment(table)}", body)
    if json:
        print_json(made)
        return
    readers = "every user" if made.get("is_public") else "users with a grant"
    say(f"Registered {table}, readable by {readers}. To publish it, run: da admin sync {table.partition('.')[0]}")


def list_tables(
    source: Annotated[str | None, typer.Option(help="Only the tables of this source.")] = None, json: Json = False
) -> None:
    """List registered tables."""
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
    print_table(("table", "mode", "readers", "strategy", "schedule", "description"), rows)


def _as_the_server_sees(path: str, server: str) -> str:
    """Return an absolute path if the server runs on this machine: its working directory differs from the user's."""
    return str(Path(path).expanduser().absolute()) if is_loopback(server) and "://" not in path else path


def _config_text(config: dict[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in config.items())
