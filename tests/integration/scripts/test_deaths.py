"""A worker that is killed in the middle of a run: the run is repeated by another one, and has one result."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.integration.scripts.test_attacks import ancestors, hidden
from tests.processes import SERVICE_TOKEN, host

SOURCE = """
import time
from da_script import get, notify
while not get("/api/memory/notes")["notes"]:  # until somebody hands in a note
    time.sleep(0.1)
notify("Done", "It ran to its end.")
"""


def scripts_of(host: int) -> dict[str, int]:
    """Return the processes of scripts below a host, and for each the worker of the host that has started it."""
    found: dict[str, int] = {}
    for each in Path("/proc").glob("[0-9]*"):
        line = list(ancestors(each.name)) if hidden(each) == "script.py" else []
        if host in line:
            found[each.name] = line[line.index(host) - 1]
    return found


def until(what: Callable[[], Any], seconds: float = 60) -> Any:
    """Wait for something, and return it."""
    ends = time.monotonic() + seconds
    while not (found := what()) and time.monotonic() < ends:
        time.sleep(0.05)
    assert found
    return found


def text_of(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # a folder, or it is done meanwhile
        return ""


def test_a_run_whose_worker_is_killed_is_repeated_once_by_another(tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "ACCESS_MAX_AGE": "0",
        "SECRET_KEY": "s" * 40,
        "SCRIPT_TIMEOUT": "60",
        "SCRATCH_DIR": str(tmp_path / "s"),
    }
    with host(tmp_path, fork=True, **settings) as here:
        _, token = here.user(here.bootstrap(), "ann@example.com")
        status, made = here.ask("POST", "/api/scripts/deploy", {"name": "slow", "source": SOURCE}, token=token)
        assert status == 201, made
        path = f"/api/scripts/{made['id']}"
        assert here.ask("POST", f"{path}/run", {}, token=token)[0] == 202
        assert here.pid is not None
        parent = here.pid
        running = until(lambda: scripts_of(parent))
        for worker in set(running.values()):
            os.kill(worker, signal.SIGKILL)
        until(lambda: not any(Path(f"/proc/{each}").exists() for each in running))

        def runs() -> list[dict[str, Any]]:
            return list(here.ask("GET", f"{path}/runs", token=token)[1]["runs"])

        assert until(lambda: here.ask("GET", "/api/health")[0] == 200)  # by another worker
        assert here.ask("POST", "/schedule", {}, token=SERVICE_TOKEN)[0] == 200
        assert (runs(), scripts_of(parent)) == ([], {})  # the lease of the dead is respected until it ends
        for lease in (tmp_path / "bucket/locks/tasks").glob("*"):
            lease.unlink()
        assert here.ask("POST", "/api/memory/notes", {"name": "n", "text": "now"}, token=token)[0] == 201
        for _ in range(2):
            assert here.ask("POST", "/schedule", {}, token=SERVICE_TOKEN)[0] == 200
        (run,) = until(runs)
        assert (run["status"], run["said"], run["error"]) == ("ok", "sent", None)
        found = here.ask("GET", "/api/notifications", token=token)[1]["notifications"]
        assert [each["title"] for each in found] == ["Done"]
        until(
            lambda: (
                not [each for each in (tmp_path / "bucket/state/tasks").rglob("*") if "/run-script" in text_of(each)]
            )
        )
        assert (len(runs()), scripts_of(parent)) == (1, {})
