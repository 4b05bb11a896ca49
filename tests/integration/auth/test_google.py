"""Signing in with an OpenID provider, which is a real one on loopback, in a client that follows redirects."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.error import HTTPError
from urllib.parse import parse_qs, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

import pytest
from werkzeug.test import Client

from analyst.auth.providers import google
from analyst.errors import ForbiddenError
from analyst.settings import Settings
from tests.doubles.oidc import CLIENT_ID, CLIENT_SECRET, Provider, oidc_provider
from tests.integration.auth.installation import Browser, Installation

ANN = {"email": "Ann@Example.com", "email_verified": True, "name": "Ann Ax"}


@pytest.fixture(scope="module")
def running() -> Iterator[Provider]:
    with oidc_provider() as provider:
        yield provider


@pytest.fixture
def provider(running: Provider) -> Provider:
    running.user, running.claims, running.down = dict(ANN), {}, False
    running.requests.clear()
    return running


@pytest.fixture
def installed(provider: Provider) -> Installation:
    made = Installation(
        ALLOWED_DOMAINS="example.com",
        GOOGLE_CLIENT_ID=CLIENT_ID,
        GOOGLE_CLIENT_SECRET=CLIENT_SECRET,
        GOOGLE_ISSUER=provider.url,
    )
    made.now = datetime.now(UTC)
    return made


class _Stay(HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def visit(url: str) -> str:
    """Go to the provider; tell where it sends one."""
    try:
        build_opener(_Stay).open(Request(url), timeout=30)
    except HTTPError as answer:
        with answer:
            return str(answer.headers["Location"])
    raise AssertionError("the provider sends nobody back")


def depart(browser: Browser, then: str = "") -> str:
    answer = browser.send("GET", f"/auth/google?next={then}")
    assert answer.status_code == 303, answer.text
    return str(answer.headers["Location"])


def come_back(browser: Browser, url: str) -> Any:
    assert url.startswith("http://localhost/auth/google/callback?")
    return browser.send("GET", url.removeprefix("http://localhost"))


def test_a_user_signs_in_with_google(installed: Installation) -> None:
    browser = installed.browser()
    assert 'href="/auth/google?next=/account"' in browser.send("GET", "/login?next=/account").text
    away = depart(browser, "/account")
    query = parse_qs(urlsplit(away).query)
    assert (query["code_challenge_method"], query["response_type"], query["hd"]) == (
        ["S256"],
        ["code"],
        ["example.com"],
    )
    assert {"state", "nonce", "code_challenge"} <= query.keys()
    answer = come_back(browser, visit(away))
    assert (answer.status_code, answer.headers["Location"]) == (303, "/account")
    assert browser.who() == "ann@example.com"
    assert browser.send("GET", "/api/me").get_json()["name"] == "Ann Ax"


def test_a_callback_works_once(installed: Installation) -> None:
    browser = installed.browser()
    back = visit(depart(browser))
    assert come_back(browser, back).status_code == 303
    assert come_back(browser, back).status_code == 401


def test_a_callback_works_only_in_the_browser_that_began_the_sign_in(installed: Installation) -> None:
    ann, eve = installed.browser(), installed.browser()
    back = visit(depart(ann))
    assert come_back(eve, back).status_code == 401
    depart(eve)
    assert come_back(eve, back).status_code == 401
    assert eve.who() == 401


def test_a_sign_in_expires_after_ten_minutes(installed: Installation) -> None:
    browser = installed.browser()
    back = visit(depart(browser))
    installed.now += timedelta(minutes=10)
    assert come_back(browser, back).status_code == 401


@pytest.mark.parametrize(
    ("claims", "status"),
    [
        ({"email_verified": False}, 403),
        ({"email_verified": "true"}, 403),
        ({"email": None}, 403),
        ({"email": "eve@evil.org"}, 403),
        ({"email": "eve@evil.example.com"}, 403),
        ({"email": "eve@example.com@evil.org"}, 403),
        ({"nonce": "another"}, 401),
        ({"nonce": None}, 401),
        ({"aud": "another-client"}, 401),
        ({"iss": "https://evil.org"}, 401),
        ({"exp": 1}, 401),
        ({"nbf": 9_999_999_999}, 401),
        ({"exp": "never"}, 401),
        ({"exp": float("inf"), "iat": float("inf")}, 401),
        ({"iat": 9_999_999_999}, 401),
        ({"sub": ""}, 401),
        ({"sub": "\ud800"}, 401),
        ({"nonce": "\ud800"}, 401),
        ({"email": "\ud800@example.com"}, 403),
        ({"hd": "\ud800"}, 403),
        ({"sub": "s" * 256}, 401),
        ({"azp": "another-client"}, 401),
        ({"aud": [CLIENT_ID, "another-client"]}, 401),
        ({"aud": [CLIENT_ID, "another-client"], "azp": "another-client"}, 401),
        ({"hd": "evil.org"}, 403),
        ({"hd": ""}, 403),
        ({"hd": ["example.com"]}, 403),
        ({"hd": "example.com", "email": "eve@evil.org"}, 403),
        ({"email": ["ann@example.com"]}, 403),
        ({"email": ""}, 403),
        ({"email": "ann"}, 403),
        ({"email": "ann@"}, 403),
        ({"email": "@example.com"}, 403),
        ({"email": "ann ax@example.com"}, 403),
        ({"email": "ann\u0000@example.com"}, 403),
        ({"email": "änn@example.com"}, 403),
        ({"email": "eve@example.com\n"}, 303),
        ({"email": "ann@example.com, eve@example.com"}, 403),
        ({"email": '"ann ax"@example.com'}, 403),
        ({"email": "a" * 300 + "@example.com"}, 403),
        ({"email": "ann@e\u212aample.com"}, 403),
        ({"aud": [CLIENT_ID]}, 303),
        ({"aud": [CLIENT_ID, "another-client"], "azp": CLIENT_ID}, 303),
        ({"azp": CLIENT_ID, "hd": "example.com"}, 303),
    ],
)
def test_only_claims_that_prove_the_identity_are_accepted(
    installed: Installation, provider: Provider, claims: dict[str, Any], status: int
) -> None:
    provider.claims = claims
    browser = installed.browser()
    answer = come_back(browser, visit(depart(browser)))
    assert answer.status_code == status
    assert answer.content_type == (None if status == 303 else "text/html; charset=utf-8")
    assert (browser.who() == 401) == (status != 303)


def test_a_user_who_declines_at_google_gets_a_next_step(installed: Installation, provider: Provider) -> None:
    provider.user = {}
    browser = installed.browser()
    answer = come_back(browser, visit(depart(browser)))
    assert (answer.status_code, "/login" in answer.text) == (401, True)


def test_invented_codes_are_refused(installed: Installation) -> None:
    browser = installed.browser()
    state = parse_qs(urlsplit(depart(browser)).query)["state"][0]
    answer = browser.send("GET", f"/auth/google/callback?code=made-up&state={state}")
    assert answer.status_code == 401


def test_a_stolen_code_is_of_no_use_without_the_verifier(installed: Installation) -> None:
    ann, eve = installed.browser(), installed.browser()
    code = parse_qs(urlsplit(visit(depart(ann))).query)["code"][0]
    state = parse_qs(urlsplit(depart(eve)).query)["state"][0]
    assert eve.send("GET", f"/auth/google/callback?code={code}&state={state}").status_code == 401


def test_an_unreachable_provider_is_reported(installed: Installation, provider: Provider) -> None:
    browser = installed.browser()
    provider.down = True
    answer = browser.send("GET", "/auth/google")
    assert (answer.status_code, answer.content_type) == (503, "text/html; charset=utf-8")
    provider.down = False
    back = visit(depart(browser))
    provider.down = True
    assert come_back(browser, back).status_code == 503


def test_the_keys_of_the_provider_may_rotate(installed: Installation, provider: Provider) -> None:
    installed.tick_by_its_clock()
    for _ in range(2):
        browser = installed.browser()
        assert come_back(browser, visit(depart(browser))).status_code == 303
        provider.rotate()
        installed.now += timedelta(minutes=2)


def test_without_a_client_google_is_not_offered() -> None:
    browser = Installation(ALLOWED_DOMAINS="example.com").browser()
    assert browser.send("GET", "/auth/google").status_code == 404
    assert "google" not in str(browser.send("GET", "/auth/providers").get_json())


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("  Ann Ax ", "Ann Ax"),
        ("Ann\nAx", "Ann Ax"),
        ("Ann\u0000\u001b[31mAx", "Ann [31mAx"),
        ("\u202eAnn\u200b Ax\u2028", "Ann Ax"),
        ("Añn 李 Ø", "Añn 李 Ø"),
        ("A" * 500, "A" * 200),
        ("\ud800", None),
        (" \t ", None),
        ("", None),
        (7, None),
        (["Ann"], None),
        (None, None),
    ],
)
def test_a_name_is_cleaned_or_left_out(
    installed: Installation, provider: Provider, name: Any, kept: str | None
) -> None:
    provider.claims = {"name": name}
    browser = installed.browser()
    assert come_back(browser, visit(depart(browser))).status_code == 303
    assert browser.send("GET", "/api/me").get_json()["name"] == kept


def sign_in(installed: Installation) -> Any:
    browser = installed.browser()
    answer = come_back(browser, visit(depart(browser)))
    return browser.who() if answer.status_code == 303 else answer.status_code


def test_an_address_stays_with_the_account_that_came_first_until_it_is_released(
    installed: Installation, provider: Provider
) -> None:
    root = {"Authorization": f"Bearer {installed.admin()}"}
    client = Client(installed.app)
    before = installed.browser()
    assert come_back(before, visit(depart(before))).status_code == 303
    provider.claims = {"sub": "2"}
    assert (sign_in(installed), sign_in(installed)) == (403, 403)
    provider.claims = {"sub": "1", "name": "Ann Ay"}
    assert sign_in(installed) == "ann@example.com"
    (user,) = client.get("/api/users?email=ann@example.com", headers=root).get_json()["users"]
    path = f"/api/users/{user['id']}/identities"
    assert client.delete(path).status_code == 401
    installed.now += timedelta(seconds=1)
    assert client.delete(path, headers=root).status_code == 204
    assert before.who() == 401
    provider.claims = {"sub": "2"}
    assert sign_in(installed) == "ann@example.com"
    provider.claims = {"sub": "1"}
    assert sign_in(installed) == 403
    assert client.delete("/api/users/none/identities", headers=root).status_code == 404


def test_a_user_who_is_added_again_may_use_another_account(installed: Installation, provider: Provider) -> None:
    root = {"Authorization": f"Bearer {installed.admin()}"}
    assert sign_in(installed) == "ann@example.com"
    client = Client(installed.app)
    (user,) = client.get("/api/users?email=ann@example.com", headers=root).get_json()["users"]
    client.delete(f"/api/users/{user['id']}", headers=root)
    provider.claims = {"sub": "2"}
    assert sign_in(installed) == "ann@example.com"


@pytest.mark.parametrize(
    ("claims", "trusted", "status"),
    [
        ({"email_verified": None}, True, 403),
        ({"email_verified": False}, True, 403),
        ({}, True, "ann@example.com"),
        ({}, False, 403),
    ],
)
def test_an_issuer_without_verified_claims_can_be_trusted_by_setting(
    provider: Provider, claims: dict[str, Any], trusted: bool, status: Any
) -> None:
    provider.user = {"email": "ann@example.com"}
    provider.claims = claims
    issuers = [provider.url, "https://login.example.org/v2.0"][not trusted :]
    installed = Installation(
        ALLOWED_DOMAINS="example.com",
        GOOGLE_CLIENT_ID=CLIENT_ID,
        GOOGLE_CLIENT_SECRET=CLIENT_SECRET,
        GOOGLE_ISSUER=provider.url,
        TRUSTED_EMAIL_ISSUERS=",".join(issuers),
    )
    installed.now = datetime.now(UTC)
    assert sign_in(installed) == status


def test_the_answer_of_another_issuer_is_refused(installed: Installation, provider: Provider) -> None:
    for issuer, status in (("https://evil.org", 401), (provider.url, 303)):
        browser = installed.browser()
        back = visit(depart(browser))
        assert come_back(browser, f"{back}&iss={issuer}").status_code == status


@pytest.mark.parametrize(
    ("claims", "allowed", "welcome"),
    [
        ({"hd": "example.com"}, "example.com", True),
        ({"hd": "example.com", "email": "ann@example.org"}, "example.com,example.org", True),
        ({}, "example.com", False),  # an account that somebody once made for an address of the company
        ({"hd": "evil.org"}, "example.com", False),
        ({"email": "bob@gmail.com"}, "example.com", True),
    ],
)
def test_with_google_the_organization_of_the_account_decides(
    claims: dict[str, Any], allowed: str, welcome: bool
) -> None:
    payload = {"sub": "1", "email": "ann@example.com", "email_verified": True, **claims}
    settings = Settings(data_url="file:///nowhere", allowed_domains=allowed)
    if welcome:
        assert google._proven(payload, "https://accounts.google.com", settings).email == payload["email"]
    else:
        with pytest.raises(ForbiddenError):
            google._proven(payload, "https://accounts.google.com", settings)
