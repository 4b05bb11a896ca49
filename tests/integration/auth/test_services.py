"""Services authenticate with identity tokens; tokens of people are not accepted as such."""

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from werkzeug.test import Client

from tests.doubles.oidc import Provider, oidc_provider
from tests.integration.auth.installation import Installation

SCHEDULER = "scheduler@project.iam.gserviceaccount.com"
AUDIENCE = "https://data.example.com"


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with oidc_provider() as running:
        yield running


@pytest.fixture
def installed(provider: Provider) -> Installation:
    made = Installation(
        ALLOWED_DOMAINS="example.com",
        SERVICE_ACCOUNT_EMAILS=SCHEDULER,
        SERVICE_AUDIENCE=AUDIENCE,
        SERVICE_ISSUER=provider.url,
    )
    made.now = datetime.now(UTC)
    made.tick_by_its_clock()
    provider.requests.clear()
    return made


def ask(installed: Installation, token: str, path: str = "/api/sync/status") -> int:
    return Client(installed.app).get(path, headers={"Authorization": f"Bearer {token}"}).status_code


def test_a_scheduler_may_call_functions_for_services(installed: Installation, provider: Provider) -> None:
    token = provider.token(AUDIENCE, email=SCHEDULER, email_verified=True)
    assert ask(installed, token) == 200
    assert ask(installed, token, "/api/catalog/tables") == 403
    assert ask(installed, token, "/api/users") == 403
    me = Client(installed.app).get("/api/me", headers={"Authorization": f"Bearer {token}"}).get_json()
    assert (me["service"], me["user_id"]) == (True, None)


def test_the_keys_of_the_issuer_are_fetched_once(installed: Installation, provider: Provider) -> None:
    for _ in range(5):
        assert ask(installed, provider.token(AUDIENCE, email=SCHEDULER, email_verified=True)) == 200
    assert provider.requests == ["/.well-known/openid-configuration", "/keys"]


def test_an_issuer_that_is_down_changes_nothing_while_its_keys_are_known(
    installed: Installation, provider: Provider
) -> None:
    token = provider.token(AUDIENCE, email=SCHEDULER, email_verified=True, exp=1e10)
    assert ask(installed, token) == 200
    provider.down = True
    installed.now += timedelta(hours=2)
    try:
        assert ask(installed, token) == 200
    finally:
        provider.down = False


@pytest.mark.parametrize(
    "claims",
    [
        {"email": "other@project.iam.gserviceaccount.com"},
        {"email": None},
        {"email_verified": False},
        {"email_verified": None},
        {"aud": "https://elsewhere.example.com"},
        {"aud": None},
        {"iss": "https://accounts.google.com"},
        {"exp": 1},
        {"iat": 1e11},
        {"exp": "later"},
        {"sub": None},
    ],
)
def test_other_tokens_of_the_issuer_are_refused(
    installed: Installation, provider: Provider, claims: dict[str, Any]
) -> None:
    good: dict[str, Any] = {"email": SCHEDULER, "email_verified": True}
    token = provider.token(AUDIENCE, **{**good, **claims})
    assert ask(installed, token) == 401


def test_forged_tokens_are_refused_without_a_request_elsewhere(installed: Installation, provider: Provider) -> None:
    token = provider.token(AUDIENCE, email=SCHEDULER, email_verified=True)
    header, payload, signature = token.split(".")

    def with_header(**changed: str) -> str:
        head = {**jwt.get_unverified_header(token), **changed}
        return base64.urlsafe_b64encode(json.dumps(head).encode()).rstrip(b"=").decode()

    public = jwt.encode(
        jwt.decode(token, options={"verify_signature": False}), "x" * 32, "HS256", {"kid": provider.kid}
    )
    forged = [
        f"{with_header(alg='none')}.{payload}.",
        f"{with_header(alg='HS256')}.{payload}.{signature}",
        *(f"{with_header(kid=f'unknown-{number}')}.{payload}.{signature}" for number in range(20)),
        f"{header}.{payload}.{'A' * len(signature)}",
        public,
    ]
    assert [ask(installed, one) for one in forged] == [401] * len(forged)
    assert len(provider.requests) <= 4


def test_a_person_is_not_a_service_and_a_service_is_not_a_person(installed: Installation, provider: Provider) -> None:
    installed.admin()
    browser = installed.browser()
    answer = browser.sign_in("ann@example.com")
    session = answer.headers["Set-Cookie"].partition("=")[2].partition(";")[0]
    assert ask(installed, session) == 403
    assert ask(installed, session, "/api/catalog/tables") == 200
    assert ask(installed, provider.token("our-client", email="ann@example.com", email_verified=True)) == 401
    assert ask(installed, provider.token(AUDIENCE, email="ann@example.com", email_verified=True)) == 401


def test_without_service_accounts_the_issuer_is_not_asked(provider: Provider) -> None:
    installed = Installation(SERVICE_ISSUER=provider.url, SERVICE_AUDIENCE=AUDIENCE)
    provider.requests.clear()
    assert ask(installed, provider.token(AUDIENCE, email=SCHEDULER, email_verified=True)) == 401
    assert provider.requests == []
