"""Server-sent events, through the API."""

import json
import threading
import time
from typing import Any

from werkzeug.test import TestResponse

from tests.integration.notifications.conftest import Town

PATH = "/api/notifications/stream"


def events(answer: TestResponse) -> tuple[list[tuple[str, Any]], str]:
    """Return the events of an answer, by their names, and the last id."""
    assert answer.status_code == 200, answer.text
    assert answer.content_type == "text/event-stream; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-store"
    found, last = list[tuple[str, Any]](), ""
    for block in answer.text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        last = fields.get("id", last)
        if "data" in fields:
            found.append((fields["event"], json.loads(fields["data"])))
    return found, last


def ask(town: Town, token: str, position: str = "", query: str = "?wait=0") -> TestResponse:
    headers = {"Authorization": f"Bearer {token}", "Last-Event-ID": position}
    return town.world.client.get(PATH + query, headers=headers, buffered=True)


def notify(town: Town, token: str) -> None:
    town.later(seconds=1)  # so that ids sort
    town.world.ask("POST", "/api/notifications/test", {"channel": "page"}, token=token)


def test_a_browser_follows_new_notifications(town: Town) -> None:
    (_, ann), (_, bob) = town.person("ann"), town.person("bob")
    notify(town, ann)
    (ready,), position = events(ask(town, ann))
    assert ready == ("ready", {"unread": 1})
    assert events(ask(town, ann, position)) == ([], "")
    notify(town, ann)
    notify(town, bob)
    notify(town, ann)
    found, after = events(ask(town, ann, position))
    inbox = town.world.ask("GET", "/api/notifications", token=ann)["notifications"]
    assert [(name, each["id"]) for name, each in found] == [("notification", each["id"]) for each in inbox[1::-1]]
    assert dict(found[0][1]) == inbox[1]
    assert events(ask(town, ann, after))[0] == []
    assert [each["id"] for _, each in events(ask(town, ann, position))[0]] == [each["id"] for _, each in found]  # again
    assert len(events(ask(town, ann, "", f"?wait=0&after={position}"))[0]) == 2
    town.world.ask("POST", "/api/notifications/read", {"through": inbox[0]["id"]}, token=ann)
    assert events(ask(town, ann, position))[0] == []
    for wrong in ("x", "\udc80".encode("latin-1", "replace").decode(), "1.x"):
        assert events(ask(town, ann, wrong))[0] == [("ready", {"unread": 0})]
    for query in ("?wait=26", "?wait=-1", "?wait=x", "?after=" + "1" * 1001):
        assert ask(town, ann, "", query).status_code == 422


def test_a_user_who_may_no_longer_see_a_notification_gets_nothing(town: Town) -> None:
    _, ann = town.person("ann")
    granted = town.world.ask("POST", "/api/admin/permissions", {"user": "ann@example.com", "table": "shop.orders"})
    _, position = events(ask(town, ann))
    town.world.ask("PUT", "/api/notifications/preferences", {"watch": ["shop.orders"]}, token=ann)
    town.break_("orders")
    town.sync()
    town.collect()
    assert [each["title"] for _, each in events(ask(town, ann, position))[0]] == ["shop.orders can't be synced"]
    town.world.ask("DELETE", f"/api/admin/permissions/{granted['id']}")
    assert events(ask(town, ann, position))[0] == []


def test_an_answer_waits_for_the_first_event_and_ends_when_the_process_stops(town: Town) -> None:
    _, ann = town.person("ann")
    _, position = events(ask(town, ann))
    answers: list[TestResponse] = []

    def wait() -> None:
        answers.append(ask(town, ann, position, "?wait=25"))

    began = time.monotonic()
    thread = threading.Thread(target=wait)
    thread.start()
    notify(town, ann)
    thread.join(20)
    assert [name for name, _ in events(answers[0])[0]] == ["notification"]
    _, position = events(answers[0])
    thread = threading.Thread(target=wait)
    thread.start()
    town.world.process.stopping.set()
    thread.join(20)
    assert events(answers[1])[0] == []
    assert time.monotonic() - began < 20
    assert "retry: 1000\n" in answers[1].text
