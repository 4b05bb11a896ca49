"""Reading all issues of an instance of Jira: the greatest memory."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from werkzeug.test import Client

from analyst.context import Process
from analyst.http import app
from analyst.http.application import discover
from tests.bench.measurement import ROOT, Row, at_most, cost, python
from tests.doubles.jira.contents import CUSTOM, START
from tests.doubles.jira.instance import Instance
from tests.doubles.jira.server import serving
from tests.doubles.jira.service import EMAIL, TOKEN, Service

ISSUES = int(os.environ.get("BENCH_ISSUES", "50000"))
MONTHS = 24
_SECRET = "bootstrap-" + "0" * 32
_SERVE = "from tests.bench.jira_backfill import serve; serve()"
_OURS = "import sys; from tests.bench.jira_backfill import backfill; backfill(*sys.argv[1:])"
_TEXT = "The order arrives, the invoice does not; what is in the log is attached. " * 8


def measure() -> list[Row]:
    """Backfill 50,000 issues of about 10 rows and 10 kB each, of two years."""
    with tempfile.TemporaryDirectory() as folder, _instance() as url:
        took = cost(python(_OURS, folder, url))
    beside = f"{ISSUES / took.wall:.0f} issues/s on the wall, {ISSUES / took.cpu:.0f} per second of CPU, all in all"
    return [at_most(f"backfill of {ISSUES:,} issues: greatest memory", took.peak_mb, "MB", 400, beside)]


def fill(instance: Instance, count: int) -> None:
    """Make issues, each with comments, logged work, changes and a file."""
    instance.is_quiet = True
    between = MONTHS * 30 * 86_400_000 // max(count, 1)
    for number in range(count):
        fields: dict[str, Any] = {
            id_: {"value": f"value {number % 7}"} for id_, _, kind, _ in CUSTOM if kind == "option"
        }
        issue = instance.create("SUP" if number % 3 else "DEV", f"Issue {number}", description=_TEXT, **fields)
        for n in range(3):
            instance.comment(issue.id, f"{n}: {_TEXT}")
            instance.edit(issue.id, summary=f"Issue {number}, {n}")
        instance.log_work(issue.id, 1800)
        instance.attach(issue.id, "log.txt", b"")
        instance.clock = START + (number + 1) * between


def serve() -> None:
    """Serve an instance, tell its address, and go on until the input ends."""
    with serving(Service()) as service:
        fill(service.instance, ISSUES)
        print(service.instance.url, flush=True)
        sys.stdin.read()


@contextmanager
def _instance() -> Iterator[str]:
    command = python(_SERVE)
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        yield process.stdout.readline().strip()
        process.stdin.close()


def backfill(folder: str, url: str) -> None:
    """Read all issues into a bucket."""
    settings = {
        "DATA_URL": (Path(folder) / "bucket").as_uri(),
        "BOOTSTRAP_SECRET": _SECRET,
        "JIRA_DOMAIN": url,
        "JIRA_EMAIL": EMAIL,
        "JIRA_API_TOKEN": TOKEN,
    }
    client = Client(app(Process(settings), discover(["functions"])))
    token = client.post("/auth/bootstrap", json={"email": "a@example.com", "secret": _SECRET}).get_json()["token"]
    sent = {"Authorization": f"Bearer {token}"}
    client.post("/api/admin/sources/jira", json={"type": "jira"}, headers=sent)
    answer = client.post("/extract/jira", json={"source": "jira", "parallel": 8}, headers=sent).get_json()
    if answer["status"] != "ok" or answer["counts"]["fetched"] != ISSUES:
        raise RuntimeError(f"the backfill is not whole: {answer}")
