"""The account page: access tokens, password, and requests for access."""

import base64
import hashlib
import html
import re
from urllib.parse import parse_qs, urlsplit

import pytest
from werkzeug.test import TestResponse

from analyst.auth import session_list
from tests.integration.pages.conftest import PASSWORD, Browser
from tests.integration.world import World

pytestmark = pytest.mark.usefixtures("quick")


def shown_token(page: str) -> str:
    found = re.search(r"<pre>(da_[A-Za-z0-9_-]{43})</pre>", page)
    assert found is not None, page
    return found[1]


def test_a_token_is_created_shown_once_used_and_revoked(ann: Browser, world: World) -> None:
    page = ann.post("/account/tokens", name="note<b>book", scopes=["read", "sync"], expires_in_days="7").text
    token = shown_token(page)
    assert "note&lt;b&gt;book" in page
    me = world.ask("GET", "/api/me", token=token)
    assert (me["email"], me["token"]["name"]) == ("ann@example.com", "note<b>book")
    assert token not in ann.get("/account").text
    id_ = me["token"]["id"]
    revoked = ann.post("/account/tokens/revoke", id=id_)
    assert (revoked.status_code, revoked.headers["Location"]) == (303, "/account?done=revoked")
    assert "The access token was revoked." in ann.get("/account?done=revoked").text
    assert world.send("GET", "/api/me", token=token).status_code == 401
    assert id_ not in ann.get("/account").text


def test_users_cannot_revoke_tokens_of_others(ann: Browser, world: World) -> None:
    theirs = world.ask("POST", "/auth/tokens", {"name": "theirs"})
    answer = ann.post("/account/tokens/revoke", id=theirs["id"])
    assert (answer.status_code, "There is no token" in answer.text) == (404, True)
    assert world.ask("GET", "/api/me", token=theirs["token"])["email"] == "admin@example.com"


@pytest.mark.parametrize(
    ("path", "form", "status"),
    [
        ("/account/tokens", {"name": "x", "expires_in_days": "7"}, 422),
        ("/account/tokens", {"name": "x", "scopes": "root", "expires_in_days": "7"}, 422),
        ("/account/tokens", {"name": " ", "scopes": "read", "expires_in_days": "7"}, 422),
        ("/account/tokens", {"name": "x", "scopes": "read", "expires_in_days": "99999"}, 422),
        ("/account/requests", {"table": "orders", "reason": "x"}, 422),
        ("/account/requests", {"table": "shop.orders", "reason": "x"}, 409),
        ("/account/tokens/revoke", {"id": "none"}, 404),
        ("/account/password", {"old": "wrong", "new": PASSWORD}, 401),
    ],
)
def test_failures_are_pages_with_the_reason_and_a_next_step(
    ann: Browser, path: str, form: dict[str, str], status: int
) -> None:
    answer = ann.post(path, **form)
    assert (answer.status_code, answer.content_type) == (status, "text/html; charset=utf-8")
    assert "<form" in answer.text or 'class="button' in answer.text
    assert not re.search(r"\^\[|tuple|Traceback|pattern", html.unescape(answer.text.partition("</style>")[2]))


def test_a_form_on_another_site_changes_nothing(ann: Browser) -> None:
    headers = {"Origin": "https://evil.example"}
    form = {"name": "x", "scopes": "read", "expires_in_days": "7"}
    answer = ann.client.post("/account/tokens", data=form, headers=headers, base_url="http://localhost")
    assert answer.status_code == 403
    assert "You have no valid access tokens" in ann.get("/account").text


def test_an_access_token_without_the_scope_admin_changes_no_account(world: World) -> None:
    token = world.ask("POST", "/auth/tokens", {"name": "reader", "scopes": ["read"]})["token"]
    headers = {"Authorization": f"Bearer {token}"}
    form = {"name": "x", "scopes": "read", "expires_in_days": "7"}
    assert world.client.post("/account/tokens", data=form, headers=headers).status_code == 403


def test_a_user_with_a_password_can_change_it(browser: Browser, world: World) -> None:
    user = world.ask("POST", "/api/users", {"email": "eve@example.com"})
    assert "Change your password" not in browser.sign_in("eve@example.com").get("/account").text
    invitation = world.ask("POST", f"/api/users/{user['id']}/invite", {"mail": False})
    token = invitation["url"].partition("token=")[2]
    chosen = browser.post("/auth/password/set", token=token, code=invitation["code"], password=PASSWORD)
    assert (chosen.status_code, chosen.headers["Location"]) == (303, "/")
    assert "Change your password" in browser.get("/account").text
    poor = browser.post("/account/password", old=PASSWORD, new="password12")
    assert (poor.status_code, "too easy to guess" in poor.text) == (422, True)
    changed = browser.post("/account/password", old=PASSWORD, new=f"{PASSWORD} more")
    assert (changed.status_code, changed.headers["Location"]) == (303, "/login")
    assert browser.get("/account").status_code == 303
    assert browser.post("/auth/password", email="eve@example.com", password=PASSWORD).status_code == 401
    assert browser.post("/auth/password", email="eve@example.com", password=f"{PASSWORD} more").status_code == 303


VERIFIER = "v" * 64
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


def person(world: World, name: str) -> Browser:
    """Sign a new person in with a password, as people do."""
    user = world.ask("POST", "/api/users", {"email": f"{name}@example.com", "role": "analyst"})
    invitation = world.ask("POST", f"/api/users/{user['id']}/invite", {"mail": False})
    token = invitation["url"].partition("token=")[2]
    browser = Browser(world)
    browser.agent = FIREFOX
    assert (
        browser.post("/auth/password/set", token=token, code=invitation["code"], password=PASSWORD).status_code == 303
    )
    return browser


def places(browser: Browser) -> list[tuple[str, str, bool]]:
    return [(each["kind"], each["name"], each["is_this"]) for each in browser.json("/account.json")["sessions"]]


def end(browser: Browser, name: str) -> TestResponse:
    row = browser.get("/account").text.partition(f'aria-label="End {name}"')[0]
    return browser.post("/account/sessions/end", id=re.findall(r'name="id" value="([^"]+)"', row)[-1])


def test_sessions_of_browsers_are_listed_and_ended(world: World) -> None:
    mia = person(world, "mia")
    assert places(mia) == [("browser", "Firefox on Linux", True)]
    phone = Browser(world)
    phone.agent = "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0) Version/19.0 Safari/604.1"
    assert phone.post("/auth/password", email="mia@example.com", password=PASSWORD).status_code == 303
    assert [name for _, name, _ in places(mia)] == ["Safari on iPhone", "Firefox on Linux"]
    assert end(mia, "Safari on iPhone").headers["Location"] == "/account?done=ended"
    assert phone.get("/account").headers["Location"].startswith("/login")
    assert places(mia) == [("browser", "Firefox on Linux", True)]
    assert mia.post("/account/sessions/end", id="none").status_code == 404


def test_sessions_of_da_are_listed_and_ended(world: World) -> None:
    leo = person(world, "leo")
    code = re.search(
        r'class="code"[^>]*>([^<]+)<', leo.post("/auth/desktop", challenge=CHALLENGE, machine="leos-laptop").text
    )
    assert code is not None
    made = world.ask("POST", "/auth/desktop/token", {"code": code[1], "verifier": VERIFIER}, token=None)
    assert ("da", "leos-laptop", False) in places(leo)
    again = world.ask("POST", "/auth/desktop/refresh", {"refresh_token": made["refresh_token"]}, token=None)
    assert len(places(leo)) == 2
    assert end(leo, "leos-laptop").status_code == 303
    body = {"refresh_token": again["refresh_token"]}
    assert world.send("POST", "/auth/desktop/refresh", body, token=None).status_code == 401
    assert len(places(leo)) == 1


def test_a_connected_agent_is_listed_and_ended(world: World) -> None:
    zoe = person(world, "zoe")
    back = "http://127.0.0.1:5555/callback"
    client = world.client.post(
        "/oauth/register", json={"client_name": "Helper <b>", "redirect_uris": [back]}
    ).get_json()
    form = {"client_id": client["client_id"], "redirect_uri": back, "code_challenge": CHALLENGE, "decision": "allow"}
    answer = zoe.post("/oauth/authorize", **form)
    code = parse_qs(urlsplit(answer.headers["Location"]).query)["code"][0]
    asked = {"client_id": client["client_id"], "redirect_uri": back, "code_verifier": VERIFIER, "code": code}
    made = world.client.post("/oauth/token", data={"grant_type": "authorization_code", **asked}).get_json()
    assert ("agent", "Helper <b>", False) in places(zoe)
    refresh = {"grant_type": "refresh_token", "client_id": client["client_id"]}
    again = world.client.post("/oauth/token", data={**refresh, "refresh_token": made["refresh_token"]}).get_json()
    assert ("agent", "Helper <b>", False) in places(zoe)
    assert end(zoe, "Helper &lt;b&gt;").status_code == 303
    failed = world.client.post("/oauth/token", data={**refresh, "refresh_token": again["refresh_token"]})
    assert (failed.status_code, failed.get_json()["error"]) == (400, "invalid_grant")
    assert all(kind != "agent" for kind, *_ in places(zoe))


def test_signing_out_everywhere_ends_all_sessions_of_the_user_and_no_others(world: World) -> None:
    tim, ida = person(world, "tim"), person(world, "ida")
    listed = session_list.list_sessions(
        world.process.store, id_of(world, "ida"), world.process.access.refresh(), world.process.clock()
    )
    assert tim.post("/account/sessions/end", id=listed[0].id).status_code == 404
    assert ida.get("/account").status_code == 200
    assert ida.post("/auth/logout/everywhere").status_code == 303
    assert ida.post("/auth/password", email="ida@example.com", password=PASSWORD).status_code == 303
    assert len(places(ida)) == 1


def id_of(world: World, name: str) -> str:
    return next(
        id_ for id_, user in world.process.access.refresh().users.items() if user.email == f"{name}@example.com"
    )
