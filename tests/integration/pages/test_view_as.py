"""An administrator looks at pages through the eyes of a person: read-only, and on record."""

import pytest

from analyst.auth.keys import Purpose
from tests.all_functions import FUNCTIONS
from tests.integration.pages.conftest import HTML, Browser
from tests.integration.world import World

NOTHING_CHANGES = [
    each for each in FUNCTIONS if each.function.method != "GET" and each.function.allow.name != "ANYBODY"
]


def id_of(world: World, name: str) -> str:
    return next(
        id_ for id_, user in world.process.access.refresh().users.items() if user.email == f"{name}@example.com"
    )


@pytest.fixture
def viewing(admin: Browser, world: World) -> Browser:
    """An administrator who looks through the eyes of Vera, a viewer."""
    begun = admin.post(f"/admin/people/{id_of(world, 'vera')}/view-as")
    assert (begun.status_code, begun.headers["Location"]) == (303, "/")
    return admin


def test_an_administrator_sees_what_the_user_sees_and_a_notice(viewing: Browser) -> None:
    page = viewing.get("/").text
    assert "You are viewing pages as vera@example.com" in page
    assert "<dt>Tables you can read</dt><dd>1</dd>" in page
    assert '<a href="/admin">' not in page
    assert viewing.get("/tables/shop/orders").status_code == 200
    assert viewing.get("/tables/shop/salaries").status_code == 404
    assert viewing.json("/api/me")["email"] == "vera@example.com"
    assert viewing.json("/index.json")["tables"] == 1


@pytest.mark.parametrize("path", ["/admin", "/query", "/admin/people", "/api/users", "/admin.json"])
def test_a_viewing_administrator_has_only_the_rights_of_the_user(viewing: Browser, path: str) -> None:
    assert viewing.get(path).status_code == 403


@pytest.mark.parametrize(
    "function", NOTHING_CHANGES, ids=lambda each: f"{each.function.method} {each.function.path.text}"
)
def test_nothing_can_be_changed_while_viewing_as_a_user(viewing: Browser, function: object) -> None:
    spec = function.function  # type: ignore[attr-defined]
    path = spec.path.text.format(**dict.fromkeys(spec.path.names, "a.b"))
    if spec.own_eyes:
        pytest.skip("it ends the look, or the session")
    answer = viewing.client.open(
        path, method=spec.method, headers={"Origin": "http://localhost"}, base_url="http://localhost"
    )
    assert (answer.status_code, "so you can change nothing" in answer.text) == (403, True)


@pytest.mark.parametrize("tail", ["", "/credentials"])
def test_credentials_for_files_are_always_those_of_the_administrator(admin: Browser, world: World, tail: str) -> None:
    """They outlive the look, and what is read with them is on record under their user."""
    assert admin.post(f"/admin/people/{id_of(world, 'ann')}/view-as").status_code == 303
    answer = admin.json(f"/iceberg/v1/namespaces/shop/tables/orders{tail}")
    config = answer["storage-credentials"][0]["config"]
    claims = world.process.keys.verify(Purpose.STORAGE, config["s3.session-token"], world.process.clock())
    assert claims["sub"] == id_of(world, "admin")


def test_notes_of_a_user_stay_their_own(admin: Browser, world: World) -> None:
    ann = world.ask("POST", "/auth/tokens", {"name": "ann", "user": "ann@example.com"})["token"]
    note = world.ask(
        "POST", "/api/memory/notes", {"name": "a.md", "text": "Ann's thoughts", "private": True}, token=ann
    )
    assert admin.post(f"/admin/people/{id_of(world, 'ann')}/view-as").status_code == 303
    assert admin.json("/api/memory/notes") == {"notes": []}
    assert admin.get(f"/api/memory/notes/{note['id']}").status_code == 404


def test_viewing_as_a_user_can_be_ended(viewing: Browser) -> None:
    assert viewing.post("/admin/view-as/end").status_code == 303
    assert viewing.json("/api/me")["email"] == "admin@example.com"


def test_signing_out_ends_viewing_as_a_user(viewing: Browser) -> None:
    assert viewing.post("/auth/logout").status_code == 303
    viewing.sign_in("admin@example.com")
    assert viewing.json("/api/me")["email"] == "admin@example.com"


def test_each_view_is_audited_under_the_administrator(viewing: Browser, world: World) -> None:
    viewing.get("/catalog")
    world.process.audit.close()
    events = world.ask("GET", "/api/admin/audit?action=view_as")["events"]
    assert {"view_as.begin", "view_as.look"} <= {each["action"] for each in events}
    assert {each["email"] for each in events} == {"admin@example.com"}
    assert f"user:{id_of(world, 'vera')}" in events[0]["resources"]


def test_only_administrators_can_view_as_others(kim: Browser, world: World) -> None:
    assert kim.post(f"/admin/people/{id_of(world, 'vera')}/view-as").status_code == 403
    kim.client.set_cookie("da_view_as", f"x:{id_of(world, 'admin')}")
    assert kim.json("/api/me")["email"] == "kim@example.com"


def test_a_token_cannot_view_as_another_user(world: World, browser: Browser) -> None:
    browser.client.set_cookie("da_view_as", f"None:{id_of(world, 'vera')}")
    headers = {"Authorization": f"Bearer {world.admin}", "Accept": HTML}
    answer = browser.client.get("/api/me", headers=headers, base_url="http://localhost")
    assert answer.get_json()["email"] == "admin@example.com"
    refused = browser.client.post(
        f"/admin/people/{id_of(world, 'vera')}/view-as",
        headers={**headers, "Origin": "http://localhost"},
        base_url="http://localhost",
    )
    assert refused.status_code == 409


def test_administrators_cannot_view_as_themselves(admin: Browser, world: World) -> None:
    assert admin.post(f"/admin/people/{id_of(world, 'admin')}/view-as").status_code == 409
