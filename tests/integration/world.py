"""All functions on a bucket, with an administrator and something to administrate."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from werkzeug.test import Client, TestResponse

from analyst.context import Process
from analyst.http import HttpFunction, app
from analyst.http.application import discover
from tests.clouds import Cloud

BOOTSTRAP_SECRET = "bootstrap-" + "0" * 32
SERVICE_TOKEN = "service-" + "0" * 32
JIRA_SECRET = "It's a Secret to Everybody"

FUNCTIONS: list[HttpFunction] = discover(["functions"])


@dataclass(frozen=True, slots=True)
class Begun:
    """A bucket in which something was done, and the token of its administrator; tests work on copies."""

    cloud: Cloud
    admin: str

    def world(self, folder: Path, **more: Any) -> "World":
        """Serve a copy that lies in a folder."""
        return World(folder, self.cloud.copy(folder), admin=self.admin, **more)


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

        Tables are profiled after a sync only with `profiles`. Without a `base_url`, links are relative, for servers whose
        port is not known yet.
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
        self.app = app(self.process, FUNCTIONS)
        self.client = Client(self.app)
        self.admin = admin or self._bootstrap()

    def ask(self, method: str, path: str, body: Any = None, *, token: str | None = "") -> Mapping[str, Any]:
        """Ask as the administrator (or with another token, or with none) for what must succeed."""
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
        return self.client.open(path, method=method, json=body, headers=headers, buffered=True)
