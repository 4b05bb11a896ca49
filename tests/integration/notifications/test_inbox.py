"""The inbox and the preferences, through the API."""

from typing import Any

from tests.integration.notifications.conftest import Town


def preferences(town: Town, token: str, **changes: Any) -> Any:
    method = "PUT" if changes else "GET"
    return town.world.ask(method, "/api/notifications/preferences", changes or None, token=token)


def channel(view: Any, name: str) -> Any:
    return next(each for each in view["channels"] if each["channel"] == name)


def test_people_set_up_channels_and_choose_their_notifications(town: Town) -> None:
    _, ann = town.person("ann", "shop.orders")
    view = preferences(town, ann)
    assert [each["kind"] for each in view["kinds"]] == [
        "table_failed",
        "table_stale",
        "expectation_failed",
        "request_answered",
        "memory_decided",
        "memory_approved",
        "script",
        "script_failed",
    ]
    assert len(preferences(town, town.world.admin)["kinds"]) == 11
    assert {each["channel"]: each["ready"] for each in view["channels"]} == {
        "page": True,
        "gateway": True,
        "email": True,
        "telegram": False,
        "slack": False,
    }
    refused = town.world.send("POST", "/api/notifications/test", {"channel": "slack"}, token=ann)
    assert (refused.status_code, "not set up" in refused.text) == (422, True)
    wrong = {"slack": "https://evil.example/services/T/B/x"}
    assert town.world.send("PUT", "/api/notifications/preferences", wrong, token=ann).status_code == 422

    view = preferences(town, ann, slack=town.slack.webhook, watch=["shop.orders"])
    assert "secret" not in str(view)
    assert (channel(view, "slack")["ready"], view["watch"]) == (True, ["shop.orders"])
    town.world.ask("POST", "/api/notifications/test", {"channel": "slack"}, token=ann)
    town.settle()
    assert "This is a test message." in town.slack.posted[0]["text"]

    preferences(town, ann, kinds={"table_failed": ["slack"]})
    town.break_("orders")
    town.sync()
    assert "shop.orders can't be synced" in town.slack.posted[1]["text"]
    assert town.titles(ann, "?unread=true") == []  # what is not wanted on pages is read from the start
    preferences(town, ann, kinds={"table_failed": []})
    town.mend("orders", 2)
    town.sync()
    town.collect()
    assert len(town.slack.posted) == 2
    preferences(town, ann, slack="")
    assert channel(preferences(town, ann), "slack")["address"] is None


def test_notifications_are_paged_and_marked_as_read(town: Town) -> None:
    asked = [town.person(name)[1] for name in ("ann", "bob", "eve")]
    for number, token in enumerate(asked):
        town.later(seconds=1)
        town.world.ask("POST", "/api/access-requests", {"table": f"shop.t{number}", "reason": "x"}, token=token)
    town.collect()
    first = town.world.ask("GET", "/api/notifications?limit=2")
    assert [each["title"].rpartition(" ")[2] for each in first["notifications"]] == ["shop.t2", "shop.t1"]
    assert first["unread"] == 3
    second = town.world.ask("GET", f"/api/notifications?limit=2&before={first['next']}")
    assert [each["title"].rpartition(" ")[2] for each in second["notifications"]] == ["shop.t0"]
    assert second["next"] is None
    newest, older = (each["id"] for each in first["notifications"])
    assert town.world.ask("POST", "/api/notifications/read", {"ids": [newest]})["unread"] == 2
    assert len(town.titles("", "?unread=true")) == 2
    assert town.world.ask("POST", "/api/notifications/read", {"through": older})["unread"] == 0
    assert town.titles("", "?unread=true") == []
    assert len(town.titles("")) == 3
    assert town.titles(asked[0]) == []  # of others, nothing
    for wrong in ({"ids": ["x"]}, {"through": "../x"}, {"ids": [newest] * 501}, {"all": True}):
        assert town.world.send("POST", "/api/notifications/read", wrong).status_code == 422
