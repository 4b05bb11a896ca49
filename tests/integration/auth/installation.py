"""An installation whose clock and mailbox the test controls, and browsers that visit it."""

import re
from datetime import UTC, datetime
from typing import Any

from werkzeug.test import Client

from analyst.auth.sign_in import Proven
from analyst.context import Context, Process
from analyst.http import Allow, HttpFunction, app, function
from analyst.http.answers import Page, Redirect
from analyst.http.application import discover
from analyst.http.browser_session import sign_browser_in
from analyst.state.fields import Email, Input
from tests.background_work import settle
from tests.doubles.memory_store import MemoryStore

FUNCTIONS = discover(["functions.api", "functions.auth", "functions.pages"])
SECRET = "bootstrap-" + "b" * 32


class Proof(Input):
    email: Email
    next: str = ""


@function("POST", "/auth/trusting", allow=Allow.ANYBODY)
def trusting(proof: Proof, ctx: Context) -> Redirect | Page:
    """Believe everybody; what a provider does once it has the proof."""
    return sign_browser_in(ctx, Proven(proof.email, "trusting"), proof.next)


def who_has(token: str, application: Any) -> int:
    """Ask who one is with a session's token as cookie."""
    client = Client(application)
    client.set_cookie("da_session", token)
    return client.get("/api/me").status_code


def code_in(text: str) -> str:
    """Find the code of a link on the page that asked for it, or in the mail of an invitation."""
    found = re.search(r'(?:<strong class="code" id="code">|asks for this code: )([0-9]{6})', text)
    assert found is not None, text
    return found.group(1)


class Installation:
    """The functions, with a provider that believes everybody, and a clock."""

    def __init__(self, **environ: str) -> None:
        self.now = datetime(2026, 3, 1, 12, tzinfo=UTC)
        self.store_time = 0.0
        self.store = MemoryStore(lambda: self.store_time)
        self.admin_token = ""
        self.start(**environ)

    def start(self, **environ: str) -> None:
        """Run the functions, again and with other settings when they ran before."""
        settings = {
            "DATA_URL": "file:///nowhere",
            "BASE_URL": "http://localhost",
            "BOOTSTRAP_SECRET": SECRET,
            "SECRET_KEY": "s" * 32,
            **environ,
        }
        self.process = Process(settings, store=self.store, clock=lambda: self.now)
        functions: list[HttpFunction] = [*FUNCTIONS, trusting]
        self.app = app(self.process, functions)

    def browser(self, address: str = "http://localhost/") -> "Browser":
        return Browser(Client(self.app), address)

    def admin(self) -> str:
        client = Client(self.app)
        answer = client.post("/auth/bootstrap", json={"email": "root@example.com", "secret": SECRET})
        self.admin_token = str(answer.get_json()["token"])
        return self.admin_token

    def tick_by_its_clock(self) -> None:
        """Have the process measure times by this clock, too."""

        def seconds() -> float:
            return self.now.timestamp()

        self.process.monotonic = seconds

    def settle(self) -> None:
        """Wait for what is done after answers."""
        settle(self.process)


class Browser:
    """A browser: it keeps cookies, and says where its forms come from."""

    def __init__(self, client: Client, address: str) -> None:
        self.client = client
        self.address = address

    def send(self, method: str, path: str, **sent: Any) -> Any:
        headers = {"Origin": self.address.rstrip("/"), **sent.pop("headers", {})}
        return self.client.open(path, method=method, base_url=self.address, headers=headers, **sent)

    def sign_in(self, email: str, then: str = "") -> Any:
        return self.send("POST", "/auth/trusting", data={"email": email, "next": then})

    def who(self) -> Any:
        answer = self.send("GET", "/api/me")
        return answer.get_json()["email"] if answer.status_code == 200 else answer.status_code
