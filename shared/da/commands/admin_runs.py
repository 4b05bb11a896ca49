"""`da admin`: have sources synced, and snapshots built."""

import sys
import time
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from da.errors import DaError
from da.output import print_json
from da.server import Server
from da.session import session
from da.text import bytes_text, clean, count_text

PENDING = frozenset({"pending", "running"})

Sources = Annotated[
    list[str] | None, typer.Argument(metavar="[SOURCE…]", help="Sources, or tables SOURCE.TABLE; else all.")
]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Follow the runs until they end.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def sync(sources: Sources = None, wait: Wait = True, json: Json = False) -> None:
    """Have the server read sources and publish what changed; ends with 1 when something failed.

    Ctrl-C ends the waiting; the runs go on at the server.
    """
    with session() as server:
        runs = _triggered(server, sources or [])
        if not runs:
            raise DaError("There is no source to sync; add one with: da admin add-source NAME --path FOLDER")
        if not wait:
            print_json(runs) if json else print(f"Triggered: {', '.join(run['source'] for run in runs)}.")
            return
        ended = []
        for run in _followed(server, runs):
            ended.append(run)
            if not json:
                _print(run)
    if json:
        print_json(ended)
    raise typer.Exit(1 if any(_failed(run) for run in ended) else 0)


def rebuild(json: Json = False) -> None:
    """Have a snapshot built of what the sources have published."""
    with session() as server:
        answer = server.post("/rebuild", {})
    if json:
        print_json(answer)
        return
    if answer.get("status") == "running":
        print("A rebuild is at work already.")
        return
    print(f"Snapshot {answer.get('snapshot')}: {count_text(answer.get('tables') or 0, 'table')}.")
    problems = answer.get("problems") or []
    for problem in problems:
        place = ".".join(part for part in (problem.get("source"), problem.get("table")) if part)
        print(clean(f"{place}: {problem.get('message')}"), file=sys.stderr)
    raise typer.Exit(1 if problems else 0)


def _triggered(server: Server, names: list[str]) -> list[dict[str, Any]]:
    wanted = {"sources": [name for name in names if "." not in name], "tables": [name for name in names if "." in name]}
    answer = server.post("/api/sync/trigger", {key: value for key, value in wanted.items() if value})
    return list(answer["runs"])


def _followed(server: Server, runs: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield each run as it ends, asking in intervals that grow from 0.2 to 2 seconds."""
    left = {run["run_id"]: run for run in runs}
    interval = 0.2
    while True:
        for run_id in list(left):
            for run in server.get("/api/sync/status", run=run_id)["runs"]:
                if run["run_id"] == run_id and run["status"] not in PENDING:
                    yield {**left.pop(run_id), **run}
        if not left:
            return
        time.sleep(interval)
        interval = min(interval * 1.5, 2.0)


def _print(run: dict[str, Any]) -> None:
    source = run.get("source") or "all"
    for table in run.get("tables") or []:
        print(clean(f"{source}.{table['table']}: {_outcome(table)}"))
    if run.get("error"):
        print(clean(f"{source}: {run['error']}"), file=sys.stderr)
    elif not run.get("tables"):
        print(f"{source}: {run['status']}, no tables")


def _outcome(table: dict[str, Any]) -> str:
    if table.get("error"):
        return f"{table['status']}: {table['error']}"
    parts = [table["status"]]
    if table.get("rows") is not None:
        parts.append(f"{table['rows']:,} rows, {bytes_text(table.get('size_bytes') or 0)}")
    if table.get("rejected"):
        parts.append(f"{table['rejected']:,} rows rejected: {'; '.join(table.get('rejects') or [])}")
    return ", ".join(parts)


def _failed(run: dict[str, Any]) -> bool:
    return run["status"] in {"failed", "partial"} or any(table.get("error") for table in run.get("tables") or [])
