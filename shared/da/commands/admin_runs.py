"""`da admin`: have sources synced, and snapshots built."""

from time import monotonic
from typing import Annotated, Any

import typer

from da.errors import DaError
from da.output import print_json, say
from da.runs import followed, rebuilt
from da.server import Server
from da.session import session
from da.text import bytes_text, clean, count_text

Sources = Annotated[
    list[str] | None, typer.Argument(metavar="[SOURCE…]", help="Sources, or tables SOURCE.TABLE; else all.")
]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Follow the runs until they end.")]
Timeout = Annotated[int, typer.Option(min=1, help="Seconds to wait at most.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def sync(sources: Sources = None, wait: Wait = True, timeout: Timeout = 3600, json: Json = False) -> None:
    """Have the server sync its sources.

    It reads them and publishes what changed. Ends with 1 when something failed. Ctrl-C ends the waiting; the runs go on at the server.
    """
    with session() as server:
        runs = _triggered(server, sources or [])
        if not runs:
            raise DaError("There is no source to sync; add one with: da admin add-source NAME --path FOLDER")
        if not wait:
            print_json(runs) if json else say(f"Triggered: {', '.join(run['source'] for run in runs)}.")
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
    """Have one source synced and a snapshot built, and print what comes of it; tell whether all went well."""
    deadline = monotonic() + timeout
    well = True
    for run in followed(server, _triggered(server, [source]), deadline):
        _print(run)
        well = well and not _failed(run)
    built = rebuilt(server, deadline)
    _print_built(built)
    return well and not built.get("problems")


def rebuild(timeout: Timeout = 3600, json: Json = False) -> None:
    """Have a snapshot built.

    It holds what the sources have published. Ends with 1 when some of that can't be used.
    """
    with session() as server:
        built = rebuilt(server, monotonic() + timeout)
    if json:
        print_json(built)
    else:
        _print_built(built)
    raise typer.Exit(1 if built.get("problems") else 0)


def rollback(
    snapshot: Annotated[int, typer.Argument(metavar="SNAPSHOT", min=1, help="One that da tables --snapshots lists.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would change.")] = False,
    json: Json = False,
) -> None:
    """Publish the tables of an earlier snapshot again.

    They stay as they were then until their sources publish anew, or are released: da admin release.
    """
    with session() as server:
        built = server.post(f"/api/admin/snapshots/{snapshot}/rollback", {"dry_run": True} if dry_run else {})
    if json:
        print_json(built)
        return
    if dry_run:
        say(f"Snapshot {snapshot} has {count_text(built['tables'], 'table')}.")
    else:
        say(f"Snapshot {built['snapshot']} has the tables of snapshot {snapshot} again.")
    if missing := built.get("missing"):
        say(clean(f"Tables {'that would go' if dry_run else 'that went'}: {', '.join(missing)}."))
    _print_held_back(built)


def release(
    sources: Annotated[list[str] | None, typer.Argument(metavar="[SOURCE…]", help="Sources; else all.")] = None,
    json: Json = False,
) -> None:
    """Publish what sources have that a rollback holds back."""
    with session() as server:
        built = server.post("/api/admin/snapshots/release", {"sources": sources or None})
    if json:
        print_json(built)
    else:
        _print_built(built)


def sweep(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be done.")] = False,
    timeout: Timeout = 3600,
    json: Json = False,
) -> None:
    """Have the server remove what nothing refers to any more, and make few files of many small ones.

    Best once a day. Ends with 1 when something of that could not be done.
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
            say(clean(f"{source}: {message}"), err=True)
    raise typer.Exit(1 if problems else 0)


def _triggered(server: Server, names: list[str]) -> list[dict[str, Any]]:
    """Trigger sources and tables, which the server wants to be asked for one after the other."""
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
        say(clean(f"{source}: {run['error']}"), err=True)
    elif not run.get("tables"):
        say(f"{source}: {run['status']}, no tables")


def _print_built(built: dict[str, Any]) -> None:
    say(f"Snapshot {built.get('snapshot')}: {count_text(built.get('tables') or 0, 'table')}.")
    for problem in built.get("problems") or []:
        place = ".".join(part for part in (problem.get("source"), problem.get("table")) if part)
        say(clean(f"{place}: {problem.get('message')}"), err=True)
    _print_held_back(built)


def _print_held_back(built: dict[str, Any]) -> None:
    if held := built.get("held_back"):
        say(clean(f"Held back since a rollback, until they publish anew or da admin release: {', '.join(held)}."))


def _print_swept(swept: dict[str, Any], *, dry_run: bool) -> None:
    say(
        f"{count_text(swept['deleted'], 'object')} ({bytes_text(swept['deleted_bytes'])}) "
        f"{'would go' if dry_run else 'went'}, {count_text(swept['waiting'], 'file')} will in time."
    )
    became = "would become" if dry_run else "became"
    for table in swept.get("compacted") or []:
        files = f"{count_text(table['files'], 'small file')} ({bytes_text(table['size_bytes'])})"
        say(clean(f"{table['source']}.{table['table']}: {files} {became} few."))
    if gathered := swept.get("gathered"):
        say(f"{count_text(gathered, 'record')} of days that are over {became} archives.")


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
