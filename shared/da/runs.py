"""Runs at the server: following them to their end, and the rebuild that shows what they published."""

from collections.abc import Callable, Iterator
from time import monotonic, sleep
from typing import Any

from da.errors import DaError
from da.server import Server

PENDING = frozenset({"pending", "running"})


def followed(server: Server, runs: list[dict[str, Any]], deadline: float) -> Iterator[dict[str, Any]]:
    """Yield each run as it ends."""
    left = {run["run_id"]: run for run in runs}
    for _ in _intervals(deadline, lambda: f"{', '.join(run['source'] for run in left.values())}: no end of it yet"):
        for run_id in list(left):
            for run in server.get("/api/sync/status", run=run_id)["runs"]:
                if run["run_id"] == run_id and run["status"] not in PENDING:
                    yield {**left.pop(run_id), **run}
        if not left:
            return


def rebuilt(server: Server, deadline: float) -> dict[str, Any]:
    """Rebuild, or wait for the rebuild that runs: then the next `da sync` brings what was published."""
    for _ in _intervals(deadline, lambda: "another rebuild has not come to its end"):
        answer = server.post("/rebuild", {})
        if answer["status"] != "running":
            return answer
    raise AssertionError


def _intervals(deadline: float, late: Callable[[], str]) -> Iterator[None]:
    """Take turns that are 0.2 to 2 seconds apart.

    Raises:
        DaError: the deadline is over.
    """
    interval = 0.2
    while True:
        yield
        if monotonic() > deadline:
            raise DaError(f"{late()}; it may still come, ask again later")
        sleep(interval)
        interval = min(interval * 1.5, 2.0)
