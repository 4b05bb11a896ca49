"""The memory through the API: proposals, votes, decisions, and who sees what."""

from pathlib import Path

from tests.integration.memory.test_notes import person
from tests.integration.world import Begun


def test_an_item_is_proposed_voted_for_and_approved_and_then_applies(begun: Begun, tmp_path: Path) -> None:
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


def test_items_are_filtered_sorted_paged_and_counted(begun: Begun, tmp_path: Path) -> None:
    world = begun.world(tmp_path, variables={"ACCESS_MAX_AGE": "0"})
    ann, bob = person(world, "ann"), person(world, "bob")
    ids = []
    for number in range(5):
        category = "workflow" if number % 2 else "debugging"
        new = {"title": f"Item {number}", "content": f"About {number}.", "category": category}
        ids.append(world.ask("POST", "/api/memory", new, token=ann if number else bob)["id"])
    world.ask("POST", "/api/memory/admin/decide", {"ids": ids[:4], "action": "approve"})
    for voted, vote in ((ids[2], 1), (ids[1], -1)):
        world.ask("POST", f"/api/memory/{voted}/vote", {"vote": vote}, token=bob)

    def titles(query: str, token: str = "") -> list[str]:
        return [each["title"] for each in world.ask("GET", f"/api/memory?{query}", token=token)["items"]]

    found = titles("sort=score")
    assert (found[0], found[-1], len(found)) == ("Item 2", "Item 1", 5)
    assert sorted(titles("category=workflow")) == ["Item 1", "Item 3"]
    assert titles("status=pending") == ["Item 4"]
    assert (titles("status=pending", bob), titles("status=pending", ann)) == ([], ["Item 4"])
    assert titles("search=ABOUT%203") == ["Item 3"]
    pages = [titles(f"per_page=2&page={number}") for number in (1, 2, 3, 4)]
    assert ([len(each) for each in pages], len({title for each in pages for title in each})) == ([2, 2, 1, 0], 5)
    for wrong in ("per_page=101", "page=0", "sort=name", "status=gone", "category=x"):
        assert world.send("GET", f"/api/memory?{wrong}").status_code == 422
    stats = world.ask("GET", "/api/memory/stats")
    assert (stats["total"], stats["by_status"]) == (5, {"approved": 4, "pending": 1})
    assert (stats["categories"], stats["contributors"]) == ({"debugging": 3, "workflow": 2}, 2)
