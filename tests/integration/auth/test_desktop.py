"""`da login --no-browser`: a page shows eight characters, which are exchanged for tokens once, with the secret of `da`."""

import base64
import hashlib
import re
from datetime import timedelta

import pytest

from analyst.auth.single_use_tokens import USED
from tests.integration.auth.installation import Browser, Installation

VERIFIER = "v" * 64


@pytest.fixture
def installed() -> Installation:
    return Installation(ALLOWED_DOMAINS="example.com")


@pytest.fixture
def browser(installed: Installation) -> Browser:
    browser = installed.browser()
    browser.sign_in("ann@example.com")
    return browser


def challenge(verifier: str = VERIFIER) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def shown(browser: Browser) -> str:
    page = browser.send("POST", "/auth/desktop", data={"challenge": challenge(), "machine": "laptop"}).text
    found = re.search(r'id="code">([^<]+)</strong>', page)
    assert found is not None, page
    return found[1]


def take(installed: Installation, code: str, verifier: str = VERIFIER) -> tuple[int, str]:
    answer = installed.browser().send("POST", "/auth/desktop/token", json={"code": code, "verifier": verifier})
    return answer.status_code, answer.text


def test_the_page_shows_eight_characters_that_are_hard_to_confuse(browser: Browser) -> None:
    codes = {shown(browser) for _ in range(5)}
    assert len(codes) == 5
    assert all(re.fullmatch("[0-9A-HJKMNP-TV-Z]{8}", code) for code in codes)


def test_a_code_signs_da_in_once(installed: Installation, browser: Browser) -> None:
    code = shown(browser)
    status, text = take(installed, code)
    assert (status, "refresh_token" in text) == (200, True)
    status, text = take(installed, code)
    assert (status, "already used" in text) == (401, True)


@pytest.mark.parametrize(
    "typed",
    [str.lower, lambda code: f" {code[:4]} {code[4:]}\n", lambda code: f"{code[:4]}-{code[4:]}"],
    ids=["lower case", "spaces", "a hyphen"],
)
def test_a_code_may_be_typed_with_spaces_and_in_any_case(
    installed: Installation, browser: Browser, typed: object
) -> None:
    assert callable(typed)
    assert take(installed, typed(shown(browser)))[0] == 200


def test_letters_that_look_like_digits_are_read_as_digits(installed: Installation, browser: Browser) -> None:
    code = shown(browser)
    while not set("01") & set(code):
        code = shown(browser)
    assert take(installed, code.replace("0", "o").replace("1", "l"))[0] == 200


def test_a_code_is_useless_without_the_secret(installed: Installation, browser: Browser) -> None:
    code = shown(browser)
    status, text = take(installed, code, "w" * 64)
    assert (status, "another `da login`" in text or "belongs to" in text) == (401, True)
    assert take(installed, code)[0] == 200


def test_a_code_expires(installed: Installation, browser: Browser) -> None:
    code = shown(browser)
    installed.now += timedelta(minutes=6)
    assert take(installed, code)[0] == 401


@pytest.mark.parametrize("code", ["ABCD2345", "0" * 8, "ABC", "made.up.code", "é" * 8, "U" * 8])
def test_invented_codes_are_refused(installed: Installation, code: str) -> None:
    status, text = take(installed, code)
    assert (status, "Traceback" in text) == (401, False)


def test_codes_are_stored_where_the_sweep_finds_them_and_not_in_plain_text(
    installed: Installation, browser: Browser
) -> None:
    code = shown(browser)
    keys = [entry.key for entry in installed.store.list("state/")]
    assert any(key.startswith(USED) for key in keys)
    assert not any(code in key for key in keys)
