"""All functions on a copy of a bucket, with people, doubles of Slack, Telegram and a mail server, and a clock of the test."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from analyst.context import Process
from tests.background_work import settle
from tests.doubles.chats import TOKEN, SlackDouble, TelegramDouble, slack, telegram
from tests.doubles.mailbox import Mailbox, mailbox
from tests.integration.world import SERVICE_TOKEN, Begun, World


@dataclass
class Town:
    """A world with people who can be notified."""

    world: World
    slack: SlackDouble
    telegram: TelegramDouble
    mails: Mailbox
    clock: list[datetime]
    sources: Path

    def person(self, name: str, *tables: str, role: str = "analyst") -> tuple[str, str]:
        """Add a person who may read tables; return their id and a token."""
        email = f"{name}@example.com"
        user = self.world.ask("POST", "/api/users", {"email": email, "role": role})
        for table in tables:
            self.world.ask("POST", "/api/admin/permissions", {"user": email, "table": table})
        made = self.world.ask("POST", "/auth/tokens", {"name": "x", "user": email})
        return str(user["id"]), str(made["token"])

    def collect(self) -> Mapping[str, Any]:
        """Have events found and all that waits sent, and wait for the end."""
        found = self.world.ask("POST", "/notifications/collect", {}, token=SERVICE_TOKEN)
        self.settle()
        return found

    def settle(self) -> None:
        """Wait for what is done after answers."""
        settle(self.world.process)

    def titles(self, token: str, query: str = "") -> list[str]:
        """Return what somebody's inbox says."""
        found = self.world.ask("GET", f"/api/notifications{query}", token=token)["notifications"]
        return [each["title"] for each in found]

    def later(self, **delta: float) -> None:
        """Advance the clock."""
        self.clock[0] += timedelta(**delta)

    def break_(self, table: str) -> None:
        """Make the file of a table unreadable."""
        (self.sources / f"{table}.csv").write_text('id,total\n"1,2\n')

    def mend(self, table: str, rows: int = 1) -> None:
        """Write the file of a table."""
        (self.sources / f"{table}.csv").write_text("id,total\n" + "".join(f"{n},2\n" for n in range(rows)))

    def sync(self) -> None:
        """Extract the source; tables that fail are no failure of the call."""
        self.world.send("POST", "/extract/csv", {"source": "shop"}, token=SERVICE_TOKEN)
        self.settle()


def stocked(world: World, folder: Path) -> None:
    """Publish two tables, and have everything collected that has happened so far."""
    (folder / "sources/shop").mkdir(parents=True)
    for table in ("orders", "people"):
        (folder / f"sources/shop/{table}.csv").write_text("id,total\n0,2\n")
    world.ask("POST", "/api/admin/sources/shop", {"type": "csv", "config": {"path": "shop"}})
    world.ask("POST", "/extract/csv", {"source": "shop"})
    world.ask("POST", "/notifications/collect", {})


@pytest.fixture
def town(begun: Begun, tmp_path: Path) -> Iterator[Town]:
    clock = [datetime.now(UTC)]
    with slack() as chat, telegram() as bot, mailbox() as mails:

        def process(environ: Mapping[str, str], **more: Any) -> Process:
            return Process(environ, clock=lambda: clock[0], **more)

        variables = {
            "ACCESS_MAX_AGE": "0",
            "SLACK_URL": chat.url,
            "TELEGRAM_URL": bot.url,
            "TELEGRAM_BOT_TOKEN": TOKEN,
            "SMTP_HOST": "localhost",
            "SMTP_PORT": str(mails.port),
            "SMTP_SECURITY": "none",
            "SMTP_FROM": "data@example.com",
            "SECRET_KEY": "s" * 40,
        }
        world = begun.filled(stocked)[0].world(tmp_path, process=process, variables=variables)
        made = Town(world, chat, bot, mails, clock, tmp_path / "sources/shop")
        yield made
        made.settle()
        world.process.close()
