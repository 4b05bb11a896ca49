"""Nothing that is mailed, signed or handed out names the host that a request claims to have been sent to."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from werkzeug.test import Client, TestResponse

from tests.doubles.mailbox import Mailbox, mailbox
from tests.doubles.oidc import CLIENT_ID, CLIENT_SECRET, Provider, oidc_provider
from tests.integration.auth.installation import Installation

EVIL = "evil.example"
POISON = {
    "Host": EVIL,
    "X-Forwarded-Host": EVIL,
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Server": EVIL,
    "X-Original-Host": EVIL,
    "Forwarded": f"host={EVIL};proto=https",
    "X-Original-URL": f"https://{EVIL}/",
    "X-Rewrite-URL": f"https://{EVIL}/",
}
OURS = "https://data.example.com/da"


@pytest.fixture(scope="module")
def box() -> Iterator[Mailbox]:
    with mailbox() as running:
        yield running


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with oidc_provider() as running:
        yield running


@pytest.fixture
def settings(box: Mailbox, provider: Provider) -> dict[str, str]:
    box.mails.clear()
    return {
        "ALLOWED_DOMAINS": "example.com",
        "SMTP_HOST": "localhost",
        "SMTP_PORT": str(box.port),
        "SMTP_SECURITY": "none",
        "SMTP_FROM": "data@example.com",
        "GOOGLE_CLIENT_ID": CLIENT_ID,
        "GOOGLE_CLIENT_SECRET": CLIENT_SECRET,
        "GOOGLE_ISSUER": provider.url,
        "TRUSTED_PROXIES": "1",
    }


class Attacker:
    """Sends requests that name another host, some of them as an administrator."""

    def __init__(self, installed: Installation) -> None:
        self.installed = installed
        self.token = installed.admin()

    def send(self, method: str, path: str, **sent: Any) -> TestResponse:
        headers = {**POISON, **sent.pop("headers", {})}
        return Client(self.installed.app).open(path, method=method, headers=headers, **sent)

    def ask(self, method: str, path: str, body: Any = None) -> TestResponse:
        return self.send(method, path, json=body, headers={"Authorization": f"Bearer {self.token}"})


def attack(**settings: str) -> Attacker:
    return Attacker(Installation(**settings))


REQUESTS: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", "/auth/email", {"data": {"email": "root@example.com"}}),
    ("POST", "/auth/password/forgot", {"data": {"email": "root@example.com"}}),
    ("GET", "/auth/google", {}),
    ("GET", "/login?next=//evil.example/x", {}),
    ("GET", "/account", {}),
    ("GET", "//evil.example/account", {}),
    ("GET", "/openapi.json", {}),
    ("GET", "/docs", {}),
    ("GET", "/auth/providers", {}),
    ("POST", "/auth/trusting", {"data": {"email": "ann@example.com", "next": "//evil.example"}}),
    ("POST", "/auth/trusting", {"data": {"email": "ann@example.com", "next": "/\\evil.example"}}),
    ("POST", "/auth/trusting", {"data": {"email": "ann@example.com", "next": "https://evil.example/"}}),
    ("GET", "/nowhere", {}),
]


@pytest.mark.parametrize("base_url", [OURS, ""])
@pytest.mark.parametrize("request_", REQUESTS, ids=lambda each: f"{each[0]} {each[1]}")
def test_no_answer_names_the_host_of_the_request(
    settings: dict[str, str], box: Mailbox, base_url: str, request_: tuple[str, str, dict[str, Any]]
) -> None:
    method, path, sent = request_
    attacker = attack(**settings, BASE_URL=base_url)
    answer = attacker.send(method, path, **sent)
    attacker.installed.settle()
    assert answer.status_code < 500 or not base_url
    for header in ("Location", "Set-Cookie", "Content-Location", "Link"):
        assert not answer.headers.get(header, "").startswith((f"https://{EVIL}", f"http://{EVIL}", "//"))
    assert f"://{EVIL}" not in answer.text
    assert all(EVIL not in mail.as_string() for mail in box.mails)


def test_links_lead_to_the_configured_address(settings: dict[str, str], box: Mailbox) -> None:
    attacker = attack(**settings, BASE_URL=OURS)
    user = attacker.ask("POST", "/api/users", {"email": "ann@example.com"}).get_json()["id"]
    attacker.send("POST", "/auth/email", data={"email": "ann@example.com"})
    attacker.send("POST", "/auth/password/forgot", data={"email": "ann@example.com"})
    attacker.installed.settle()
    assert attacker.ask("POST", f"/api/users/{user}/invite", {}).get_json()["mailed"]
    texts = [str(mail.get_content()) for mail in box.mails]
    assert len(texts) == 3
    assert all(f"{OURS}/auth/" in text and EVIL not in text for text in texts)
    handed_over = attacker.ask("POST", f"/api/users/{user}/invite", {"mail": False}).get_json()["url"]
    assert handed_over.startswith(f"{OURS}/auth/password/set?token=")
    departed = attacker.send("GET", "/auth/google").headers["Location"]
    assert "redirect_uri=https%3A%2F%2Fdata.example.com%2Fda%2Fauth%2Fgoogle%2Fcallback" in departed


def test_without_a_configured_address_no_link_is_mailed_or_returned_and_the_answer_explains_why(
    settings: dict[str, str], box: Mailbox
) -> None:
    attacker = attack(**settings, BASE_URL="")
    user = attacker.ask("POST", "/api/users", {"email": "ann@example.com"}).get_json()["id"]
    refused = [
        attacker.send("POST", "/auth/email", data={"email": "ann@example.com"}),
        attacker.send("POST", "/auth/password/forgot", data={"email": "ann@example.com"}),
        attacker.ask("POST", f"/api/users/{user}/invite", {}),
        attacker.ask("POST", f"/api/users/{user}/invite", {"mail": False}),
        attacker.send("GET", "/auth/google"),
    ]
    attacker.installed.settle()
    assert [answer.status_code for answer in refused] == [404, 404, 503, 503, 404]
    assert all("BASE_URL" in answer.text for answer in refused)
    assert box.mails == []
    offered = [each["name"] for each in json.loads(attacker.send("GET", "/auth/providers").text)["providers"]]
    assert {"email", "google"}.isdisjoint(offered)
