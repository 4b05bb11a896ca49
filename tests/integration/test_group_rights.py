"""Each group of functions works with the rights on the bucket that infra/services.yaml gives its account."""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from analyst.context import Process
from analyst.errors import ForbiddenError
from analyst.http import app
from analyst.store import ABSENT, Condition, Entry, Object
from infra.deployment import Access, routes, services
from tests.all_functions import FUNCTIONS
from tests.doubles.keboola.project import TOKEN, Project
from tests.doubles.keboola.server import serving
from tests.doubles.memory_store import MemoryStore
from tests.doubles.wrapped_store import Around
from tests.integration.jira.conftest import event, issue, signature
from tests.integration.world import JIRA_SECRET
from tests.processes import BOOTSTRAP_SECRET, SERVICE_TOKEN, Host, free_port, served
from tests.unit.test_deployment import answers

FOUND = services()
Wsgi = Callable[..., Iterable[bytes]]


@dataclass
class Restricted(Around):
    """A bucket as the account of a group may use it; `refused` has what it was asked for beyond that."""

    access: Access = field(default_factory=Access)
    refused: list[str] = field(default_factory=list)

    def _require(self, what: str, key: str, *kinds: str) -> None:
        allowed = [prefix for kind in kinds for prefix in getattr(self.access, kind)]
        if not any(key.startswith(prefix) for prefix in allowed):
            self.refused.append(f"{what} {key}")
            raise ForbiddenError(f"the account may not {what} '{key}'")

    def read(self, key: str, *, unless: str | None = None) -> Object | None:
        self._require("read", key, "read")
        return super().read(key, unless=unless)

    def head(self, key: str) -> Entry | None:
        self._require("read", key, "read")
        return super().head(key)

    def put(self, key: str, data: bytes, *, if_version: str | Condition) -> str:
        self._require("write", key, "write", *(("create",) if if_version is ABSENT else ()))
        return super().put(key, data, if_version=if_version)

    def upload(self, key: str, path: Path) -> str:
        self._require("create", key, "write", "create")
        return super().upload(key, path)

    def delete(self, key: str) -> None:
        self._require("delete", key, "write")
        super().delete(key)


@dataclass
class Split:
    """The services, each with the rights of its account, behind the routes of the load balancer."""

    host: Host
    stores: dict[str, Restricted]
    apps: dict[str, Wsgi]
    sources: Path
    processes: list[Process]

    def ask(self, method: str, path: str, body: Any = None, token: str = SERVICE_TOKEN, **headers: str) -> Any:
        status, answer = self.host.ask(method, path, body, token=token, headers=headers)
        assert status < 400, (path, answer, {name: store.refused for name, store in self.stores.items()})
        return answer

    def until(self, is_so: Callable[[], object]) -> None:
        end = time.monotonic() + 60
        while not is_so():
            assert time.monotonic() < end, {name: store.refused for name, store in self.stores.items()}
            time.sleep(0.05)


@pytest.fixture
def split(tmp_path: Path) -> Iterator[Split]:
    bucket, port, rules = MemoryStore(), free_port(), routes(FOUND)
    (tmp_path / "sources").mkdir()
    environ = {
        "DATA_URL": "gs://bucket",
        "BASE_URL": f"http://127.0.0.1:{port}",
        "TASKS_URL": f"http://127.0.0.1:{port}",
        "SECRET_KEY": "s" * 40,
        "SERVICE_TOKEN": SERVICE_TOKEN,
        "BOOTSTRAP_SECRET": BOOTSTRAP_SECRET,
        "JIRA_WEBHOOK_SECRET": JIRA_SECRET,
        "KEBOOLA_STORAGE_TOKEN": TOKEN,
        "JIRA_FOLD_INTERVAL": "0",
        "SOURCE_ROOTS": str(tmp_path / "sources"),
    }
    stores = {service.name: Restricted(bucket, access=service.group.bucket) for service in FOUND}
    processes = {name: Process(environ, store=store) for name, store in stores.items()}
    apps = {
        service.name: app(
            processes[service.name], [each for each in FUNCTIONS if each.function.module in service.modules]
        )
        for service in FOUND
    }

    def front(given: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        return apps[answers(rules, given["PATH_INFO"])](given, start_response)

    with served(front, port) as host:
        yield Split(host, stores, apps, tmp_path / "sources", [*processes.values()])
        for process in processes.values():
            process.close()


def test_from_a_source_to_a_mirror_the_rights_of_the_groups_suffice(split: Split) -> None:
    admin = split.host.bootstrap()
    (split.sources / "shop").mkdir()
    (split.sources / "shop/orders.csv").write_text("id,total\n1,2\n2,3\n")
    config = {"type": "csv", "config": {"path": str(split.sources / "shop")}}
    split.ask("POST", "/api/admin/sources/shop", config, admin)
    split.ask("POST", "/api/admin/sources/jira", {"type": "jira", "sync_schedule": "never"}, admin)

    (run,) = split.ask("POST", "/api/sync/trigger", {"sources": ["shop"]})["runs"]
    split.until(lambda: split.ask("GET", f"/api/sync/status?run={run['run_id']}")["runs"][0]["status"] == "ok")
    split.until(lambda: split.ask("GET", "/api/sync/manifest", token=admin)["tables"])

    _, analyst = split.host.user(admin, "ann@example.com")
    grant = {"user": "ann@example.com", "table": "shop.orders"}
    split.ask("POST", "/api/admin/permissions", grant, admin)
    for path in ("/api/me", "/api/catalog/tables", "/api/catalog/search?q=orders", "/api/health", "/api/metrics"):
        split.ask("GET", path, token=analyst)
    assert set(split.ask("GET", "/api/sync/manifest", token=analyst)["tables"]) == {"shop.orders"}
    assert split.ask("GET", "/iceberg/v1/namespaces/shop/tables/orders", token=analyst)["metadata"][
        "current-snapshot-id"
    ]

    body = json.dumps(event("jira:issue_created", issue=issue(1, summary="x"))).encode()
    signed = {"X-Hub-Signature": signature(body), "X-Atlassian-Webhook-Identifier": "one"}
    split.ask("POST", "/webhooks/jira", json.loads(body), **signed)
    split.until(lambda: "jira.issues" in split.ask("GET", "/api/sync/manifest", token=admin)["tables"])

    with serving(Project()) as keboola:
        keboola.project.table("in.c-a.t", ["id"], [("1",), ("2",), ("3",)])
        config = {"stack_url": keboola.url, **keboola.config}
        split.ask("POST", "/api/admin/sources/kbc", {"type": "keboola", "config": config}, admin)
        split.ask("POST", "/api/admin/tables/kbc.t", {"source_table": "in.c-a.t"}, admin)
        split.ask("POST", "/api/sync/trigger", {"sources": ["kbc"]})
        split.until(lambda: "kbc.t" in split.ask("GET", "/api/sync/manifest", token=admin)["tables"])

    split.ask("POST", "/schedule", {})
    split.ask("POST", "/sweep", {})
    assert {name: store.refused for name, store in split.stores.items()} == {name: [] for name in split.stores}
