"""A bucket whose access list an older or newer version has written, or that is damaged."""

import hashlib
import json
from pathlib import Path
from typing import Any

import duckdb
import pytest
from werkzeug.test import Client

from analyst.access import CURRENT, StatePointer
from analyst.context import Process
from analyst.http import app
from analyst.http.application import discover
from analyst.state import SCHEMA_VERSION
from analyst.store import ANY
from tests.doubles.memory_store import MemoryStore

SECRET = "secret-" + "0" * 32
SERVICE = "service-" + "0" * 32


class Installation:
    """An administrator's view of a bucket; each `open` is a process that knows nothing yet."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.token = SECRET
        person = {"email": "admin@example.com", "secret": SECRET}
        self.token = self.open().post("/auth/bootstrap", json=person).get_json()["token"]

    def open(self) -> Client:
        process = Process(
            {"DATA_URL": "file:///nowhere", "BOOTSTRAP_SECRET": SECRET, "SERVICE_TOKEN": SERVICE}, store=self.store
        )
        return Client(app(process, discover(["functions"])))

    def get(self, client: Client, path: str = "/api/me") -> Any:
        return client.get(path, headers={"Authorization": f"Bearer {self.token}"})

    def pointer(self) -> StatePointer:
        found = self.store.read(CURRENT)
        assert found is not None
        return StatePointer.model_validate_json(found.data)

    def point(self, access: bytes, **more: Any) -> None:
        """Put another access list in the place of the current one."""
        old, sha256 = self.pointer(), hashlib.sha256(access).hexdigest()
        key = f"state/access-{sha256}.json"
        self.store.put(key, access, if_version=ANY)
        hashes = {**old.sha256, "access": sha256, **more.pop("sha256", {})}
        new = old.model_copy(update={"access": key, "access_text": None, "sha256": hashes, **more})
        self.store.put(CURRENT, new.model_dump_json(exclude_none=True).encode(), if_version=ANY)

    def as_an_older_version_wrote_it(self, **more: Any) -> None:
        text = self.pointer().access_text
        assert text is not None
        self.point(json.dumps({**json.loads(text), "grants": []}).encode(), **more)


@pytest.fixture
def installation() -> Installation:
    made = Installation()
    assert made.get(made.open()).status_code == 200
    return made


def test_a_list_of_an_older_version_is_rebuilt_from_the_state(installation: Installation) -> None:
    installation.as_an_older_version_wrote_it()
    before = installation.pointer().version
    first, second = installation.open(), installation.open()
    assert [installation.get(client).status_code for client in (first, second, first)] == [200, 200, 200]
    assert installation.pointer().version == before + 1, "once for all processes"


@pytest.mark.parametrize("damage", [b"", b"{", None])
def test_a_damaged_or_missing_list_is_rebuilt_from_the_state(installation: Installation, damage: bytes | None) -> None:
    installation.point(installation.pointer().model_dump_json().encode())
    if damage is None:
        installation.store.delete(installation.pointer().access)
    else:
        installation.store.put(installation.pointer().access, damage, if_version=ANY)
    assert installation.get(installation.open()).status_code == 200


def test_a_state_of_a_newer_version_is_refused_with_what_to_upgrade(installation: Installation, tmp_path: Path) -> None:
    path = tmp_path / "newer.duckdb"
    installation.store.download(installation.pointer().system, path)
    with duckdb.connect(path) as con:
        con.execute("insert into schema_version (version, applied_at) values (?, now())", [SCHEMA_VERSION + 1])
    data = path.read_bytes()
    installation.store.put("state/system-newer.duckdb", data, if_version=ANY)
    before = installation.pointer()
    installation.as_an_older_version_wrote_it(
        system="state/system-newer.duckdb", sha256={"system": hashlib.sha256(data).hexdigest()}
    )
    answer = installation.get(installation.open())
    assert answer.status_code == 503
    assert "upgrade the functions" in answer.get_json()["detail"]
    assert installation.pointer().version == before.version, "nothing of it is touched"


@pytest.mark.parametrize("damage", [b"", b"{", b"{}", b"[1]", b"\xff"])
def test_a_damaged_pointer_is_reported_with_its_remedy(installation: Installation, damage: bytes) -> None:
    installation.store.put(CURRENT, damage, if_version=ANY)
    client = installation.open()
    bootstrap = client.post("/auth/bootstrap", json={"email": "admin@example.com", "secret": SECRET})
    for answer in (installation.get(client), installation.get(client, "/auth/tokens"), bootstrap):
        detail = answer.get_json()["detail"]
        assert answer.status_code == 503
        assert "'state/current.json' can't be read" in detail
        assert "restore it from a backup or an earlier object version" in detail
        assert "try again" not in detail
    found = installation.store.read(CURRENT)
    assert found is not None
    assert found.data == damage


def test_a_damaged_system_file_is_reported_with_its_remedy(installation: Installation) -> None:
    installation.as_an_older_version_wrote_it()  # so that the list must be rebuilt
    system = installation.pointer().system
    installation.store.put(system, b"damaged", if_version=ANY)
    detail = installation.get(installation.open()).get_json()["detail"]
    assert (
        f"the object '{system}' of the system state is damaged; restore it from a backup or an earlier object version"
        in detail
    )


WITHOUT_STATE = (
    "/.well-known/",
    "/.claude-plugin/",
    "/agents/plugin.git/",
    "/api/agents/plugin",
    "/auth/",
    "/login",
    "/set-password",
    "/oauth/",
    "/static/",
    "/cli",
    "/api/cli",
    "/files/",
)
"""The start of what is answered without the state: documents, forms of sign-in, and files of signed URLs."""
JOBS = ("/rebuild", "/schedule", "/sweep", "/check-metrics")


def newer(installation: Installation) -> None:
    pointer = installation.pointer().model_copy(update={"schema_version": SCHEMA_VERSION + 1})
    installation.store.put(CURRENT, pointer.model_dump_json().encode(), if_version=ANY)


def test_every_function_refuses_a_state_of_a_newer_version(installation: Installation) -> None:
    """Also where it would never open the state: an older program must not act by rules that it may not know."""
    newer(installation)
    before, client = installation.pointer(), installation.open()
    asked = {
        ("GET", spec.path.text)
        for spec in (function.function for function in discover(["functions"]))
        if spec.method == "GET" and not spec.path.names and not spec.path.text.startswith(WITHOUT_STATE)
    } | {("POST", path) for path in JOBS}
    assert len(asked) > 40
    for method, path in sorted(asked):
        body: Any = {} if method == "POST" else None
        token = SERVICE if path in JOBS else installation.token
        answer = client.open(path, method=method, json=body, headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 503, (method, path, answer.status_code)
        assert "upgrade the functions" in answer.text, (method, path)
    assert installation.pointer() == before
