"""`da admin`: sync sources, build snapshots, roll back and sweep."""

from dataclasses import dataclass, field
from datetime import datetime
from time import monotonic
from typing import Annotated, Any

import typer

from da.errors import DaError
from da.options import DryRun, Json, Timeout
from da.output import print_json, print_table, respond, say, say_text
from da.progress import Ticker
from da.runs import followed, rebuilt, result_of
from da.server import Server
from da.session import session
from da.text import bytes_text, count_text, local_time, seconds_text

Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=100, help="Maximum number of runs.")]
Sources = Annotated[
    list[str] | None,
    typer.Argument(metavar="[SOURCE…]", help="Sources, or tables as SOURCE.TABLE; all sources if omitted."),
]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the runs to finish.")]


def sync(sources: Sources = None, wait: Wait = True, timeout: Timeout = 3600, json: Json = False) -> None:
    """Sync sources on the server.

    The server reads the sources and publishes what changed. Each table is listed when it has been read. Ctrl-C stops
    waiting; the runs continue on the server. Exits with 1 if something failed.

    Examples:
      da admin sync              # all sources
      da admin sync shop         # one source
      da admin sync shop.orders  # one table
      da admin sync --no-wait    # start the runs and return
    """
    with session() as server:
        started = _triggered(server, sources or [])
        if not started:
            raise DaError(
                "nothing to sync: there are no sources; to add one, run: da admin sources add NAME --path FOLDER"
            )
        if not wait:
            respond(started, f"Started: {', '.join(run['source'] for run in started)}.", json=json)
            return
        ended, built = _followed(server, started, timeout, quiet=json)
    if json:
        print_json({"snapshot": built.get("snapshot"), "runs": ended, "problems": built.get("problems") or []})
    else:
        _print_built(built)
        _print_profiled(ended)
    raise typer.Exit(1 if built.get("problems") or any(_failed(run) for run in ended) else 0)


def synced(server: Server, source: str, timeout: float) -> bool:
    """Sync one source, build a snapshot and print the result; return whether everything succeeded."""
    ended, built = _followed(server, _triggered(server, [source]), timeout, quiet=False)
    _print_built(built)
    _print_profiled(ended)
    return not any(_failed(run) for run in ended) and not built.get("problems")


def runs(limit: Limit = 20, json: Json = False) -> None:
    """List the newest runs, and how they ended.

    Examples:
      da admin runs
      da admin runs --limit 100 --json
    """
    with session() as server:
        found = server.get("/api/sync/status", limit=limit)["runs"]
    if json:
        print_json(found)
        return
    rows = [
        (
            local_time(run["started_at"]),
            run.get("source") or "all",
            _kind(run),
            run["status"],
            _took(run),
            result_of(run),
        )
        for run in found
    ]
    columns = ("started", "source", "kind", "status", "took", "result")
    empty = "There are no runs of the last days; to sync all sources, run: da admin sync"
    print_table(columns, rows, optional=("took", "kind"), empty=empty)


def rebuild(timeout: Timeout = 3600, json: Json = False) -> None:
    """Build a snapshot from what the sources have published.

    Exits with 1 if something published can't be used.

    Examples:
      da admin rebuild
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

    Examples:
      da admin rollback 12 --dry-run
      da admin rollback 12
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
    for change in built.get("changes") or []:
        say(f"  {_change_text(change)}")
    if missing := built.get("missing"):
        say(f"{'Would remove' if dry_run else 'Removed'} tables: {', '.join(missing)}.")
    _print_held_back(built)


def _change_text(change: dict[str, Any]) -> str:
    rows = [change.get(f"rows_{when}") for when in ("before", "after")]
    if change["change"] != "changed":
        known = next((count for count in rows if count is not None), None)
        return f"{change['table']}: {change['change']}" + (f", {count_text(known, 'row')}" if known is not None else "")
    before, after = (f"{count:,}" if count is not None else "?" for count in rows)
    return (
        f"{change['table']}: {before} → {after} rows"
        if before != after
        else f"{change['table']}: {'?' if rows[1] is None else count_text(rows[1], 'row')}, other content"
    )


def release(
    sources: Annotated[
        list[str] | None, typer.Argument(metavar="[SOURCE…]", help="Sources; all sources if omitted.")
    ] = None,
    json: Json = False,
) -> None:
    """End a rollback: publish the latest data of the sources it holds back.

    Examples:
      da admin release
      da admin release shop
    """
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

    Examples:
      da admin sweep --dry-run
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


def _followed(
    server: Server, started: list[dict[str, Any]], timeout: float, *, quiet: bool
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Wait for runs and for the snapshot of their data; return both. Tables are printed when they have been read."""
    deadline = monotonic() + timeout
    following = _Following(quiet=quiet)
    ended: list[dict[str, Any]] = []
    try:
        with following.ticker:
            for run in followed(server, started, deadline, following.see):
                ended.append(run)
                following.end(run)
            following.ticker.show("building a snapshot")
            return ended, rebuilt(server, deadline)
    except KeyboardInterrupt:
        left = [run["source"] for run in started if run["run_id"] not in {each["run_id"] for each in ended}]
        what = f"continues to sync {', '.join(left)} and then publishes the data" if left else "publishes the data"
        say_text(f"\nThe server {what}. To see how it ended, run: da admin runs", err=True)
        raise


@dataclass(slots=True)
class _Following:
    """What has been printed about the runs that are followed."""

    quiet: bool
    ticker: Ticker = field(init=False)
    _printed: set[tuple[str, str]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.ticker = Ticker(wanted=not self.quiet)

    def see(self, run: dict[str, Any]) -> None:
        """Print the tables that have ended since the last look, and show what is being read."""
        for table in run.get("tables") or []:
            self._print(run, table)
        reading, total = run.get("reading") or [], run.get("total")
        count = f" {len(run.get('tables') or [])} of {total} tables," if total else ""
        self.ticker.show(f"{run['source']}:{count} reading {', '.join(reading) or 'its tables'}")

    def end(self, run: dict[str, Any]) -> None:
        """Print what is left to say about a run that has ended."""
        if self.quiet:
            return
        self.ticker.clear()
        for table in run.get("tables") or []:
            self._print(run, table)
        _print_end(run)

    def _print(self, run: dict[str, Any], table: dict[str, Any]) -> None:
        place = run["run_id"], table["table"]
        if self.quiet or place in self._printed:
            return
        self._printed.add(place)
        self.ticker.clear()
        say(f"{run.get('source') or 'all'}.{table['table']}: {_outcome(table)}")


def _print_end(run: dict[str, Any]) -> None:
    source = run.get("source") or "all"
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


def _print_profiled(ended: list[dict[str, Any]]) -> None:
    """Say that profiles follow: the server makes them after the runs."""
    if any(run.get("is_profiled") for run in ended):
        say("Profiles of the changed tables follow in the background; to see one, run: da profile TABLE")


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
        parts.append(f"{count_text(table['rows'], 'row')}, {bytes_text(table.get('size_bytes') or 0)}")
    if table.get("ms"):
        parts.append(seconds_text(table["ms"] / 1000))
    if table.get("rejected"):
        parts.append(f"{table['rejected']:,} rows rejected: {'; '.join(table.get('rejects') or [])}")
    if table.get("passed_over"):
        parts.append(f"{table['passed_over']:,} rows before the cursor")
    notes = [*(table.get("notes") or []), *([table["note"]] if table.get("note") else [])]
    return "; ".join([", ".join(parts), *notes])


def _kind(run: dict[str, Any]) -> str:
    return str(run.get("job") or {"extract": "sync"}.get(run["kind"], run["kind"]))


def _took(run: dict[str, Any]) -> str:
    began, ended = (
        datetime.fromisoformat(run[name]) if run.get(name) else None for name in ("started_at", "finished_at")
    )
    return seconds_text((ended - began).total_seconds()) if began and ended else ""


def _failed(run: dict[str, Any]) -> bool:
    return run["status"] in {"failed", "partial", "lost"} or any(
        table.get("error") for table in run.get("tables") or []
    )
