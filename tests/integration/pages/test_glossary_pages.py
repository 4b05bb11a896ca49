"""The pages of the glossary."""

import html

import pytest

from tests.integration.pages.conftest import Browser
from tests.integration.world import World


def test_a_term_is_added_edited_found_and_removed(kim: Browser, world: World) -> None:
    added = kim.post("/glossary", name="Churn rate", definition="Who left")
    assert (added.status_code, added.headers["Location"]) == (303, "/glossary/Churn%20rate?done=saved")
    form = {"definition": "Who left in a month", "synonyms": "attrition, loss", "links": "shop.orders\nshop.orders#id"}
    changed = kim.post("/glossary/Churn%20rate", **form)
    assert changed.status_code == 303
    reader = Browser(world).sign_in("vera@example.com")
    assert "attrition" in reader.get("/glossary?q=attrition").text
    page = reader.get("/glossary/attrition").text
    assert "Who left in a month" in page
    assert 'href="/tables/shop/orders#column-id"' in page
    assert "<textarea" not in page
    assert '<a href="/glossary/Churn%20rate">' in reader.get("/catalog?q=churn").text
    assert [each["name"] for each in reader.json("/glossary.json")["terms"]] == ["Churn rate"]
    assert "by kim@example.com" in kim.get("/glossary/Churn%20rate").text
    assert kim.post("/glossary/Churn%20rate/remove").headers["Location"] == "/glossary"
    assert reader.get("/glossary/Churn%20rate").status_code == 404


@pytest.mark.parametrize(
    ("form", "status", "reason"),
    [
        ({"links": "orders"}, 422, "'orders' is not a link; write"),
        ({"links": "shop.none"}, 404, "there is no table 'shop.none'"),
        ({"links": "shop.orders#none"}, 422, "has no column 'none'"),
        ({"links": "metric:none"}, 422, "there is no metric 'none'"),
        ({"links": "shop.salaries"}, 404, "there is no table 'shop.salaries'"),
    ],
)
def test_invalid_links_are_explained(kim: Browser, form: dict[str, str], status: int, reason: str) -> None:
    answer = kim.post("/glossary/Refused", **form)
    assert (answer.status_code, reason.lower() in html.unescape(answer.text).lower()) == (status, True)


def test_links_that_an_editor_cannot_see_are_kept(kim: Browser) -> None:
    links = [{"kind": "table", "id": "shop.salaries"}, {"kind": "table", "id": "shop.orders"}]
    kim.world.ask("PUT", "/api/admin/glossary/Pay", {"definition": "What people get", "links": links})
    assert kim.post("/glossary/Pay", definition="What people earn", links="shop.orders#id").status_code == 303
    found = kim.world.ask("GET", "/api/glossary/Pay")["term"]
    assert {(each["id"], each["column"]) for each in found["links"]} == {("shop.salaries", None), ("shop.orders", "id")}
    kim.world.ask("DELETE", "/api/admin/glossary/Pay")


def test_readers_cannot_edit(ann: Browser) -> None:
    assert ann.post("/glossary", name="Mine").status_code == 403
    assert "Add a term" not in ann.get("/glossary").text
