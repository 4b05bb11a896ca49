"""`da admin sources`: the life of a source, from the first look at it to its removal."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from da.config import is_loopback
from da.errors import DaError, UsageError
from da.help import Commands
from da.options import DryRun, Json, SyncSchedule, Yes, confirm, read_options
from da.output import print_json, print_table, respond, say, say_fact, say_warning
from da.runs import result_of
from da.server import Server, segment
from da.session import session
from da.text import bytes_text, count_text, local_time

app = Commands("Add, inspect, change and remove sources.")

_TIMEOUT = 120.0
"""Seconds that a preview may take: the server reads files for up to 20 s, and copies those of a bucket first."""

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the source.")]
Kind = Annotated[
    str | None,
    typer.Option("--type", help="Type of the source: csv, jira, keboola, bigquery, materialized or external."),
]
Place = Annotated[str | None, typer.Option("--path", help="Folder or URL of its files, as seen by the server.")]
Options = Annotated[
    list[str] | None,
    typer.Option(
        "--option", "-o", metavar="KEY=VALUE", help="Option of the connector; a value in [] or {} is JSON. Repeatable."
    ),
]
NoCheck = Annotated[bool, typer.Option("--no-check", help="Do not check the path and credentials first.")]


@app.command("list")
def list_sources(json: Json = False) -> None:
    """List sources.

    Examples:
      da admin sources list
    """
    with session() as server:
        sources = server.get("/api/admin/sources")["sources"]
    if json:
        print_json(sources)
        return
    rows = [
        (
            source["name"],
            source["type"],
            source.get("sync_schedule") or "",
            ", ".join(f"{key}={value}" for key, value in source["config"].items()),
        )
        for source in sources
    ]
    empty = "There are no sources; to add one, run: da admin sources add NAME --path FOLDER"
    print_table(("source", "type", "schedule", "config"), rows, optional=("schedule",), empty=empty)


@app.command()
def show(name: Name, json: Json = False) -> None:
    """Show the config of a source, its tables and its last runs.

    Examples:
      da admin sources show shop
    """
    with session() as server:
        source = server.get(f"/api/admin/sources/{segment(name)}")
        tables = server.get("/api/admin/tables", source=name)["tables"]
        runs = [run for run in server.get("/api/sync/status", limit=100)["runs"] if run.get("source") == name][:5]
    if json:
        print_json({**source, "tables": tables, "runs": runs})
        return
    facts = {
        "type": source["type"],
        **source["config"],
        "schedule": source.get("sync_schedule") or "that of the server",
    }
    if source.get("excluded"):
        facts["removed"] = f"{', '.join(source['excluded'])}: discovery ignores these tables"
    width = max(map(len, facts))
    for key, value in facts.items():
        say_fact(key.ljust(width), str(value))
    rows = [(table["id"], table.get("source_table") or "", table.get("sync_strategy") or "") for table in tables]
    empty = f"There are no tables; to find some, run: da admin sources preview {name}"
    print_table(("table", "from", "strategy"), rows, optional=("strategy",), empty=empty)
    print_table(
        ("run", "kind", "status", "result"),
        [(local_time(run["started_at"]), run.get("job") or "sync", run["status"], result_of(run)) for run in runs],
        empty=f"It was not synced in the last days; to sync it, run: da admin sync {name}",
    )


@app.command()
def add(
    name: Name,
    *,
    kind: Annotated[
        str, typer.Option("--type", help="Type of the source: csv, jira, keboola, bigquery, materialized or external.")
    ] = "csv",
    path: Place = None,
    sync_schedule: SyncSchedule = None,
    option: Options = None,
    no_check: NoCheck = False,
    json: Json = False,
) -> None:
    """Add a source.

    Its path, options and credentials are checked first, and what was found is printed: tables, columns and types, and
    what is ignored and why. In a csv source, each file in the folder becomes a table, and so does each sub-folder.

    Examples:
      da admin sources add shop --path sources/shop
      da admin sources add crm --path s3://bucket/crm --sync-schedule 'every 6h'
      da admin sources add jira --type jira
    """
    if kind == "csv" and path is None:
        raise UsageError("a csv source needs '--path': the folder with its files")
    with session(_TIMEOUT) as server:
        config = {**_path(path, server), **read_options(option or ())}
        if any(source["name"] == name for source in server.get("/api/admin/sources")["sources"]):
            raise DaError(
                f"there is a source '{name}' already; to change it, run: da admin sources update {name}, or choose "
                "another name"
            )
        if not no_check:
            found = _previewed(server, name, {"type": kind, "config": config})
            _require_readable(found, "The source was not added. To add it anyway, use --no-check")
        schedule = {"sync_schedule": sync_schedule} if sync_schedule else {}
        made = server.post(f"/api/admin/sources/{segment(name)}", {"type": kind, "config": config, **schedule})
    if not no_check and not json:
        _print_preview(found)
    respond(made, f"Added the source {name}. To sync it, run: da admin sync {name}", json=json)


@app.command()
def update(
    name: Name,
    *,
    path: Place = None,
    option: Options = None,
    unset: Annotated[
        list[str] | None, typer.Option("--unset", metavar="KEY", help="Option to remove. Repeatable.")
    ] = None,
    sync_schedule: SyncSchedule = None,
    dry_run: DryRun = False,
    no_check: NoCheck = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Change the path, options or schedule of a source.

    Other options stay. The new config is checked first. If registered tables would no longer be read, they are listed,
    and you are asked to confirm; their last state stays readable until you remove them.

    Examples:
      da admin sources update shop --path sources/shop2 --dry-run
      da admin sources update shop --option nullstr=NA --unset delimiter
      da admin sources update shop --sync-schedule 'daily 05:00'
    """
    if path is None and not option and not unset and sync_schedule is None:
        raise UsageError("nothing to change: give '--path', '--option', '--unset' or '--sync-schedule'")
    with session(_TIMEOUT) as server:
        source = server.get(f"/api/admin/sources/{segment(name)}")
        config = {**source["config"], **_path(path, server), **read_options(option or ())}
        _unset(config, unset or (), name)
        changes: dict[str, Any] = {"config": config} if config != source["config"] else {}
        if changes and not no_check:
            found = _previewed(server, name, {"type": source["type"], "config": config})
            if not dry_run:
                _require_readable(found, "The source was not changed. To change it anyway, use --no-check")
            if not json:
                _print_preview(found)
            if dry_run and json:
                print_json(found)
            if not dry_run:
                _confirm_lost(server, found, yes=yes)
        elif dry_run:
            respond(source, "The config would stay as it is.", json=json)
        if dry_run:
            return
        changes |= {"sync_schedule": sync_schedule} if sync_schedule else {}
        made = server.put(f"/api/admin/sources/{segment(name)}", changes) if changes else source
    respond(made, f"Changed the source {name}. To sync it, run: da admin sync {name}", json=json)


@app.command()
def remove(name: Name, dry_run: DryRun = False, yes: Yes = False, json: Json = False) -> None:
    """Remove a source, with its tables and the grants on them.

    Its own files and the audit log stay, and so do earlier snapshots until they expire. Laptops drop the tables at
    their next sync.

    Examples:
      da admin sources remove shop --dry-run
      da admin sources remove shop
    """
    with session(_TIMEOUT) as server:
        place = f"/api/admin/sources/{segment(name)}/remove"
        would = server.post(place, {"dry_run": True})
        if not json:
            _print_removal(would)
        if dry_run:
            if json:
                print_json(would)
            return
        confirm(f"Remove the source {name} and {count_text(len(would['tables']), 'table')}?", yes=yes)
        done = server.post(place, {})
    respond(done, f"Removed the source {name}.", json=json)


@app.command()
def preview(
    name: Name,
    tables: Annotated[
        list[str] | None, typer.Argument(metavar="[TABLE…]", help="Tables whose columns to show; all if omitted.")
    ] = None,
    *,
    kind: Kind = None,
    path: Place = None,
    option: Options = None,
    json: Json = False,
) -> None:
    """Show what a source contains, without changing anything.

    Lists tables with their columns and types, and what is ignored and why. With --path or --option, it shows the effect
    of that config, even if the source does not exist yet. Exits with 1 if the source can't be read.

    Examples:
      da admin sources preview shop
      da admin sources preview shop orders
      da admin sources preview new --path sources/new -o delimiter=';'
    """
    with session(_TIMEOUT) as server:
        body: dict[str, Any] = {"tables": [table.rpartition(".")[2] for table in tables]} if tables else {}
        if kind is not None or path is not None or option:
            known = next((one for one in server.get("/api/admin/sources")["sources"] if one["name"] == name), None)
            config = {**(known["config"] if known else {}), **_path(path, server), **read_options(option or ())}
            body |= {"type": kind or (known["type"] if known else "csv"), "config": config}
        found = _previewed(server, name, body)
    if json:
        print_json(found)
    else:
        _print_preview(found)
    missing = [table for table in body.get("tables", ()) if table not in {one["name"] for one in found["tables"]}]
    if missing and not found["problem"]:
        there = ", ".join(table["name"] for table in found["tables"]) or "none"
        raise DaError(f"the source '{name}' has no table '{missing[0]}'; it has {there}")
    _require_readable(found, "")


@app.command("test")
def check_source(name: Name, json: Json = False) -> None:
    """Check whether a source can be read: its path and files, or its credential.

    Exits with 1 if something fails.

    Examples:
      da admin sources test shop
    """
    with session(_TIMEOUT) as server:
        found = server.post(f"/api/admin/sources/{segment(name)}/test", {}, again=True)
    if json:
        print_json(found)
    else:
        for check in found["checks"]:
            say_fact(check["what"], "ok" if check["ok"] else "failed", check["message"])
    raise typer.Exit(0 if found["ok"] else 1)


def _previewed(server: Server, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
    return server.post(f"/api/admin/sources/{segment(name)}/preview", body, again=True)


def _path(path: str | None, server: Server) -> dict[str, str]:
    """Return the path as an option: absolute for `~/…`, `./…` and `../…` if the server runs on this machine.

    Any other relative path, such as `shop`, is one below the server's folder of sources.
    """
    if path is None:
        return {}
    if is_loopback(server.address) and path.startswith(("~", "./", "../")):
        return {"path": str(Path(path).expanduser().absolute())}
    return {"path": path}


def _unset(config: dict[str, Any], keys: Iterable[str], name: str) -> None:
    for key in keys:
        if key not in config:
            raise DaError(f"the source '{name}' has no option '{key}'; it has {', '.join(config) or 'none'}")
        del config[key]


def _require_readable(found: Mapping[str, Any], otherwise: str) -> None:
    # a table that can't be read does not keep the others from being read
    failed = (check["message"] for check in found["checks"] if not check["ok"] and check["what"] != "tables")
    problem = found["problem"] or next(failed, None)
    if problem:
        raise DaError(f"{problem}\n{otherwise}".rstrip())


def _confirm_lost(server: Server, found: Mapping[str, Any], *, yes: bool) -> None:
    """Ask before tables stop being read that the present config finds."""
    if not found["no_longer_read"] or yes:
        return
    before = set(_previewed(server, found["source"], {"columns": False})["no_longer_read"])
    if lost := [table for table in found["no_longer_read"] if table not in before]:
        what = count_text(len(lost), "table")
        confirm(f"{what} will no longer be read: {', '.join(lost)}. Change the source {found['source']}?", yes=yes)


def _print_preview(found: Mapping[str, Any]) -> None:
    for check in found["checks"]:
        if check["what"] != "tables":  # the list below says it
            say_fact(check["what"], "ok" if check["ok"] else "failed", check["message"])
    rows = [
        (
            table["name"],
            table["source_table"] if table["source_table"] != table["name"] else "",
            "" if table["rows"] is None else f"{table['rows']:,}",
            "" if table["size_bytes"] is None else bytes_text(table["size_bytes"]),
            _columns_text(table),
        )
        for table in found["tables"]
    ]
    if rows:
        print_table(
            ("table", "from", "rows", "size", "columns"),
            rows,
            right=("rows", "size"),
            optional=("size", "from", "rows"),
        )
    for table in found["tables"]:
        for note in table["notes"]:
            say_warning(f"{table['name']}: {note}")
    for note in found["notes"]:
        say(note)
    if found["ignored_count"]:
        say(f"Ignored: {count_text(found['ignored_count'], 'file')}")
        for ignored in found["ignored"]:
            say(f"  {ignored['name']}: {ignored['reason']}")
    if lost := found["no_longer_read"]:
        say(f"Registered, but not found: {', '.join(lost)}. Their last state stays readable until you remove them.")


def _columns_text(table: Mapping[str, Any]) -> str:
    if table["problem"]:
        return f"failed: {table['problem']}"
    if table["columns"] is None:
        return "not read"
    text = ", ".join(f"{column['name']} {column['type']}" for column in table["columns"])
    return f"{text} (from a sample)" if table["is_sampled"] else text


def _print_removal(removal: Mapping[str, Any]) -> None:
    going = removal["tables"]
    if going:
        whose = "its" if len(going) == 1 else "their"
        say(f"Goes: {count_text(len(going), 'table')} with {whose} data: {', '.join(going)}")
    if removal["grants"]:
        say(f"Goes: {count_text(removal['grants'], 'grant')}")
    if using := removal.get("used_by"):
        say(f"Can't be computed any more: {', '.join(using)}")
    kept = ["the files at the source", "the audit log", "earlier snapshots until they expire", *removal["kept"]]
    say(f"Stays: {'; '.join(kept)}")
