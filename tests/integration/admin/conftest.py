"""The functions of administration, on a bucket in memory if `--store` does not say otherwise."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from werkzeug.test import Client

from analyst.context import Process
from analyst.http import app
from analyst.http.application import discover
from analyst.store import ABSENT, Store
from tests.doubles.memory_store import MemoryStore

BOOTSTRAP_SECRET = "bootstrap-" + "b" * 32
SERVICE_TOKEN = "service-" + "s" * 32
ENVIRON = {"DATA_URL": "file:///nowhere", "BOOTSTRAP_SECRET": BOOTSTRAP_SECRET, "SERVICE_TOKEN": SERVICE_TOKEN}


@dataclass
class Api:
    """The API as one caller sees it."""

    client: Client
    process: Process
    token: str | None = None

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Send a request; return the status and the JSON of the answer."""
        headers = {} if self.token is None else {"Authorization": f"Bearer {self.token}"}
        sent = {} if body is None else {"json": body}
        answer = self.client.open(path, method=method, headers=headers, **sent)
        return answer.status_code, answer.get_json(silent=True)

    def get(self, path: str) -> Any:
        """Ask for what must be there."""
        status, answer = self.ask("GET", path)
        assert status == 200, answer
        return answer

    def make(self, path: str, body: Any) -> Any:
        """Make what must not be there yet."""
        status, answer = self.ask("POST", path, body)
        assert status == 201, answer
        return answer

    def change(self, path: str, **fields: Any) -> Any:
        """Change what must be there."""
        status, answer = self.ask("PUT", path, fields)
        assert status == 200, answer
        return answer

    def remove(self, path: str) -> None:
        """Remove what must be there."""
        status, answer = self.ask("DELETE", path)
        assert status == 204, answer

    def having(self, token: str | None) -> "Api":
        """See the API as another caller."""
        return Api(self.client, self.process, token)

    def user(self, email: str, role: str = "analyst") -> tuple[str, "Api"]:
        """Add a user with a token: the id, and the API as they see it."""
        id_ = self.make("/api/users", {"email": email, "role": role})["id"]
        scopes = ["read", "query", "sync", "admin"]
        made = self.make("/auth/tokens", {"name": "laptop", "user": email, "scopes": scopes})
        return id_, self.having(made["token"])

    def audited(self, action: str) -> list[Any]:
        """Read the audit rows of an action."""
        with self.process.state.read() as db:
            rows = db.execute("select user_id, resource, params from audit_log where action = ?", [action]).fetchall()
        return [(user, resource, json.loads(params)) for user, resource, params in rows]


Deeds = Callable[[Api], Any]
"""What an administrator does before a test. It may return what the test needs."""

Prepare = Callable[[Deeds], tuple[Api, Any]]
"""Gives the API as the administrator sees it afterwards, and what the deeds returned."""


def serving(store: Store, environ: dict[str, str]) -> Api:
    """Serve the API on a bucket, and see it as somebody without a token."""
    process = Process(environ, store=store)
    return Api(Client(app(process, discover(["functions.api", "functions.auth"]))), process)


def bootstrapped(anybody: Api) -> Api:
    """Make the first administrator, and see the API as they do."""
    made = anybody.make("/auth/bootstrap", {"email": "root@example.com", "secret": BOOTSTRAP_SECRET})
    return anybody.having(made["token"])


@pytest.fixture
def store(quick_store: Store) -> Store:
    return quick_store


@pytest.fixture
def environ() -> dict[str, str]:
    return ENVIRON


@pytest.fixture
def anybody(store: Store, environ: dict[str, str]) -> Api:
    return serving(store, environ)


@pytest.fixture(scope="session")
def installed() -> tuple[MemoryStore, str]:
    """A bucket whose first administrator was made, and their token. Tests work on copies."""
    bucket = MemoryStore()
    token = bootstrapped(serving(bucket, ENVIRON)).token
    assert token is not None
    return bucket, token


@pytest.fixture(scope="session")
def prepared() -> dict[Deeds, tuple[MemoryStore, Any]]:
    """Buckets in which an administrator has done something, with what it returned. Tests work on copies."""
    return {}


@pytest.fixture
def prepare(
    anybody: Api, store: Store, installed: tuple[MemoryStore, str], prepared: dict[Deeds, tuple[MemoryStore, Any]]
) -> Prepare:
    """Begin a test after something that an administrator has done; it is done once, whatever the settings of the test."""
    bucket, token = installed

    def begin(deeds: Deeds) -> tuple[Api, Any]:
        if deeds not in prepared:
            copy = MemoryStore()
            copy_all(bucket, copy)
            prepared[deeds] = copy, deeds(serving(copy, ENVIRON).having(token))
        done, returned = prepared[deeds]
        copy_all(done, store)
        return anybody.having(token), returned

    return begin


@pytest.fixture
def admin(prepare: Prepare) -> Api:
    return prepare(nothing)[0]


def nothing(_admin: Api) -> None:
    """Do nothing."""


def copy_all(bucket: Store, into: Store) -> None:
    """Copy the objects of a bucket into an empty one."""
    for entry in bucket.list(""):
        found = bucket.read(entry.key)
        assert found is not None
        into.put(entry.key, found.data, if_version=ABSENT)
