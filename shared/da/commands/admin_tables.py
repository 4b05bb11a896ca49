"""`da admin`: sources, and the registry of tables."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from da.config import is_loopback
from da.errors import UsageError
from da.options import read_options
from da.output import print_json, print_table, say
from da.server import segment
from da.session import session

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Options = Annotated[
    list[str] | None,
    typer.Option("--option", "-o", metavar="KEY=VALUE", help="An option; a value in [] or {} is JSON. Several times."),
]


def add_source(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    *,
    kind: Annotated[str, typer.Option("--type", help="What kind of source it is.")] = "csv",
    path: Annotated[str | None, typer.Option(help="Where its files are, as the server sees it.")] = None,
    sync_schedule: Annotated[str | None, typer.Option(help="When it is synced: every 6h, daily 05:00.")] = None,
    option: Options = None,
    json: Json = False,
) -> None:
    """Add a source.

    Each file in the folder of a csv source becomes a table.
    """
    if kind == "csv" and path is None:
        raise UsageError("A csv source needs --path, the folder with its files")
    with session() as server:
        said = {"sync_schedule": sync_schedule} if sync_schedule else {}
        config = {**({"path": _as_the_server_sees(path, server.address)} if path else {}), **read_options(option or ())}
        made = server.post(f"/api/admin/sources/{segment(name)}", {"type": kind, "config": config, **said})
    print_json(made) if json else say(f"Added the source {name}. Fetch its tables with: da admin sync {name}")


def list_sources(json: Json = False) -> None:
    """List the sources."""
    with session() as server:
        sources = server.get("/api/admin/sources")["sources"]
    if json:
        print_json(sources)
        return
    rows = [
        (source["name"], source["type"], source.get("sync_schedule") or "", _told(source["config"]))
        for source in sources
    ]
    print_table(("source", "type", "schedule", "config"), rows)


def register_table(
    table: Annotated[str, typer.Argument(metavar="SOURCE.TABLE")],
    *,
    source_table: Annotated[str | None, typer.Option(help="What the table is called at the source.")] = None,
    description: Annotated[str | None, typer.Option(help="What is in it.")] = None,
    bucket: Annotated[str | None, typer.Option(help="The bucket it belongs to, for grants.")] = None,
    query_mode: Annotated[
        Literal["local", "remote", "materialized"] | None, typer.Option(help="Where it is queried.")
    ] = None,
    sync_strategy: Annotated[
        Literal["full_refresh", "incremental"] | None, typer.Option(help="What a sync reads.")
    ] = None,
    primary_key: Annotated[
        str | None, typer.Option(metavar="COLUMN,…", help="The columns that tell rows apart.")
    ] = None,
    cursor_column: Annotated[str | None, typer.Option(help="The column that grows with every change.")] = None,
    sync_schedule: Annotated[str | None, typer.Option(help="When it is synced: every 6h, daily 05:00.")] = None,
    public: Annotated[bool | None, typer.Option("--public/--private", help="Whether everybody may read it.")] = None,
    server_only: Annotated[bool, typer.Option("--server-only", help="Never hand its files out.")] = False,
    option: Options = None,
    json: Json = False,
) -> None:
    """Register a table of a source.

    The next sync of the source publishes it.
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
    readers = "everybody" if made.get("is_public") else "those it is granted to"
    say(f"Registered {table}, readable by {readers}. Publish it with: da admin sync {table.partition('.')[0]}")


def list_tables(
    source: Annotated[str | None, typer.Option(help="Only the tables of this source.")] = None, json: Json = False
) -> None:
    """List the registered tables."""
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
    """Make a path absolute when the server is this machine: it does not run in the user's folder."""
    return str(Path(path).expanduser().absolute()) if is_loopback(server) and "://" not in path else path


def _told(config: dict[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in config.items())
