"""Docker Compose on an S3 API instead of the volume, while its services are killed (SIGKILL) all the time: every acknowledged
task has its effect, and the scheduler and `da sync` go on.

The S3 API is the double of the tests, on the address of Docker's bridge: the image of MinIO can't be had everywhere.
`COMPOSE_KILLS` sets the number of kills.
"""

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.doubles.s3 import BUCKET, serving
from tests.e2e.test_compose import COMPOSE, Project, ends_well
from tests.integration.jira.conftest import event, issue, signature
from tests.processes import BOOTSTRAP_SECRET, SERVICE_TOKEN, da, free_port

KILLS = int(os.environ.get("COMPOSE_KILLS", "50"))
JIRA_SECRET = "jira-secret-of-the-containers-0123456789abcdef"
TABLES = 5
SERVICES = ("app", "worker", "scheduler")

pytestmark = pytest.mark.skipif(not ends_well("docker", "info"), reason="no Docker daemon answers")


def bridge() -> str:
    found = ["docker", "network", "inspect", "bridge", "-f", "{{(index .IPAM.Config 0).Gateway}}"]
    return subprocess.run(found, capture_output=True, text=True, check=True).stdout.strip() or "172.17.0.1"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    programs = [command for command in COMPOSE.values() if ends_well(*command, "version")]
    if not programs:
        pytest.skip("Compose is not installed")
    home = tmp_path_factory.mktemp("compose-s3")
    (home / "sources/shop").mkdir(parents=True)
    (home / "sources").chmod(0o755)
    project = Project(programs[0], f"da-s3-{uuid4().hex[:8]}", home / ".env", home / "sources", free_port())
    with serving(bridge()) as s3:
        project.env(
            SERVICE_TOKEN=SERVICE_TOKEN,
            BOOTSTRAP_SECRET=BOOTSTRAP_SECRET,
            SECRET_KEY="s" * 40,
            JIRA_WEBHOOK_SECRET=JIRA_SECRET,
            SOURCES=str(project.sources),
            PORT=str(project.port),
            DATA_URL=f"s3://{BUCKET}",
            S3_ENDPOINT=s3.url,
            AWS_ACCESS_KEY_ID="key-of-the-tests",
            AWS_SECRET_ACCESS_KEY="secret-of-the-tests",
            AWS_REGION="us-east-1",
        )
        try:
            project.up("--build")
            project.run("up", "-d", "scheduler")
            yield project
        finally:
            project.run("down", "--volumes", "--remove-orphans")


def ask(project: Project, method: str, path: str, body: Any = None, token: str = SERVICE_TOKEN) -> Any:
    """Ask until there is an answer: the app may have been killed just now."""
    end = time.monotonic() + 240
    while time.monotonic() < end:
        with suppress(OSError):
            status, answer = project.server.ask(method, path, body, token=token)
            if status not in (502, 503, 504):
                assert status < 400, answer
                return answer
        time.sleep(0.2)
    raise AssertionError(path)


def kill(project: Project, service: str) -> bool:
    """Kill the first process of a container from outside, as the kernel does; Docker starts it again."""
    container = project.run("ps", "-q", service).stdout.strip()
    found = subprocess.run(
        ["docker", "inspect", "-f", "{{.State.Pid}}", container], capture_output=True, text=True, check=True
    )
    with suppress(ProcessLookupError):
        if int(found.stdout) > 0:
            os.kill(int(found.stdout), signal.SIGKILL)
            return True
    return False


def write(project: Project, number: int, rows: int) -> None:
    path = project.sources / f"shop/t{number}.csv"
    path.write_text("id\n" + "".join(f"{row}\n" for row in range(rows)))
    path.chmod(0o644)


def test_no_acknowledged_change_is_lost(project: Project, tmp_path: Path) -> None:
    chance, kept, runs, killed = random.Random(7), set[int](), list[str](), 0
    admin = project.server.bootstrap()
    for number in range(TABLES):
        write(project, number, 1_000)
    (project.sources / "shop").chmod(0o755)
    config = {"type": "csv", "config": {"path": "/sources/shop"}, "sync_schedule": "every 1m"}
    ask(project, "POST", "/api/admin/sources/shop", config, admin)
    ask(project, "POST", "/api/admin/sources/jira", {"type": "jira", "sync_schedule": "never"}, admin)
    turns = [service for _ in range(0, KILLS, len(SERVICES)) for service in chance.sample(SERVICES, len(SERVICES))]
    while killed < KILLS:
        write(project, killed % TABLES, 1_001 + killed)
        runs.append(ask(project, "POST", "/api/sync/trigger", {"sources": ["shop"]})["runs"][0]["run_id"])
        for number in range(3 * killed, 3 * killed + 3):
            body = event("jira:issue_created", issue=issue(number + 1, summary="x"))
            signed = signature(json.dumps(body).encode(), JIRA_SECRET)
            headers = {"X-Hub-Signature": signed, "X-Atlassian-Webhook-Identifier": f"e{number}"}
            with suppress(OSError):
                if project.server.ask("POST", "/webhooks/jira", body, headers=headers)[0] == 200:
                    kept.add(number)
        time.sleep(chance.uniform(0.0, 2.0))
        killed += kill(project, turns[killed])

    expected = {
        f"shop.t{table}": max([1_000, *(1_001 + number for number in range(KILLS) if number % TABLES == table)])
        for table in range(TABLES)
    }
    left: Any = runs
    end = time.monotonic() + 600
    while left:
        assert time.monotonic() < end, left
        states = [ask(project, "GET", f"/api/sync/status?run={run}")["runs"][0] for run in runs]
        left = [state for state in states if state["status"] not in ("ok", "unchanged")]
        tables = ask(project, "GET", "/api/sync/manifest", token=admin)["tables"]
        rows = {name: table["rows"] for name, table in tables.items()}
        left += [(name, rows.get(name)) for name, count in expected.items() if rows.get(name) != count]
        left += [] if rows.get("jira.issues", 0) >= len(kept) else ["webhooks"]
        time.sleep(1)
    assert ask(project, "GET", "/api/health")["failed_tasks"] == 0
    da(tmp_path, "sync", "--quiet", server=project.server, token=admin)
    found = da(tmp_path, "query", "select count(*) from shop.t0", "--format", "csv", server=project.server, token=admin)
    assert int(found.stdout.split()[-1]) == expected["shop.t0"]
