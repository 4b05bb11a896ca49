"""Whatever a process dies at while it posts or sends notifications, everybody gets them: at least once, with the same id."""

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from analyst.notifications import preferences
from analyst.notifications.outbox import Outbox
from analyst.notifications.preferences import Changes
from analyst.notifications.telegram_bot import Links
from analyst.store import Store
from tests.doubles.chats import TOKEN, SlackDouble, TelegramDouble, slack, telegram
from tests.doubles.mailbox import Mailbox, mailbox
from tests.forks import Forks, forking
from tests.named_bucket import opened
from tests.unit.notifications import dying_delivery
from tests.unit.notifications.dying_delivery import AT, MADE, NEXT

CHAT = 7
SENT = ("email", "telegram", "slack")


@dataclass
class Services:
    """What messages are sent to, the settings that say so, and processes that die."""

    forks: Forks
    mails: Mailbox
    bot: TelegramDouble
    chat: SlackDouble

    @property
    def environ(self) -> dict[str, str]:
        return {
            "BASE_URL": "https://data.example.com",
            "SLACK_URL": self.chat.url,
            "TELEGRAM_URL": self.bot.url,
            "TELEGRAM_BOT_TOKEN": TOKEN,
            "SMTP_HOST": "localhost",
            "SMTP_PORT": str(self.mails.port),
            "SMTP_SECURITY": "none",
            "SMTP_FROM": "data@example.com",
        }

    def counts(self, title: str) -> dict[str, int]:
        """Return how many messages each service has got with a text, and forget them."""
        mails = [str(mail.get_content()) for mail in self.mails.mails]
        texts = self.bot.texts(CHAT)
        posts = [str(each) for each in self.chat.posted]
        return {
            name: sum(title in text for text in found) for name, found in zip(SENT, (mails, texts, posts), strict=True)
        }

    def forget(self) -> None:
        for each in (self.mails.mails, self.bot.sent, self.chat.posted):
            each.clear()


@pytest.fixture(scope="module")
def services() -> Iterator[Services]:
    with slack() as chat, telegram() as bot, mailbox() as mails, forking(Path(dying_delivery.__file__)) as forks:
        bot.chats.add(CHAT)
        yield Services(forks, mails, bot, chat)


@contextmanager
def bucket(monkeypatch: pytest.MonkeyPatch, services: Services, folder: Path) -> Iterator[Store]:
    """Open a bucket in which Ann has linked all channels."""
    for name, value in {**services.environ, "DATA_URL": folder.as_uri()}.items():
        monkeypatch.setenv(name, value)
    store = opened()
    changes = Changes(slack=services.chat.webhook)
    preferences.edit(store, "ann", lambda mine: preferences.changed(mine, changes, services.chat.url, AT))
    Links(store).link_by_person(Links(store).code_of_chat(CHAT, AT), "ann", AT)
    yield store
    services.forget()
    shutil.rmtree(folder)


STRIDE = {"post": 3}
"""Steps are alternately before and after a write."""


@pytest.mark.parametrize(("what", "fewest"), [("post", 18), ("email", 4), ("telegram", 4), ("slack", 4)])
def test_a_process_that_dies_at_any_step_loses_no_notification(
    what: str, fewest: int, services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, died = 1 - STRIDE.get(what, 1), True
    while died:
        step += STRIDE.get(what, 1)
        with bucket(monkeypatch, services, tmp_path / f"{what}{step}") as store:
            if what != "post":
                dying_delivery.act(store, "post")
            job = {"what": what, "step": step, "environ": {**services.environ, "DATA_URL": os.environ["DATA_URL"]}}
            died = services.forks.run(job) == -signal.SIGKILL
            dying_delivery.act(store, "post")  # as the task does that is redelivered
            assert {each.channel for each in Outbox(store).waiting()} <= set(SENT)  # which the next collection finds
            for channel in SENT:
                dying_delivery.act(store, channel)
            assert list(Outbox(store).waiting()) == []
            for each in (MADE, NEXT):
                counts = services.counts(each.title)
                assert all(1 <= count <= 1 + (died and name == what) for name, count in counts.items()), (step, counts)
            waits = [each.id for each in Outbox(store).unreceived("ann")]  # for programs, and on the page
            assert sorted(waits) == sorted([MADE.id, NEXT.id])
            dying_delivery.act(store, "post")  # again: it is known
            assert list(Outbox(store).waiting()) == []
    assert step > fewest
