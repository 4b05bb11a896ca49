"""The pages of the memory: what they show to whom, and their forms."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.integration.memory.test_notes import person
from tests.integration.pages.payloads import PAYLOADS
from tests.integration.pages.test_hostile_texts import strange
from tests.integration.world import Begun, World


@pytest.fixture
def world(begun: Begun, tmp_path: Path) -> World:
    return begun.world(tmp_path, variables={"ACCESS_MAX_AGE": "0"})


def page(world: World, path: str, token: str = "", form: Mapping[str, Any] | None = None) -> tuple[int, str]:
    headers = {"Authorization": f"Bearer {token or world.admin}", "Origin": "http://localhost"}
    if form is None:
        answer = world.client.get(path, headers=headers)
    else:
        answer = world.client.post(path, headers=headers, data=form)
    return answer.status_code, answer.location if answer.status_code == 303 else answer.text


def test_items_are_proposed_reviewed_and_voted_for(world: World) -> None:
    ann, bob = person(world, "ann"), person(world, "bob")
    assert "No items" in page(world, "/memory", ann)[1]
    new = {"title": "Net", "content": "Totals exclude VAT.", "category": "workflow", "tags": "vat orders"}
    assert page(world, "/memory/propose", ann, new) == (303, "/memory?done=proposed")
    status, text = page(world, "/memory/propose", ann, new)
    assert (status, "vote for it instead" in text, "Totals exclude VAT." in text) == (409, True, True)
    status, text = page(world, "/memory/propose", ann, {**new, "tables": "shop.missing"})
    assert (status, "no table" in text) == (404, True)
    assert page(world, "/memory/propose", ann, {"title": "x"})[0] == 422
    (item,) = world.ask("GET", "/memory.json", token=ann)["items"]
    assert (item["tags"], world.ask("GET", "/memory.json", token=bob)["items"]) == (["vat", "orders"], [])

    assert page(world, "/memory/admin", ann)[0] == 403
    status, text = page(world, "/memory/admin")
    assert (status, "Totals exclude VAT." in text, "pending (1)" in text) == (200, True, True)
    decide = "/memory/admin/decide"
    status, text = page(world, decide, form={"action": "approve"})
    assert (status, "No item is chosen" in text) == (422, True)
    chosen = {"id": [item["id"]], "action": "approve"}
    status, text = page(world, decide, form={**chosen, "dry_run": "1"})
    assert (status, "would be approved" in text) == (200, True)
    assert page(world, decide, form=chosen) == (303, "/memory/admin?done=decided&status=pending")
    status, text = page(world, decide, form=chosen)
    assert (status, "not changed" in text) == (200, True)
    status, text = page(world, decide, form={**chosen, "action": "mandate"})
    assert (status, "needs a reason" in text) == (422, True)
    assert world.ask("GET", "/memory/admin.json?status=approved")["by_status"] == {"approved": 1}

    vote = {"id": item["id"], "vote": "1"}
    assert page(world, "/memory/vote", bob, vote) == (303, "/memory?done=voted")
    assert "one of your rules" in page(world, "/memory?sort=score&search=vat", bob)[1]
    assert page(world, "/memory/vote", bob, {**vote, "id": "km_000000000000"})[0] == 404
    assert [each["title"] for each in world.ask("GET", "/memory.json?rules=true", token=bob)["items"]] == ["Net"]
    for asked, titles in (
        ("search=VAT", ["Net"]),
        ("search=gross", []),
        ("status=pending", []),
        ("category=debugging", []),
    ):
        rules = world.ask("GET", f"/memory.json?rules=true&{asked}", token=bob)
        assert ([each["title"] for each in rules["items"]], rules["count"]) == (titles, len(titles)), asked
    assert "No matches" in page(world, "/memory?rules=true&search=gross", bob)[1]
    assert "No rule applies to you" in page(world, "/memory?rules=true", ann)[1]
    correct = {"id": item["id"], "title": "Net totals", "content": "Totals are without VAT.", "status": "approved"}
    assert page(world, "/memory/admin/edit", form=correct) == (303, "/memory/admin?done=edited&status=approved")
    for given in ({**correct, "title": ""}, {**correct, "content": "x" * 1001}):
        assert page(world, "/memory/admin/edit", form=given)[0] == 422
    assert page(world, "/memory/admin/edit", ann, correct)[0] == 403
    found = {
        where: [each["title"] for each in world.ask("GET", f"/memory/admin.json?status=approved&{where}")["items"]]
        for where in ("search=without", "search=exclude", "category=workflow", "category=debugging")
    }
    assert list(found.values()) == [["Net totals"], [], ["Net totals"], []]
    other = world.ask("POST", "/api/memory", {**new, "title": "Other", "tags": []})["id"]
    merge = {"id": other, "into": item["id"], "content": "Net of VAT."}
    assert page(world, "/memory/admin/merge", form=merge) == (303, "/memory/admin?done=merged&status=pending")
    assert page(world, "/memory/admin/merge", form=merge)[0] == 409
    assert page(world, "/memory/admin/collect", form={})[0] == 422


def test_forms_are_audited_like_the_functions_that_they_call(world: World) -> None:
    ann = person(world, "ann")
    page(world, "/memory/propose", ann, {"title": "Net", "content": "Without VAT.", "category": "workflow"})
    (item,) = world.ask("GET", "/memory.json", token=ann)["items"]
    edit = {"id": item["id"], "title": "Net", "content": "Totals are without VAT.", "status": "pending"}
    assert page(world, "/memory/admin/edit", form=edit)[0] == 303
    assert page(world, "/memory/admin/edit", form={**edit, "title": ""})[0] == 422
    assert page(world, "/memory/admin/decide", form={"id": item["id"], "action": "approve"})[0] == 303
    events = [each for each in world.ask("GET", "/api/admin/audit")["events"] if each["action"].startswith("memory.")]
    actions = [(each["action"], each["outcome"], f"memory:{item['id']}" in each["resources"]) for each in events]
    assert actions == [
        ("memory.decide", "ok", True),
        ("memory.edit", "failed", False),
        ("memory.edit", "ok", True),
        ("memory.propose", "ok", True),
    ]


def test_texts_of_people_are_shown_as_text(world: World) -> None:
    for number, payload in enumerate(PAYLOADS):
        new = {"title": f"{number}", "content": payload, "category": "workflow", "tags": [payload[:50].strip() or "x"]}
        world.send("POST", "/api/memory", new)
    for path in ("/memory", "/memory/admin", "/memory?search=%22%3E%3Cscript%3E"):
        status, text = page(world, path)
        assert (status, strange(text)) == (200, [])


def test_the_home_page_shows_the_memory_once_it_has_items(world: World) -> None:
    ann, bob = person(world, "ann"), person(world, "bob")
    assert 'id="memory"' not in page(world, "/", ann)[1]
    new = {"title": "Net", "content": "Totals exclude VAT.", "category": "workflow"}
    item = world.ask("POST", "/api/memory", new, token=ann)["id"]
    assert 'href="/memory/admin"' in page(world, "/")[1]
    assert 'id="memory"' not in page(world, "/", bob)[1]  # it is not in force
    world.ask("POST", "/api/memory/admin/decide", {"ids": [item], "action": "mandate", "reason": "For reports"})
    status, text = page(world, "/", bob)
    assert (status, "1 from 1 person" in text, 'href="/memory?rules=true"' in text) == (200, True, True)
    assert 'href="/memory/admin"' not in text
    found = world.ask("GET", "/index.json", token=bob)["memory"]
    assert (found["total"], found["rules"], found["contributors"]) == (1, 1, 1)


def test_the_keys_of_the_review_are_explained_only_there(world: World) -> None:
    new = {"title": "Net", "content": "Totals exclude VAT.", "category": "workflow"}
    assert "data-keys" not in page(world, "/memory/admin")[1]
    world.ask("POST", "/api/memory", new)
    text = page(world, "/memory/admin")[1]
    assert '<dialog id="review-keys" aria-labelledby="review-keys-title">' in text
    assert text.count("<kbd>") == 7
    assert "data-keys hidden>Keyboard</button>" in text
    assert "onclick" not in text
    assert "data-review" not in page(world, "/memory")[1]


def test_home_says_what_waits_for_a_review_until_everything_is_decided(world: World) -> None:
    ann = person(world, "ann")
    new = {"title": "Net", "content": "Totals exclude VAT.", "category": "workflow"}
    item = world.ask("POST", "/api/memory", new, token=ann)
    assert "Waiting for review" in page(world, "/")[1]
    world.ask("POST", "/api/memory/admin/decide", {"ids": [item["id"]], "action": "approve"})
    status, text = page(world, "/")
    assert (status, "/memory?rules=true" in text, "Waiting for review" in text) == (200, True, False)
