"""An instance of the gateway on loopback, beside all functions on the same bucket."""

import asyncio
import json
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ulid import ULID
from websockets.sync.client import ClientConnection, connect

from analyst.context import Process
from analyst.gateway.connection import Limits
from analyst.gateway.server import Gateway
from analyst.notifications.notification import Notification
from analyst.notifications.outbox import Outbox
from tests.integration.world import Begun, World

SECRET = "s" * 40
POLL = 0.02
QUICK = Limits(poll=POLL, recheck=0.05, closing=0.5)


@dataclass
class Running:
    """A running instance: its port, and the number of connections as `/health` reports it."""

    port: int
    _stop: Callable[[], None]
    thread: threading.Thread

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/"

    def stop(self) -> None:
        self._stop()
        self.thread.join(60)
        assert not self.thread.is_alive()


@contextmanager
def gateway(environ: dict[str, str], limits: Limits = QUICK, dispatch: Path | None = None) -> Iterator[Running]:
    """Run an instance in a thread until the block ends."""
    started, made = threading.Event(), list[Any]()
    process = Process(environ)

    def run() -> None:
        async def serve() -> None:
            stopping, loop = asyncio.Event(), asyncio.get_running_loop()
            made.append(lambda: loop.call_soon_threadsafe(stopping.set))

            def note(port: int) -> None:
                made.append(port)
                started.set()

            await Gateway(process, limits, dispatch).run("127.0.0.1", 0, stopping, note)

        asyncio.run(serve())

    thread = threading.Thread(target=run)
    thread.start()
    assert started.wait(60)
    running = Running(made[1], made[0], thread)
    try:
        yield running
    finally:
        if thread.is_alive():
            running.stop()
        process.close()


@dataclass
class Office:
    """All functions, and instances of the gateway on the same bucket."""

    world: World
    environ: dict[str, str]
    tokens: dict[str, str] = field(default_factory=dict)

    def person(self, name: str, role: str = "analyst") -> str:
        """Add a person; return a token of theirs."""
        self.world.ask("POST", "/api/users", {"email": f"{name}@example.com", "role": role})
        return self.token(name)[1]

    def token(self, name: str, **more: Any) -> tuple[str, str]:
        """Create a token of a person; return its id and the token."""
        made = self.world.ask("POST", "/auth/tokens", {"name": "gateway", "user": f"{name}@example.com", **more})
        return str(made["id"]), str(made["token"])

    def notify(self, token: str) -> None:
        """Put a notification into the outbox for a person: for the page, and for programs."""
        now = self.world.process.clock()
        made = Notification(id=str(ULID()), at=now, kind="message", title="This is a test message.")
        user = self.world.ask("GET", "/api/me", token=token)["user_id"]
        Outbox(self.world.process.store).add(user, made, ["page", "gateway"])


@pytest.fixture
def office(begun: Begun, tmp_path: Path) -> Iterator[Office]:
    variables = {"ACCESS_MAX_AGE": "0", "SECRET_KEY": SECRET}
    world = begun.world(tmp_path, variables=variables)
    yield Office(world, {**world.cloud.settings, **variables, "SERVICE_TOKEN": "service-" + "0" * 32})
    world.process.close()


@contextmanager
def signed_in(running: Running, token: str) -> Iterator[ClientConnection]:
    """Connect, and show a token that is accepted."""
    with connect(running.url) as socket:
        socket.send(json.dumps({"type": "auth", "token": token}))
        assert received(socket)["type"] == "auth_ok"
        yield socket


def received(socket: ClientConnection) -> Any:
    """Return the next message."""
    return json.loads(socket.recv(60))


def health(running: Running) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{running.port}/health", timeout=60) as answer:
        assert answer.headers.get_all("Content-Type") == ["application/json"]
        return json.load(answer)
