"""All functions on a bucket with an administrator and sources."""

import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar
from uuid import uuid4

from werkzeug.test import Client, TestResponse

from analyst.context import Process
from analyst.http import app
from analyst.tasks import Background
from tests.all_functions import FUNCTIONS
from tests.clouds import Cloud

BOOTSTRAP_SECRET = "bootstrap-" + "0" * 32
SERVICE_TOKEN = "service-" + "0" * 32
JIRA_SECRET = "It's a Secret to Everybody"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Begun:
    """A bucket in which something was done, its folder, and the token of its administrator; tests work on copies."""

    cloud: Cloud
    admin: str
    folder: Path
    _filled: dict[Callable[..., Any], tuple["Begun", Any]] = field(default_factory=dict)

    def world(self, folder: Path, **more: Any) -> "World":
        """Serve a copy that lies in a folder, with the files of the sources."""
        if (self.folder / "sources").exists():
            shutil.copytree(self.folder / "sources", folder / "sources", dirs_exist_ok=True)
        return World(folder, self.cloud.copy(folder), admin=self.admin, **more)

    def filled(self, fill: Callable[["World", Path], T]) -> tuple["Begun", T]:
        """Return a bucket that a function has filled, and what it returned; it is called once in all tests.

        Paths of sources should be relative, for the copies.
        """
        if fill not in self._filled:
            folder = self.folder / uuid4().hex
            world = self.world(folder)
            found = fill(world, folder)
            world.process.close()
            self._filled[fill] = (Begun(world.cloud, self.admin, folder), found)
        return self._filled[fill]


class OneByOne(Background):
    """Runs the work that follows answers on one thread, so that a test can wait for it."""

    def __init__(self, room: int = 100) -> None:
        super().__init__(workers=1, room=room)

    def wait(self) -> None:
        """Wait until everything that was handed over has run, and what that handed over in turn."""
        self._pool.submit(lambda: None).result()
        while self._futures:
            self._pool.submit(lambda: None).result()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Run nothing inside the block: work that is handed over there runs after it, so it can't overtake the request."""
        released = threading.Event()
        self._pool.submit(released.wait)
        try:
            yield
        finally:
            released.set()


class World:
    """The functions, and the tokens of those who may call them."""

    def __init__(
        self,
        folder: Path,
        cloud: Cloud,
        *,
        admin: str | None = None,
        process: Callable[..., Process] = Process,
        base_url: str = "http://localhost",
        profiles: bool = False,
        variables: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Serve a bucket by a `process` of settings and a store; it is empty unless the token of its `admin` is given.

        Tables are profiled after a sync only with `profiles`; then `send` waits for the profiles that follow. Without a
        `base_url`, links are relative, for servers whose port is not known yet.
        """
        (folder / "sources").mkdir(parents=True, exist_ok=True)
        environ = {
            **cloud.settings,
            **variables,
            "BASE_URL": base_url,
            "SOURCE_ROOTS": str(folder / "sources"),
            "BOOTSTRAP_SECRET": BOOTSTRAP_SECRET,
            "SERVICE_TOKEN": SERVICE_TOKEN,
            "JIRA_WEBHOOK_SECRET": JIRA_SECRET,
            "PROFILE_AFTER_SYNC": str(profiles).lower(),
        }
        self.cloud = cloud
        self.process = process(environ, store=cloud.open())
        self._profiling = OneByOne() if profiles else None
        if self._profiling is not None:
            self.process._made["background"] = self._profiling
        self.app = app(self.process, FUNCTIONS)
        self.client = Client(self.app)
        self.admin = admin or self._bootstrap()

    def ask(self, method: str, path: str, body: Any = None, *, token: str | None = "") -> Mapping[str, Any]:
        """Send a request that must succeed as the administrator, with another token, or with none; return the JSON."""
        answer = self.send(method, path, body, token=token)
        assert answer.status_code < 400, answer.text
        found: Mapping[str, Any] = answer.get_json(silent=True) or {}
        return found

    def _bootstrap(self) -> str:
        person = {"email": "admin@example.com", "secret": BOOTSTRAP_SECRET}
        return str(self.ask("POST", "/auth/bootstrap", person, token=None)["token"])

    def send(self, method: str, path: str, body: Any = None, *, token: str | None = "") -> TestResponse:
        """Send a request as the administrator, with another token, or with none."""
        headers = {} if token is None else {"Authorization": f"Bearer {token or self.admin}"}
        answer = self.client.open(path, method=method, json=body, headers=headers, buffered=True)
        if self._profiling is not None and path.startswith("/extract/"):
            self._profiling.wait()
        return answer
