"""Access requests over HTTP: granted or denied, without revealing what exists."""

import json
from typing import Any

import pytest

from analyst.store import ABSENT
from tests.doubles.memory_store import MemoryStore
from tests.integration.admin.conftest import SERVICE_TOKEN, Api, Prepare
from tests.unit.state import legacy

WHY = "for the quarterly report"


def open_shop(admin: Api) -> str | None:
    """Make a table that is hidden from most, one that is public, and Ann, whose token this is."""
    admin.make("/api/admin/sources/shop", {"type": "external"})
    admin.make("/api/admin/tables/shop.hidden", {})
    admin.make("/api/admin/tables/shop.stores", {"is_public": True})
    return admin.user("ann@example.com")[1].token


@pytest.fixture
def opened(prepare: Prepare) -> tuple[Api, str]:
    return prepare(open_shop)


@pytest.fixture
def shop(opened: tuple[Api, str]) -> Api:
    return opened[0]


@pytest.fixture
def ann(opened: tuple[Api, str]) -> Api:
    return opened[0].having(opened[1])


def asking(somebody: Api, table: str = "shop.hidden", reason: str = WHY) -> str:
    return str(somebody.make("/api/access-requests", {"table": table, "reason": reason})["id"])


def may_read(somebody: Api, table: str = "shop.hidden") -> bool:
    access = somebody.process.access
    return access.current().may_read(access.caller_of(somebody.token or "", somebody.process.clock()), table)


def mine(somebody: Api) -> list[Any]:
    found: list[Any] = somebody.get("/api/access-requests/mine")["requests"]
    return found


def pending(admin: Api) -> list[Any]:
    found: list[Any] = admin.get("/api/admin/access-requests")["requests"]
    return found


def test_a_request_is_granted_and_both_sides_see_it(shop: Api, ann: Api) -> None:
    id_ = asking(ann)
    (own,) = mine(ann)
    assert (own["id"], own["table"], own["reason"], own["status"]) == (id_, "shop.hidden", WHY, "pending")
    (listed,) = pending(shop)
    assert (listed["user"], listed["registered"], listed["reviewed_by"]) == ("ann@example.com", True, None)
    status, answered = shop.ask("POST", f"/api/admin/access-requests/{id_}/approve", {"answer": "with pleasure"})
    assert (status, answered["status"], answered["reviewed_by"]) == (200, "approved", "root@example.com")
    assert may_read(ann)
    assert pending(shop) == []
    assert [each["id"] for each in shop.get("/api/admin/access-requests?status=all")["requests"]] == [id_]
    (own,) = mine(ann)
    assert (own["status"], own["answer"], own.keys() & {"user", "reviewed_by", "registered"}) == (
        "approved",
        "with pleasure",
        set(),
    )


def test_a_denied_table_stays_closed_and_can_be_requested_again(shop: Api, ann: Api) -> None:
    id_ = asking(ann)
    assert shop.ask("POST", f"/api/admin/access-requests/{id_}/deny", {"answer": "not before May"})[0] == 200
    assert not may_read(ann)
    asking(ann)
    assert [(each["status"], each["answer"]) for each in mine(ann)] == [("pending", None), ("denied", "not before May")]


@pytest.mark.parametrize("answer", ["approve", "deny"])
def test_a_request_is_answered_once(shop: Api, ann: Api, answer: str) -> None:
    id_ = asking(ann)
    assert shop.ask("POST", f"/api/admin/access-requests/{id_}/deny", {})[0] == 200
    assert shop.ask("POST", f"/api/admin/access-requests/{id_}/{answer}", {})[0] == 409
    assert shop.ask("POST", f"/api/admin/access-requests/none/{answer}", {})[0] == 404
    assert not may_read(ann)


def test_a_request_does_not_reveal_what_exists(shop: Api, ann: Api) -> None:
    def responses(table: str) -> list[tuple[int, str]]:
        body = {"table": table, "reason": WHY}
        answers = [ann.ask("POST", "/api/access-requests", body) for _ in range(2)]
        (own,) = (each for each in mine(ann) if each["table"] == table)
        answers += [shop.ask("POST", f"/api/admin/access-requests/{own['id']}/deny", {"answer": "no"})]
        answers = [*answers[:2], (200, next(each for each in mine(ann) if each["table"] == table))]
        return [(status, same(answer, table, own["id"])) for status, answer in answers]

    def same(answer: Any, table: str, id_: str) -> str:
        times = {name: "TIME" for name in ("created_at", "reviewed_at") if answer.get(name)}
        return json.dumps({**answer, **times}).replace(table, "TABLE").replace(id_, "ID")

    hidden, absent, nowhere = responses("shop.hidden"), responses("shop.absent"), responses("nowhere.nothing")
    assert hidden == absent == nowhere
    assert [status for status, _ in hidden] == [201, 409, 200]


def test_a_request_for_a_readable_table_is_refused(shop: Api, ann: Api) -> None:
    body = {"table": "shop.stores", "reason": WHY}
    status, problem = ann.ask("POST", "/api/access-requests", body)
    assert (status, problem["detail"]) == (409, "you can already read the table 'shop.stores'")
    assert shop.ask("POST", "/api/access-requests", {**body, "table": "shop.hidden"})[0] == 409
    shop.make("/api/admin/permissions", {"user": "ann@example.com", "source": "shop"})
    assert ann.ask("POST", "/api/access-requests", {**body, "table": "shop.hidden"})[0] == 409
    assert ann.make("/api/access-requests", {**body, "table": "shop.absent"})["status"] == "pending"


def test_the_number_of_pending_requests_is_limited(shop: Api, ann: Api) -> None:
    ids = [asking(ann, f"shop.t{number}") for number in range(20)]
    assert ann.ask("POST", "/api/access-requests", {"table": "shop.hidden", "reason": WHY})[0] == 409
    assert shop.ask("POST", f"/api/admin/access-requests/{ids[0]}/deny", {})[0] == 200
    asking(ann)


def test_a_request_can_be_granted_to_a_group_of_the_requester(shop: Api, ann: Api) -> None:
    id_ = asking(ann)
    group = shop.make("/api/admin/groups", {"name": "Sales"})["id"]
    approve = f"/api/admin/access-requests/{id_}/approve"
    assert shop.ask("POST", approve, {"group": "Nobodies"})[0] == 404
    status, problem = shop.ask("POST", approve, {"group": "Sales"})
    assert (status, "is not a member of the group" in problem["detail"]) == (409, True)
    user = ann.get("/api/me")["user_id"]
    assert shop.ask("PUT", f"/api/admin/groups/{group}/members/{user}")[0] == 204
    assert shop.ask("POST", approve, {"group": "Sales"})[0] == 200
    assert may_read(ann)
    (permission,) = shop.get("/api/admin/permissions")["permissions"]
    assert permission["principal"]["name"] == "Sales"


def test_a_table_granted_in_the_meantime_is_not_granted_twice(shop: Api, ann: Api) -> None:
    id_ = asking(ann)
    shop.make("/api/admin/permissions", {"user": "ann@example.com", "table": "shop.hidden"})
    assert shop.ask("POST", f"/api/admin/access-requests/{id_}/approve", {})[0] == 200
    assert len(shop.get("/api/admin/permissions")["permissions"]) == 1


def test_an_administrator_sees_that_a_requested_table_does_not_exist(shop: Api, ann: Api) -> None:
    id_ = asking(ann, "shop.absent")
    assert [each["registered"] for each in pending(shop)] == [False]
    status, problem = shop.ask("POST", f"/api/admin/access-requests/{id_}/approve", {})
    assert (status, "the table 'shop.absent' is not registered" in problem["detail"]) == (409, True)
    assert [each["status"] for each in mine(ann)] == ["pending"]
    shop.make("/api/admin/tables/shop.absent", {})
    assert shop.ask("POST", f"/api/admin/access-requests/{id_}/approve", {})[0] == 200
    assert may_read(ann, "shop.absent")


def test_deactivated_and_removed_users_are_granted_nothing(shop: Api, ann: Api) -> None:
    id_, user = asking(ann), ann.get("/api/me")["user_id"]
    shop.change(f"/api/users/{user}", active=False)
    assert shop.ask("POST", f"/api/admin/access-requests/{id_}/approve", {})[0] == 409
    shop.remove(f"/api/users/{user}")
    assert pending(shop) == []


def test_users_see_only_their_own_requests(shop: Api, ann: Api) -> None:
    asking(ann)
    _, eve = shop.user("eve@example.com", "km_admin")
    assert mine(eve) == []
    for method, path in (
        ("GET", ""),
        ("GET", "?status=all"),
        ("POST", "/none/approve"),
        ("POST", "/none/deny"),
    ):
        assert eve.ask(method, f"/api/admin/access-requests{path}", {} if method == "POST" else None)[0] == 403


def test_a_viewer_may_ask_and_a_service_may_not(shop: Api) -> None:
    _, viewer = shop.user("vic@example.com", "viewer")
    asking(viewer)
    assert shop.having(SERVICE_TOKEN).ask("POST", "/api/access-requests", {"table": "a.b", "reason": WHY})[0] == 403
    assert shop.having(SERVICE_TOKEN).ask("GET", "/api/access-requests/mine")[0] == 403


@pytest.mark.parametrize(
    "wrong",
    [{}, {"table": "shop.hidden"}, {"reason": WHY}, {"table": "hidden", "reason": WHY}, {"table": "a.b", "reason": ""}],
)
def test_a_request_requires_a_table_and_a_reason(ann: Api, wrong: dict[str, str]) -> None:
    assert ann.ask("POST", "/api/access-requests", wrong)[0] == 422


def test_requests_are_audited(shop: Api, ann: Api) -> None:
    user, root = ann.get("/api/me")["user_id"], shop.get("/api/me")["user_id"]
    first, second = asking(ann), asking(ann, "shop.absent")
    shop.ask("POST", f"/api/admin/access-requests/{first}/approve", {})
    shop.ask("POST", f"/api/admin/access-requests/{second}/deny", {"answer": "no"})
    assert shop.audited("request.create") == [
        (user, f"request:{first}", {"table": "shop.hidden"}),
        (user, f"request:{second}", {"table": "shop.absent"}),
    ]
    asked = {"table": "shop.hidden", "asked_by": user, "user": user}
    assert shop.audited("request.approve") == [(root, f"request:{first}", asked)]
    denied = {"table": "shop.absent", "asked_by": user}
    assert shop.audited("request.deny") == [(root, f"request:{second}", denied)]
    assert len(shop.audited("grant.create")) == 1


def test_requests_of_the_reference_system_are_listed(anybody: Api, store: MemoryStore, tmp_path: Any) -> None:
    request = "insert into access_requests (id, user_id, user_email, table_id) values ('r', 'u-gone', 'gone@x', 'Odd')"
    old = legacy.make(tmp_path / "system.duckdb", legacy.V2, legacy.V3, request)
    store.put("state/system.duckdb", old.read_bytes(), if_version=ABSENT)
    made = anybody.make("/auth/bootstrap", {"email": "root@example.com", "secret": "bootstrap-" + "b" * 32})
    admin = anybody.having(made["token"])
    (listed,) = pending(admin)
    assert (listed["user"], listed["table"], listed["registered"]) == ("gone@x", "Odd", False)
    assert admin.ask("POST", "/api/admin/access-requests/r/approve", {})[0] == 409
    assert admin.ask("POST", "/api/admin/access-requests/r/deny", {})[0] == 200
