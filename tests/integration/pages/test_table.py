"""The page of a table."""

import html

import pytest

from tests.integration.pages.conftest import Browser
from tests.integration.world import World

PAGE = "/tables/shop/orders"


@pytest.fixture(scope="module", autouse=True)
def _profiled(world: World) -> None:
    world.ask("POST", "/api/admin/tables/shop.orders/profile")
    expected = {"expectations": [{"kind": "not_null", "columns": ["id"]}]}
    world.ask("PUT", "/api/admin/tables/shop.orders/expectations", expected)


def test_it_shows_columns_with_plots_rows_and_facts(ann: Browser) -> None:
    page = html.unescape(ann.get(PAGE).text)
    assert "<h1><code>shop.orders</code></h1>" in page
    assert page.count('<svg class="mini"') >= 2
    assert '<div class="scroll grid"' in page
    assert "not_null id" in page
    assert "1 Parquet file" in page
    for text in (
        'da query "from shop.orders limit 10"',
        "duckdb user/duckdb/analytics.duckdb",
        'server, headers = "http://localhost"',
        "Authorization",
    ):
        assert text in page
    assert "ADDRESS-OF-THE-BUCKET/extracts/shop/data/orders" in page


def test_its_twin_has_what_the_api_says(ann: Browser, world: World) -> None:
    data = ann.json(f"{PAGE}.json")
    table = world.ask("GET", "/api/catalog/tables/shop.orders")
    assert data["table"] == table
    assert data["schema"] == world.ask("GET", "/api/tables/shop.orders/schema")
    assert data["profile"] == world.ask("GET", "/api/tables/shop.orders/profile")
    assert data["expectations"] == world.ask("GET", "/api/tables/shop.orders/expectations")


def test_what_is_said_of_a_table_is_edited_in_place_by_who_may(kim: Browser, world: World) -> None:
    form = {
        "description": "Orders, one per row",
        "tags": "core, sales,",
        "owners": "kim@example.com",
        "tier": "gold",
        "grain": "one order",
        "notes": "With tax\n\nIn euros",
    }
    answer = kim.post(f"{PAGE}/description", **form)
    assert (answer.status_code, answer.headers["Location"]) == (303, f"{PAGE}?done=described")
    said = world.ask("GET", "/api/tables/shop.orders/description")["said"]
    assert (said["tags"], said["notes"], said["grain"]) == (["core", "sales"], ["With tax", "In euros"], "one order")
    page = kim.get(answer.headers["Location"]).text
    assert "The description is saved." in page
    assert "Orders, one per row" in page
    column = kim.post(f"{PAGE}/columns", column="amount", description="Euros", tags="PII")
    assert column.headers["Location"] == f"{PAGE}?done=described#column-amount"
    page = kim.get(PAGE).text
    assert "Euros" in page
    assert "sensitive, not shown" in page
    emptied = kim.post(f"{PAGE}/description", description="", tags="", owners="", tier="", grain="", notes="")
    assert emptied.status_code == 303
    assert world.ask("GET", "/api/tables/shop.orders/description")["description"] is None
    kim.post(f"{PAGE}/columns", column="amount", description="", tags="")


@pytest.mark.parametrize(
    ("who", "path", "status"), [("ann", "description", 403), ("ann", "columns", 403), ("kim", "columns", 422)]
)
def test_who_may_not_or_says_nonsense_is_refused(browser: Browser, who: str, path: str, status: int) -> None:
    form = {"column": "none"} if path == "columns" else {"description": "x"}
    person = browser.sign_in(f"{who}@example.com")
    answer = person.post(f"{PAGE}/{path}", **form)
    assert answer.status_code == status
    assert ("/description" in person.get(PAGE).text) == (who == "kim")


@pytest.mark.parametrize("name", ["salaries", "nothing"])
def test_a_hidden_table_looks_like_none_and_can_be_asked_for(browser: Browser, name: str) -> None:
    bob = browser.sign_in("bob@example.com")
    page = bob.get(f"/tables/shop/{name}")
    assert page.status_code == 404
    assert f"there is no table 'shop.{name}'" in html.unescape(page.text).lower()
    assert bob.client.get(f"/tables/shop/{name}.json", base_url="http://localhost").status_code == 404
    sent = bob.post(f"/tables/shop/{name}/request", reason="For the report")
    assert (sent.status_code, sent.headers["Location"]) == (303, "/account?done=requested#requests")
    assert f"shop.{name}" in bob.get("/account").text
    again = bob.post(f"/tables/shop/{name}/request", reason="For the report")
    assert (again.status_code, "already requested" in again.text) == (409, True)


def test_both_answers_differ_in_nothing_but_the_name(browser: Browser) -> None:
    bob = browser.sign_in("bob@example.com")
    hidden, none = (bob.get(f"/tables/shop/{name}").text.replace(name, "x") for name in ("salaries", "nothings"))
    assert hidden == none


def test_feedback_reaches_the_owners(ann: Browser, world: World) -> None:
    answer = ann.post(f"{PAGE}/feedback", text="The amounts of January are missing")
    assert answer.status_code == 303, answer.text.partition("<main")[2]
    assert answer.headers["Location"] == f"{PAGE}?done=told"
    assert "Thank you" in ann.get(f"{PAGE}?done=told").text
    assert "The amounts of January are missing" in ann.get("/account").text
    (said,) = world.ask("GET", "/api/admin/feedback")["feedback"]
    assert (said["about"], said["by"]) == ("shop.orders", "ann@example.com")


def test_a_viewer_is_offered_no_query(vera: Browser) -> None:
    assert 'href="/query' not in vera.get(PAGE).text
