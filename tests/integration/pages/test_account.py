"""The account page: access tokens, password, and requests for access."""

import html
import re

import pytest

from tests.integration.pages.conftest import PASSWORD, Browser
from tests.integration.world import World


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
    assert "The access token is revoked." in ann.post("/account/tokens/revoke", id=id_).text
    assert world.send("GET", "/api/me", token=token).status_code == 401
    assert id_ not in ann.get("/account").text


def test_nobody_revokes_the_tokens_of_others(ann: Browser, world: World) -> None:
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
def test_what_can_not_be_done_is_a_page_with_the_reason_and_a_way_on(
    ann: Browser, path: str, form: dict[str, str], status: int
) -> None:
    answer = ann.post(path, **form)
    assert (answer.status_code, answer.content_type) == (status, "text/html; charset=utf-8")
    assert "<form" in answer.text or 'class="button' in answer.text
    assert not re.search(r"\^\[|tuple|Traceback|pattern", html.unescape(answer.text.partition("</style>")[2]))


def test_a_form_of_another_site_changes_nothing(ann: Browser) -> None:
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


def test_the_password_is_changed_by_who_has_one(browser: Browser, world: World) -> None:
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
