"""Mail scanners open the links of a mail, run the scripts of the page and submit its forms, and gain nothing."""

import re
from collections.abc import Iterator
from datetime import timedelta
from html.parser import HTMLParser
from urllib.parse import urlsplit

import pytest
from werkzeug.test import Client

from tests.doubles.mailbox import Mailbox, mailbox
from tests.integration.auth.installation import Browser, Installation, code_in

pytestmark = pytest.mark.usefixtures("quick")

GOOD = "correct horse battery staple"
EMAIL = "ann@example.com"
KINDS = ("sign-in", "reset", "invitation")


class Form(HTMLParser):
    """The form of a page: where it leads, and its fields with what they hold."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.action, self.fields = "", dict[str, str]()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.action = attributes["action"]
        if tag == "input" and "disabled" not in attributes:
            self.fields[attributes["name"]] = attributes.get("value", "")


@pytest.fixture(scope="module")
def running() -> Iterator[Mailbox]:
    with mailbox() as box:
        yield box


class Mailed:
    """A link of some kind in a mail, and the browser that asked for it, if one did."""

    def __init__(self, kind: str, box: Mailbox) -> None:
        box.mails.clear()
        self.installed = installed = Installation(
            ALLOWED_DOMAINS="example.com",
            SMTP_HOST="localhost",
            SMTP_PORT=str(box.port),
            SMTP_SECURITY="none",
            SMTP_FROM="data@example.com",
        )
        headers = {"Authorization": f"Bearer {installed.admin()}"}
        user = Client(installed.app).post("/api/users", json={"email": EMAIL}, headers=headers).get_json()["id"]
        self.kind, self.asker = kind, installed.browser()
        if kind == "invitation":
            Client(installed.app).post(f"/api/users/{user}/invite", json={}, headers=headers)
        else:
            path = "/auth/email" if kind == "sign-in" else "/auth/password/forgot"
            page = self.asker.send("POST", path, data={"email": EMAIL}).text
            installed.settle()
        self.mail = box.last()
        self.code = code_in(self.mail if kind == "invitation" else page)
        found = re.search(r"http://localhost(/auth/\S+)", self.mail)
        assert found is not None
        self.path = found.group(1)

    def submit(self, browser: Browser, **typed: str) -> int:
        """Open the link, fill in the form and submit it."""
        page = browser.send("GET", self.path)
        if page.status_code != 200:
            return int(page.status_code)
        form = Form(page.text)
        filled = {"password": GOOD, "code": "", **typed}
        data = {name: filled.get(name, value) for name, value in form.fields.items()}
        return int(browser.send("POST", form.action, data=data).status_code)


@pytest.fixture(params=KINDS)
def mailed(request: pytest.FixtureRequest, running: Mailbox) -> Mailed:
    return Mailed(request.param, running)


def test_a_scanner_that_submits_forms_gets_nothing_and_leaves_the_link_valid(mailed: Mailed) -> None:
    for code in ("", "Test", "scanner@example.com", "12345", "1234567", "١٢٣٤٥٦"):
        scanner = mailed.installed.browser()
        assert (mailed.submit(scanner, code=code), scanner.who()) == (401, 401), code
    phone = mailed.installed.browser()
    spaced = f" {mailed.code[:3]} {mailed.code[3:]} "
    assert (mailed.submit(phone, code=spaced), phone.who()) == (303, EMAIL)
    assert mailed.submit(mailed.installed.browser(), code=mailed.code) == 401  # it worked once


def test_the_browser_that_requested_the_link_needs_no_code(running: Mailbox) -> None:
    for kind in ("sign-in", "reset"):
        mailed = Mailed(kind, running)
        assert "code" not in Form(mailed.asker.send("GET", mailed.path).text).fields
        assert (mailed.submit(mailed.asker), mailed.asker.who()) == (303, EMAIL)


def test_codes_cannot_be_guessed(mailed: Mailed) -> None:
    wrong = [f"{(int(mailed.code) + step) % 1_000_000:06}" for step in range(1, 7)]
    statuses = [mailed.submit(mailed.installed.browser(), code=code) for code in wrong]
    assert statuses == [401] * 5 + [429]
    late = mailed.installed.browser()
    assert (mailed.submit(late, code=mailed.code), late.who()) == (429, 401)
    if mailed.kind != "invitation":  # who asked is not shut out by that
        assert (mailed.submit(mailed.asker), mailed.asker.who()) == (303, EMAIL)


def test_neither_the_link_nor_its_page_contains_the_code_or_the_cookie(mailed: Mailed) -> None:
    page = mailed.installed.browser().send("GET", mailed.path)
    cookie = mailed.asker.client.get_cookie("da_link")
    for secret in (mailed.code, *([] if cookie is None else [cookie.value])):
        assert secret not in mailed.path
        assert secret not in page.text
        assert secret not in str(page.headers)
    if mailed.kind != "invitation":
        assert mailed.code not in mailed.mail


def test_a_cookie_or_code_of_another_link_does_not_work(running: Mailbox) -> None:
    mailed = Mailed("sign-in", running)
    eve = mailed.installed.browser()
    code = code_in(eve.send("POST", "/auth/email", data={"email": "eve@example.com"}).text)
    assert (mailed.submit(eve, code=code), eve.who()) == (401, 401)
    forged = mailed.installed.browser()
    forged.client.set_cookie("da_link", "x" * 43)
    assert mailed.submit(forged) == 401


def test_a_weak_password_uses_no_attempt_and_keeps_the_code(running: Mailbox) -> None:
    mailed = Mailed("invitation", running)
    browser = mailed.installed.browser()
    for _ in range(7):
        assert mailed.submit(browser, code=mailed.code, password="password12") == 422
    form = Form(browser.send("POST", "/auth/password/set", data={
        "token": Form(browser.send("GET", mailed.path).text).fields["token"], "code": mailed.code, "password": "short",
    }).text)  # fmt: skip
    assert form.fields["code"] == mailed.code
    assert mailed.submit(browser, code=mailed.code) == 303


def test_a_code_stays_valid_while_keys_rotate(running: Mailbox) -> None:
    mailed = Mailed("invitation", running)
    environ = {"SMTP_HOST": "localhost", "SMTP_PORT": str(running.port), "SMTP_FROM": "data@example.com"}
    mailed.installed.start(SECRET_KEY="n" * 32, SECRET_KEYS_OLD="s" * 32, SMTP_SECURITY="none", **environ)
    assert mailed.submit(mailed.installed.browser(), code=mailed.code) == 303


def test_links_made_before_links_were_bound_work_until_they_expire(running: Mailbox) -> None:
    from analyst.auth import links
    from analyst.auth.keys import Purpose

    mailed = Mailed("sign-in", running)
    token = links.make(mailed.installed.process.keys, Purpose.MAGIC_LINK, links.Link(EMAIL), mailed.installed.now)
    browser = mailed.installed.browser()
    assert browser.send("POST", "/auth/email/confirm", data={"token": token}).status_code == 303
    mailed.installed.now += timedelta(minutes=15)
    assert browser.send("POST", "/auth/email/confirm", data={"token": token}).status_code == 401
    assert urlsplit(mailed.path).path == "/auth/email/confirm"
