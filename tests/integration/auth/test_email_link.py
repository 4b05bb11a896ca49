"""Signing in by a mailed link, with a real mail server."""

import logging
import re
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.doubles.mailbox import Mailbox
from tests.integration.auth.installation import Browser, Installation, code_in


@pytest.fixture
def installed(box: Mailbox) -> Installation:
    return Installation(
        ALLOWED_DOMAINS="example.com",
        SMTP_HOST="localhost",
        SMTP_PORT=str(box.port),
        SMTP_SECURITY="none",
        SMTP_FROM="data@example.com",
        INSTANCE_NAME="Acme Data",
    )


def ask_for_link(installed: Installation, browser: Browser, email: str, then: str = "") -> str:
    answer = browser.send("POST", "/auth/email", data={"email": email, "next": then})
    assert answer.status_code == 200, answer.text
    installed.settle()
    return str(answer.text)


def link_in(text: str) -> str:
    found = re.search(r"http://localhost/auth/\S+", text)
    assert found is not None
    return found.group()


def confirm(browser: Browser, url: str, code: str = "") -> int:
    (token,) = parse_qs(urlsplit(url).query)["token"]
    return int(browser.send("POST", "/auth/email/confirm", data={"token": token, "code": code}).status_code)


def test_a_link_signs_in_once(installed: Installation, box: Mailbox) -> None:
    browser = installed.browser()
    assert 'href="/auth/email?next=/account"' in browser.send("GET", "/login?next=/account").text
    ask_for_link(installed, browser, "Ann@Example.com", "/account")
    (mail,) = box.mails
    assert (mail["To"], mail["From"]) == ("ann@example.com", "data@example.com")
    assert mail["Subject"] == "Sign in to Acme Data"
    url = link_in(box.last())
    for _ in range(2):  # as mail scanners do
        page = installed.browser().send("GET", url.removeprefix("http://localhost"))
        assert (page.status_code, "ann@example.com" in page.text) == (200, True)
    assert browser.who() == 401
    assert confirm(browser, url) == 303
    assert browser.who() == "ann@example.com"
    assert confirm(browser, url) == 401


def test_a_link_expires_after_a_quarter_of_an_hour(installed: Installation, box: Mailbox) -> None:
    ask_for_link(installed, installed.browser(), "ann@example.com")
    installed.now += timedelta(minutes=15)
    browser = installed.browser()
    assert confirm(browser, link_in(box.last())) == 401
    page = browser.send("GET", link_in(box.last()).removeprefix("http://localhost"))
    assert (page.status_code, "/login" in page.text) == (401, True)


def test_an_address_that_may_not_sign_in_gets_the_same_answer_and_no_mail(
    installed: Installation, box: Mailbox
) -> None:
    browser = installed.browser()
    answers = set()
    for email in ("ann@example.com", "eve@evil.org"):
        page = ask_for_link(installed, browser, email)
        answers.add(page.replace(email, "X").replace(code_in(page), "CODE"))
    assert len(answers) == 1
    assert [mail["To"] for mail in box.mails] == ["ann@example.com"]


def test_the_number_of_mails_is_limited(installed: Installation, box: Mailbox) -> None:
    browser = installed.browser()
    statuses = [browser.send("POST", "/auth/email", data={"email": "ann@example.com"}).status_code for _ in range(7)]
    installed.settle()
    assert (statuses, len(box.mails)) == ([200] * 5 + [429] * 2, 5)
    others = [browser.send("POST", "/auth/email", data={"email": f"{i}@evil.org"}) for i in range(20)]
    assert [answer.status_code for answer in others].count(200) == 13
    assert int(others[-1].headers["Retry-After"]) > 60


def test_a_lost_mail_is_logged_and_the_answer_is_the_same(caplog: pytest.LogCaptureFixture) -> None:
    installed = Installation(
        ALLOWED_DOMAINS="example.com",
        SMTP_HOST="localhost",
        SMTP_PORT="1",
        SMTP_SECURITY="none",
        SMTP_FROM="data@example.com",
    )
    with caplog.at_level(logging.ERROR, "analyst"):
        ask_for_link(installed, installed.browser(), "ann@example.com")
    assert "mailing a sign-in link failed" in caplog.text
    assert "token=" not in caplog.text


def test_in_development_the_link_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    installed = Installation(ALLOWED_DOMAINS="example.com", ENVIRONMENT="development")
    browser = installed.browser()
    with caplog.at_level(logging.WARNING, "analyst"):
        ask_for_link(installed, browser, "ann@example.com")
    assert confirm(browser, link_in(caplog.text)) == 303


def test_without_a_mail_server_email_links_are_not_offered() -> None:
    browser = Installation(ALLOWED_DOMAINS="example.com").browser()
    assert "/auth/email" not in browser.send("GET", "/login").text
    assert browser.send("POST", "/auth/email", data={"email": "ann@example.com"}).status_code == 404
    assert "email" not in str(browser.send("GET", "/auth/providers").get_json())


def test_a_sign_in_method_can_be_disabled() -> None:
    installed = Installation(ALLOWED_DOMAINS="example.com", ENVIRONMENT="development", DISABLED_AUTH_PROVIDERS="email")
    assert installed.browser().send("GET", "/auth/email").status_code == 404


def test_disabling_an_unknown_sign_in_method_is_an_error(caplog: pytest.LogCaptureFixture) -> None:
    installed = Installation(ALLOWED_DOMAINS="example.com", ENVIRONMENT="development", DISABLED_AUTH_PROVIDERS="mail")
    assert installed.browser().send("GET", "/auth/email").status_code == 500
    assert "DISABLED_AUTH_PROVIDERS: there is no sign-in method 'mail'; there are desktop, email," in caplog.text


def test_an_ipv6_network_counts_as_one_client_and_mapped_addresses_as_ipv4() -> None:
    installed = Installation(ALLOWED_DOMAINS="example.com", ENVIRONMENT="development", TRUSTED_PROXIES="1")
    browser = installed.browser()

    def asked(number: int, address: str) -> int:
        email, headers = f"{number}@evil.org", {"X-Forwarded-For": address}
        return int(browser.send("POST", "/auth/email", data={"email": email}, headers=headers).status_code)

    for network in ("2001:db8:0:1::{:x}", "2001:db8:0:2:ffff::{:x}"):
        statuses = [asked(number, network.format(number)) for number in range(22)]
        assert statuses == [200] * 20 + [429] * 2
    spelled = ["203.0.113.7", "::ffff:203.0.113.7", "[::ffff:cb00:7107]:443"]
    statuses = [asked(number, spelled[number % 3]) for number in range(22)]
    assert statuses == [200] * 20 + [429] * 2
    assert asked(99, "203.0.113.8") == 200
