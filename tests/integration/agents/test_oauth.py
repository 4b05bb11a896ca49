"""OAuth 2.1 for agents: discovery, registration, consent in a browser, tokens, their limits, refresh and revocation."""

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from werkzeug.test import Client

from analyst.agents import oauth_clients
from analyst.auth import sessions
from analyst.context import Process
from analyst.errors import InvalidInputError
from analyst.store import Store
from tests.doubles.wrapped_store import AgedStore
from tests.integration.agents.mcp import call, send
from tests.integration.query.shop import Shop, open_shop
from tests.integration.world import Begun, World

pytestmark = [pytest.mark.server, pytest.mark.slow]

VERIFIER = "v" * 50
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
BACK = "http://127.0.0.1:5555/callback"


@pytest.fixture(scope="module")
def shop(begun: Begun, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with open_shop(tmp_path_factory.mktemp("shop"), begun) as made:
        yield made


def registered(shop: Shop, **more: Any) -> str:
    body = {"client_name": "Test agent", "redirect_uris": [BACK], **more}
    answer = shop.world.client.post("/oauth/register", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.get_json()["client_id"])


def browser(shop: Shop) -> Client:
    """Return a client that sends the cookies that it is given."""
    return Client(shop.world.app, use_cookies=False)


def cookie(shop: Shop, email: str) -> str:
    users = shop.process.access.current().users
    user_id = next(id_ for id_, user in users.items() if user.email == email)
    now = shop.process.clock()
    return f"da_session={sessions.for_browser(shop.process.keys, sessions.begin(user_id, now), now)}"


def asked(client_id: str, **more: str | None) -> dict[str, str]:
    plain = {
        "response_type": "code",
        "client_id": client_id,
        "redirect_uri": BACK,
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
        "state": "s-1",
        "resource": "http://localhost/mcp",
        **more,
    }
    return {name: value for name, value in plain.items() if value is not None}


def consented(
    shop: Shop, client_id: str, email: str = "ann@example.com", decision: str = "allow", **more: str
) -> Mapping[str, str]:
    """Walk as a browser does: the page, then its form; return the members of the redirect."""
    session = {"Cookie": cookie(shop, email)}
    shown = browser(shop).get(f"/oauth/authorize?{urlencode(asked(client_id, **more))}", headers=session)
    assert shown.status_code == 200, shown.text
    fields = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', shown.text))
    sent = {**session, "Sec-Fetch-Site": "same-origin"}
    answer = browser(shop).post("/oauth/authorize", data={**fields, "decision": decision}, headers=sent)
    assert answer.status_code == 303, answer.text
    assert answer.headers["Location"].startswith(BACK)
    found = parse_qs(urlsplit(answer.headers["Location"]).query)
    return {name: values[0] for name, values in found.items()}


def exchange(shop: Shop, **form: str) -> tuple[int, dict[str, Any]]:
    answer = shop.world.client.post("/oauth/token", data=form)
    assert answer.headers["Cache-Control"] == "no-store"
    return answer.status_code, answer.get_json()


def tokens(shop: Shop, client_id: str, **more: str) -> dict[str, Any]:
    back = consented(shop, client_id, **more)
    status, made = exchange(
        shop, grant_type="authorization_code", code=back["code"], code_verifier=VERIFIER, client_id=client_id,
        redirect_uri=BACK, resource="http://localhost/mcp",
    )  # fmt: skip
    assert status == 200, made
    return made


def test_a_client_finds_its_way_from_the_first_401(shop: Shop) -> None:
    refused = send(shop.world, "tools/list", token=None)
    place = re.search(r'resource_metadata="([^"]+)"', refused.headers["WWW-Authenticate"])
    assert place is not None
    resource = shop.world.client.get(urlsplit(place[1]).path).get_json()
    assert resource["resource"] == "http://localhost/mcp"
    assert shop.world.client.get("/.well-known/oauth-protected-resource").get_json() == resource
    [server] = resource["authorization_servers"]
    found = shop.world.client.get("/.well-known/oauth-authorization-server").get_json()
    assert found["issuer"] == server == "http://localhost"
    assert found["code_challenge_methods_supported"] == ["S256"]
    assert found["client_id_metadata_document_supported"]
    assert "admin" not in found["scopes_supported"]


def test_a_grant_reads_and_nothing_else(shop: Shop) -> None:
    made = tokens(shop, registered(shop))
    assert (made["token_type"], made["scope"]) == ("Bearer", "read query sync")
    token = made["access_token"]
    assert call(shop.world, "query", sql="select count(*) from orders", token=token)["rows"] == [[100]]
    for method, path in (
        ("GET", "/api/me"),
        ("GET", "/api/catalog/tables"),
        ("POST", "/auth/tokens"),
        ("GET", "/account"),
    ):
        answer = shop.world.send(method, path, {} if method == "POST" else None, token=token)
        assert answer.status_code in {401, 303}, path


def test_an_administrator_grants_no_more_than_reading(shop: Shop) -> None:
    client_id = registered(shop)
    back = consented(shop, client_id, "admin@example.com", scope="admin read query sync")
    status, made = exchange(
        shop,
        grant_type="authorization_code",
        code=back["code"],
        code_verifier=VERIFIER,
        client_id=client_id,
        redirect_uri=BACK,
    )
    assert (status, made["scope"]) == (200, "read query sync")
    assert shop.world.send("GET", "/api/users", token=made["access_token"]).status_code == 401


def test_fewer_scopes_offer_fewer_tools(shop: Shop) -> None:
    made = tokens(shop, registered(shop), scope="read")
    answer = send(
        shop.world, "tools/call", {"name": "query", "arguments": {"sql": "select 1"}}, token=made["access_token"]
    )
    assert answer.status_code == 403
    assert "insufficient_scope" in answer.headers["WWW-Authenticate"]


def test_a_code_works_once_and_for_its_client_alone(shop: Shop) -> None:
    client_id = registered(shop)
    code = consented(shop, client_id)["code"]
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "code_verifier": VERIFIER,
        "client_id": client_id,
        "redirect_uri": BACK,
    }
    for wrong in (
        {"code_verifier": "w" * 50},
        {"client_id": registered(shop, client_name="Other")},
        {"redirect_uri": "http://127.0.0.1:5555/other"},
        {"code": code[:-2] + "AA"},
        {"code": ""},
    ):
        status, document = exchange(shop, **{**form, **wrong})
        assert (status, document["error"]) == (400, "invalid_grant")
    assert exchange(shop, **{**form, "resource": "https://elsewhere.example/mcp"})[1]["error"] == "invalid_target"
    assert exchange(shop, **{**form, "grant_type": "password"})[1]["error"] == "unsupported_grant_type"
    assert exchange(shop, **form)[0] == 200
    assert exchange(shop, **form)[1]["error"] == "invalid_grant"


def test_a_refresh_token_yields_the_next_tokens(shop: Shop) -> None:
    client_id = registered(shop)
    made = tokens(shop, client_id)
    form = {"grant_type": "refresh_token", "refresh_token": made["refresh_token"], "client_id": client_id}
    assert exchange(shop, **{**form, "client_id": "other"})[1]["error"] == "invalid_grant"
    status, next_ = exchange(shop, **form, scope="read")
    assert (status, next_["scope"]) == (200, "read")
    assert next_["refresh_token"] != made["refresh_token"]
    assert call(shop.world, "find", token=next_["access_token"])["total"] == 1
    assert exchange(shop, **{**form, "refresh_token": made["access_token"]})[1]["error"] == "invalid_grant"


def test_a_refresh_token_that_is_used_again_ends_the_grant(shop: Shop, tmp_path: Path) -> None:
    client_id = registered(shop)
    made, other = tokens(shop, client_id), tokens(shop, client_id)
    form = {"grant_type": "refresh_token", "refresh_token": made["refresh_token"], "client_id": client_id}
    first = exchange(shop, **form)[1]
    again = exchange(shop, **form)  # within a minute, as by a client that missed the answer
    assert again[0] == 200
    assert exchange(shop, **{**form, "client_id": "other"})[1]["error"] == "invalid_grant"
    assert send(shop.world, "tools/list", token=first["access_token"]).status_code == 200

    def aged(environ: Mapping[str, str], store: Store) -> Process:
        return Process(environ, store=AgedStore(store))

    later = World(tmp_path, shop.world.cloud, admin=shop.world.admin, process=aged)
    response = later.client.post("/oauth/token", data=form)
    assert (response.status_code, response.get_json()["error"]) == (400, "invalid_grant")
    assert "its grant has ended" in response.get_json()["error_description"]
    later.process.close()
    shop.process.access.refresh()
    for token in (made, first, again[1]):
        assert send(shop.world, "tools/list", token=token["access_token"]).status_code == 401
        assert exchange(shop, **{**form, "refresh_token": token["refresh_token"]})[0] == 400
    assert send(shop.world, "tools/list", token=other["access_token"]).status_code == 200


def test_a_code_that_is_used_again_ends_the_grant(shop: Shop) -> None:
    client_id = registered(shop)
    code = consented(shop, client_id)["code"]
    form = {"grant_type": "authorization_code", "code": code, "client_id": client_id, "redirect_uri": BACK}
    made = exchange(shop, **form, code_verifier=VERIFIER)[1]
    assert exchange(shop, **form, code_verifier="w" * 50)[0] == 400
    assert send(shop.world, "tools/list", token=made["access_token"]).status_code == 200
    assert exchange(shop, **form, code_verifier=VERIFIER)[0] == 400
    assert send(shop.world, "tools/list", token=made["access_token"]).status_code == 401


def test_a_revoked_grant_ends_at_once(shop: Shop) -> None:
    client_id = registered(shop)
    made = tokens(shop, client_id)
    assert shop.world.client.post("/oauth/revoke", data={"token": made["refresh_token"]}).status_code == 200
    assert shop.world.client.post("/oauth/revoke", data={"token": "nonsense"}).status_code == 200
    assert send(shop.world, "tools/list", token=made["access_token"]).status_code == 401
    form = {"grant_type": "refresh_token", "refresh_token": made["refresh_token"], "client_id": client_id}
    assert exchange(shop, **form)[1]["error"] == "invalid_grant"


def test_signing_out_everywhere_ends_the_grants_of_a_user(shop: Shop) -> None:
    made = tokens(shop, registered(shop))
    user = next(id_ for id_, user in shop.process.access.current().users.items() if user.email == "ann@example.com")
    shop.world.ask("POST", f"/api/users/{user}/sign-out", {})
    assert send(shop.world, "tools/list", token=made["access_token"]).status_code == 401


def test_a_user_who_denies_grants_nothing(shop: Shop) -> None:
    assert consented(shop, registered(shop), decision="deny") == {
        "error": "access_denied",
        "state": "s-1",
        "iss": "http://localhost",
    }


def test_a_user_who_is_not_signed_in_is_asked_to_sign_in_first(shop: Shop) -> None:
    answer = browser(shop).get(f"/oauth/authorize?{urlencode(asked(registered(shop)))}")
    assert (answer.status_code, answer.headers["Location"].startswith("/login?next=%2Foauth%2Fauthorize")) == (
        303,
        True,
    )


def test_an_access_token_cannot_connect_an_agent(shop: Shop) -> None:
    form = {"client_id": registered(shop), "redirect_uri": BACK, "code_challenge": CHALLENGE, "decision": "allow"}
    answer = browser(shop).post("/oauth/authorize", data=form, headers={"Authorization": f"Bearer {shop.analyst}"})
    assert answer.status_code == 403


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"resource": "https://elsewhere.example/mcp"}, "invalid_target"),
    ],
)
def test_a_wrong_request_is_reported_to_the_client(shop: Shop, more: dict[str, Any], error: str) -> None:
    query = urlencode(asked(registered(shop), **more))
    answer = browser(shop).get(f"/oauth/authorize?{query}", headers={"Cookie": cookie(shop, "ann@example.com")})
    assert answer.status_code == 303
    assert f"error={error}" in answer.headers["Location"]
    assert "state=s-1" in answer.headers["Location"]


@pytest.mark.parametrize(
    "more",
    [
        {"client_id": "unknown"},
        {"client_id": ""},
        {"redirect_uri": "https://evil.example/callback"},
        {"redirect_uri": "http://127.0.0.1:5555/other"},
        {"redirect_uri": "javascript:alert(1)"},
        {"client_id": "https://127.0.0.1/client.json"},
        {"client_id": "https://localhost/client.json"},
        {"client_id": "https://nobody.invalid/client.json"},
        {"client_id": "https://[::1/client.json"},
    ],
)
def test_nothing_is_sent_to_an_address_that_is_not_registered(shop: Shop, more: dict[str, str]) -> None:
    query = urlencode(asked(registered(shop)) | more)
    answer = browser(shop).get(f"/oauth/authorize?{query}", headers={"Cookie": cookie(shop, "ann@example.com")})
    assert answer.status_code in {422, 503}
    assert "Location" not in answer.headers


def test_any_port_of_this_machine_is_accepted(shop: Shop) -> None:
    client = oauth_clients.Client("x", "x", ("http://127.0.0.1/callback", "https://app.example/cb", "cursor://x.y/cb"))
    assert client.allows("http://127.0.0.1:4711/callback")
    assert client.allows("cursor://x.y/cb")
    for other in (
        "http://127.0.0.1:4711/other",
        "http://localhost/callback",
        "https://app.example:444/cb",
        "https://app.example/cb/",
    ):
        assert not client.allows(other)
    registered(shop, redirect_uris=["cursor://anysphere.cursor/callback", "http://localhost:1/x"])


@pytest.mark.parametrize(
    "uris",
    [[], "x", None, ["http://example.com/cb"], ["javascript:alert(1)"], ["data:text/html,x"], ["https://"], ["https://a b/"],
     ["https://u:p@example.com/"], ["https://example.com/#x"], [1], ["https://example.com:x/"], ["/relative"]],
)  # fmt: skip
def test_a_registration_with_a_dangerous_address_is_refused(shop: Shop, uris: Any) -> None:
    answer = shop.world.client.post("/oauth/register", json={"redirect_uris": uris})
    assert (answer.status_code, answer.get_json()["error"]) == (400, "invalid_client_metadata")


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b'"x"'])
def test_a_registration_that_is_not_an_object_is_refused(shop: Shop, body: bytes) -> None:
    answer = shop.world.client.post("/oauth/register", data=body)
    assert (answer.status_code, answer.get_json()["error"]) == (400, "invalid_client_metadata")


def test_a_client_with_a_metadata_document_needs_no_registration(shop: Shop) -> None:
    url = "https://agent.example/client.json"
    good = f'{{"client_id": "{url}", "client_name": "Agent\\u0007 <b>x</b>", "redirect_uris": ["{BACK}"]}}'
    keys, now = shop.process.keys, shop.process.clock()
    found = oauth_clients.find(url, keys, now, lambda _url: good.encode())
    assert (found.name, found.redirect_uris) == ("Agent <b>x</b>", (BACK,))
    for bad in (
        "{",
        "[]",
        good.replace("client.json", "other.json"),
        good.replace(BACK, "javascript:1"),
        '{"client_id": "' + url + '"}',
    ):
        with pytest.raises(InvalidInputError):
            oauth_clients.find(url, keys, now, lambda _url, bad=bad: bad.encode())  # type: ignore[misc]
    for odd in ("https://agent.example", "https://u@agent.example/c", "https://agent.example/c#f"):
        with pytest.raises(InvalidInputError):
            oauth_clients.find(odd, keys, now, lambda _url: good.encode())
