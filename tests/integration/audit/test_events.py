"""Which events are audited, and with which details."""

import logging
from dataclasses import dataclass
from typing import Any

import pytest

from tests.integration.audit.conftest import ADDRESS, NOW, URLS, Api
from tests.integration.world import BOOTSTRAP_SECRET, SERVICE_TOKEN

STRANGER = "da_" + "x" * 43
HIDDEN = {"files": {"shop.secrets": None}}


@dataclass(frozen=True)
class Case:
    """A request, and what is audited of it."""

    request: tuple[Any, ...]
    action: str
    resources: list[str]
    outcome: str
    status: int


DOWNLOAD = "/api/data/{}/download"
TABLE = "/api/catalog/tables/{}"
CASES = [
    Case(("ann", "GET", "/api/sync/manifest"), "sync.manifest", [], "ok", 200),
    Case(("ann", "HEAD", "/api/sync/manifest"), "sync.manifest", [], "ok", 200),
    Case(("ann", "POST", "/api/data/urls", URLS), "data.urls", ["table:shop.orders"], "ok", 200),
    Case(("ann", "POST", "/api/data/urls", HIDDEN), "data.urls", ["table:shop.secrets"], "failed", 404),
    Case(("ann", "GET", DOWNLOAD.format("shop.orders")), "data.download", ["table:shop.orders"], "ok", 307),
    Case(("ann", "GET", DOWNLOAD.format("shop.secrets")), "data.download", ["table:shop.secrets"], "failed", 404),
    Case(("ann", "GET", TABLE.format("shop.secrets")), "catalog.table", ["table:shop.secrets"], "failed", 404),
    Case(("ann", "GET", TABLE.format("shop.nothing")), "catalog.table", ["table:shop.nothing"], "failed", 404),
    Case(("ann", "GET", "/api/users"), "users.list_users", ["path:/api/users"], "denied", 403),
    Case(("service", "GET", "/api/users"), "users.list_users", ["path:/api/users"], "denied", 403),
    Case(("service", "POST", "/extract/csv", {"source": "shop"}), "source.extract", ["source:shop"], "ok", 200),
    Case(("service", "POST", "/extract/csv", {"source": "x"}), "source.extract", ["source:x"], "failed", 404),
    Case(("service", "POST", "/rebuild", {}), "snapshot.rebuild", [], "ok", 200),
    Case(("admin", "POST", "/sweep", {}), "bucket.sweep", [], "ok", 200),
    Case(("admin", "POST", "/sweep", {"x": 1}), "bucket.sweep", ["path:/sweep"], "failed", 422),
    Case(("service", "POST", "/api/sync/trigger", {"tables": ["x.y"]}), "sync.trigger", ["table:x.y"], "failed", 404),
    Case((STRANGER, "GET", "/api/me"), "auth.credentials", ["path:/api/me"], "denied", 401),
    Case((None, "GET", "/files/a/b"), "files.files", ["file:a/b"], "denied", 403),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.action}-{case.status}")
def test_an_event_has_the_action_the_resources_and_the_outcome(api: Api, case: Case) -> None:
    assert api.send(*case.request).status_code == case.status
    (event,) = [event for event in api.written() if event["action"] == case.action]
    assert (event.get("resources", []), event["outcome"], event["status"]) == (
        case.resources,
        case.outcome,
        case.status,
    )
    assert api.last(action=case.action)["id"] == event["id"]


@pytest.mark.parametrize(
    ("who", "caller", "email"),
    [
        ("admin", "token", "admin@example.com"),
        ("ann", "token", "ann@example.com"),
        ("service", "service", None),
        (STRANGER, "anonymous", None),
    ],
)
def test_an_event_has_the_caller_the_client_and_the_time(api: Api, who: str, caller: str, email: str | None) -> None:
    answer = api.send(who, "GET", "/api/sync/manifest", User_Agent="da/2.0", X_Request_Id="request-1")
    event = api.last(request_id="request-1")
    assert answer.headers["X-Request-Id"] == event["request_id"] == "request-1"
    assert (event["caller"], event["email"]) == (caller, email)
    assert (event["user_id"] is None, event["token_id"] is None) == (email is None, email is None)
    assert (event["client_address"], event["client_kind"]) == (ADDRESS, "da")
    assert event["at"] == NOW.isoformat().replace("+00:00", "Z")
    assert 0 <= event["duration_ms"] < 60_000


def test_events_of_signed_urls_have_the_number_of_files(api: Api) -> None:
    wanted = {"files": {"shop.orders": None, "shop.secrets": None}}
    assert api.send("ann", "POST", "/api/data/urls", wanted).status_code == 200
    event = api.last(action="data.urls")
    assert event["resources"] == ["table:shop.orders", "table:shop.secrets"]
    assert event["params"] == {"snapshot": 1, "files": 1, "missing": 1}


def test_an_edit_is_one_event_with_the_same_fields(api: Api) -> None:
    made = api.make("admin", "POST", "/api/users", {"email": "bob@example.com"})
    assert api.written() == []
    event = api.last(resource=f"user:{made['id']}")
    assert (event["action"], event["outcome"], event["caller"]) == ("user.create", "ok", "token")
    assert (event["email"], event["client_address"], event["client_kind"]) == ("admin@example.com", ADDRESS, "da")
    assert event["duration_ms"] >= 0
    assert event["token_id"] is not None
    assert event["params"] == {"email": "bob@example.com", "role": "analyst"}


def test_an_edit_that_is_denied_is_an_event_too(api: Api) -> None:
    assert api.send("ann", "POST", "/api/users", {"email": "eve@example.com"}).status_code == 403
    event = api.last()
    assert (event["action"], event["outcome"], event["email"]) == ("users.create_user", "denied", "ann@example.com")


@pytest.mark.parametrize(
    ("who", "method", "path"),
    [
        (None, "GET", "/api/sync/manifest"),
        (None, "GET", "/api/users"),
        ("ann", "GET", "/api/me"),
        ("ann", "GET", "/api/catalog/tables/shop.orders"),
        ("ann", "GET", "/no/such/path"),
        (STRANGER, "GET", "/no/such/path"),
        (STRANGER, "GET", "/healthz"),
        ("admin", "GET", "/api/users"),
        ("admin", "GET", "/api/users/nobody"),
    ],
)
def test_requests_without_data_and_wrong_credentials_are_not_audited(
    api: Api, who: str | None, method: str, path: str
) -> None:
    api.send(who, method, path)
    assert api.written() == []


def test_a_wrong_bootstrap_secret_is_audited_and_a_right_one_once(api: Api) -> None:
    wrong = {"email": "eve@example.com", "secret": "w" * 32}
    assert api.send(None, "POST", "/auth/bootstrap", wrong).status_code == 403
    event = api.last(action="auth.bootstrap")
    assert (event["outcome"], event["caller"], event["params"]) == (
        "denied",
        "anonymous",
        {"method": "POST", "email": "eve@example.com"},
    )
    again = {"email": "eve@example.com", "secret": BOOTSTRAP_SECRET}
    assert api.send(None, "POST", "/auth/bootstrap", again).status_code == 409
    assert {event["status"] for event in api.found(action="auth.bootstrap")} == {409, 403, None}


def test_a_revoked_token_is_named_by_its_prefix(api: Api) -> None:
    made = api.make("ann", "POST", "/auth/tokens", {"name": "lost"})
    api.make("ann", "DELETE", f"/auth/tokens/{made['id']}")
    assert api.send(made["token"], "GET", "/api/me").status_code == 401
    event = api.last(action="auth.credentials")
    assert event["params"] == {"method": "GET", "prefix": made["prefix"]}


def test_everything_done_for_one_request_has_its_id(api: Api) -> None:
    api.send("admin", "POST", "/api/sync/trigger", {}, X_Request_Id="trigger-1")
    api.process.background.close()
    events = api.found(request_id="trigger-1", resource="source:shop")
    assert {(event["action"], event["caller"]) for event in events} == {
        ("source.extract", "service"),
        ("sync.trigger", "token"),
    }


def test_no_event_contains_a_secret(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    password = "correct horse battery staple"
    caplog.set_level(logging.INFO, "analyst")
    made = api.make("ann", "POST", "/auth/tokens", {"name": "laptop"})["token"]
    signed = api.make("ann", "POST", "/api/data/urls", URLS)["urls"]
    session = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJlLW9mLXRoZS10ZXN0"
    for who in (made + "x", session, password, SERVICE_TOKEN + "x"):
        api.send(who, "GET", "/api/me")
    api.send("ann", "GET", f"/api/admin/tables/{made}")
    api.send("ann", "PUT", f"/api/users/{session}?token={made}", {})
    api.send("ann", "GET", f"/no/such/{session}/{made}")
    api.send("ann", "DELETE", f"/auth/tokens/{made}")
    api.send("ann", "POST", "/auth/tokens", {"name": made})
    api.send(None, "POST", "/auth/bootstrap", {"email": "eve@example.com", "secret": password})
    api.send(None, "GET", next(iter(signed.values())) + "0")
    audited = f"{api.written()} {api.found()} {caplog.text}"
    secrets = [made, session, password, SERVICE_TOKEN, BOOTSTRAP_SECRET, *api.tokens.values()]
    secrets += [url.partition("signature=")[2] for url in signed.values()]
    for secret in secrets:
        assert secret
        assert secret not in audited
    assert len(api.written()) >= 9
