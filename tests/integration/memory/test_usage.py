"""Usage is counted once from the audit log, and shown to administrators."""

from typing import Any

from tests.integration.notifications.conftest import Town, town
from tests.integration.world import SERVICE_TOKEN

__all__ = ["town"]


def usage(town: Town) -> Any:
    return town.world.ask("GET", "/api/admin/usage")


def test_reads_queries_and_failures_are_counted_once(town: Town) -> None:
    user_id, ann = town.person("ann", "shop.orders")
    for _ in range(2):
        town.world.ask("GET", "/api/tables/shop.orders/sample", token=ann)
    assert town.world.send("GET", "/api/tables/shop.people/sample", token=ann).status_code == 404
    assert town.world.send("GET", "/api/admin/usage", token=ann).status_code == 403
    assert all(each["user_id"] != user_id for each in usage(town)["people"])
    town.later(minutes=2)
    for _ in range(3):
        town.world.ask("POST", "/notifications/collect", {}, token=SERVICE_TOKEN)
        town.later(minutes=2)
    seen = usage(town)
    (mine,) = [each for each in seen["people"] if each["email"] == "ann@example.com"]
    assert {name: mine[name] for name in ("queries", "reads", "tables", "failures", "denied")} == {
        "queries": 0,
        "reads": 2,
        "tables": 1,
        "failures": 1,
        "denied": 1,
    }
    assert {each["table"]: (each["reads"], each["people"]) for each in seen["tables"]} == {
        "shop.orders": (2, 1),
        "shop.people": (0, 0),
    }
    headers = {"Authorization": f"Bearer {town.world.admin}"}
    text = town.world.client.get("/admin/usage?days=7", headers=headers).text
    assert ("ann@example.com" in text, "unused" in text) == (True, True)
