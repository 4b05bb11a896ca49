"""The memory through the API: proposals, votes, decisions, and who sees what."""

from pathlib import Path

from tests.integration.memory.test_notes import person
from tests.integration.world import Begun


def test_an_item_is_proposed_decided_voted_for_and_applies(begun: Begun, tmp_path: Path) -> None:
    world = begun.world(tmp_path, variables={"ACCESS_MAX_AGE": "0"})
    ann, bob = person(world, "ann"), person(world, "bob")
    new = {"title": "Net", "content": "Totals exclude VAT. password: hunter2", "category": "data_analysis"}
    made = world.ask("POST", "/api/memory", new, token=ann)
    assert (made["status"], "hunter2" in made["content"]) == ("pending", False)
    assert world.send("POST", "/api/memory", new, token=bob).status_code == 409
    assert world.ask("GET", "/api/memory", token=bob)["count"] == 0
    path = f"/api/memory/{made['id']}/vote"
    assert world.send("POST", path, {"vote": 1}, token=bob).status_code == 404
    decision = {"ids": [made["id"]], "action": "approve"}
    assert world.send("POST", "/api/memory/admin/decide", decision, token=ann).status_code == 403
    assert world.ask("POST", "/api/memory/admin/decide", decision)["done"] == {made["id"]: "approved"}
    assert len(world.ask("POST", "/api/memory/admin/decide", decision)["refused"]) == 1
    assert world.ask("POST", path, {"vote": 1}, token=bob)["upvotes"] == 1
    assert world.send("POST", path, {"vote": 2}, token=bob).status_code == 422
    assert [each["id"] for each in world.ask("GET", "/api/memory/rules", token=bob)["items"]] == [made["id"]]
    assert world.ask("GET", "/api/memory/rules", token=ann)["items"] == []
    (seen,) = world.ask("GET", "/api/memory?search=vat&sort=score", token=bob)["items"]
    assert (seen["score"], seen["vote"], seen["applies"], seen["history"]) == (1, 1, True, [])
    assert world.send("POST", "/api/memory/admin/decide", {**decision, "action": "mandate"}).status_code == 422
    assert world.ask("GET", "/api/memory/stats", token=bob)["by_status"] == {"approved": 1}
    edited = world.ask("PUT", f"/api/memory/admin/items/{made['id']}", {"content": "Totals are net."})
    assert (edited["content"], edited["history"][0]["action"]) == ("Totals are net.", "edit")
