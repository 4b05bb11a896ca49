"""Signing in by password, setting and resetting one, and what somebody who guesses learns."""

import re
import statistics
import time
from datetime import timedelta
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import pytest
from argon2 import PasswordHasher
from werkzeug.test import Client

from analyst.auth.providers import password as passwords
from analyst.auth.providers.password import set_up_link
from analyst.state.users import find_account
from tests.doubles.mailbox import Mailbox
from tests.doubles.memory_store import MemoryStore
from tests.integration.auth.installation import Browser, Installation, code_in

pytestmark = pytest.mark.usefixtures("quick")

GOOD = "correct horse battery staple"
OTHER = "seven purple lanterns drift"


@pytest.fixture
def installed(box: Mailbox) -> Installation:
    made = Installation(
        SMTP_HOST="localhost", SMTP_PORT=str(box.port), SMTP_SECURITY="none", SMTP_FROM="data@example.com"
    )
    headers = {"Authorization": f"Bearer {made.admin()}"}
    assert Client(made.app).post("/api/users", json={"email": "ann@partner.org"}, headers=headers).status_code == 201
    return made


class Invited(NamedTuple):
    token: str
    code: str


def set_up(installed: Installation, email: str = "ann@partner.org") -> Invited:
    process = installed.process
    with process.state.read() as db:
        account = find_account(db, email)
    assert account is not None
    link = set_up_link(account, keys=process.keys, base_url="http://localhost", now=installed.now)
    return Invited(token_of(link.url), link.code)


def token_of(url: str) -> str:
    (token,) = parse_qs(urlsplit(url).query)["token"]
    return token


def choose(browser: Browser, link: Invited | str, password: str = GOOD) -> Any:
    """Choose a password by an invitation with its code, or by a link that this browser asked for."""
    fields = link._asdict() if isinstance(link, Invited) else {"token": link}
    return browser.send("POST", "/auth/password/set", data={**fields, "password": password})


def sign_in(browser: Browser, password: str, email: str = "Ann@Partner.org", **more: Any) -> int:
    data = {"email": email, "password": password}
    return int(browser.send("POST", "/auth/password", data=data, **more).status_code)


def test_an_invited_user_chooses_a_password_and_signs_in_with_it(installed: Installation) -> None:
    browser, token = installed.browser(), set_up(installed)
    page = browser.send("GET", f"/auth/password/set?token={token[0]}")
    assert (page.status_code, "ann@partner.org" in page.text) == (200, True)
    assert sign_in(browser, GOOD) == 401
    assert choose(browser, token).status_code == 303
    assert browser.who() == "ann@partner.org"
    other = installed.browser()
    assert (sign_in(other, OTHER), other.who()) == (401, 401)
    assert (sign_in(other, GOOD), other.who()) == (303, "ann@partner.org")


def test_a_link_sets_one_password(installed: Installation) -> None:
    first, second = set_up(installed), set_up(installed)
    assert choose(installed.browser(), first).status_code == 303
    installed.now += timedelta(seconds=1)
    for token in (first, second):
        assert choose(installed.browser(), token, OTHER).status_code == 401
        assert installed.browser().send("GET", f"/auth/password/set?token={token[0]}").status_code == 401


def test_a_weak_password_is_refused_and_the_link_stays_valid(installed: Installation) -> None:
    token, browser = set_up(installed), installed.browser()
    for poor in ("short", "password123", "annpartner1", "ann@partner.org", "aaaaaaaaaaaa", "x" * 201):
        answer = choose(browser, token, poor)
        assert (answer.status_code, 'role="alert"' in answer.text) == (422, True), poor
        assert poor not in answer.text.replace("ann@partner.org</strong>", "").replace('value="ann@partner.org"', "")
    assert choose(browser, token).status_code == 303


def test_a_set_up_link_lasts_a_day(installed: Installation) -> None:
    token = set_up(installed)
    installed.now += timedelta(hours=24)
    assert choose(installed.browser(), token).status_code == 401


def test_a_user_who_forgot_the_password_gets_a_link_that_ends_every_session(
    installed: Installation, box: Mailbox
) -> None:
    here, there = installed.browser(), installed.browser()
    choose(here, set_up(installed))
    installed.now += timedelta(seconds=1)
    answers = set()
    for email in ("ann@partner.org", "nobody@partner.org"):
        page = there.send("POST", "/auth/password/forgot", data={"email": email}).text
        answers.add(page.replace(email, "X").replace(code_in(page), "CODE"))
    installed.settle()
    assert len(answers) == 1
    assert [mail["To"] for mail in box.mails] == ["ann@partner.org"]
    found = re.search(r"http://localhost\S+", box.last())
    assert found is not None
    assert choose(there, token_of(found.group()), OTHER).status_code == 303
    assert (here.who(), there.who()) == (401, "ann@partner.org")
    assert (sign_in(here, GOOD), sign_in(here, OTHER)) == (401, 303)


def test_a_user_changes_the_password_with_the_old_one(installed: Installation) -> None:
    browser = installed.browser()
    choose(browser, set_up(installed))

    def change(old: str, new: str) -> int:
        return int(browser.send("POST", "/auth/password/change", json={"old": old, "new": new}).status_code)

    installed.now += timedelta(seconds=1)
    assert change(OTHER, OTHER) == 401
    assert change(GOOD, "password12") == 422
    assert change(GOOD, OTHER) == 204
    assert browser.who() == 401
    assert sign_in(browser, OTHER) == 303


def test_a_deactivated_user_has_no_password(installed: Installation) -> None:
    choose(installed.browser(), set_up(installed))
    headers = {"Authorization": f"Bearer {installed.admin_token}"}
    client = Client(installed.app)
    (ann,) = (
        each
        for each in client.get("/api/users", headers=headers).get_json()["users"]
        if each["email"] == "ann@partner.org"
    )
    client.put(f"/api/users/{ann['id']}", json={"active": False}, headers=headers)
    assert sign_in(installed.browser(), GOOD) == 401


def test_a_thousand_guesses_from_twenty_addresses_are_stopped(installed: Installation) -> None:
    choose(installed.browser(), set_up(installed))
    addresses = [f"10.0.0.{number}" for number in range(20)]
    tried = 0
    for guess in range(1000):
        environ = {"REMOTE_ADDR": addresses[guess % 20]}
        tried += sign_in(installed.browser(), f"guess {guess}", environ_overrides=environ) == 401
    assert tried == 30
    answer = installed.browser().send("POST", "/auth/password", data={"email": "ann@partner.org", "password": GOOD})
    assert (answer.status_code, "Too many attempts" in answer.text) == (429, True)
    installed.now += timedelta(minutes=15)
    assert sign_in(installed.browser(), GOOD) == 303


def test_no_password_or_link_is_stored(installed: Installation, store_text: Any) -> None:
    token = set_up(installed)
    choose(installed.browser(), token)
    everything = store_text(installed.store)
    assert GOOD.encode() not in everything
    assert token.token.encode() not in everything


@pytest.fixture
def store_text() -> Any:
    def text(store: MemoryStore) -> bytes:
        return b"".join(found.data for entry in store.list("") if (found := store.read(entry.key)))

    return text


def test_an_old_hash_is_renewed(installed: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    choose(installed.browser(), set_up(installed))
    stronger = PasswordHasher(time_cost=2, memory_cost=64, parallelism=1)
    monkeypatch.setattr(passwords, "_hasher", lambda: stronger)
    assert sign_in(installed.browser(), GOOD) == 303
    with installed.process.state.read() as db:
        account = find_account(db, "ann@partner.org")
    assert account is not None
    assert "t=2" in str(account.password_hash)


@pytest.mark.slow
def test_known_and_unknown_emails_take_equally_long(installed: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = PasswordHasher(time_cost=3, memory_cost=16_384, parallelism=1)  # compared with all else of a sign-in
    monkeypatch.setattr(passwords, "_hasher", lambda: slow)
    passwords._nobodys_hash.cache_clear()
    choose(installed.browser(), set_up(installed))
    times: dict[str, list[float]] = {"ann@partner.org": [], "nobody@partner.org": []}
    for number in range(8):
        for email, taken in times.items():
            installed.now += timedelta(minutes=16)
            began = time.process_time()
            assert sign_in(installed.browser(), f"wrong {number}", email) == 401
            taken.append(time.process_time() - began)
    known, unknown = (sorted(taken) for taken in times.values())
    spread = max(known[-3] - known[0], unknown[-3] - unknown[0])
    assert abs(statistics.median(known) - statistics.median(unknown)) <= max(spread, 0.005)
