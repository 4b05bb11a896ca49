"""Who can read what and why, over HTTP."""

from typing import Any

import pytest

from tests.integration.admin.conftest import Api, Prepare


def open_shop(admin: Api) -> None:
    """Ann may read one table by herself and one through a group, Bob nothing; and everybody one that is public."""
    admin.make("/api/admin/sources/shop", {"type": "external"})
    admin.make("/api/admin/tables/shop.orders", {"bucket": "in.c-main"})
    admin.make("/api/admin/tables/shop.pay", {"server_only": True})
    admin.make("/api/admin/tables/shop.stores", {"is_public": True})
    ann, _ = admin.user("ann@example.com")
    admin.user("bob@example.com", "viewer")
    group = admin.make("/api/admin/groups", {"name": "Sales"})["id"]
    assert admin.ask("PUT", f"/api/admin/groups/{group}/members/{ann}")[0] == 204
    admin.make("/api/admin/permissions", {"group": "Sales", "source": "shop", "bucket": "in.c-main"})
    admin.make("/api/admin/permissions", {"user": "ann@example.com", "table": "shop.pay"})


@pytest.fixture
def shop(prepare: Prepare) -> Api:
    return prepare(open_shop)[0]


def reason_kinds(report: Any) -> dict[tuple[str, str], list[str]]:
    return {(each["user"], each["table"]): [reason["kind"] for reason in each["reasons"]] for each in report["access"]}


def test_every_readable_table_of_a_user_is_listed(shop: Api) -> None:
    report = shop.get("/api/admin/access?user=Ann@example.com")
    assert (report["count"], report["user"]["groups"]) == (3, ["Sales"])
    assert reason_kinds(report) == {
        ("ann@example.com", "shop.orders"): ["grant", "not_published"],
        ("ann@example.com", "shop.pay"): ["grant", "server_only", "not_published"],
        ("ann@example.com", "shop.stores"): ["public", "not_published"],
    }
    orders = report["access"][0]["reasons"][0]
    assert (orders["group"], orders["user"], orders["on"]) == ("Sales", None, "shop.in.c-main.*")


def test_every_reader_of_a_table_is_listed(shop: Api) -> None:
    report = shop.get("/api/admin/access?table=shop.orders")
    assert (report["count"], report["user"]) == (2, None)
    assert reason_kinds(report) == {
        ("ann@example.com", "shop.orders"): ["grant", "not_published"],
        ("root@example.com", "shop.orders"): ["admin", "not_published"],
    }
    assert len(shop.get("/api/admin/access?table=shop.stores")["access"]) == 3


@pytest.mark.parametrize(
    ("user", "table", "readable", "kinds"),
    [
        ("ann@example.com", "shop.orders", True, ["grant", "not_published"]),
        ("bob@example.com", "shop.orders", False, ["no_grant"]),
        ("bob@example.com", "shop.stores", True, ["public", "viewer", "not_published"]),
        ("root@example.com", "shop.pay", True, ["admin", "server_only", "not_published"]),
    ],
)
def test_for_a_user_and_a_table_every_reason_is_listed(
    shop: Api, user: str, table: str, readable: bool, kinds: list[str]
) -> None:
    (found,) = shop.get(f"/api/admin/access?user={user}&table={table}")["access"]
    assert (found["readable"], [reason["kind"] for reason in found["reasons"]]) == (readable, kinds)


def test_a_deactivated_user_reads_nothing(shop: Api) -> None:
    id_ = shop.get("/api/admin/access?user=ann@example.com")["user"]["id"]
    shop.change(f"/api/users/{id_}", active=False)
    assert shop.get(f"/api/admin/access?user={id_}")["access"] == []
    (found,) = shop.get(f"/api/admin/access?user={id_}&table=shop.pay")["access"]
    assert (found["readable"], [reason["kind"] for reason in found["reasons"]]) == (False, ["deactivated"])
    assert all(reader != "ann@example.com" for reader, _ in reason_kinds(shop.get("/api/admin/access?table=shop.pay")))


def test_without_a_user_or_table_the_callers_own_access_is_listed_in_pages(shop: Api) -> None:
    whole = shop.get("/api/admin/access")
    assert (whole["count"], whole["user"]["email"]) == (3, "root@example.com")
    pages = [shop.get(f"/api/admin/access?limit=1&offset={offset}") for offset in range(4)]
    assert [found for page in pages for found in page["access"]] == whole["access"]
    assert {page["count"] for page in pages} == {3}


@pytest.mark.parametrize("query", ["user=nobody", "table=shop.none", "user=nobody&table=shop.pay"])
def test_unknown_users_and_tables_are_reported(shop: Api, query: str) -> None:
    assert shop.ask("GET", f"/api/admin/access?{query}")[0] == 404


def test_the_access_report_is_for_administrators(shop: Api) -> None:
    _, eve = shop.user("eve@example.com", "km_admin")
    for query in ("", "?table=shop.pay", "?table=shop.none"):
        assert eve.ask("GET", f"/api/admin/access{query}")[0] == 403
