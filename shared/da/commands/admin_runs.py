"""`da admin`: sync sources, build snapshots, roll back and sweep."""

from time import monotonic
from typing import Annotated, Any

import typer

from da.errors import DaError
from da.options import DryRun, Json, Timeout
from da.output import print_json, respond, say
from da.runs import followed, rebuilt
from da.server import Server
from da.session import session
from da.text import bytes_text, count_text

Sources = Annotated[
    list[str] | None,
    typer.Argument(metavar="[SOURCE…]", help="Sources, or tables as SOURCE.TABLE; all sources if omitted."),
]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the runs to finish.")]


def sync(sources: Sources = None, wait: Wait = True, timeout: Timeout = 3600, json: Json = False) -> None:
    """Sync sources on the server.

    The server reads the sources and publishes what changed. Ctrl-C stops waiting; the runs continue on the server.
    Exits with 1 if something failed.
    """
    with session() as server:
        runs = _triggered(server, sources or [])
        if not runs:
            raise DaError(
                "nothing to sync: there are no sources; to add one, run: da admin add-source NAME --path FOLDER"
            )
        if not wait:
            respond(runs, f"Started: {', '.join(run['source'] for run in runs)}.", json=json)
            return
        ended = []
        for run in followed(server, runs, monotonic() + timeout):
            ended.append(run)
            if not json:
                _print(run)
        built = rebuilt(server, monotonic() + timeout)
    if json:
        print_json({"snapshot": built.get("snapshot"), "runs": ended, "problems": built.get("problems") or []})
    else:
        _print_built(built)
    raise typer.Exit(1 if built.get("problems") or any(_failed(run) for run in ended) else 0)


def synced(server: Server, source: str, timeout: float) -> bool:
    """Sync one source, build a snapshot and print the result; return whether everything succeeded."""
    deadline = monotonic() + timeout
    well = True
    for run in followed(server, _triggered(server, [source]), deadline):
        _print(run)
        well = well and not _failed(run)
    built = rebuilt(server, deadline)
    _print_built(built)
    return well and not built.get("problems")


def rebuild(timeout: Timeout = 3600, json: Json = False) -> None:
    """Build a snapshot from what the sources have published.

    Exits with 1 if something published can't be used.
    """
    with session() as server:
        built = rebuilt(server, monotonic() + timeout)
    if json:
        print_json(built)
    else:
        _print_built(built)
    raise typer.Exit(1 if built.get("problems") else 0)


def rollback(
    snapshot: Annotated[
        int, typer.Argument(metavar="SNAPSHOT", min=1, help="A snapshot listed by da tables --snapshots.")
    ],
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Publish the tables of an earlier snapshot again.

    The tables stay at that version until their sources publish again or you run da admin release.
    """
    with session() as server:
        built = server.post(f"/api/admin/snapshots/{snapshot}/rollback", {"dry_run": True} if dry_run else {})
    if json:
        print_json(built)
        return
    if dry_run:
        say(f"Would restore snapshot {snapshot}: {count_text(built['tables'], 'table')}.")
    else:
        say(f"Restored the tables of snapshot {snapshot} as snapshot {built['snapshot']}.")
    if missing := built.get("missing"):
        say(f"{'Would remove' if dry_run else 'Removed'} tables: {', '.join(missing)}.")
    _print_held_back(built)


def release(
    sources: Annotated[
        list[str] | None, typer.Argument(metavar="[SOURCE…]", help="Sources; all sources if omitted.")
    ] = None,
    json: Json = False,
) -> None:
    """End a rollback: publish the latest data of the sources it holds back."""
    with session() as server:
        built = server.post("/api/admin/snapshots/release", {"sources": sources or None})
    if json:
        print_json(built)
    else:
        _print_built(built)


def sweep(
    dry_run: DryRun = False,
    timeout: Timeout = 3600,
    json: Json = False,
) -> None:
    """Delete unreferenced objects from the bucket and compact small files.

    Run it about once a day. Exits with 1 if something could not be done.
    """
    with session(timeout) as server:
        swept = server.post("/sweep", {"dry_run": dry_run})
    problems = [(problem["source"], problem["message"]) for problem in swept["problems"]]
    if error := (swept.get("rebuild") or {}).get("error"):
        problems.append(("rebuild", error))
    if json:
        print_json(swept)
    else:
        _print_swept(swept, dry_run=dry_run)
        for source, message in problems:
            say((f"{source}: {message}"), err=True)
    raise typer.Exit(1 if problems else 0)


def _triggered(server: Server, names: list[str]) -> list[dict[str, Any]]:
    """Trigger sources and tables; the server takes them in separate requests."""
    sources, tables = [name for name in names if "." not in name], [name for name in names if "." in name]
    wanted = [{key: given} for key, given in (("sources", sources), ("tables", tables)) if given] or [{}]
    return [run for body in wanted for run in server.post("/api/sync/trigger", body)["runs"]]


def _print(run: dict[str, Any]) -> None:
    source = run.get("source") or "all"
    for table in run.get("tables") or []:
        say(f"{source}.{table['table']}: {_outcome(table)}")
    for note in run.get("notes") or []:
        say(f"{source}: {note}")
    if run.get("error"):
        say((f"{source}: {run['error']}"), err=True)
    elif not run.get("tables"):
        say(f"{source}: {run['status']}, no tables")


def _print_built(built: dict[str, Any]) -> None:
    say(f"Snapshot {built.get('snapshot')}: {count_text(built.get('tables') or 0, 'table')}.")
    for problem in built.get("problems") or []:
        place = ".".join(part for part in (problem.get("source"), problem.get("table")) if part)
        say((f"{place}: {problem.get('message')}"), err=True)
    _print_held_back(built)


def _print_held_back(built: dict[str, Any]) -> None:
    if held := built.get("held_back"):
        say(f"Held back by a rollback until they publish again or you run da admin release: {', '.join(held)}.")


def _print_swept(swept: dict[str, Any], *, dry_run: bool) -> None:
    say(
        f"{'Would delete' if dry_run else 'Deleted'} {count_text(swept['deleted'], 'object')} "
        f"({bytes_text(swept['deleted_bytes'])}); {count_text(swept['waiting'], 'file')} due for deletion later."
    )
    compacted, archived = ("Would compact", "Would archive") if dry_run else ("Compacted", "Archived")
    for table in swept.get("compacted") or []:
        files = f"{count_text(table['files'], 'small file')} ({bytes_text(table['size_bytes'])})"
        say(f"{compacted} {table['source']}.{table['table']}: {files}.")
    if gathered := swept.get("gathered"):
        say(f"{archived} {count_text(gathered, 'record')} of past days.")


def _outcome(table: dict[str, Any]) -> str:
    if table.get("error"):
        return f"{table['status']}: {table['error']}"
    parts = [table["status"]]
    if table.get("rows") is not None:
        parts.append(f"{table['rows']:,} rows, {bytes_text(table.get('size_bytes') or 0)}")
    if table.get("rejected"):
        parts.append(f"{table['rejected']:,} rows rejected: {'; '.join(table.get('rejects') or [])}")
    if table.get("passed_over"):
        parts.append(f"{table['passed_over']:,} rows before the cursor")
    notes = [*(table.get("notes") or []), *([table["note"]] if table.get("note") else [])]
    return "; ".join([", ".join(parts), *notes])


def _failed(run: dict[str, Any]) -> bool:
    return run["status"] in {"failed", "partial", "lost"} or any(
        table.get("error") for table in run.get("tables") or []
    )
