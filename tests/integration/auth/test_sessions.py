"""Sessions: from a proven e-mail address to a signed-in browser or program, and out again."""

from datetime import timedelta

import pytest
from werkzeug.test import Client

from analyst.access import Role
from analyst.auth import sessions
from analyst.auth.keys import Keys
from analyst.auth.sessions import Session
from analyst.context import Process
from analyst.http import app
from analyst.http.browser_session import local
from tests.integration.auth.installation import FUNCTIONS, Installation, who_has


@pytest.fixture
def installed() -> Installation:
    return Installation(ALLOWED_DOMAINS="example.com", SEED_ADMIN_EMAIL="boss@elsewhere.org")


def test_a_person_of_an_allowed_domain_becomes_a_user(installed: Installation) -> None:
    browser = installed.browser()
    answer = browser.sign_in("Ann@Example.com", "/account")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/account")
    assert browser.who() == "ann@example.com"
    assert browser.send("GET", "/api/me").get_json()["role"] == "analyst"
    page = browser.send("GET", "/account").text
    assert "ann@example.com" in page


def test_people_of_other_domains_are_refused_and_leave_no_trace(installed: Installation) -> None:
    installed.admin()

    def state() -> list[tuple[str, str]]:
        kept = ("state/current", "state/system", "state/access")
        return [(entry.key, entry.version) for entry in installed.store.list("state/") if entry.key.startswith(kept)]

    before = state()
    answer = installed.browser().sign_in("eve@evil.example")
    assert (answer.status_code, answer.content_type) == (403, "text/html; charset=utf-8")
    assert "Set-Cookie" not in answer.headers
    assert state() == before


def test_a_user_added_by_an_administrator_signs_in_from_any_domain(installed: Installation) -> None:
    headers = {"Authorization": f"Bearer {installed.admin()}"}
    made = Client(installed.app).post("/api/users", json={"email": "guest@partner.org"}, headers=headers)
    browser = installed.browser()
    assert browser.sign_in("guest@partner.org").status_code == 303
    assert browser.who() == "guest@partner.org"
    id_ = made.get_json()["id"]
    Client(installed.app).put(f"/api/users/{id_}", json={"active": False}, headers=headers)
    assert browser.who() == 401
    assert browser.sign_in("guest@partner.org").status_code == 403


def test_the_seed_administrator_has_the_role_from_the_first_sign_in_on(installed: Installation) -> None:
    browser = installed.browser()
    browser.sign_in("boss@elsewhere.org")
    assert browser.send("GET", "/api/me").get_json()["role"] == Role.ADMIN
    assert browser.send("GET", "/api/users").status_code == 200


def test_an_existing_user_who_becomes_the_seed_administrator_is_promoted_once(installed: Installation) -> None:
    headers = {"Authorization": f"Bearer {installed.admin()}"}
    client = Client(installed.app)
    boss = next(
        user for user in client.get("/api/users", headers=headers).get_json()["users"] if "boss" in user["email"]
    )
    assert boss["role"] == "admin"
    client.put(f"/api/users/{boss['id']}", json={"role": "viewer"}, headers=headers)
    browser = installed.browser()
    browser.sign_in("boss@elsewhere.org")
    assert browser.send("GET", "/api/me").get_json()["role"] == "viewer"


def test_a_user_later_named_in_the_settings_is_promoted_by_signing_in(installed: Installation) -> None:
    for settings, role in (({}, Role.ANALYST), ({"SEED_ADMIN_EMAIL": "boss@elsewhere.org"}, Role.ADMIN)):
        installed.start(ALLOWED_DOMAINS="elsewhere.org", **settings)
        browser = installed.browser()
        browser.sign_in("boss@elsewhere.org")
        assert browser.send("GET", "/api/me").get_json()["role"] == role


def test_below_a_path_the_cookie_is_sent_to_no_other_application_of_the_host() -> None:
    installed = Installation(ALLOWED_DOMAINS="example.com", BASE_URL="https://example.com/data")
    browser = installed.browser("https://example.com/")
    cookie = browser.sign_in("ann@example.com").headers["Set-Cookie"]
    assert cookie.startswith("__Secure-da_session=")
    assert {"HttpOnly", "SameSite=Lax", "Path=/data", "Secure"} <= set(cookie.split("; "))
    token = cookie.partition("=")[2].partition(";")[0]
    for name, status in (("__Secure-da_session", 200), ("__Host-da_session", 401)):
        client = Client(installed.app)
        client.set_cookie(name, token, domain="example.com", path="/data")
        assert client.get("/data/api/me", base_url="https://example.com/").status_code == status
    out = browser.send("POST", "/data/auth/logout").headers["Set-Cookie"]
    assert {"Path=/data", "Max-Age=0"} <= set(out.split("; "))


@pytest.mark.parametrize(
    ("base_url", "name", "secure"),
    [
        ("http://localhost:8000", "da_session", False),
        ("http://127.0.0.1:8000", "da_session", False),
        ("https://data.example.com", "__Host-da_session", True),
        ("http://data.example.com", "__Host-da_session", True),
        ("", "__Host-da_session", True),
    ],
)
@pytest.mark.parametrize("address", ["http://localhost/", "https://evil.example/"])
def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(
    address: str, base_url: str, name: str, secure: bool
) -> None:
    installed = Installation(ALLOWED_DOMAINS="example.com", BASE_URL=base_url)
    cookie = installed.browser(address).sign_in("ann@example.com").headers["Set-Cookie"]
    assert cookie.startswith(f"{name}=")
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(cookie.split("; "))
    assert ("Secure" in cookie.split("; "), "Domain" in cookie) == (secure, False)


def test_a_session_expires(installed: Installation) -> None:
    browser = installed.browser()
    token = browser.sign_in("ann@example.com").headers["Set-Cookie"].partition("=")[2].partition(";")[0]
    installed.now += timedelta(hours=11)
    assert who_has(token, installed.app) == 200
    assert browser.who() == "ann@example.com"
    installed.now += timedelta(hours=1)
    assert who_has(token, installed.app) == 401


def test_signing_out_ends_the_session_wherever_its_cookie_was_copied(installed: Installation) -> None:
    here, there = installed.browser(), installed.browser()
    token = here.sign_in("ann@example.com").headers["Set-Cookie"].partition("=")[2].partition(";")[0]
    there.sign_in("ann@example.com")
    answer = here.send("POST", "/auth/logout")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/login")
    assert here.who() == 401
    assert there.who() == "ann@example.com"
    assert who_has(token, installed.app) == 401
    assert Client(installed.app).get("/api/me", headers={"Authorization": f"Bearer {token}"}).status_code == 401


def test_signing_out_everywhere_ends_all_sessions_and_a_new_one_can_begin(installed: Installation) -> None:
    here, there = installed.browser(), installed.browser()
    here.sign_in("ann@example.com")
    there.sign_in("ann@example.com")
    installed.now += timedelta(seconds=1)
    assert here.send("POST", "/auth/logout/everywhere").status_code == 303
    assert (here.who(), there.who()) == (401, 401)
    here.sign_in("ann@example.com")
    assert here.who() == "ann@example.com"


def test_a_program_signs_out_without_a_page(installed: Installation) -> None:
    installed.browser().sign_in("ann@example.com")
    (user_id,) = installed.process.access.refresh().users
    pair = sessions.for_program(installed.process.keys, sessions.begin(user_id, installed.now), installed.now)
    program, headers = Client(installed.app), {"Authorization": f"Bearer {pair.token}"}
    assert program.get("/api/me", headers=headers).status_code == 200
    assert program.post("/auth/logout", headers=headers).status_code == 204
    assert program.get("/api/me", headers=headers).status_code == 401
    answer = program.post("/auth/logout", headers={"Authorization": f"Bearer {installed.admin()}"})
    assert (answer.status_code, "revoke" in answer.get_json()["detail"]) == (409, True)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://localhost"}, 201),
        ({"Sec-Fetch-Site": "same-origin"}, 201),
        ({"Sec-Fetch-Site": "none"}, 201),
        ({"Sec-Fetch-Site": "same-site", "Origin": "http://localhost"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "http://localhost.evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
        ({}, 403),
    ],
)
def test_another_site_cannot_use_our_cookie_to_change_anything(
    installed: Installation, headers: dict[str, str], status: int
) -> None:
    browser = installed.browser()
    browser.sign_in("ann@example.com")
    sent = {"json": {"name": "x"}, "headers": headers, "base_url": "http://localhost/"}
    assert browser.client.post("/auth/tokens", **sent).status_code == status


@pytest.mark.parametrize(
    "path", ["//evil.example", "https://evil.example", "/\\evil.example", "\\/evil", "/a\r\nb", "", "account", "/ "]
)
def test_a_sign_in_never_redirects_to_another_site(path: str) -> None:
    assert local(path) == "/"
    assert local("/tables?q=a#b") == "/tables?q=a#b"


def test_a_refresh_token_works_once_and_again_for_a_minute(installed: Installation) -> None:
    installed.browser().sign_in("ann@example.com")
    process, now = installed.process, installed.now
    (user_id,) = process.access.refresh().users
    pair = sessions.for_program(process.keys, sessions.begin(user_id, now), now)
    again = sessions.refresh(process.keys, pair.refresh_token, process.access, process.store, now)
    assert sessions.read(process.keys, again.token, now).id == sessions.read(process.keys, pair.token, now).id
    lost = sessions.refresh(process.keys, pair.refresh_token, process.access, process.store, now)
    assert sessions.read(process.keys, lost.token, now).id == sessions.read(process.keys, pair.token, now).id
    installed.store_time += 61
    for wrong in (pair.refresh_token, pair.token, "x"):
        with pytest.raises(Exception, match=r"once|token"):
            sessions.refresh(process.keys, wrong, process.access, process.store, now)


def test_rotating_a_key_signs_nobody_out(installed: Installation) -> None:
    token = installed.browser().sign_in("ann@example.com").headers["Set-Cookie"].partition("=")[2].partition(";")[0]
    environ = {"DATA_URL": "file:///nowhere", "SECRET_KEY": "n" * 32}
    for old, status in (("s" * 32, 200), ("", 401)):
        process = Process({**environ, "SECRET_KEYS_OLD": old}, store=installed.store, clock=lambda: installed.now)
        assert who_has(token, app(process, FUNCTIONS)) == status


def test_a_session_of_an_unknown_user_is_refused(installed: Installation) -> None:
    installed.browser().sign_in("ann@example.com")
    token = sessions.for_browser(Keys([b"s" * 32]), Session("1", "nobody", installed.now), installed.now)
    assert who_has(token, installed.app) == 401
