"""Users over HTTP."""

from typing import Any

import pytest

from tests.clouds import Cloud
from tests.integration.admin.conftest import ENVIRON, Api, bootstrapped, serving


def test_users_are_added_listed_changed_and_removed(admin: Api) -> None:
    made = admin.make("/api/users", {"email": " Ann@Example.COM", "name": "Ann"})
    assert (made["email"], made["role"], made["active"], made["groups"]) == ("ann@example.com", "analyst", True, [])
    changed = admin.change(f"/api/users/{made['id']}", role="viewer", name=None)
    assert changed == {**made, "role": "viewer", "name": None}
    assert [user["email"] for user in admin.get("/api/users")["users"]] == ["ann@example.com", "root@example.com"]
    admin.remove(f"/api/users/{made['id']}")
    assert admin.ask("DELETE", f"/api/users/{made['id']}")[0] == 404
    assert admin.ask("PUT", f"/api/users/{made['id']}", {"name": "Ann"})[0] == 404


def test_an_email_is_accepted_in_any_spelling(admin: Api) -> None:
    assert admin.ask("POST", "/api/users", {"email": "ROOT@example.com"})[0] == 409


def test_omitted_fields_keep_their_values(admin: Api) -> None:
    made = admin.make("/api/users", {"email": "ann@example.com", "name": "Ann", "role": "km_admin"})
    assert admin.change(f"/api/users/{made['id']}", active=True) == made
    assert admin.change(f"/api/users/{made['id']}") == made
    assert admin.audited("user.update") == []


@pytest.mark.parametrize(
    "wrong", [{"role": None}, {"active": None}, {"role": "root"}, {"active": 1}, {"email": "x@y.z"}, {"id": "x"}]
)
def test_invalid_changes_are_refused(admin: Api, wrong: dict[str, object]) -> None:
    made = admin.make("/api/users", {"email": "ann@example.com"})
    status, answer = admin.ask("PUT", f"/api/users/{made['id']}", wrong)
    assert status == 422
    assert next(iter(wrong)) in answer["detail"]


def test_the_last_administrator_cannot_be_demoted_or_removed(admin: Api) -> None:
    id_ = admin.get("/api/me")["user_id"]
    for change in ({"role": "km_admin"}, {"active": False}):
        assert admin.ask("PUT", f"/api/users/{id_}", change)[0] == 409
    assert admin.ask("DELETE", f"/api/users/{id_}")[0] == 409
    other, second = admin.user("second@example.com", "admin")
    admin.change(f"/api/users/{other}", active=False)
    assert admin.ask("DELETE", f"/api/users/{id_}")[0] == 409
    assert second.ask("GET", "/api/users")[0] == 401
    admin.change(f"/api/users/{other}", active=True)
    admin.change(f"/api/users/{id_}", role="viewer")
    assert admin.ask("GET", "/api/users")[0] == 403


def test_a_deactivated_user_is_locked_out_at_once_and_old_tokens_stay_invalid(admin: Api) -> None:
    id_, ann = admin.user("ann@example.com")
    assert ann.ask("GET", "/api/me")[0] == 200
    admin.change(f"/api/users/{id_}", active=False)
    assert ann.ask("GET", "/api/me")[0] == 401
    assert admin.ask("POST", "/auth/tokens", {"name": "x", "user": "ann@example.com"})[0] == 409
    admin.change(f"/api/users/{id_}", active=True)
    assert ann.ask("GET", "/api/me")[0] == 401


def test_signing_out_ends_sessions_and_tokens_only_on_request(admin: Api) -> None:
    id_, ann = admin.user("ann@example.com")
    assert valid_from(admin, id_) is None
    assert admin.ask("POST", f"/api/users/{id_}/sign-out", {})[0] == 204
    first = valid_from(admin, id_)
    assert first is not None
    assert ann.ask("GET", "/api/me")[0] == 200
    assert admin.ask("POST", f"/api/users/{id_}/sign-out", {"tokens": True})[0] == 204
    assert valid_from(admin, id_) > first
    assert ann.ask("GET", "/api/me")[0] == 401
    assert [params for _, _, params in admin.audited("user.sign_out")] == [{"tokens": False}, {"tokens": True}]
    assert admin.ask("POST", "/api/users/none/sign-out", {})[0] == 404
    assert admin.make("/auth/tokens", {"name": "new", "user": "ann@example.com"})["token"]


def valid_from(admin: Api, user: str) -> Any:
    return admin.process.access.current().users[user].sessions_valid_from


def test_a_removed_user_is_locked_out_at_once_and_a_new_user_with_the_address_is_another_one(admin: Api) -> None:
    id_, ann = admin.user("ann@example.com")
    admin.make("/api/admin/sources/shop", {"type": "external"})
    admin.make("/api/admin/tables/shop.orders", {})
    admin.make("/api/admin/permissions", {"user": "ann@example.com", "table": "shop.orders"})
    admin.remove(f"/api/users/{id_}")
    assert ann.ask("GET", "/api/me")[0] == 401
    admin.user("ann@example.com")
    assert ann.ask("GET", "/api/me")[0] == 401
    assert admin.get("/api/admin/permissions")["permissions"] == []


def test_a_new_role_applies_from_the_next_request_on(admin: Api) -> None:
    id_, ann = admin.user("ann@example.com")
    assert ann.ask("GET", "/api/users")[0] == 403
    admin.change(f"/api/users/{id_}", role="admin")
    assert ann.ask("GET", "/api/users")[0] == 200


def test_changes_are_audited_with_the_changed_fields(admin: Api) -> None:
    id_, _ = admin.user("ann@example.com")
    admin.change(f"/api/users/{id_}", role="viewer", active=True)
    ((who, resource, params),) = admin.audited("user.update")
    assert who == admin.get("/api/me")["user_id"]
    assert resource == f"user:{id_}"
    assert params == {"role": {"from": "analyst", "to": "viewer"}}


@pytest.mark.parametrize("role", ["viewer", "analyst", "km_admin"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/users"),
        ("POST", "/api/users"),
        ("PUT", "/api/users/x"),
        ("DELETE", "/api/users/x"),
        ("POST", "/api/users/x/sign-out"),
        ("GET", "/api/admin/groups"),
        ("POST", "/api/admin/groups"),
        ("DELETE", "/api/admin/groups/x"),
        ("PUT", "/api/admin/groups/x/members/y"),
        ("GET", "/api/admin/permissions"),
        ("POST", "/api/admin/permissions"),
        ("DELETE", "/api/admin/permissions/x"),
        ("GET", "/api/admin/sources"),
        ("POST", "/api/admin/sources/x"),
        ("GET", "/api/admin/tables"),
        ("PUT", "/api/admin/tables/x.y"),
        ("DELETE", "/api/admin/tables/x.y"),
    ],
)
def test_administration_is_for_administrators(
    request: pytest.FixtureRequest, role: str, method: str, path: str
) -> None:
    somebody: Api = request.getfixturevalue("people")[role]
    body: object = {} if method in ("POST", "PUT") else None
    assert somebody.ask(method, path, body)[0] == 403
    assert somebody.having(None).ask(method, path, body)[0] == 401


@pytest.fixture(scope="module")
def people(shared_cloud: Cloud) -> dict[str, Api]:
    """One of each role, on a bucket that these tests don't change."""
    admin = bootstrapped(serving(shared_cloud.open(), ENVIRON))
    return {role: admin.user(f"{role}@example.com", role)[1] for role in ("viewer", "analyst", "km_admin")}
