"""Who is notified of items of the memory: reviewers, authors, and the audience of approved items."""

from typing import Any

from tests.integration.notifications.conftest import Town


def propose(town: Town, token: str, title: str, **more: Any) -> str:
    new = {"title": title, "content": f"{title} in words.", "category": "data_analysis", **more}
    return str(town.world.ask("POST", "/api/memory", new, token=token)["id"])


def decide(town: Town, action: str, *ids: str, **more: Any) -> None:
    town.world.ask("POST", "/api/memory/admin/decide", {"ids": ids, "action": action, **more})


def news(town: Town, token: str) -> list[str]:
    town.later(minutes=6)
    town.collect()
    found = town.titles(token, "?unread=true")
    town.world.ask("POST", "/api/notifications/read", {"through": "7" + "Z" * 25}, token=token)
    return found


def test_reviewers_authors_and_the_audience_are_notified_of_what_concerns_them(town: Town) -> None:
    _, ann = town.person("ann", "shop.orders")
    _, bob = town.person("bob")
    one, two = propose(town, ann, "Net"), propose(town, ann, "Tables", tables=["shop.orders"])
    assert news(town, "") == ["2 memory items are waiting for review"]  # the clock of the test stands
    assert news(town, ann) == []
    assert news(town, "") == []
    decide(town, "approve", one, two)
    mine = news(town, ann)
    assert sorted(mine) == ["Your item 'Net' is approved", "Your item 'Tables' is approved"]
    assert news(town, bob) == ["A memory item was approved"]  # he may not read the table of the other
    decide(town, "mandate", one, reason="Law")
    assert news(town, ann) == ["Your item 'Net' is mandatory"]
    assert news(town, bob) == []
    decide(town, "revoke", one, reason="Wrong")
    assert (news(town, ann), news(town, bob)) == (["Your item 'Net' is revoked"], [])
    text = town.world.ask("GET", "/api/notifications", token=ann)["notifications"][0]
    assert (text["kind"], text["text"], text["url"]) == ("memory_decided", "Wrong", "/memory")


def test_audiences_are_respected_and_kinds_can_be_disabled(town: Town) -> None:
    group = town.world.ask("POST", "/api/admin/groups", {"name": "finance"})
    ann_id, ann = town.person("ann")
    _, bob = town.person("bob")
    town.world.ask("PUT", f"/api/admin/groups/{group['id']}/members/{ann_id}", {})
    item = propose(town, "", "Vat")
    decide(town, "approve", item, audience="group:finance")
    assert (news(town, ann), news(town, bob)) == (["A memory item was approved"], [])
    town.world.ask("PUT", "/api/notifications/preferences", {"kinds": {"memory_approved": []}}, token=ann)
    decide(town, "approve", propose(town, "", "Net"))
    assert (news(town, ann), news(town, bob)) == ([], ["A memory item was approved"])
