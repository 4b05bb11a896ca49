"""The home page shows the first steps, then what is new, fresh and failed, and what one has asked."""

import html

import pytest

from analyst.pages import script
from tests.integration.pages.conftest import Browser
from tests.integration.world import World


def test_a_stranger_is_sent_to_sign_in_and_then_returned(browser: Browser) -> None:
    answer = browser.get("/catalog?q=orders")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/login?next=%2Fcatalog%3Fq%3Dorders")


def test_the_home_page_shows_readable_tables_and_no_others(ann: Browser) -> None:
    page = ann.get("/").text
    assert "<dt>Tables you can read</dt><dd>1</dd>" in page
    assert 'href="/tables/shop/orders"' in page
    assert "salaries" not in page
    assert "ann@example.com" in page
    data = ann.json("/index.json")
    assert (data["tables"], [each["id"] for each in data["fresh"]]) == (1, ["shop.orders"])
    assert [each["table"]["id"] for each in data["newest"]] == ["shop.orders"]


def test_the_home_page_has_the_exact_commands_to_install_and_connect(ann: Browser) -> None:
    page = html.unescape(ann.get("/").text)
    assert "uv tool install --reinstall http://localhost/cli/ai_data_analyst_cli-" in page
    assert "da login --server http://localhost" in page
    assert 'da query "from orders limit 10"' in page


def test_a_user_without_readable_tables_sees_what_to_do(browser: Browser) -> None:
    page = browser.sign_in("bob@example.com").get("/").text
    assert "You can't read any table yet" in page
    assert 'href="/account#requests"' in page
    assert "shop.orders" not in page


def test_requests_are_shown_to_requesters_and_deciders(browser: Browser, world: World) -> None:
    bob = browser.sign_in("bob@example.com")
    sent = bob.post("/account/requests", table="shop.orders", reason="For the report")
    assert (sent.status_code, sent.headers["Location"]) == (303, "/account?done=requested")
    assert "The request was sent" in bob.get(sent.headers["Location"]).text
    assert [each["status"] for each in bob.json("/index.json")["requests"]] == ["pending"]
    assert "1 access request is waiting for your decision" in Browser(world).sign_in("admin@example.com").get("/").text
    (request,) = world.ask("GET", "/api/admin/access-requests")["requests"]
    world.ask("POST", f"/api/admin/access-requests/{request['id']}/deny", {"answer": "Not yet"})
    page = bob.get("/").text
    assert "denied" in page
    assert "Not yet" in page


@pytest.mark.parametrize(
    "path", ["/", "/account", "/cli", "/login", "/catalog", "/metrics", "/query", "/tables/shop/orders"]
)
def test_a_page_has_one_script_of_ours_and_loads_nothing_else(ann: Browser, path: str) -> None:
    answer = ann.get(path)
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert answer.text.count("<script") == 1
    assert f'<script src="{script().path}" integrity="{script().integrity}" defer></script>' in answer.text
    assert " style=" not in answer.text
    assert " on" not in "".join(part.partition(">")[0] for part in answer.text.split("<button")[1:])
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", ["/", "/account", "/catalog", "/query", "/tables/shop/orders"])
def test_the_first_load_is_small(ann: Browser, path: str) -> None:
    answer = ann.get(path, **{"Accept-Encoding": "gzip"})
    assert answer.headers["Content-Encoding"] == "gzip"
    assert "Accept-Encoding" in answer.headers["Vary"]
    loaded = ann.get(script().path, **{"Accept-Encoding": "gzip"})
    assert len(answer.data) + len(loaded.data) < 25_000
    assert len(ann.get(path).data) + len(ann.get(script().path).data) < 60_000


def test_the_answer_to_a_form_is_not_compressed(ann: Browser) -> None:
    """It may have a secret beside what was sent, and the length of a compressed answer tells both apart."""
    headers = {"Accept-Encoding": "gzip", "Origin": "http://localhost"}
    form = {"name": "x", "scopes": "read", "expires_in_days": "7"}
    answer = ann.client.post("/account/tokens", data=form, headers=headers, base_url="http://localhost")
    assert "Content-Encoding" not in answer.headers


def test_browsers_cache_the_script_under_the_hash_of_its_content(browser: Browser) -> None:
    answer = browser.get(script().path)
    assert (answer.text, answer.mimetype) == (script().text, "text/javascript")
    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert browser.get("/static/pages-0000000000000000.js").status_code == 404


def test_every_page_names_the_instance(ann: Browser) -> None:
    for path in ("/", "/account", "/cli", "/login", "/nowhere", "/catalog", "/metrics", "/query"):
        page = ann.get(path).text
        assert " · AI Data Analyst</title>" in page
        assert '<a class="brand" href="/"><img src="data:image/svg+xml;base64,' in page


def test_the_navigation_shows_what_the_role_allows(world: World) -> None:
    links = {
        name: {
            path
            for path in ("/query", "/admin", "/catalog")
            if f'<a href="{path}">' in Browser(world).sign_in(f"{name}@example.com").get("/account").text
        }
        for name in ("vera", "ann", "admin")
    }
    assert links == {"vera": {"/catalog"}, "ann": {"/catalog", "/query"}, "admin": {"/catalog", "/query", "/admin"}}
