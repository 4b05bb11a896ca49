"""Every sign-in, successful or not, is audited without secrets."""

import json
from datetime import timedelta
from typing import Any

import pytest

from tests.doubles.mailbox import mailbox
from tests.integration.auth.installation import Browser, Installation
from tests.integration.auth.test_passwords import GOOD, OTHER, choose, set_up, sign_in

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def installed() -> Any:
    with mailbox() as box:
        made = Installation(
            ALLOWED_DOMAINS="example.com",
            SMTP_HOST="localhost",
            SMTP_PORT=str(box.port),
            SMTP_SECURITY="none",
            SMTP_FROM="data@example.com",
        )
        made.admin()
        yield made


def events(installed: Installation) -> list[Any]:
    objects = (installed.store.read(entry.key) for entry in installed.store.list("state/audit/"))
    return [json.loads(line) for found in objects if found is not None for line in found.data.splitlines()]


def fields(event: Any) -> tuple[Any, ...]:
    return event["action"], event["outcome"], event["caller"], event.get("email"), event["params"].get("provider")


def user_id(browser: Browser) -> str:
    return str(browser.send("GET", "/api/me").get_json()["user_id"])


def test_a_sign_in_is_audited(installed: Installation) -> None:
    browser = installed.browser()
    assert browser.sign_in("ann@example.com").status_code == 303
    (event,) = events(installed)
    assert fields(event) == ("auth.sign_in", "ok", "user", "ann@example.com", "trusting")
    assert event["user_id"] == user_id(browser)


def test_a_refused_sign_in_is_audited(installed: Installation) -> None:
    assert installed.browser().sign_in("eve@evil.example").status_code == 403
    (event,) = events(installed)
    assert fields(event) == ("auth.sign_in", "denied", "anonymous", "eve@evil.example", "trusting")
    assert "user_id" not in event


def test_wrong_and_right_passwords_are_audited_and_none_is_stored(installed: Installation) -> None:
    installed.browser().sign_in("ann@example.com")
    browser, token = installed.browser(), set_up(installed, "ann@example.com")
    for work, status in (
        (lambda: choose(browser, token).status_code, 303),
        (lambda: sign_in(browser, OTHER, "ann@example.com"), 401),
        (lambda: sign_in(browser, GOOD, "ann@example.com"), 303),
        (lambda: choose(browser, token).status_code, 401),
    ):
        installed.now += timedelta(seconds=1)
        assert work() == status
    found = events(installed)[1:]
    assert [fields(event)[:2] for event in found] == [
        ("auth.sign_in", "ok"),
        ("auth.sign_in", "denied"),
        ("auth.sign_in", "ok"),
        ("password.set_password", "denied"),
    ]
    assert {event.get("email") for event in found} == {"ann@example.com", None}
    for secret in (
        GOOD,
        OTHER,
        token.token,
        *(str(cookie.value) for cookie in [browser.client.get_cookie("da_session")] if cookie),
    ):
        assert secret not in str(found)


def test_guesses_are_audited_even_if_the_rate_limit_refuses_them(installed: Installation) -> None:
    statuses = [sign_in(installed.browser(), f"{OTHER} {number}", "ann@example.com") for number in range(20)]
    assert 429 in statuses
    assert [event["status"] for event in events(installed)] == statuses
    assert {fields(event)[:2] for event in events(installed)} == {("auth.sign_in", "denied")}


@pytest.mark.parametrize("path", ["/api/me", "/account"])
def test_a_request_of_an_ended_session_is_audited(installed: Installation, path: str) -> None:
    browser = installed.browser()
    browser.sign_in("ann@example.com")
    assert browser.send("GET", path).status_code == 200
    assert len(events(installed)) == 1
    installed.now += timedelta(seconds=1)
    cookie = browser.client.get_cookie("da_session")
    assert browser.send("POST", "/auth/logout/everywhere").status_code == 303
    assert cookie is not None
    browser.client.set_cookie("da_session", str(cookie.value))
    assert browser.send("GET", path).status_code in (401, 303)
    event = events(installed)[-1]
    assert fields(event)[:3] == ("auth.credentials", "denied", "anonymous")
    assert event["resources"] == [f"path:{path}"]


def test_a_view_of_the_sign_in_page_is_not_audited(installed: Installation) -> None:
    for path in ("/login", "/account", "/auth/password"):
        installed.browser().send("GET", path)
    assert events(installed) == []
