"""Administering people with `da`, and asking for access, with the functions at the other end."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.da.conftest import Da
from tests.processes import Host, host

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def installed(shared_cloud: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Host, str]]:
    """A server with one table, and the token of Eve, who administers it."""
    home: Path = tmp_path_factory.mktemp("people")
    files = home / "files"
    files.mkdir()
    (files / "orders.csv").write_text("id\n1\n")
    with host(home, shared_cloud, ACCESS_MAX_AGE="0", fork=True) as running:
        token = running.bootstrap("eve@example.com")
        source = {"type": "csv", "config": {"path": str(files)}}
        assert running.ask("POST", "/api/admin/sources/shop", source, token=token)[0] == 201
        assert running.ask("POST", "/extract/csv", {"source": "shop"}, token=token)[0] == 200
        assert running.ask("PUT", "/api/admin/tables/shop.orders", {"bucket": "in.c-main"}, token=token)[0] == 200
        yield running, token


class Person:
    """Somebody at a terminal, logged in."""

    def __init__(self, da: Da, server: Host, token: str) -> None:
        self._da, self._server, self._token = da, server, token

    def __call__(self, *arguments: str, code: int = 0) -> str:
        assert self._da("login", "--server", self._server.url, "--token", self._token).code == 0
        ran = self._da(*arguments)
        assert ran.code == code, (ran.out, ran.err)
        return ran.out + ran.err

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "--json"))


@pytest.fixture
def server(installed: tuple[Host, str]) -> Host:
    return installed[0]


@pytest.fixture
def eve(da: Da, installed: tuple[Host, str]) -> Person:
    return Person(da, *installed)


@pytest.fixture
def ann(da: Da, server: Host, eve: Person) -> Iterator[Person]:
    """An analyst, for one test."""
    made = eve.json("admin", "users", "add", "ann@example.com", "--name", "Ann")
    yield Person(da, server, made["token"]["token"])
    eve("admin", "users", "remove", "ann@example.com", "--yes")


def test_a_user_is_changed_deactivated_and_reactivated(eve: Person, ann: Person) -> None:
    assert (
        eve("admin", "users", "set-role", "Ann@example.com", "viewer") == "ann@example.com now has the role viewer.\n"
    )
    assert eve.json("admin", "users", "rename", "ann@example.com", "Ann B.")["name"] == "Ann B."
    assert "ann@example.com (viewer)" in ann("auth", "whoami")
    eve("admin", "users", "deactivate", "ann@example.com")
    assert (
        "can't create a token for 'ann@example.com': the user ann@example.com is deactivated; activate the user first"
        in eve("admin", "tokens", "create", "ann@example.com", "x", code=1)
    )
    assert eve.json("admin", "users", "activate", "ann@example.com")["active"]


def test_the_last_administrator_cannot_be_removed(eve: Person) -> None:
    for arguments in (["set-role", "eve@example.com", "viewer"], ["deactivate", "eve@example.com"]):
        assert "give another user the role admin first" in eve("admin", "users", *arguments, code=1)
    assert "give another user the role admin first" in eve(
        "admin", "users", "remove", "eve@example.com", "--yes", code=1
    )


def test_an_invitation_is_printed_if_no_mail_can_be_sent(eve: Person, server: Host, ann: Person) -> None:
    assert f"  {server.url}/auth/password/set?token=" in eve("admin", "users", "invite", "ann@example.com")
    invited = eve.json("admin", "users", "add", "bob@example.com", "--invite")
    assert (invited["token"], invited["invitation"]["mailed"]) == (None, False)
    eve("admin", "users", "remove", "bob@example.com", "-y")
    assert "ann@example.com" in ann("auth", "whoami")


def test_groups_pass_on_their_grants_and_access_is_explained(eve: Person, ann: Person) -> None:
    eve("admin", "groups", "add", "sales")
    assert eve("admin", "groups", "join", "sales", "ann@example.com") == "ann@example.com is now a member of sales.\n"
    eve("admin", "grants", "add", "sales", "shop.in.c-main.*", "--group")
    (grant,) = eve.json("admin", "grants", "list", "--user", "ann@example.com")
    assert (grant["principal"]["name"], grant["bucket"]) == ("sales", "in.c-main")
    assert "shop.in.c-main.*" in eve("admin", "grants", "list", "--table", "shop.orders")
    assert eve("admin", "access", "--user", "ann@example.com", "--table", "shop.orders") == (
        "ann@example.com can read and download shop.orders:\n- granted to the group sales on shop.in.c-main.*\n"
    )
    readers = eve("admin", "access", "--table", "shop.orders").splitlines()[2:]
    assert [line.split()[:2] for line in readers] == [
        ["ann@example.com", "shop.orders"],
        ["eve@example.com", "shop.orders"],
    ]
    eve("admin", "groups", "leave", "sales", "ann@example.com")
    assert "can't read shop.orders:" in eve("admin", "access", "-u", "ann@example.com", "-t", "shop.orders")
    assert eve("admin", "access", "-u", "ann@example.com") == "ann@example.com can't read any table.\n"
    assert eve.json("admin", "groups", "remove", "sales", "--yes")["name"] == "sales"
    assert "can't explain access: there is no table" in eve("admin", "access", "-t", "shop.none", code=1)
    assert "an administrator can change it" in ann("admin", "access", code=1)


def test_access_is_requested_and_granted_or_denied(eve: Person, ann: Person) -> None:
    for table in ("shop.orders", "shop.none"):
        assert (
            ann("request", table, "--reason", "the report")
            == f"Requested access to {table}. To see the answer, run: da requests\n"
        )
        assert "you have already requested access" in ann("request", table, "--reason", "the report", code=1)
    asked = {each["table"]: each["id"] for each in eve.json("admin", "requests", "list")}
    assert "the table 'shop.none' is not registered" in eve("admin", "requests", "approve", asked["shop.none"], code=1)
    assert "shop.none (no such table)" in eve("admin", "requests", "list")
    eve("admin", "requests", "deny", asked["shop.none"], "--answer", "there is none")
    assert "ann@example.com can now read shop.orders" in eve("admin", "requests", "approve", asked["shop.orders"])
    assert {each["table"]: (each["status"], each["answer"]) for each in ann.json("requests")} == {
        "shop.orders": ("approved", None),
        "shop.none": ("denied", "there is none"),
    }
    assert ann("sync").startswith("Updated shop.orders")
    assert "you can already read the table 'shop.orders'" in ann("request", "shop.orders", "-m", "again", code=1)
    assert ann("requests").splitlines()[2].split()[:1] == ["shop.none"]
    assert eve.json("admin", "requests", "list") == []
    assert len(eve.json("admin", "requests", "list", "--all")) == 2


@pytest.mark.usefixtures("ann")
def test_tokens_of_others_are_listed_and_revoked(eve: Person) -> None:
    made = eve.json("admin", "tokens", "create", "ann@example.com", "agent", "--scope", "read")
    assert "agent" in eve("admin", "tokens", "list", "--user", "ann@example.com")
    assert {each["email"] for each in eve.json("admin", "tokens", "list")} == {"ann@example.com", "eve@example.com"}
    assert eve("admin", "tokens", "revoke", made["id"]) == "Revoked the token.\n"
    assert "to see all tokens" in eve("admin", "tokens", "revoke", "none", code=1)
    eve("admin", "users", "sign-out", "ann@example.com", "--tokens")
    assert all(each["revoked_at"] for each in eve.json("admin", "tokens", "list", "-u", "ann@example.com"))


def test_earlier_names_of_commands_still_work(eve: Person, ann: Person) -> None:
    assert "ann@example.com" in eve("admin", "list-users")
    assert eve.json("admin", "grant", "ann@example.com", "shop.orders")["table"] == "shop.orders"
    assert ann("sync").startswith("Updated shop.orders")
    eve("admin", "revoke", "ann@example.com", "shop.orders")
    assert ann("sync").startswith("Removed shop.orders")
