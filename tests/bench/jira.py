"""Webhooks of Jira: how soon they are acknowledged, and how soon what they tell is in a published snapshot."""

import hashlib
import hmac
import http.client
import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, Final
from urllib.parse import urlsplit

import duckdb
import orjson

from analyst.snapshots import Snapshots
from analyst.store.folder.store import FileStore
from tests.bench import jira_dataset
from tests.bench.measurement import Row, at_least, at_most
from tests.processes import SERVICE_TOKEN, Host, host

SECRET: Final = "secret-of-the-benchmark"
POSTERS: Final = 8
RATE: Final = 300.0
"""Webhooks a second that the posters send together, each in its turn, whatever the answers take."""
WEBHOOKS: Final = 3_000
EVENTS_A_SECOND: Final = 20.0
EVENTS: Final = 900
_PATIENCE: Final = 60.0

Event = dict[str, Any]


def measure() -> list[Row]:
    """Serve 50,000 issues from a folder as Compose does, and send webhooks about them."""
    with TemporaryDirectory(prefix="bench-jira-") as folder, _hosts(Path(folder)) as (running, worker):
        token = running.bootstrap()
        assert running.ask("POST", "/api/admin/sources/jira", {"type": "jira"}, token=token)[0] == 201
        jira_dataset.fill(bucket := Path(folder) / "bucket")
        _fold(running)
        visible = _Visibility(bucket).measure(running)
        seconds, taken = _posted(running, RATE)
        _fold(running)
        flat_out, _ = _posted(running, 0.0)
        peak = max(_peak_mb(running), _peak_mb(worker))
    return [
        at_least(f"webhooks acknowledged, {POSTERS} posters", len(taken) / flat_out, "/s", RATE, "as fast as they go"),
        at_most(f"webhook at {RATE:.0f} /s, p50", _quantile(taken, 50) * 1000, "ms", 10, f"{len(taken) / seconds:.0f} /s"),
        at_most("the same, p95", _quantile(taken, 95) * 1000, "ms", 40),
        at_most(f"event visible, {EVENTS_A_SECOND:.0f} /s on 50,000 issues, p95", _quantile(visible, 95), "s", 3,
                f"p50 {_quantile(visible, 50):.2g} s"),
        at_most("greatest memory of a process meanwhile", peak, "MB", 400),
    ]  # fmt: skip


@contextmanager
def _hosts(folder: Path) -> Iterator[tuple[Host, Host]]:
    """Run a host that answers, and one that folds with what that leaves of the processors."""
    (folder / "worker").mkdir()
    bucket = (folder / "bucket").as_uri()
    with (
        host(folder / "worker", nice=10, DATA_URL=bucket) as worker,
        host(folder, WORKERS="2", TASKS_URL=worker.url, JIRA_WEBHOOK_SECRET=SECRET) as running,
    ):
        yield running, worker


@dataclass
class Poster:
    """A connection on which webhooks are sent one after the other."""

    running: Host
    connection: http.client.HTTPConnection | None = None

    def post(self, event: Event, identifier: str) -> float:
        """Send a webhook; return the seconds until it was acknowledged."""
        body = orjson.dumps(event)
        signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
        headers = {
            "X-Hub-Signature": f"sha256={signature}",
            "X-Atlassian-Webhook-Identifier": identifier,
            "Content-Type": "application/json",
        }
        began = time.perf_counter()
        if self.connection is None:
            self.connection = http.client.HTTPConnection(urlsplit(self.running.url).netloc, timeout=_PATIENCE)
        self.connection.request("POST", "/webhooks/jira", body, headers)
        answer = self.connection.getresponse()
        assert answer.status == 200, answer.read()
        answer.read()
        if answer.will_close:
            self.connection.close()
            self.connection = None
        return time.perf_counter() - began


def updated(number: int, random: Random, at: datetime) -> Event:
    """Report that an issue was updated."""
    item = {"field": "summary", "fieldtype": "jira", "fromString": "before", "toString": "after"}
    change = {"id": str(random.randrange(10**9, 2 * 10**9)), "items": [item]}
    issue = jira_dataset.whole(number, random, at)
    at_ms = round(at.timestamp() * 1000)
    return {"timestamp": at_ms, "webhookEvent": "jira:issue_updated", "issue": issue, "changelog": change}


def _posted(running: Host, rate: float) -> tuple[float, list[float]]:
    """Send webhooks from several posters, at a rate or as fast as they go; return the seconds of all, and of each."""
    random = Random(2)
    now = datetime.now(UTC)
    events = iter([updated(jira_dataset.picked(random), random, now) for _ in range(WEBHOOKS)])
    numbers, turn = count(), threading.Lock()
    taken: list[float] = []
    began = time.perf_counter()

    def send() -> None:
        poster = Poster(running)
        while True:
            with turn:
                number, event = next(numbers), next(events, None)
            if event is None:
                return
            due = began + number / rate if rate else 0.0
            time.sleep(max(0.0, due - time.perf_counter()))
            late = max(0.0, time.perf_counter() - due) if rate else 0.0
            taken.append(late + poster.post(event, f"{began}-{number}"))

    posters = [threading.Thread(target=send) for _ in range(POSTERS)]
    for poster in posters:
        poster.start()
    for poster in posters:
        poster.join()
    return time.perf_counter() - began, taken


@dataclass
class _Visibility:
    """Sends events at a steady rate, and looks into each snapshot for what it tells of them."""

    bucket: Path
    sent: dict[tuple[str, str], float] = field(default_factory=dict)
    seen: dict[tuple[str, str], float] = field(default_factory=dict)
    known: set[str] = field(default_factory=set)
    snapshots: Snapshots = field(init=False)

    def __post_init__(self) -> None:
        self.snapshots = Snapshots(FileStore(self.bucket, lambda: b""))

    def measure(self, running: Host) -> list[float]:
        """Return for each event the seconds until it was in a published snapshot."""
        self._look()
        sender = threading.Thread(target=self._send, args=(running,))
        sender.start()
        over = time.perf_counter() + EVENTS / EVENTS_A_SECOND + _PATIENCE
        while len(self.seen) < EVENTS and time.perf_counter() < over:
            time.sleep(0.02)
            self._look()
        sender.join()
        assert len(self.seen) == EVENTS, f"{EVENTS - len(self.seen)} events are not visible after a minute"
        return [at - self.sent[one] for one, at in self.seen.items()]

    def _send(self, running: Host) -> None:
        poster, random = Poster(running), Random(3)
        began = time.perf_counter()
        for number in range(EVENTS):
            time.sleep(max(0.0, began + number / EVENTS_A_SECOND - time.perf_counter()))
            at = datetime.now(UTC)
            event = updated(jira_dataset.picked(random), random, at)
            self.sent[event["issue"]["id"], jira_dataset.stamp(at)] = time.perf_counter()
            poster.post(event, f"visible-{number}")

    def _look(self) -> None:
        """Look into the files of raw_issues that the newest snapshot has and none before it."""
        catalog = self.snapshots.current().catalog
        at = time.perf_counter()
        files = {file.path for table in catalog.tables if table.name == "raw_issues" for file in table.files}
        new, self.known = files - self.known, files
        if not new or not self.sent:
            return
        updates = dict(_updates([str(self.bucket / path) for path in new]))
        for one in self.sent.keys() - self.seen.keys():
            issue_id, stamp = one
            if updates.get(issue_id, "") >= stamp:
                self.seen[one] = at


def _updates(paths: list[str]) -> Iterator[tuple[str, str]]:
    with duckdb.connect(config={"threads": 1}) as con:
        con.execute("set TimeZone = 'UTC'")
        query = "select issue_id, strftime(updated_at, '%Y-%m-%dT%H:%M:%S.%g+0000') from read_parquet(?)"
        yield from con.execute(query, [paths]).fetchall()


def _fold(running: Host) -> None:
    """Fold until nothing waits."""
    answered: Callable[[], Any] = lambda: running.ask("POST", "/extract/jira/fold", {}, token=SERVICE_TOKEN)[1]  # noqa: E731
    while answered()["status"] not in ("unchanged", "ok") or _waiting(running):
        time.sleep(0.2)


def _waiting(running: Host) -> int:
    return int(running.ask("GET", "/webhooks/jira/health", token=SERVICE_TOKEN)[1]["waiting"])


def _quantile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100)[percent - 1]


def _peak_mb(running: Host) -> float:
    """Return the greatest memory that a process of the host had; it is the one that listens at its port."""
    port = str(urlsplit(running.url).port)
    peaks = [0.0]
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and _environ(process).get("PORT") == port:
            status = (process / "status").read_text()
            peaks += [int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM")]
    return max(peaks)


def _environ(process: Path) -> dict[str, str]:
    try:
        pairs = os.fsdecode((process / "environ").read_bytes()).split("\0")
    except OSError:
        return {}
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)
