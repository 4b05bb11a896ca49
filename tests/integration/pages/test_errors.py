"""Browsers get errors as pages that say what to do next; programs get problem documents."""

from collections.abc import Mapping
from html import unescape
from pathlib import Path

import pytest
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request

from analyst.context import Process
from analyst.http import problems
from analyst.pages import Reader
from analyst.store import Store
from tests.doubles.faulty_store import FaultyStore
from tests.integration.pages.conftest import HTML, PASSWORD, Browser
from tests.integration.world import Begun, World

pytestmark = pytest.mark.usefixtures("quick")

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
    ("path", "form", "kept"),
    [
        ("/query", {"sql": "select '<b>'\n from shop.orders"}, True),
        ("/account/requests", {"table": "shop.orders", "reason": "x" * 500}, True),
        ("/account/password", {"old": PASSWORD, "new": PASSWORD}, False),
        ("/query", {}, False),
        ("/auth/logout", {"unknown": "1"}, False),
    ],
)
@pytest.mark.parametrize("cookie", ["", "da_s1.ended"])
def test_input_is_kept_when_the_session_has_ended(
    browser: Browser, path: str, form: dict[str, str], *, kept: bool, cookie: str
) -> None:
    if cookie:
        browser.client.set_cookie("da_session", cookie)
    answer = browser.post(path, **form)
    if path == "/auth/logout":
        assert "Send it again" not in answer.text
        return
    assert (answer.status_code, "Send it again" in answer.text) == (401, kept)
    for text in form.values():
        assert (text in unescape(answer.text)) is kept
    assert "<b>" not in answer.text
    assert f'action="{path}"' in answer.text or not kept


WEBHOOK = f"https://hooks.slack.com/services/T0/B0/{'x' * 40}"
CONSENT = {"client_id": "agent-x", "redirect_uri": "https://agent-x.example/back", "code_challenge": "y" * 43}


@pytest.mark.parametrize(
    ("path", "form", "hidden"),
    [
        ("/notifications/channels", {"channel": "slack", "action": "set", "value": WEBHOOK}, WEBHOOK),
        ("/oauth/authorize", {**CONSENT, "decision": "allow"}, "agent-x"),
    ],
    ids=["a secret", "a decision about what its page showed"],
)
def test_a_form_with_a_secret_or_a_decision_is_not_repeated(
    browser: Browser, path: str, form: dict[str, str], hidden: str
) -> None:
    answer = browser.post(path, **form)
    assert (answer.status_code, "Send it again" in answer.text, hidden in answer.text) == (401, False, False)


def test_input_of_a_form_on_another_site_is_not_kept(browser: Browser) -> None:
    headers = {"Accept": HTML, "Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    answer = browser.client.post(
        "/query", data={"sql": "from shop.orders"}, headers=headers, base_url="http://localhost"
    )
    assert (answer.status_code, "shop.orders" in answer.text) == (403, False)


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


def test_an_error_page_escapes_parts_of_the_request(browser: Browser) -> None:
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
def test_for_an_unknown_table_the_nearest_is_suggested(ann: Browser, path: str, nearest: str) -> None:
    answer = ann.client.get(path, base_url="http://localhost")
    assert (answer.status_code, nearest in answer.get_json(force=True)["detail"]) == (404, True)


def test_an_unreadable_table_is_never_suggested(ann: Browser) -> None:
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


ANN_NAVIGATION = ('<a href="/catalog">Catalog</a>', '<a href="/query">Query</a>', "ann@example.com")
STRANGER_NAVIGATION = ('<a href="/login">Sign in</a>', '<a href="/cli">Install da</a>')


@pytest.mark.parametrize(
    ("request_", "status", "way_on"),
    [
        (("GET", "/nowhere", {}), 404, 'href="/catalog">Search the catalog'),
        (("GET", "/admin", {}), 403, 'href="/">Go to your tables'),
        (("GET", "/admin/people/x", {}), 403, 'href="/">Go to your tables'),
        (("GET", "/catalog?page=x", {}), 422, 'href="/">Go to your tables'),
        (("GET", "/glossary/None", {}), 404, 'href="/catalog">Search the catalog'),
        (("GET", "/metrics/none", {}), 404, 'href="/catalog">Search the catalog'),
        (("GET", "/query?past=01m8kywawxt7r0skr7mdfjn1ms", {}), 404, 'href="/catalog">Search the catalog'),
        (("GET", "/admin/sweep", {}), 405, 'href="/">Go to your tables'),
        (("POST", "/query", {}), 422, 'href="/query">Go back'),
        (("POST", "/account/tokens/revoke", {"id": "none"}), 404, 'href="/query">Go back'),
        (("POST", "/tables/shop/orders/description", {"description": "x"}), 403, 'href="/query">Go back'),
    ],
)
def test_a_user_who_has_signed_in_keeps_the_navigation(
    ann: Browser, request_: tuple[str, str, dict[str, str]], status: int, way_on: str
) -> None:
    method, path, form = request_
    headers = {"Accept": HTML, "Origin": "http://localhost", "Referer": "http://localhost/query"}
    answer = ann.client.open(path, method=method, data=form, headers=headers, base_url="http://localhost")
    assert answer.status_code == status
    assert all(each in answer.text for each in ANN_NAVIGATION)
    assert way_on in answer.text
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/nowhere", 404),
        ("/api/me", 401),
        ("/auth/email/confirm?token=old", 404),  # this server sends no mail
        ("/auth/password/set?token=old", 401),
        ("/auth/google/callback?state=x&code=y", 404),
    ],
)
def test_a_stranger_is_sent_to_sign_in(browser: Browser, path: str, status: int) -> None:
    answer = browser.get(path)
    assert (answer.status_code, answer.mimetype) == (status, "text/html")
    assert all(each in answer.text for each in STRANGER_NAVIGATION)
    assert "<a class=" in answer.text


def test_a_form_on_another_site_is_refused_with_a_page(ann: Browser) -> None:
    headers = {"Accept": HTML, "Origin": "https://evil.example"}
    answer = ann.client.post("/query", data={"sql": "select 1"}, headers=headers, base_url="http://localhost")
    assert (answer.status_code, answer.mimetype) == (403, "text/html")
    assert all(each in answer.text for each in ANN_NAVIGATION)
    assert "evil.example/" not in answer.text


@pytest.mark.parametrize("invalid", ["http://[::1", "http://localhost:x", "https://]", "http://\xe2\x84\x80"])
@pytest.mark.parametrize(("header", "status"), [("Origin", 403), ("Referer", 404)])
def test_a_header_that_is_not_a_valid_address_is_the_one_of_another_site(
    ann: Browser, header: str, status: int, invalid: str
) -> None:
    headers = {"Accept": HTML, "Origin": "http://localhost", header: invalid}
    answer = ann.client.post("/account/tokens/revoke", data={"id": "none"}, headers=headers)
    assert (answer.status_code, "Go back" in answer.text) == (status, False)
    assert all(each in answer.text for each in ANN_NAVIGATION)


def test_a_form_of_an_ended_session_is_restored_after_signing_in(ann: Browser) -> None:
    ann.client.set_cookie("da_session", "ended")
    headers = {"Accept": HTML, "Origin": "http://localhost", "Referer": "http://localhost/account"}
    answer = ann.client.post("/account/tokens", data={"name": "x"}, headers=headers, base_url="http://localhost")
    assert (answer.status_code, 'href="/login?next=%2Faccount"' in answer.text) == (401, True)
    assert all(each in answer.text for each in STRANGER_NAVIGATION)


def test_too_many_attempts_are_answered_with_a_page(browser: Browser) -> None:
    for _ in range(30):
        answer = browser.post("/auth/password", email="ann@example.com", password="wrong horse battery staple")
        if answer.status_code == 429:
            break
    assert (answer.status_code, answer.mimetype) == (429, "text/html")
    assert 'name="password"' in answer.text or all(each in answer.text for each in STRANGER_NAVIGATION)


def test_an_unexpected_error_keeps_the_navigation_and_names_the_request() -> None:
    """A request that nothing could answer, for somebody who has signed in, and for a stranger."""
    request = Request(EnvironBuilder("/catalog", headers=[("Accept", HTML)]).get_environ())
    for reader, navigation in (
        (Reader("ann@example.com", frozenset({"analyst"})), ANN_NAVIGATION),
        (None, STRANGER_NAVIGATION),
    ):
        answer = problems.answer(KeyError("secret"), "r-1", page_for=request, reader=reader)
        assert answer.status_code == 500
        assert all(each in answer.get_data(as_text=True) for each in (*navigation, "r-1", ">Try again</a>"))
        assert "secret" not in answer.get_data(as_text=True)


def test_an_unavailable_bucket_is_reported_on_a_page(begun: Begun, tmp_path: Path) -> None:
    """Who has signed in tries again from there; a program gets the problem document."""
    faulty: list[FaultyStore] = []

    def process(environ: Mapping[str, str], store: Store) -> Process:
        faulty.append(FaultyStore(store))
        return Process(environ, store=faulty[0])

    world = begun.world(tmp_path, process=process)
    admin = Browser(world).sign_in("admin@example.com")
    assert admin.get("/catalog").status_code == 200
    for path in ("/catalog", "/", "/account", "/admin", "/query", "/notifications", "/memory"):
        faulty[0].reads = [True] * 100
        answer = admin.get(path)
        assert answer.status_code == 503, path
        assert "Temporarily unavailable" in answer.text
        assert f'href="{path}">Try again' in answer.text
        assert int(answer.headers["Retry-After"]) > 0
    faulty[0].reads = []
    assert admin.get("/catalog").status_code == 200
    world.process.close()
