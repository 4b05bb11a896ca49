"""The page of a table."""

import html
import re

import pytest

from tests.integration.pages.conftest import Browser
from tests.integration.world import World

PAGE = "/tables/shop/orders"


@pytest.fixture(scope="module", autouse=True)
def _profiled(world: World) -> None:
    world.ask("POST", "/api/admin/tables/shop.orders/profile")
    expected = {"expectations": [{"kind": "not_null", "columns": ["id"]}]}
    world.ask("PUT", "/api/admin/tables/shop.orders/expectations", expected)


def test_the_page_of_a_table_shows_columns_with_plots_rows_and_facts(ann: Browser) -> None:
    page = html.unescape(ann.get(PAGE).text)
    assert "<h1><code>shop.orders</code></h1>" in page
    assert page.count('<svg class="mini"') >= 2
    assert '<div class="scroll grid"' in page
    assert "not_null id" in page
    assert "1 Parquet file" in page
    for text in (
        'da query "from shop.orders limit 10"',
        "duckdb -readonly user/duckdb/analytics.duckdb",
        "claude mcp add --transport http data http://localhost/mcp",
        "data.share#data.shop.orders",
        'spark.read.format("deltaSharing")',
        'server, headers = "http://localhost"',
        "Authorization",
    ):
        assert text in page
    assert "/extracts/shop/data/orders" not in page


def test_only_actions_that_the_reader_may_take_are_offered(vera: Browser, world: World) -> None:
    assert "delta_sharing" not in vera.get(PAGE).text
    assert "/api/query" not in vera.get(PAGE).text
    admin = Browser(world).sign_in("admin@example.com")
    assert "/extracts/shop/data/orders" in admin.get(PAGE).text


def test_the_json_twin_of_the_page_equals_the_api(ann: Browser, world: World) -> None:
    data = ann.json(f"{PAGE}.json")
    table = world.ask("GET", "/api/catalog/tables/shop.orders")
    assert data["table"] == table
    assert data["schema"] == world.ask("GET", "/api/tables/shop.orders/schema")
    assert data["profile"] == world.ask("GET", "/api/tables/shop.orders/profile")
    assert data["expectations"] == world.ask("GET", "/api/tables/shop.orders/expectations")


def test_descriptions_are_edited_in_place_by_knowledge_managers(kim: Browser, world: World) -> None:
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
    shown = world.ask("GET", "/api/tables/shop.orders/description")["said"]
    assert (shown["tags"], shown["notes"], shown["grain"]) == (["core", "sales"], ["With tax", "In euros"], "one order")
    page = kim.get(answer.headers["Location"]).text
    assert "The description was saved." in page
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
def test_callers_without_the_role_and_invalid_input_are_refused(
    browser: Browser, who: str, path: str, status: int
) -> None:
    form = {"column": "none"} if path == "columns" else {"description": "x"}
    person = browser.sign_in(f"{who}@example.com")
    answer = person.post(f"{PAGE}/{path}", **form)
    assert answer.status_code == status
    assert ("/description" in person.get(PAGE).text) == (who == "kim")


@pytest.mark.parametrize("name", ["salaries", "nothing"])
def test_a_hidden_table_looks_missing_and_can_be_requested(browser: Browser, name: str) -> None:
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


def test_a_hidden_and_a_missing_table_differ_only_in_their_name(browser: Browser) -> None:
    bob = browser.sign_in("bob@example.com")
    hidden, none = (bob.get(f"/tables/shop/{name}").text.replace(name, "x") for name in ("salaries", "nothings"))
    assert hidden == none


def test_feedback_reaches_the_owners(ann: Browser, world: World) -> None:
    answer = ann.post(f"{PAGE}/feedback", text="The amounts of January are missing")
    assert answer.status_code == 303, answer.text.partition("<main")[2]
    assert answer.headers["Location"] == f"{PAGE}?done=told"
    assert "Thank you" in ann.get(f"{PAGE}?done=told").text
    assert "The amounts of January are missing" in ann.get("/account").text
    (feedback,) = world.ask("GET", "/api/admin/feedback")["feedback"]
    assert (feedback["about"], feedback["by"]) == ("shop.orders", "ann@example.com")


def test_viewers_are_not_offered_queries(vera: Browser) -> None:
    assert 'href="/query' not in vera.get(PAGE).text


@pytest.fixture(scope="module")
def _computed(world: World) -> None:
    """A table of daily sums, one over a hidden table, a metric on the first, and a term for a column."""
    world.ask("POST", "/api/admin/sources/marts", {"type": "materialized", "config": {}})
    daily = {"sql": "select day, sum(amount) as total from shop.orders group by day"}
    world.ask("POST", "/api/admin/tables/marts.daily", {"options": daily, "sync_schedule": "daily 05:00"})
    both = {"sql": "select o.id, s.amount from shop.orders o join shop.salaries s using (id)"}
    world.ask("POST", "/api/admin/tables/marts.both", {"options": both})
    world.ask("POST", "/extract/materialized", {"source": "marts"})
    world.ask("POST", "/rebuild", {"source": "marts"})
    for table in ("marts.daily", "marts.both"):
        world.ask("POST", "/api/admin/permissions", {"user": "ann@example.com", "table": table})
    metric = {"table": "marts.daily", "expression": "sum(total)", "category": "sales"}
    world.ask("PUT", "/api/admin/metrics/turnover", {"definition": metric})
    links = [{"kind": "table", "id": "shop.orders", "column": "amount"}, {"kind": "table", "id": "shop.salaries"}]
    world.ask("PUT", "/api/admin/glossary/Net sales", {"definition": "Without tax", "links": links})


@pytest.mark.usefixtures("_computed")
def test_lineage_is_a_drawing_and_a_list_of_visible_tables(ann: Browser, world: World) -> None:
    page = ann.get(PAGE).text
    drawing = page.partition('<svg class="graph"')[2].partition("</svg>")[0]
    for path in ("/tables/marts/daily", "/tables/marts/both", "/metrics/turnover", "/catalog?source=shop"):
        assert f'<a href="{path}"><rect' in drawing
    assert 'shop.orders → <a href="/tables/marts/daily">marts.daily</a>: <code>amount, day</code>' in page
    assert "salaries" not in page
    nodes = {each["id"] for each in ann.json(f"{PAGE}.json")["lineage"]["nodes"]}
    assert nodes == {"source:shop", "table:shop.orders", "table:marts.daily", "table:marts.both", "metric:turnover"}
    seen = Browser(world).sign_in("vera@example.com").get(PAGE).text
    assert "marts" not in seen


@pytest.mark.usefixtures("_computed")
def test_a_materialized_table_shows_its_sql_inputs_and_next_run_to_those_who_may_see_them(ann: Browser) -> None:
    page = html.unescape(ann.get("/tables/marts/daily").text)
    assert "<pre>select day, sum(amount) as total from shop.orders group by day</pre>" in page
    assert re.search(r"<dt>Next run</dt><dd><time [^>]*>\d{4}-\d\d-\d\d 05:00 UTC</time>", page)
    hidden = ann.get("/tables/marts/both").text
    assert "so it is not shown" in hidden
    assert "salaries" not in hidden
    assert "when its inputs change" in hidden


@pytest.mark.usefixtures("_computed")
def test_the_whole_sql_is_shown_to_readers_of_all_inputs(admin: Browser) -> None:
    assert "join shop.salaries" in admin.get("/tables/marts/both").text


@pytest.mark.usefixtures("_computed")
def test_terms_are_linked_from_the_columns_and_tables_that_they_stand_for(ann: Browser) -> None:
    page = ann.get(PAGE).text
    row = page.partition('id="column-amount"')[2].partition("</tr>")[0]
    assert '<a class="badge key" href="/glossary/Net%20sales">Net sales</a>' in row
    term = ann.get("/glossary/Net%20sales").text
    assert 'href="/tables/shop/orders#column-amount"' in term
    assert "salaries" not in term
