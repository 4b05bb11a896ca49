"""The whole chain where processes are frozen between requests and killed at the timeout: nothing stalls, nothing is lost."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.cloud_run import CloudRun, cloud_run
from tests.doubles.cloud_tasks import Queue, cloud_tasks
from tests.doubles.oidc import oidc_provider
from tests.integration.jira.conftest import event, issue, signature
from tests.processes import BOOTSTRAP_SECRET, SERVICE_TOKEN, Host

ACCOUNT = "tasks@acme.iam.gserviceaccount.com"
JIRA_SECRET = "jira-secret-of-the-model-0123456789abcdef"
TABLES = 8
EVENTS = 30


class Chain:
    """A service, its queue, and a scheduler that calls it every few seconds."""

    def __init__(self, run: CloudRun, queue: Queue, home: Path) -> None:
        self.run, self.queue, self.home = run, queue, home
        self.host = Host(run.url)
        self._ended = threading.Event()
        self.scheduler = threading.Thread(target=self._schedule, daemon=True)

    def _schedule(self) -> None:
        while not self._ended.wait(2):
            self.ask("POST", "/schedule", {})

    def close(self) -> None:
        self._ended.set()
        if self.scheduler.is_alive():
            self.scheduler.join()

    def ask(self, method: str, path: str, body: Any = None, token: str = SERVICE_TOKEN) -> Any:
        """Ask as clients do: again, if an instance died."""
        for _ in range(20):
            status, answer = self.host.ask(method, path, body, token=token)
            if status not in (503, 504):
                assert status < 400, answer
                return answer
        raise AssertionError(f"{path} answers {status}")

    def until(self, is_so: Callable[[], object], seconds: float = 120) -> None:
        """Wait for something that must come."""
        end = time.monotonic() + seconds
        while not is_so():
            assert time.monotonic() < end, (self.tasks(), self.run.requests[-30:])
            time.sleep(0.5)

    def tasks(self) -> list[Any]:
        return list(self.ask("GET", "/api/admin/tasks", token=self.admin)["tasks"])

    def rows(self) -> dict[str, int]:
        tables = self.ask("GET", "/api/sync/manifest", token=self.admin)["tables"]
        return {name: table["rows"] for name, table in tables.items()}

    def start(self) -> None:
        """Make an administrator, a source of files, and one of Jira."""
        self.admin = self.host.bootstrap()
        files = self.home / "sources/shop"
        files.mkdir(parents=True)
        for number in range(TABLES):
            (files / f"t{number}.csv").write_text("id,text\n" + "".join(f"{row},x\n" for row in range(30_000)))
        config = {"type": "csv", "config": {"path": str(files)}, "sync_schedule": "never"}
        self.ask("POST", "/api/admin/sources/shop", config, token=self.admin)
        self.ask("POST", "/api/admin/sources/jira", {"type": "jira", "sync_schedule": "never"}, token=self.admin)

    def webhook(self, number: int) -> int:
        body = json.dumps(event("jira:issue_created", issue=issue(number, summary="x"))).encode()
        headers = {"X-Hub-Signature": signature(body, JIRA_SECRET), "X-Atlassian-Webhook-Identifier": f"e{number}"}
        status, _ = self.host.ask("POST", "/webhooks/jira", json.loads(body), headers=headers)
        return status


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    """A service of three instances."""
    with oidc_provider() as issuer:

        def token(account: str, audience: str) -> str:
            return issuer.token(audience, email=account, email_verified=True)

        with cloud_tasks(Queue(token=token)) as queue, cloud_run(CloudRun(tmp_path, {}, timeout=10)) as run:
            run.environ |= {
                "DATA_URL": (tmp_path / "bucket").as_uri(),
                "BASE_URL": run.url,
                "SECRET_KEY": "s" * 40,
                "BOOTSTRAP_SECRET": BOOTSTRAP_SECRET,
                "SERVICE_TOKEN": SERVICE_TOKEN,
                "SERVICE_ISSUER": issuer.url,
                "SERVICE_ACCOUNT_EMAILS": ACCOUNT,
                "SOURCE_ROOTS": str(tmp_path / "sources"),
                "JIRA_WEBHOOK_SECRET": JIRA_SECRET,
                "JIRA_FOLD_INTERVAL": "0",
                "SWEEP_SCHEDULE": "never",
                "TASKS": "cloud",
                "TASKS_QUEUE": "projects/acme/locations/europe-west1/queues/tasks",
                "TASKS_ACCOUNT": ACCOUNT,
                "TASKS_ENDPOINT": queue.endpoint,
                "TASK_SECONDS": "1",
            }
            chain = Chain(run, queue, tmp_path)
            try:
                yield chain
            finally:
                chain.close()


def test_tasks_run_although_every_process_is_frozen_after_its_answer(chain: Chain) -> None:
    chain.start()
    (triggered,) = chain.ask("POST", "/api/sync/trigger", {"sources": ["shop"]})["runs"]
    chain.until(lambda: chain.ask("GET", f"/api/sync/status?run={triggered['run_id']}")["runs"][0]["status"] == "ok")
    chain.until(lambda: chain.rows() == {f"shop.t{number}": 30_000 for number in range(TABLES)})
    assert [chain.webhook(number) for number in range(1, 6)] == 5 * [200]
    chain.until(lambda: chain.rows().get("jira.issues") == 5)
    chain.until(lambda: not chain.tasks())
    chain.until(chain.run.is_idle)
    chain.until(chain.run.all_frozen)
    parts = [path for path, _ in chain.run.requests if path == "/extract/csv"]
    assert len(parts) > 1  # the run was cut
    assert chain.run.freezes > 10


def test_instances_that_are_killed_all_the_time_lose_nothing(chain: Chain) -> None:
    chain.start()
    chain.scheduler.start()
    triggered = [chain.ask("POST", "/api/sync/trigger", {"sources": ["shop"]})["runs"][0]["run_id"]]
    kept = set()
    for number in range(1, EVENTS + 1):
        if chain.webhook(number) == 200:
            kept.add(number)
        if number % 3 == 0:
            chain.run.kill_one()
    assert kept
    chain.until(lambda: chain.rows().get("jira.issues", 0) >= len(kept), seconds=300)

    def has_ended(run_id: str) -> bool:
        return bool(chain.ask("GET", f"/api/sync/status?run={run_id}")["runs"][0]["status"] in ("ok", "unchanged"))

    chain.until(lambda: all(has_ended(run_id) for run_id in triggered), seconds=300)
    chain.until(lambda: not chain.tasks(), seconds=300)
    shop = {f"shop.t{number}": 30_000 for number in range(TABLES)}
    chain.until(lambda: {name: rows for name, rows in chain.rows().items() if name.startswith("shop.")} == shop)
    assert chain.run.deaths >= EVENTS // 3
    assert chain.ask("GET", "/api/health")["failed_tasks"] == 0
