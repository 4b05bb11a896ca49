"""`da admin`: users, groups, grants and requests, as the server is asked for them."""

import json

import pytest

from tests.doubles.functions_api import FunctionsApi
from tests.integration.da.conftest import Da

BOB = {
    "id": "u2",
    "email": "bob@example.com",
    "name": "Bob",
    "role": "analyst",
    "active": True,
    "groups": ["finance"],
    "created_at": "2026-01-01T00:00:00Z",
}
GRANT = {"id": "p1", "principal": {"type": "user", "id": "u2", "name": "bob@example.com"}}


def test_a_user_is_added_with_a_token_to_hand_over(api: FunctionsApi, logged_in: Da) -> None:
    api.answers["POST", "/api/users"] = [(201, BOB)]
    api.answers["POST", "/auth/tokens"] = [(201, {"id": "t2", "token": "da_bob", "expires_at": "2026-04-01T00:00:00Z"})]
    ran = logged_in("admin", "users", "add", "bob@example.com", "--name", "Bob")
    assert ran.code == 0
    assert api.bodies == [
        {"email": "bob@example.com", "role": "analyst", "name": "Bob"},
        {"name": "da", "user": "bob@example.com", "expires_in_days": 90},
    ]
    assert "Their token (expires 2026-04-01). It is not shown again:\n\n  da_bob\n" in ran.out
    assert ran.out.endswith(f"  da login --server {api.address}\n\nHow to install da: {api.address}/cli\n")


def test_a_user_can_be_added_without_a_token(api: FunctionsApi, logged_in: Da) -> None:
    api.answers["POST", "/api/users"] = [(201, BOB)]
    ran = logged_in("admin", "users", "add", "bob@example.com", "--role", "viewer", "--no-token", "--json")
    assert json.loads(ran.out) == {**BOB, "token": None, "invitation": None}
    assert api.count("/auth/tokens") == 0


def test_an_unknown_role_is_a_usage_error(logged_in: Da, api: FunctionsApi) -> None:
    ran = logged_in("admin", "users", "add", "bob@example.com", "--role", "boss")
    assert ran.code == 2
    assert "boss" in ran.err
    assert api.requests == []


def test_users_are_listed(api: FunctionsApi, logged_in: Da) -> None:
    api.answers["GET", "/api/users"] = [(200, {"users": [BOB, {**BOB, "email": "eve@example.com", "active": False}]})]
    _, _, bob, eve = logged_in("admin", "users", "list").out.splitlines()
    assert bob.split() == ["bob@example.com", "Bob", "analyst", "finance"]
    assert eve.split() == ["eve@example.com", "Bob", "analyst", "inactive", "finance"]


@pytest.mark.parametrize(
    ("arguments", "body"),
    [
        (["bob@example.com", "shop.orders"], {"user": "bob@example.com", "table": "shop.orders"}),
        (["bob@example.com", "shop.*"], {"user": "bob@example.com", "source": "shop"}),
        (["--group", "finance", "shop.*"], {"group": "finance", "source": "shop"}),
        (["finance", "shop.*", "--group", "--bucket", "b"], {"group": "finance", "source": "shop", "bucket": "b"}),
        (["finance", "shop.in.c-main.*", "-g"], {"group": "finance", "source": "shop", "bucket": "in.c-main"}),
    ],
)
def test_tables_and_sources_are_granted(
    api: FunctionsApi, logged_in: Da, arguments: list[str], body: dict[str, str]
) -> None:
    api.answers["POST", "/api/admin/permissions"] = [(201, GRANT)]
    assert logged_in("admin", "grants", "add", *arguments).code == 0
    assert api.bodies == [body]


def test_an_existing_grant_is_not_an_error(api: FunctionsApi, logged_in: Da) -> None:
    there = {**GRANT, "table": "shop.orders", "source": None, "bucket": None}
    api.answers["POST", "/api/admin/permissions"] = [(409, {"detail": "it is granted already"})]
    api.answers["GET", "/api/admin/permissions"] = [(200, {"permissions": [there]})]
    ran = logged_in("admin", "grants", "add", "bob@example.com", "shop.orders")
    assert (ran.code, ran.out) == (0, "bob@example.com already has a grant on shop.orders.\n")


@pytest.mark.parametrize(
    "what", ["shop", "shop.", ".orders", "", "shop.b.orders", "shop..*", ".*", "shop.b.* --bucket c"]
)
def test_an_invalid_table_cannot_be_granted(api: FunctionsApi, logged_in: Da, what: str) -> None:
    assert logged_in("admin", "grants", "add", "bob@example.com", *what.split(" ")).code == 2
    assert api.requests == []


def test_only_the_named_grant_is_revoked(api: FunctionsApi, logged_in: Da) -> None:
    to_group = {"principal": {"type": "group", "id": "g1", "name": "finance"}}
    api.answers["GET", "/api/admin/permissions"] = [
        (
            200,
            {
                "permissions": [
                    {**GRANT, "id": "p1", "table": "shop.orders", "source": None, "bucket": None},
                    {**GRANT, "id": "p2", "table": None, "source": "shop", "bucket": None},
                    {**GRANT, "id": "p3", "table": None, "source": "shop", "bucket": "b"},
                    {**to_group, "id": "p4", "table": None, "source": "shop", "bucket": None},
                ]
            },
        )
    ]
    api.answers["DELETE", "/api/admin/permissions/p2"] = [(204, None)]
    ran = logged_in("admin", "grants", "remove", "bob@example.com", "shop.*")
    assert ran.code == 0
    assert api.counts() == {"GET /api/admin/permissions": 1, "DELETE /api/admin/permissions/p2": 1}
    assert api.requests[0][1] == "/api/admin/permissions?user=bob%40example.com"


def test_a_missing_grant_cannot_be_revoked(api: FunctionsApi, logged_in: Da) -> None:
    api.answers["GET", "/api/admin/permissions"] = [(200, {"permissions": []})]
    ran = logged_in("admin", "grants", "remove", "bob@example.com", "shop.orders")
    assert ran.code == 1
    assert "can't revoke 'shop.orders' from 'bob@example.com': there is no such grant" in ran.err


def test_a_missing_right_of_the_caller_is_reported(api: FunctionsApi, logged_in: Da) -> None:
    api.answers["GET", "/api/users"] = [(403, {"detail": "this is for administrators", "code": "forbidden"})]
    ran = logged_in("admin", "users", "list")
    advice = "to see your role, run: da auth whoami; an administrator can change it"
    assert (ran.code, ran.err) == (1, f"da: can't list the users: this is for administrators; {advice}\n")


@pytest.mark.parametrize("command", [["users", "remove"], ["groups", "join", "sales"], ["users", "set-role"]])
def test_an_unknown_user_is_reported_with_the_next_step(api: FunctionsApi, logged_in: Da, command: list[str]) -> None:
    api.answers["GET", "/api/users"] = [(200, {"users": []})]
    api.answers["GET", "/api/admin/groups"] = [(200, {"groups": [{"id": "g", "name": "sales", "members": []}]})]
    role = ["viewer"] if command[1] == "set-role" else []
    ran = logged_in("admin", *command, "bob@example.com", *role)
    assert (ran.code, ran.err) == (
        1,
        "da: there is no user 'bob@example.com'; to see all users, run: da admin users list\n",
    )


def test_irreversible_commands_ask_for_confirmation(api: FunctionsApi, logged_in: Da) -> None:
    api.answers["GET", "/api/users"] = [(200, {"users": [BOB]})]
    api.answers["DELETE", "/api/users/u2"] = [(204, None)]
    ran = logged_in("admin", "users", "remove", "bob@example.com")
    assert (ran.code, "use --yes" in ran.err) == (2, True)
    assert api.count("/api/users/u2") == 0
    assert json.loads(logged_in("admin", "users", "remove", "bob@example.com", "--yes", "--json").out) == BOB
    assert api.count("/api/users/u2") == 1


def test_all_pages_of_a_report_are_read(api: FunctionsApi, logged_in: Da) -> None:
    def entry(number: int) -> dict[str, object]:
        reasons = [{"kind": "public", "text": "the table is public"}]
        user = {"user_id": f"{number}", "user": f"u{number}"}
        return {**user, "table": "a.b", "readable": True, "downloadable": True, "reasons": reasons}

    pages = [[entry(0), entry(1)], [entry(2)]]
    api.answers["GET", "/api/admin/access"] = [(200, {"user": None, "count": 3, "access": page}) for page in pages]
    report = json.loads(logged_in("admin", "access", "--table", "a.b", "--json").out)
    assert [found["user"] for found in report["access"]] == ["u0", "u1", "u2"]
    assert [path.partition("?")[2] for _, path in api.requests] == [
        "table=a.b&limit=1000",
        "table=a.b&limit=1000&offset=2",
    ]


def test_an_incomplete_answer_is_reported(api: FunctionsApi, logged_in: Da) -> None:
    api.answers["GET", "/api/users"] = [(200, {"people": []})]
    ran = logged_in("admin", "users", "list")
    assert ran.code == 1
    why = "da and the server have different versions; run: da diagnose"
    assert ran.err == f"da: the answer of '{api.address}' has no 'users': {why}\n"
