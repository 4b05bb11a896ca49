"""One host: processes that answer, run tasks and call the scheduler are killed (SIGKILL) all the time, as containers of
Compose are; every acknowledged task has its effect."""

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.integration.jira.conftest import event, issue, signature
from tests.processes import BIN, BOOTSTRAP_SECRET, ROOT, SERVICE_TOKEN, Host, free_port

JIRA_SECRET = "jira-secret-of-the-deaths-0123456789abcdef"
KILLS = 50
TABLES = 6


class Service:
    """A process of functions that is started again whenever it was killed, as containers are."""

    def __init__(self, home: Path, name: str, **environ: str) -> None:
        self.home, self.name, self.port = home, name, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environ = {
            **os.environ,
            "FUNCTION_SOURCE": str(ROOT / "functions/host.py"),
            "FUNCTION_TARGET": "host",
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "DATA_URL": (home / "bucket").as_uri(),
            "BOOTSTRAP_SECRET": BOOTSTRAP_SECRET,
            "SERVICE_TOKEN": SERVICE_TOKEN,
            "SOURCE_ROOTS": str(home / "sources"),
            "JIRA_WEBHOOK_SECRET": JIRA_SECRET,
            "SWEEP_SCHEDULE": "never",
            **environ,
        }
        self.command = [str(BIN / "functions-framework")]
        self.start()

    def start(self) -> None:
        with (self.home / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                cwd=self.home,
                env=self.environ,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def close(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Scheduler(Service):
    """Calls the scheduler all the time, as the service of Compose does, which waits for 15 seconds in between."""

    def __init__(self, home: Path, app: Service) -> None:
        self.home, self.name = home, "scheduler"
        self.environ = {
            **os.environ,
            "DA_SERVER": app.url,
            "DA_TOKEN": SERVICE_TOKEN,
            "DA_CONFIG_DIR": str(home / "da"),
        }
        self.command = ["sh", "-c", f"while :; do {BIN / 'da'} admin schedule --start; sleep 3; done"]
        self.start()


@contextmanager
def services(home: Path) -> Iterator[tuple[Service, Service, Scheduler]]:
    worker = Service(home, "worker")
    app = Service(home, "app", TASKS_URL=worker.url, BASE_URL="http://localhost")
    scheduler = Scheduler(home, app)
    try:
        yield app, worker, scheduler
    finally:
        for service in (scheduler, app, worker):
            service.close()


def ask(host: Host, method: str, path: str, body: Any = None, token: str = SERVICE_TOKEN) -> Any:
    """Ask until there is an answer."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        with suppress(OSError):
            status, answer = host.ask(method, path, body, token=token)
            if status not in (502, 503, 504):
                assert status < 400, answer
                return answer
        time.sleep(0.1)
    raise AssertionError(path)


def test_acknowledged_work_is_done_whichever_process_is_killed(tmp_path: Path) -> None:
    chance, kept, runs = random.Random(7), set[int](), list[str]()
    files = tmp_path / "sources/shop"
    files.mkdir(parents=True)
    for number in range(TABLES):
        (files / f"t{number}.csv").write_text("id\n" + "".join(f"{row}\n" for row in range(5_000)))
    with services(tmp_path) as (app, worker, scheduler):
        host = Host(app.url)
        ask(host, "GET", "/api/health")
        admin = host.bootstrap()
        source = {"type": "csv", "config": {"path": str(files)}, "sync_schedule": "never"}
        ask(host, "POST", "/api/admin/sources/shop", source, admin)
        ask(host, "POST", "/api/admin/sources/jira", {"type": "jira", "sync_schedule": "never"}, admin)
        for kill in range(KILLS):
            (files / f"t{kill % TABLES}.csv").write_text("id\n" + "".join(f"{row}\n" for row in range(5_001 + kill)))
            runs.append(ask(host, "POST", "/api/sync/trigger", {"sources": ["shop"]})["runs"][0]["run_id"])
            for number in range(5 * kill, 5 * kill + 5):
                body = event("jira:issue_created", issue=issue(number + 1, summary="x"))
                signed = signature(json.dumps(body).encode(), JIRA_SECRET)
                headers = {"X-Hub-Signature": signed, "X-Atlassian-Webhook-Identifier": f"e{number}"}
                with suppress(OSError):
                    if host.ask("POST", "/webhooks/jira", body, headers=headers)[0] == 200:
                        kept.add(number)
            time.sleep(chance.uniform(0.0, 1.0))
            victim = chance.choice([app, worker, scheduler])
            victim.kill()
            victim.start()

        left: list[Any] = runs
        end = time.monotonic() + 300
        while left and time.monotonic() < end:
            states = {run: ask(host, "GET", f"/api/sync/status?run={run}")["runs"][0] for run in runs}
            left = [state for state in states.values() if state["status"] not in ("ok", "unchanged")]
            left += [
                task
                for task in ask(host, "GET", "/api/admin/tasks", token=admin)["tasks"]
                if task["path"] != "/profile"
            ]
            time.sleep(1)
        assert left == []
        tables = ask(host, "GET", "/api/sync/manifest", token=admin)["tables"]
        assert {name: table["rows"] for name, table in tables.items() if name.startswith("shop.")} == {
            f"shop.t{number}": max(5_001 + kill for kill in range(KILLS) if kill % TABLES == number)
            for number in range(TABLES)
        }
        assert tables["jira.issues"]["rows"] >= len(kept)
        assert ask(host, "GET", "/api/health")["failed_tasks"] == 0
