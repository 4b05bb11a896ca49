"""The home page shows one's own tables, and the way to query them."""

import html

import pytest

from tests.integration.pages.conftest import Browser
from tests.integration.world import World


def test_a_stranger_is_sent_to_sign_in_and_comes_back(browser: Browser) -> None:
    answer = browser.get("/?q=orders")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/login?next=%2F%3Fq%3Dorders")


def test_it_lists_the_tables_that_one_can_read_and_no_others(ann: Browser) -> None:
    page = ann.get("/").text
    assert "1 table you can read" in page
    assert "shop.orders" in page
    assert '<td data-label="Rows" class="num">3</td>' in page
    assert "just now" in page or "minute" in page
    assert "salaries" not in page
    assert "ann@example.com" in page


def test_it_says_how_to_install_and_connect(ann: Browser) -> None:
    page = html.unescape(ann.get("/").text)
    assert "uv tool install --reinstall http://localhost/cli/ai_data_analyst_cli-" in page
    assert "da login --server http://localhost" in page
    assert 'da query "from orders limit 10"' in page


def test_a_search_narrows_the_list(browser: Browser) -> None:
    browser.sign_in("admin@example.com")
    assert "2 tables you can read" in browser.get("/").text
    found = browser.get("/?q=SALAR").text
    assert "1 table with “SALAR”" in found
    assert "shop.orders" not in found
    assert "No table that you can read has “&lt;b&gt;”" in browser.get("/?q=<b>").text


def test_who_can_read_nothing_is_told_what_to_do(browser: Browser) -> None:
    page = browser.sign_in("bob@example.com").get("/").text
    assert "You can't read any table yet" in page
    assert 'href="/account#requests"' in page
    assert "shop.orders" not in page


def test_open_requests_are_counted(browser: Browser, world: World) -> None:
    bob = browser.sign_in("bob@example.com")
    sent = bob.post("/account/requests", table="shop.orders", reason="For the report")
    assert (sent.status_code, sent.headers["Location"]) == (303, "/account?done=requested")
    assert "The request is sent" in bob.get(sent.headers["Location"]).text
    assert "1 of your requests for access is waiting" in bob.get("/").text
    (request,) = world.ask("GET", "/api/admin/access-requests")["requests"]
    world.ask("POST", f"/api/admin/access-requests/{request['id']}/deny", {"answer": "Not yet"})
    assert "waiting" not in bob.get("/").text
    assert "Not yet" in bob.get("/account").text


@pytest.mark.parametrize("path", ["/", "/account", "/cli", "/login"])
def test_a_page_runs_no_script_loads_nothing_and_is_small(ann: Browser, path: str) -> None:
    answer = ann.get(path)
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert "<script" not in answer.text
    assert len(answer.data) < 40_000
    assert answer.headers["Cache-Control"] == "no-store"


def test_every_page_names_the_instance(ann: Browser) -> None:
    for path in ("/", "/account", "/cli", "/login", "/nowhere"):
        page = ann.get(path).text
        assert " · AI Data Analyst</title>" in page
        assert '<a class="brand" href="/"><img src="data:image/svg+xml;base64,' in page
