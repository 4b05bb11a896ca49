"""Browsers get errors as pages with a way on; programs get problem documents."""

from html import unescape

import pytest

from tests.integration.pages.conftest import HTML, Browser
from tests.integration.world import World

PROBLEM = "application/problem+json"


@pytest.mark.parametrize(
    ("method", "path", "status", "link"),
    [
        ("GET", "/nowhere", 404, 'href="/"'),
        ("GET", "/api/me", 401, 'href="/login?next=%2Fapi%2Fme"'),
        ("GET", "/api/catalog/tables/shop.nothing", 401, 'href="/login?next='),
        ("GET", "/api/catalog/tables?limit=0", 401, 'href="/login?next='),
        ("POST", "/api/health", 405, 'href="/"'),
        ("POST", "/auth/tokens", 401, 'href="/login"'),
        ("GET", "/cli/none.whl", 404, 'href="/"'),
    ],
)
def test_a_browser_gets_a_page(browser: Browser, method: str, path: str, status: int, link: str) -> None:
    answer = browser.client.open(path, method=method, headers={"Accept": HTML, "Origin": "http://localhost"})
    assert (answer.status_code, answer.content_type) == (status, "text/html; charset=utf-8")
    assert link in answer.text
    assert "default-src 'none'; style-src 'sha256-" in answer.headers["Content-Security-Policy"]
    assert "Accept" in answer.headers["Vary"]


@pytest.mark.parametrize(
    "accept",
    [
        None,
        "*/*",
        "application/json",
        "application/problem+json",
        "application/json, text/html",
        "application/json, text/html;q=0.9",
        "text/plain",
        "nonsense",
    ],
)
def test_a_program_gets_a_problem_document(world: World, accept: str | None) -> None:
    headers = {} if accept is None else {"Accept": accept}
    for path in ("/nowhere", "/api/me", "/api/admin/sources"):
        answer = world.client.get(path, headers=headers)
        assert answer.content_type == PROBLEM
        assert answer.get_json(force=True)["status"] == answer.status_code


def test_the_page_escapes_what_a_request_says(browser: Browser) -> None:
    answer = browser.get("/<script>alert(1)</script>")
    assert answer.status_code == 404
    assert "<script" not in answer.text
    assert "&lt;script&gt;" in answer.text


@pytest.mark.parametrize(
    ("path", "nearest"),
    [
        ("/api/catalog/tables/shop.order", "did you mean 'shop.orders'?"),
        ("/api/catalog/tables/store.orders", "did you mean 'shop.orders'?"),
        ("/api/data/shop.ordes/download", "did you mean 'shop.orders'?"),
    ],
)
def test_a_table_that_is_not_there_is_answered_by_the_nearest(ann: Browser, path: str, nearest: str) -> None:
    answer = ann.client.get(path, base_url="http://localhost")
    assert (answer.status_code, nearest in answer.get_json(force=True)["detail"]) == (404, True)


def test_a_table_that_one_can_not_read_is_never_suggested(ann: Browser) -> None:
    for path in ("/api/catalog/tables/shop.salaries", "/api/catalog/tables/shop.salarie"):
        answer = ann.client.get(path, base_url="http://localhost")
        detail = answer.get_json(force=True)["detail"]
        assert (answer.status_code, "salaries" in detail.replace("'shop.salaries'", "", 1)) == (404, False)


def test_the_reset_link_is_offered_only_where_mail_works(browser: Browser) -> None:
    page = browser.get("/auth/password").text
    assert "/auth/password/forgot" not in page
    assert "Ask an administrator for a new invitation" in page
    answer = browser.get("/auth/password/forgot")
    assert (answer.status_code, "can't mail reset links" in unescape(answer.text)) == (404, True)
