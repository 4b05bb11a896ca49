"""The page of notifications: what it shows, and its forms."""

import re
from typing import Any

from tests.integration.notifications.conftest import Town
from tests.integration.pages.payloads import PAYLOADS
from tests.integration.pages.test_hostile_texts import strange


def page(town: Town, path: str = "/notifications", token: str = "", **form: Any) -> tuple[int, str]:
    headers = {"Authorization": f"Bearer {token or town.world.admin}", "Origin": "http://localhost"}
    if not form:
        answer = town.world.client.get(path, headers=headers)
    else:
        answer = town.world.client.post(path, headers=headers, data=form)
    return answer.status_code, answer.text if answer.status_code != 303 else answer.location


def test_everything_can_be_done_on_the_page(town: Town) -> None:
    _, ann = town.person("ann", "shop.orders")
    status, text = page(town, token=ann)
    assert (status, "No notifications yet" in text, "source_failed" in text) == (200, True, False)
    chosen = {"table_failed": ["page", "slack"], "request_answered": "page", "watch": "shop.*\nerp.bills"}
    assert page(town, "/notifications/kinds", ann, **chosen) == (303, "/notifications?done=saved")
    seen = town.world.ask("GET", "/api/notifications/preferences", token=ann)
    assert {each["kind"]: each["channels"] for each in seen["kinds"]} == {
        "table_failed": ["page", "slack"],
        "table_stale": [],
        "expectation_failed": [],
        "request_answered": ["page"],
        "memory_decided": [],
        "memory_approved": [],
        "script": [],
        "script_failed": [],
    }
    assert seen["watch"] == ["erp.bills", "shop.*"]
    status, text = page(town, "/notifications/kinds", ann, watch="everything")
    assert (status, "the id of a table" in text) == (422, True)

    linked = page(town, "/notifications/channels", ann, channel="slack", action="set", value=town.slack.webhook)
    assert linked == (303, "/notifications?done=linked")
    assert page(town, "/notifications/channels", ann, channel="slack", action="test")[1] == "/notifications?done=sent"
    status, text = page(town, "/notifications/channels", ann, channel="telegram", action="invite")
    assert (status, "https://t.me/data_bot?start=" in text) == (200, True)
    for wrong in (
        {"channel": "telegram", "action": "set", "value": "12"},
        {"channel": "telegram", "action": "test"},
        {"channel": "email", "action": "set"},
        {"channel": "slack", "action": "set", "value": "https://evil.example/services/T/B/x"},
    ):
        status, text = page(town, "/notifications/channels", ann, **wrong)
        assert (status in (404, 422), 'class="notice bad"' in text) == (True, True)
    assert page(town, "/notifications/channels", ann, channel="slack", action="remove")[0] == 303

    town.break_("orders")
    town.later(seconds=1)
    town.sync()
    status, text = page(town, token=ann)
    assert "1 unread" in text
    newest = re.search(r'name="through" value="([0-9A-Z]+)"', text)
    assert newest is not None
    assert page(town, "/notifications/read", ann, through=newest[1])[0] == 303
    assert " unread" not in page(town, token=ann)[1]
    twin = town.world.ask("GET", "/notifications.json", token=ann)
    assert "shop.orders can't be synced" in {each["title"] for each in twin["notifications"]}


def test_hostile_reasons_are_shown_as_text(town: Town) -> None:
    _, eve = town.person("eve")
    for number, text in enumerate(PAYLOADS[:20]):
        body = {"table": f"shop.t{number}", "reason": text[:1000]}
        town.world.send("POST", "/api/access-requests", body, token=eve)
    town.collect()
    _, text = page(town)
    assert "requests access" in text
    assert strange(text) == []
