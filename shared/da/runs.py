"""Runs on the server: wait for them, and for the rebuild that publishes their data in a snapshot."""

from collections.abc import Callable, Iterator
from time import monotonic, sleep
from typing import Any

from da.errors import DaError
from da.server import Server

PENDING = frozenset({"pending", "running"})


def followed(server: Server, runs: list[dict[str, Any]], deadline: float) -> Iterator[dict[str, Any]]:
    """Yield each run when it has finished."""
    left = {run["run_id"]: run for run in runs}
    for _ in _intervals(
        deadline, lambda: f"{', '.join(run['source'] for run in left.values())}: the run has not finished in time"
    ):
        for run_id in list(left):
            for run in server.get("/api/sync/status", run=run_id)["runs"]:
                if run["run_id"] == run_id and run["status"] not in PENDING:
                    yield {**left.pop(run_id), **run}
        if not left:
            return


def rebuilt(server: Server, deadline: float) -> dict[str, Any]:
    """Rebuild, waiting for a running rebuild first, so that the next `da sync` fetches what was published."""
    for _ in _intervals(deadline, lambda: "another rebuild has not finished in time"):
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
            raise DaError(f"{late()}; it continues on the server: wait longer with --timeout, or check again later")
        sleep(interval)
        interval = min(interval * 1.5, 2.0)
