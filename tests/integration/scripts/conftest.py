"""A server on loopback with people and their scripts, doubles of Telegram and a mail server, and a clock of the test."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from analyst.context import Process
from analyst.runs import new_run_id
from tests.doubles.chats import TOKEN, slack, telegram
from tests.doubles.mailbox import mailbox
from tests.integration.notifications.conftest import Town, stocked
from tests.integration.world import SERVICE_TOKEN, Begun
from tests.processes import free_port, served

PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\0\0\0\0:~\x9bU\0\0\0\nIDATx\x9cc`\0\0\0\2\0\1H\xaf\xa4q\0\0\0\0IEND\xaeB`\x82"
"""A picture of one pixel."""


@dataclass
class Stage:
    """A town whose functions are served at an address, where scripts reach them."""

    town: Town
    url: str
    names: Iterator[int] = field(default_factory=count)

    def push(self, token: str, source: str, name: str | None = None, **more: Any) -> str:
        """Push a script; return its id."""
        body = {"name": name or f"script-{next(self.names)}", "source": source, **more}
        return str(self.town.world.ask("POST", "/api/scripts/deploy", body, token=token)["id"])

    def run(self, script: str, run_id: str | None = None, trigger: str = "demand") -> Mapping[str, Any]:
        """Run a script as its task does, and return the answer."""
        body = {"script": script, "run_id": run_id or new_run_id(self.town.clock[0]), "trigger": trigger}
        done = self.town.world.ask("POST", "/run-script", body, token=SERVICE_TOKEN)
        self.town.settle()
        return done

    def last(self, script: str, token: str = "") -> Mapping[str, Any]:
        """Return the last run of a script."""
        runs = self.town.world.ask("GET", f"/api/scripts/{script}/runs", token=token)["runs"]
        return dict(runs[0])

    def output(self, token: str, source: str) -> str:
        """Run a source and return what it wrote."""
        script = self.push(token, source)
        self.run(script)
        run = self.last(script, token)
        return f"{run['stdout']}{run['stderr']}{run['error'] or ''}"


@contextmanager
def staged(begun: Begun, folder: Path, **variables: str) -> Iterator[Stage]:
    """Serve a copy of a bucket until the block ends."""
    clock, port = [datetime.now(UTC)], free_port()
    with slack() as chat, telegram() as bot, mailbox() as mails:

        def process(environ: Mapping[str, str], **more: Any) -> Process:
            return Process(environ, clock=lambda: clock[0], **more)

        usual = {
            "ACCESS_MAX_AGE": "0",
            "TELEGRAM_URL": bot.url,
            "TELEGRAM_BOT_TOKEN": TOKEN,
            "SMTP_HOST": "localhost",
            "SMTP_PORT": str(mails.port),
            "SMTP_SECURITY": "none",
            "SMTP_FROM": "data@example.com",
            "SECRET_KEY": "s" * 40,
            "SCRIPT_TIMEOUT": "120",
            **variables,
        }
        world = begun.filled(stocked)[0].world(
            folder, process=process, variables=usual, base_url=f"http://127.0.0.1:{port}"
        )
        town = Town(world, chat, bot, mails, clock, folder / "sources/shop")
        with served(world.app, port) as host:
            yield Stage(town, host.url)
            town.settle()
        world.process.close()


@pytest.fixture(scope="module")
def stage(begun: Begun, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with staged(begun, tmp_path_factory.mktemp("stage")) as made:
        yield made


@pytest.fixture(scope="module")
def ann(stage: Stage) -> tuple[str, str]:
    """The id and a token of somebody who may read one of the two tables."""
    return stage.town.person("ann", "shop.orders")
