"""All functions on a bucket in memory with a table that one analyst may read, and a clock that a test sets."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from werkzeug.test import Client, TestResponse

from analyst.context import Process
from analyst.http import app
from analyst.store import ABSENT, Store
from tests.all_functions import FUNCTIONS
from tests.background_work import settle
from tests.doubles.memory_store import MemoryStore
from tests.integration.world import BOOTSTRAP_SECRET, SERVICE_TOKEN

NOW = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
ADDRESS = "203.0.113.7"
URLS = {"files": {"shop.orders": None}}


@dataclass
class Clock:
    """Reports the time that a test says it is."""

    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now

    def wait(self, **time: float) -> None:
        self.now += timedelta(**time)


@dataclass
class Api:
    """All functions as their callers see them, at an address of theirs."""

    process: Process
    clock: Clock
    store: Store
    tokens: dict[str, str] = field(default_factory=dict)
    """Of `admin`, `ann` (an analyst, who may read shop.orders) and the `service`."""

    def __post_init__(self) -> None:
        self.client = Client(app(self.process, FUNCTIONS))

    def send(
        self, who: str | None, method: str, path: str, body: Any = None, *, address: str = ADDRESS, **headers: str
    ) -> TestResponse:
        """Send a request as somebody, or with a token that is not known, or with none."""
        sent = {"User-Agent": "da/1.0", **{name.replace("_", "-"): value for name, value in headers.items()}}
        if who is not None:
            sent["Authorization"] = f"Bearer {self.tokens.get(who, who)}"
        place = {"REMOTE_ADDR": address}
        return self.client.open(path, method=method, json=body, headers=sent, environ_overrides=place, buffered=True)

    def make(self, who: str | None, method: str, path: str, body: Any = None) -> Mapping[str, Any]:
        """Send a request that must succeed."""
        answer = self.send(who, method, path, body)
        assert answer.status_code < 300, answer.text
        return answer.get_json(silent=True) or {}

    def settle(self) -> None:
        """Wait for what is done after answers."""
        settle(self.process)

    def page(self, **query: str | int) -> Mapping[str, Any]:
        """Ask for a page of events."""
        answer = self.client.get(
            "/api/admin/audit", query_string=query, headers={"Authorization": f"Bearer {self.tokens['admin']}"}
        )
        assert answer.status_code == 200, answer.text
        page: Mapping[str, Any] = answer.get_json()
        return page

    def found(self, **query: str | int) -> list[Any]:
        """Ask for all pages of events, newest first; that somebody asks is left out."""
        page = self.page(**query)
        events = [*page["events"]]
        while page["next"] is not None:
            page = self.page(**query, cursor=page["next"])
            events += page["events"]
        return [event for event in events if event["action"] != "audit.read"]

    def last(self, **query: str | int) -> Any:
        """Ask for the newest event."""
        return self.found(**query)[0]

    def written(self) -> list[Any]:
        """Read the events that lie in the bucket by themselves, the oldest first."""
        objects = (
            self.store.read(entry.key) for entry in self.store.list("state/audit/") if entry.key.endswith(".jsonl")
        )
        return [json.loads(line) for found in objects if found is not None for line in found.data.splitlines()]


Serve = Callable[..., Api]


@pytest.fixture(scope="session")
def environ(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    home = tmp_path_factory.mktemp("sources")
    for name in ("orders", "secrets"):
        (home / f"{name}.csv").write_text("id\n1\n")
    return {
        "DATA_URL": "file:///nowhere",
        "SOURCE_ROOTS": str(home),
        "BOOTSTRAP_SECRET": BOOTSTRAP_SECRET,
        "SERVICE_TOKEN": SERVICE_TOKEN,
    }


@pytest.fixture(scope="session")
def filled(environ: dict[str, str]) -> tuple[MemoryStore, dict[str, str]]:
    """A bucket with a snapshot, and tokens; tests work on copies."""
    bucket, clock = MemoryStore(), Clock(NOW - timedelta(days=30))
    api = Api(Process(environ, store=bucket, clock=clock), clock, bucket, {"service": SERVICE_TOKEN})
    person = {"email": "admin@example.com", "secret": BOOTSTRAP_SECRET}
    api.tokens["admin"] = api.make(None, "POST", "/auth/bootstrap", person)["token"]
    api.make("admin", "POST", "/api/users", {"email": "ann@example.com"})
    made = api.make(
        "admin",
        "POST",
        "/auth/tokens",
        {"name": "laptop", "user": "ann@example.com", "scopes": ["read", "query", "sync", "admin"]},
    )
    api.tokens["ann"] = made["token"]
    config = {"path": environ["SOURCE_ROOTS"]}
    api.make("admin", "POST", "/api/admin/sources/shop", {"type": "csv", "config": config})
    api.make("service", "POST", "/extract/csv", {"source": "shop"})
    grant = {"user": "ann@example.com", "table": "shop.orders"}
    api.make("admin", "POST", "/api/admin/permissions", grant)
    return bucket, api.tokens


@pytest.fixture
def bucket(filled: tuple[MemoryStore, dict[str, str]]) -> MemoryStore:
    """A bucket with a snapshot, and no events of its making."""
    copy = MemoryStore()
    for entry in filled[0].list(""):
        found = filled[0].read(entry.key)
        if found is not None and not entry.key.startswith("state/audit/"):
            copy.put(entry.key, found.data, if_version=ABSENT)
    return copy


@pytest.fixture
def serve(filled: tuple[MemoryStore, dict[str, str]], environ: dict[str, str]) -> Serve:
    """Serve all functions on a bucket, as a process of its own."""

    def served(store: Store, **more: Any) -> Api:
        clock = Clock()
        return Api(Process(environ, store=store, clock=clock, **more), clock, store, dict(filled[1]))

    return served


@pytest.fixture
def api(serve: Serve, bucket: MemoryStore) -> Api:
    return serve(bucket)
