"""Processes that die while they post or send notifications: forked for each line of JSON, as `tests.forks` expects."""

import json
import os
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from analyst.access import AccessList
from analyst.access.rules import User
from analyst.http_client import HttpClient
from analyst.notifications.delivery import Delivery, post
from analyst.notifications.notification import Notification, notification_id
from analyst.notifications.outbox import Destination
from analyst.settings import read_settings
from analyst.store import Store
from tests.doubles.mortal_store import Fate, MortalStore
from tests.named_bucket import opened

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
MADE = Notification(id=notification_id("n", AT), at=AT, kind="script", title="Told", text="once, or twice")
NEXT = MADE.model_copy(update={"id": notification_id("next", AT), "title": "And this"})


@dataclass
class Dying(MortalStore):
    """A store whose deletions count down the fate of the process, too: what is sent is deleted."""

    def delete(self, key: str) -> None:
        self.fate.step()
        super().delete(key)
        self.fate.step()


def access() -> AccessList:
    return AccessList(users={"ann": User(email="ann@example.com", role="analyst")}, tables={})


def act(store: Store, what: str) -> Any:
    """Post two notifications, or send what waits for a channel."""
    settings = read_settings(os.environ)
    if what == "post":
        return [post(store, settings, each, ["ann"]) for each in (MADE, NEXT)]
    return Delivery(store, settings, HttpClient(), access).send(Destination(what, "ann"))  # type: ignore[arg-type]


def main() -> None:
    """Fork, and wait, for each line."""
    for line in sys.stdin:
        job = json.loads(line)
        child = os.fork()
        if child == 0:
            os.environ.update(job["environ"])
            act(Dying(opened(), Fate(job["step"])), job["what"])
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
