"""Access tokens: shown once, managed by their owner, invalid when they should be."""

from datetime import datetime, timedelta

import pytest

from analyst.state import Actor
from analyst.state.tokens import NewToken, create_token
from analyst.store import Store
from tests.integration.admin.conftest import SERVICE_TOKEN, Api


def test_a_token_is_shown_once_and_kept_as_a_hash_only(admin: Api, store: Store) -> None:
    made = admin.make("/auth/tokens", {"name": "laptop"})
    assert made["token"].startswith(made["prefix"])
    assert len(made["token"]) == 46
    assert len(made["prefix"]) == 8
    assert made["token"] not in str(admin.get("/auth/tokens"))
    everything = b"".join(found.data for entry in store.list("") if (found := store.read(entry.key)))
    assert made["token"].encode() not in everything


def test_a_token_is_valid_for_the_requested_time(admin: Api) -> None:
    made = admin.make("/auth/tokens", {"name": "laptop", "expires_in_days": 30})
    (listed,) = (token for token in admin.get("/auth/tokens")["tokens"] if token["id"] == made["id"])
    lasts = datetime.fromisoformat(listed["expires_at"]) - datetime.fromisoformat(listed["created_at"])
    assert (lasts, made["note"]) == (timedelta(days=30), None)


@pytest.mark.parametrize("days", [8, 365, 3650])
def test_a_token_creates_no_token_that_outlives_it(admin: Api, days: int) -> None:
    admin.user("ann@example.com", "admin")
    wanted = {"name": "x", "scopes": ["read", "admin"], "expires_in_days": 7}
    first = admin.make("/auth/tokens", wanted)
    leaked = admin.having(first["token"])
    for user in ({}, {"user": "ann@example.com"}):
        second = leaked.make("/auth/tokens", {**wanted, **user, "expires_in_days": days})
        assert second["expires_at"] == first["expires_at"]
        assert "expires on" in second["note"]
        third = admin.having(second["token"]).make("/auth/tokens", {**wanted, "expires_in_days": days})
        assert third["expires_at"] == first["expires_at"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {},
        {"name": "x", "expires_in_days": 0},
        {"name": "x", "expires_in_days": 3651},
        {"name": "x", "expires_in_days": 1.5},
        {"name": "x", "expires_in_days": None},
        {"name": "x", "user": "nobody"},
        {"name": "x", "scopes": ["all"]},
    ],
)
def test_bad_input_is_refused(admin: Api, wrong: dict[str, object]) -> None:
    assert admin.ask("POST", "/auth/tokens", wrong)[0] == 422


def test_users_list_and_revoke_their_own_tokens(admin: Api) -> None:
    _, ann = admin.user("ann@example.com", "viewer")
    (token,) = ann.get("/auth/tokens")["tokens"]
    assert token["email"] == "ann@example.com"
    ann.remove(f"/auth/tokens/{token['id']}")
    assert ann.ask("GET", "/api/me")[0] == 401


def test_revoking_is_final_and_can_be_repeated(admin: Api) -> None:
    made = admin.make("/auth/tokens", {"name": "lost"})
    admin.remove(f"/auth/tokens/{made['id']}")
    admin.remove(f"/auth/tokens/{made['id']}")
    (listed,) = (token for token in admin.get("/auth/tokens")["tokens"] if token["id"] == made["id"])
    assert listed["revoked_at"] is not None
    assert len(admin.audited("token.revoke")) == 1


def test_a_token_of_somebody_else_does_not_exist(admin: Api) -> None:
    _, ann = admin.user("ann@example.com")
    _, bob = admin.user("bob@example.com", "km_admin")
    (token,) = ann.get("/auth/tokens")["tokens"]
    hidden = bob.ask("DELETE", f"/auth/tokens/{token['id']}")
    none = bob.ask("DELETE", "/auth/tokens/none")
    assert hidden[0] == none[0] == 404
    assert hidden[1]["detail"].replace(token["id"], "none") == none[1]["detail"]


def test_only_administrators_may_ask_about_tokens_of_others(admin: Api) -> None:
    _, ann = admin.user("ann@example.com")
    known = ann.ask("GET", "/auth/tokens?user=root@example.com")
    unknown = ann.ask("GET", "/auth/tokens?user=nobody@example.com")
    assert known[0] == unknown[0] == 403
    assert known[1]["detail"] == unknown[1]["detail"]
    made = ann.ask("POST", "/auth/tokens", {"name": "x", "user": "root@example.com"})
    assert made[0] == 403
    assert ann.ask("GET", "/auth/tokens?user=all")[0] == 403


def test_an_administrator_lists_and_creates_tokens_for_others(admin: Api) -> None:
    _, ann = admin.user("ann@example.com")
    assert {token["email"] for token in admin.get("/auth/tokens?user=all")["tokens"]} == {
        "root@example.com",
        "ann@example.com",
    }
    (token,) = admin.get("/auth/tokens?user=Ann@Example.com")["tokens"]
    admin.remove(f"/auth/tokens/{token['id']}")
    assert ann.ask("GET", "/api/me")[0] == 401
    assert admin.ask("GET", "/auth/tokens?user=nobody@example.com")[0] == 404
    assert admin.ask("POST", "/auth/tokens", {"name": "x", "user": "nobody@example.com"})[0] == 404


def test_a_service_has_no_tokens_of_its_own(admin: Api) -> None:
    service = admin.having(SERVICE_TOKEN)
    assert service.ask("POST", "/auth/tokens", {"name": "x"})[0] == 403
    assert service.ask("POST", "/auth/tokens", {"name": "x", "user": "root@example.com"})[0] == 403
    assert service.ask("GET", "/auth/tokens")[0] == 403
    assert service.ask("GET", "/auth/tokens?user=all")[0] == 403
    assert service.ask("GET", "/api/users")[0] == 403
    (token,) = admin.get("/auth/tokens")["tokens"]
    assert service.ask("DELETE", f"/auth/tokens/{token['id']}")[0] == 403


def test_the_number_of_tokens_of_a_user_is_limited(admin: Api) -> None:
    id_, ann = admin.user("ann@example.com")
    process, now = admin.process, admin.process.clock()
    caller = process.access.caller_of(ann.token or "", now)
    new = NewToken(name="x")
    process.state.edit(lambda db: [create_token(db, Actor(id_, now), caller, new) for _ in range(48)])
    assert [ann.ask("POST", "/auth/tokens", {"name": "x"})[0] for _ in range(2)] == [201, 409]


def test_me_returns_the_caller(admin: Api) -> None:
    id_, ann = admin.user("ann@example.com", "viewer")
    group = admin.make("/api/admin/groups", {"name": "Sales"})
    assert admin.ask("PUT", f"/api/admin/groups/{group['id']}/members/{id_}")[0] == 204
    me = ann.get("/api/me")
    (token,) = ann.get("/auth/tokens")["tokens"]
    assert me == {
        "user_id": id_,
        "email": "ann@example.com",
        "name": None,
        "role": "viewer",
        "groups": ["Sales"],
        "service": False,
        "token": {"id": token["id"], "name": "laptop", "expires_at": token["expires_at"]},
    }


def test_me_identifies_a_service(admin: Api) -> None:
    me = admin.having(SERVICE_TOKEN).get("/api/me")
    assert (me["service"], me["user_id"], me["token"]) == (True, None, None)


def test_a_token_has_only_the_rights_of_its_scopes(admin: Api) -> None:
    made = admin.make("/auth/tokens", {"name": "agent", "scopes": ["read"]})
    agent = admin.having(made["token"])
    assert made["scopes"] == ["read"]
    assert agent.ask("GET", "/api/catalog/tables")[0] == 200
    for path in ("/api/users", "/api/admin/tables"):
        status, problem = agent.ask("GET", path)
        assert (status, "scope" in problem["detail"]) == (403, True)


def test_a_token_creates_no_token_with_a_scope_that_it_lacks(admin: Api) -> None:
    agent = admin.having(admin.make("/auth/tokens", {"name": "agent", "scopes": ["read", "sync", "admin"]})["token"])
    assert agent.ask("POST", "/auth/tokens", {"name": "x", "scopes": ["read", "query"]})[0] == 403
    assert agent.make("/auth/tokens", {"name": "x", "scopes": ["sync"]})["scopes"] == ["sync"]
    assert agent.ask("POST", "/auth/tokens", {"name": "x"})[0] == 403  # which would have query as well


@pytest.mark.parametrize("scopes", [["read"], ["query"], ["sync"], ["read", "query", "sync"]])
def test_a_token_without_the_scope_admin_manages_no_credentials(admin: Api, scopes: list[str]) -> None:
    _, ann = admin.user("ann@example.com")
    leaked = ann.having(ann.make("/auth/tokens", {"name": "leaked", "scopes": scopes})["token"])
    calls: tuple[tuple[str, dict[str, object]], ...] = (
        ("/auth/tokens", {"name": "x", "scopes": scopes[:1]}),
        ("/auth/logout/everywhere", {}),
    )
    for path, body in calls:
        status, problem = leaked.ask("POST", path, body)
        assert (status, "does not have the scope 'admin'" in problem["detail"]) == (403, True)
    assert leaked.ask("GET", "/auth/tokens")[0] == (200 if "read" in scopes else 403)


def test_an_unknown_field_is_refused_with_the_known_ones(admin: Api) -> None:
    status, problem = admin.ask("POST", "/auth/tokens", {"name": "x", "days": 7, "scope": ["read"]})
    assert status == 422
    first, second = (error["msg"] for error in problem["errors"])
    fields = "The fields are 'expires_in_days', 'name', 'scopes', 'user'"
    assert first == f"is not a known field; did you mean 'expires_in_days'? {fields}"
    assert second == "is not a known field; did you mean 'scopes'?"
