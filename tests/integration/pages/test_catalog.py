"""The catalog page: search, filters, why something is found, and its twin."""

from typing import Any

import pytest

from analyst.pages.catalog import owner_key
from tests.integration.pages.conftest import Browser
from tests.integration.world import World


@pytest.fixture(scope="module", autouse=True)
def _described(world: World) -> None:
    body = {"description": "What customers bought", "tags": ["core"], "owners": ["kim@example.com"], "tier": "gold"}
    body["columns"] = {"amount": {"description": "Euros with tax"}}  # type: ignore[assignment]
    world.ask("PUT", "/api/admin/tables/shop.orders/description", body)


@pytest.mark.parametrize(
    ("query", "found", "why"),
    [
        ("", ["shop.orders", "shop.salaries"], []),
        ("q=ORD", ["shop.orders"], ["name"]),
        ("q=salar", ["shop.salaries"], ["name"]),
        ("q=custom", ["shop.orders"], ["description"]),
        ("q=amount", ["shop.orders", "shop.salaries"], ["column amount"]),
        ("q=core", ["shop.orders"], ["tag core"]),
        ("q=gold", ["shop.orders"], ["tier gold"]),
        ("q=euros", ["shop.orders"], ["description of amount"]),
        ("q=nothing", [], []),
        ("source=shop&q=", ["shop.orders", "shop.salaries"], []),
        ("source=erp", [], []),
        ("tag=core", ["shop.orders"], []),
        (f"owner={owner_key('kim@example.com')}", ["shop.orders"], []),
        ("mine=true", [], []),
        ("fresh=day", ["shop.orders", "shop.salaries"], []),
        ("fresh=older", [], []),
        ("fresh=notice", [], []),
        ("q=amount&tag=core", ["shop.orders"], ["column amount"]),
        ("page=99", ["shop.orders", "shop.salaries"], []),
    ],
)
def test_a_search_finds_tables_and_shows_why(admin: Browser, query: str, found: list[str], why: list[str]) -> None:
    data = admin.json(f"/catalog.json?{query}")
    assert [each["id"] for each in data["entries"]] == found
    assert data["count"] == len(found)
    if found:
        assert data["entries"][0]["why"] == why
    page = admin.get(f"/catalog?{query}").text
    for table in found:
        assert f'href="/tables/{table.replace(".", "/")}"' in page
    assert ("No matches" in page) == (not found)


def test_words_are_marked_where_they_are_found(admin: Browser) -> None:
    page = admin.get("/catalog?q=custom").text
    assert "What <mark>custom</mark>ers bought" in page
    assert "Found in description" in page


def test_an_owner_finds_their_tables(kim: Browser) -> None:
    assert [each["id"] for each in kim.json("/catalog.json?mine=true")["entries"]] == ["shop.orders"]


def test_a_hidden_table_is_in_no_count_and_no_choice(ann: Browser, world: World) -> None:
    world.ask(
        "PUT", "/api/admin/tables/shop.salaries/description", {"tags": ["secret-tag"], "owners": ["boss@example.com"]}
    )
    data = ann.json("/catalog.json")
    assert (data["total"], data["sources"], list(data["tags"])) == (1, {"shop": 1}, ["core"])
    for path in (
        "/catalog",
        "/catalog?q=salaries",
        "/catalog?q=secret",
        f"/catalog?owner={owner_key('boss@example.com')}",
    ):
        page = (
            ann.get(path)
            .text.partition("</form>")[2]
            .partition("</main>")[0]
            .replace("“salaries”", "")
            .replace("“secret”", "")
        )
        assert "salaries" not in page
        assert "secret-tag" not in page


@pytest.mark.parametrize(
    "query", ["page=0", "page=x", "source=A%20B", "fresh=soon", "mine=maybe", "nothing=1", "q=" + 201 * "x"]
)
def test_invalid_filters_are_refused(ann: Browser, query: str) -> None:
    assert ann.get(f"/catalog?{query}").status_code == 422
    problem: Any = ann.client.get(f"/catalog.json?{query}", base_url="http://localhost").get_json(force=True)
    assert problem["status"] == 422
