"""`da admin materialized`: tables that the server computes with SQL from other tables."""

from typing import Annotated, Any

import typer

from da.commands.admin_runs import Wait, sync
from da.commands.query import File, Sql, SqlCommand, read_sql
from da.errors import DaError, RefusedError, UsageError
from da.help import Commands
from da.options import DryRun, Json, SyncSchedule, Timeout, Yes, complete_ids, confirm
from da.output import print_json, print_table, respond, say, say_fact
from da.server import Server, segment
from da.session import session

app = Commands("Compute tables with SQL from other tables, and keep them up to date.")

TYPE = "materialized"

Table = Annotated[str, typer.Argument(metavar="SOURCE.TABLE", help="ID of the table.", autocompletion=complete_ids)]
Description = Annotated[str | None, typer.Option(help="Description of the table.")]
Public = Annotated[bool | None, typer.Option("--public/--private", help="Whether every user can read it.")]
Engine = Annotated[str | None, typer.Option(help="What runs the SQL: duckdb, the server itself (default), or spark.")]
Run = Annotated[bool, typer.Option("--run/--no-run", help="Compute the table now; wait for it unless --json is given.")]


@app.command("add", cls=SqlCommand)
def add(
    table: Table,
    sql: Sql = None,
    *,
    file: File = None,
    sync_schedule: SyncSchedule = None,
    description: Description = None,
    public: Public = None,
    engine: Engine = None,
    run: Run = True,
    json: Json = False,
) -> None:
    """Add a table that is computed with SQL.

    The SQL is one query over tables of any sources, named source.table. The result is published like any other table;
    its source is created if necessary. Without a schedule, the table is computed after its inputs, whenever the data of
    one of them has changed. If no input has changed, nothing is computed.

    The SQL may read every table. Grants on the result decide who may read it, not those on its inputs.

    Examples:
      da admin materialized add marts.revenue "select day, sum(total) as total from shop.orders group by day"
      da admin materialized add marts.revenue --file revenue.sql --sync-schedule 'daily 05:00'
    """
    fields = _fields(
        sql=read_sql(sql, file), engine=engine, sync_schedule=sync_schedule, description=description, public=public
    )
    source = table.partition(".")[0]
    with session() as server:
        is_new = _require_source(server, source)
        if is_new:
            server.post(f"/api/admin/sources/{segment(source)}", {"type": TYPE})
        try:
            made = server.post(f"/api/admin/tables/{segment(table)}", fields)
        except RefusedError:
            if is_new:
                server.post(f"/api/admin/sources/{segment(source)}/remove", {"dry_run": False})
            raise
    _registered(made, "Added", run=run, json=json)


@app.command("update", cls=SqlCommand)
def update(
    table: Table,
    sql: Sql = None,
    *,
    file: File = None,
    sync_schedule: SyncSchedule = None,
    after_inputs: Annotated[
        bool, typer.Option("--after-inputs", help="Remove its schedule: compute it after its inputs.")
    ] = False,
    description: Description = None,
    public: Public = None,
    engine: Engine = None,
    run: Run = True,
    json: Json = False,
) -> None:
    """Change the SQL of a table, or how it is registered. What you omit stays unchanged.

    Examples:
      da admin materialized update marts.revenue --file revenue.sql
      da admin materialized update marts.revenue --after-inputs
    """
    if sync_schedule is not None and after_inputs:
        raise UsageError("can't use both '--sync-schedule' and '--after-inputs'; give one of them")
    text = read_sql(sql, file) if sql is not None or file is not None else None
    fields = _fields(sql=text, engine=engine, sync_schedule=sync_schedule, description=description, public=public)
    if after_inputs:
        fields["sync_schedule"] = None
    if not fields:
        raise UsageError("nothing to change: give SQL or an option, such as '--after-inputs'")
    with session() as server:
        before = _found(server, table)
        if "options" in fields:
            fields["options"] = {**before["options"], **fields["options"]}
        made = server.put(f"/api/admin/tables/{segment(table)}", fields)
    _registered(made, "Changed", run=run and "options" in fields, json=json)


@app.command("list")
def list_tables(json: Json = False) -> None:
    """List the tables that are computed with SQL.

    Examples:
      da admin materialized list
    """
    with session() as server:
        sources = {each["name"]: each for each in server.get("/api/admin/sources")["sources"] if each["type"] == TYPE}
        tables = [each for each in server.get("/api/admin/tables")["tables"] if each["source"] in sources]
    if json:
        print_json(tables)
        return
    rows = [
        (
            table["id"],
            ", ".join(table["options"].get("inputs") or ()),
            _when(table, sources[table["source"]]),
            "public" if table["is_public"] else "granted",
            table["description"] or "",
        )
        for table in tables
    ]
    empty = "There are no materialized tables; to add one, run: da admin materialized add SOURCE.TABLE SQL"
    print_table(("table", "inputs", "computed", "readers", "description"), rows, optional=("description",), empty=empty)


@app.command("show")
def show(table: Table, json: Json = False) -> None:
    """Show the SQL of a table, its inputs, and how its last run ended.

    Examples:
      da admin materialized show marts.revenue
    """
    with session() as server:
        found = _found(server, table)
        source = server.get(f"/api/admin/sources/{segment(found['source'])}")
        runs = server.get("/api/sync/status", limit=100)["runs"]
    if json:
        print_json(found)
        return
    results = (
        each
        for run in runs
        if run.get("source") == found["source"]
        for each in run["tables"]
        if each["table"] == found["name"]
    )
    last = next(results, None)
    facts = {
        "about": found["description"],
        "inputs": ", ".join(found["options"].get("inputs") or ()) or "none",
        "computed": _when(found, source),
        "engine": found["options"].get("engine"),
        "readers": "everybody" if found["is_public"] else "users with a grant",
        "last run": "none in the last days" if last is None else f"{last['status']} {last.get('error') or ''}".strip(),
    }
    for name, value in facts.items():
        if value:
            say_fact(name, str(value))
    say(f"\n{found['options']['sql']}")


@app.command("run")
def run(
    tables: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SOURCE.TABLE…]", help="Tables, or sources; all materialized tables if omitted."),
    ] = None,
    *,
    wait: Wait = True,
    timeout: Timeout = 3600,
    json: Json = False,
) -> None:
    """Compute tables now, each after its inputs; those without changed inputs stay as they are.

    Exits with 1 if something failed.

    Examples:
      da admin materialized run
      da admin materialized run marts.revenue
    """
    names = list(tables or ())
    if not names:
        with session() as server:
            names = [each["name"] for each in server.get("/api/admin/sources")["sources"] if each["type"] == TYPE]
        if not names:
            raise DaError(
                "there are no materialized tables; to add one, run: da admin materialized add SOURCE.TABLE SQL"
            )
    sync(names, wait, timeout, json)


@app.command("remove")
def remove(table: Table, dry_run: DryRun = False, yes: Yes = False, json: Json = False) -> None:
    """Remove a table: its SQL, the grants on it, and its data.

    Laptops drop the table at their next sync. Tables that are computed from it keep their last data, and fail.

    Examples:
      da admin materialized remove marts.revenue
    """
    with session() as server:
        _found(server, table)
        tables = server.get("/api/admin/tables")["tables"]
        used = [each["id"] for each in tables if table in (each["options"].get("inputs") or ())]
        if not json:
            say(f"Goes: the SQL of {table}, the grants on it, and its data")
            if used:
                say(f"Computed from it, and then out of date: {', '.join(used)}")
        if not dry_run:
            confirm(f"Remove the table {table}?", yes=yes)
            server.delete(f"/api/admin/tables/{segment(table)}")
    if json or not dry_run:
        respond({"id": table, "removed": not dry_run}, f"Removed {table}.", json=json)


def _fields(*, sql: str | None, engine: str | None, public: bool | None, **fields: Any) -> dict[str, Any]:
    """Return the fields that were given, as the registry has them."""
    options = {name: value for name, value in (("sql", sql), ("engine", engine)) if value is not None}
    document = {**fields, "is_public": public, "options": options or None}
    return {name: value for name, value in document.items() if value is not None}


def _require_source(server: Server, name: str) -> bool:
    """Return whether a source is still to be created.

    Raises:
        DaError: there is one of another type.
    """
    types = {each["name"]: each["type"] for each in server.get("/api/admin/sources")["sources"]}
    if types.get(name, TYPE) != TYPE:
        raise DaError(
            f"the source '{name}' is of type '{types[name]}', and computed tables need a source of their own; choose "
            "another name, such as marts"
        )
    return name not in types


def _found(server: Server, table: str) -> dict[str, Any]:
    found: dict[str, Any] = server.get(f"/api/admin/tables/{segment(table)}")
    if "sql" not in found["options"]:
        raise DaError(f"'{table}' is not computed with SQL; to see how it is read, run: da admin tables show {table}")
    return found


def _when(table: dict[str, Any], source: dict[str, Any]) -> str:
    return str(table["sync_schedule"] or source.get("sync_schedule") or "after its inputs")


def _registered(made: dict[str, Any], what: str, *, run: bool, json: bool) -> None:
    if json:
        if run:
            with session() as server:
                server.post("/api/sync/trigger", {"tables": [made["id"]]})
        print_json(made)
        return
    inputs = ", ".join(made["options"].get("inputs") or ()) or "no table"
    say(
        f"{what} {made['id']}, computed from {inputs}, readable by {'every user' if made['is_public'] else 'users with a grant'}."
    )
    if run:
        sync([made["id"]], wait=True, timeout=3600, json=False)
    else:
        say(f"To compute it, run: da admin materialized run {made['id']}")
