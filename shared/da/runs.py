"""Runs on the server: wait for them, and for the rebuild that publishes their data in a snapshot."""

from collections.abc import Callable, Iterator
from time import monotonic, sleep
from typing import Any

from da.errors import DaError
from da.server import Server
from da.text import count_text

PENDING = frozenset({"pending", "running"})

Seen = Callable[[dict[str, Any]], object]
"""Receives a run each time the server is asked about it, with the tables that have ended so far."""


def followed(
    server: Server, runs: list[dict[str, Any]], deadline: float, seen: Seen = lambda _: None
) -> Iterator[dict[str, Any]]:
    """Yield each run when it has finished.

    Raises:
        DaError: the deadline has passed.
    """
    left = {run["run_id"]: run for run in runs}
    for _ in _intervals(deadline, lambda: f"'{', '.join(run['source'] for run in left.values())}' is still syncing"):
        for run_id in list(left):
            for run in server.get("/api/sync/status", run=run_id)["runs"]:
                if run["run_id"] != run_id:
                    continue
                known = {**left[run_id], **{name: value for name, value in run.items() if value is not None}}
                seen(known)
                if run["status"] not in PENDING:
                    del left[run_id]
                    yield {**known, **run, "source": known["source"]}
        if not left:
            return


def rebuilt(server: Server, deadline: float) -> dict[str, Any]:
    """Rebuild, waiting for a running rebuild first, so that the next `da sync` fetches what was published.

    Raises:
        DaError: the deadline has passed.
    """
    for _ in _intervals(deadline, lambda: "another rebuild is still running"):
        answer = server.post("/rebuild", {})
        if answer["status"] != "running":
            return answer
    raise AssertionError


def _intervals(deadline: float, late: Callable[[], str]) -> Iterator[None]:
    """Yield at intervals of 0.2 to 2 seconds.

    Raises:
        DaError: the deadline has passed.
    """
    interval = 0.2
    while True:
        yield
        if monotonic() > deadline:
            raise DaError(
                f"{late()}, and the time to wait is over; it continues on the server. To wait longer, use --timeout;"
                " to see how it ended, run: da admin runs"
            )
        sleep(interval)
        interval = min(interval * 1.5, 2.0)


def result_of(run: dict[str, Any]) -> str:
    """Say in one cell what came of a run: its error, otherwise its tables or counts."""
    if run.get("error"):
        return str(run["error"])
    tables = run.get("tables") or []
    if run["status"] in PENDING:
        return f"{len(tables)} of {run.get('total')} tables, reading {', '.join(run.get('reading') or [])}"
    failed = [f"{table['table']}: {table['error']}" for table in tables if table.get("error")]
    if failed:
        return "; ".join(failed)
    if run.get("snapshot"):
        return f"snapshot {run['snapshot']}"
    counts = ", ".join(f"{count:,} {name}" for name, count in sorted((run.get("counts") or {}).items()))
    return counts or count_text(len(tables), "table")
