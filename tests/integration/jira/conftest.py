"""A source of the type jira, and somebody who sends webhooks to it."""

import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from werkzeug.test import TestResponse

from analyst.context import Process
from analyst.store import Store
from analyst.tasks import Background
from tests.bucket_contents import ask
from tests.clouds import Cloud, NewCloud
from tests.doubles.jira.instance import Instance
from tests.doubles.jira.server import serving
from tests.doubles.jira.service import CLOUD_ID, DESK_EMAIL, DESK_TOKEN, EMAIL, TOKEN, Service
from tests.integration.world import JIRA_SECRET, SERVICE_TOKEN, World

CUSTOM_FIELDS = [
    {"field": "Severity", "column": "severity", "type": "option"},
    {"field": "customfield_10161", "column": "time_to_resolution", "type": "sla"},
]
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Later(Background):
    """Runs what is to run alone only when it is asked for; `waiting` has it."""

    def __init__(self) -> None:
        super().__init__(workers=1)
        self.waiting: dict[str, Any] = {}

    def run_alone(self, name: str, task: Any) -> None:
        self.waiting[name] = task

    def run_all(self) -> None:
        """Run what waits, until nothing does."""
        while self.waiting:
            self.waiting.pop(next(iter(self.waiting)))()


def signature(body: bytes, secret: str = JIRA_SECRET) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


@dataclass
class Jira:
    """The functions, as Jira and the scheduler call them. What comes after answers is done when it is asked for."""

    world: World
    cloud: Cloud
    later: Later

    def send(self, event: Any, identifier: str | None = None, **headers: str) -> TestResponse:
        """Send a webhook, signed."""
        body = event if isinstance(event, bytes) else json.dumps(event).encode()
        named = {} if identifier is None else {"X-Atlassian-Webhook-Identifier": identifier}
        sent = {"X-Hub-Signature": signature(body), "Content-Type": "application/json", **named, **headers}
        return self.world.client.post("/webhooks/jira", data=body, headers=sent)

    def take(self, event: Any, identifier: str | None = None) -> Mapping[str, Any]:
        """Send a webhook that is taken."""
        answer = self.send(event, identifier)
        assert answer.status_code == 200, answer.text
        found: Mapping[str, Any] = answer.get_json()
        return found

    def fold(self) -> Mapping[str, Any]:
        """Fold what waits."""
        self.later.waiting.clear()
        return self.world.ask("POST", "/extract/jira/fold", {}, token=SERVICE_TOKEN)

    @property
    def store(self) -> Store:
        return self.world.process.store

    def rows(self, query: str) -> list[Any]:
        """Ask the published extract."""
        return ask(self.store, "extracts/jira/extract.duckdb", query)

    def waiting(self) -> list[str]:
        """Return the keys of the events in the inbox."""
        return [e.key for e in self.store.list("extracts/jira/events/") if "/archive/" not in e.key]

    def files(self) -> dict[tuple[str, str | None], str]:
        """Return the hash of each file of the tables, by table and part."""
        return {(name, part): sha for name, part, sha in self.rows("select table_name, partition, sha256 from _files")}


def serve(cloud: Cloud, folder: Path, admin: str | None = None, **settings: str) -> Jira:
    """Serve a bucket, which is empty unless it has an administrator; a fold waits for nothing."""
    later = Later()

    class Serving(Process):
        background = later

        def __init__(self, environ: Mapping[str, str], **more: Any) -> None:
            super().__init__({**environ, "JIRA_FOLD_INTERVAL": "0", **settings}, **more)

    return Jira(World(folder, cloud, admin=admin, process=Serving), cloud, later)


@dataclass(frozen=True, slots=True)
class Installed:
    """A bucket in which the source is registered and its tables are published, with an administrator's token."""

    cloud: Cloud
    admin: str

    def serve(self, folder: Path, **settings: str) -> Jira:
        """Serve a copy."""
        return serve(self.cloud.copy(), folder, self.admin, **settings)


def install(cloud: Cloud, folder: Path) -> Installed:
    """Register the source in an empty bucket."""
    jira = serve(cloud, folder)
    jira.world.ask("POST", "/api/admin/sources/jira", {"type": "jira"})
    jira.fold()
    return Installed(cloud, jira.world.admin)


@pytest.fixture(scope="session")
def installed(new_cloud: NewCloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    """What tests begin with; they work on copies."""
    folder = tmp_path_factory.mktemp("installed")
    with new_cloud(folder) as cloud:
        yield install(cloud, folder)


@pytest.fixture
def jira(installed: Installed, tmp_path: Path, at_once: None) -> Jira:  # noqa: ARG001
    """A source of which nothing is known yet."""
    return installed.serve(tmp_path)


def issue(
    number: int, *, key: str | None = None, created: datetime = NOON, updated: datetime = NOON, **fields: Any
) -> dict[str, Any]:
    """Return a whole issue as webhooks embed it."""
    merged = {"summary": f"Issue {number}", "created": stamp(created), "updated": stamp(updated), **fields}
    return {"id": str(number), "key": key or f"ABC-{number}", "fields": merged}


def event(name: str, at: datetime = NOON, **members: Any) -> dict[str, Any]:
    """Return the body of a webhook."""
    return {"timestamp": round(at.timestamp() * 1000), "webhookEvent": name, **members}


def stamp(at: datetime) -> str:
    """Write a time as Jira does."""
    return at.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "+0000"


@pytest.fixture
def service() -> Iterator[Service]:
    """An empty instance of Jira that is served."""
    with serving() as service:
        yield service


@pytest.fixture
def instance(service: Service) -> Instance:
    """What people act on."""
    return service.instance


@pytest.fixture
def asking(installed: Installed, tmp_path: Path, service: Service, at_once: None) -> Jira:  # noqa: ARG001
    """A source of which nothing is known yet, and that may ask Jira."""
    return installed.serve(tmp_path, **settings_for(service, tmp_path))


def settings_for(service: Service, folder: Path) -> dict[str, str]:
    """Return the settings by which an instance of Jira is asked; a file of them is put into a folder."""
    (folder / "instance.yaml").write_text(yaml.safe_dump({"jira": {"custom_fields": CUSTOM_FIELDS}}))
    return {
        "CONFIG_FILE": str(folder / "instance.yaml"),
        "JIRA_DOMAIN": service.instance.url,
        "JIRA_EMAIL": EMAIL,
        "JIRA_API_TOKEN": TOKEN,
        "JIRA_ATTACHMENT_MAX_BYTES": "1000",
        "JIRA_CLOUD_ID": CLOUD_ID,
        "JIRA_CLOUD_URL": service.instance.url,
        "JIRA_SLA_EMAIL": DESK_EMAIL,
        "JIRA_SLA_API_TOKEN": DESK_TOKEN,
    }
