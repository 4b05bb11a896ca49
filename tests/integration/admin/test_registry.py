"""Sources and the table registry over HTTP."""

from typing import Any

import pytest

from analyst.contract.model import extract_key
from analyst.store import ABSENT, Store
from tests.integration.admin.conftest import Api, Prepare

CONFIG = {"path": "/srv/files", "nullstr": ["NA", ""]}


def open_shop(admin: Api) -> None:
    admin.make("/api/admin/sources/shop", {"type": "csv", "config": CONFIG})


@pytest.fixture
def shop(prepare: Prepare) -> Api:
    return prepare(open_shop)[0]


def test_sources_are_added_changed_and_removed(admin: Api) -> None:
    made = admin.make("/api/admin/sources/shop", {"type": "csv", "config": CONFIG})
    assert (made["name"], made["type"], made["config"], made["excluded"]) == ("shop", "csv", CONFIG, [])
    assert admin.ask("POST", "/api/admin/sources/shop", {"type": "csv", "config": CONFIG})[0] == 409
    changed = admin.change("/api/admin/sources/shop", config={"path": "/srv/other"})
    assert changed["config"] == {"path": "/srv/other"}
    assert admin.change("/api/admin/sources/shop")["config"] == {"path": "/srv/other"}
    assert admin.get("/api/admin/sources/shop") == admin.get("/api/admin/sources")["sources"][0]
    admin.remove("/api/admin/sources/shop")
    for method in ("GET", "DELETE"):
        assert admin.ask(method, "/api/admin/sources/shop")[0] == 404
    assert admin.ask("PUT", "/api/admin/sources/shop", {"config": {}})[0] == 404


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({}, "type"),
        ({"type": None}, "type"),
        ({"type": "cvs"}, "csv"),
        ({"type": "csv"}, "path"),
        ({"type": "csv", "config": {"path": "x", "delimeter": ";"}}, "delimeter"),
        ({"type": "csv", "config": {"path": "x", "delimiter": "abcde"}}, "delimiter"),
        ({"type": "csv", "config": {"path": "x", "on_error": "ignore"}}, "on_error"),
        ({"type": "csv", "config": {"path": "x", "encoding": "klingon"}}, "encoding"),
        ({"type": "csv", "config": []}, "config"),
        ({"type": "csv", "config": {"path": "x"}, "excluded": []}, "excluded"),
        ({"type": "csv", "config": {"path": "x"}, "sync_schedule": "every day"}, "write every 15m"),
        ({"type": "csv", "config": {"path": "x"}, "sync_schedule": "daily 05:00 Mars"}, "no time zone 'Mars'"),
    ],
)
def test_an_invalid_source_is_refused_with_the_reason(admin: Api, wrong: dict[str, Any], reason: str) -> None:
    status, answer = admin.ask("POST", "/api/admin/sources/shop", wrong)
    assert status == 422
    assert reason in answer["detail"]


@pytest.mark.parametrize("name", ["Shop", "1shop", "a.b", "a-b", "x" * 64, "%C3%A9"])
def test_the_name_of_a_source_is_one_that_every_system_accepts(admin: Api, name: str) -> None:
    assert admin.ask("POST", f"/api/admin/sources/{name}", {"type": "external"})[0] == 422


def test_a_source_with_tables_cannot_be_removed_or_change_its_type(shop: Api) -> None:
    shop.make("/api/admin/tables/shop.orders", {})
    status, answer = shop.ask("DELETE", "/api/admin/sources/shop")
    assert status == 409
    assert "shop.orders" in answer["detail"]
    assert shop.ask("PUT", "/api/admin/sources/shop", {"type": "external"})[0] == 409
    shop.remove("/api/admin/tables/shop.orders")
    assert shop.change("/api/admin/sources/shop", type="external", config=None)["config"] == {}
    shop.remove("/api/admin/sources/shop")


def test_a_source_has_a_schedule_until_it_is_cleared(admin: Api) -> None:
    wanted = {"type": "csv", "config": CONFIG, "sync_schedule": "daily 05:00,13:00 Europe/Prague"}
    assert admin.make("/api/admin/sources/shop", wanted)["sync_schedule"] == wanted["sync_schedule"]
    assert admin.change("/api/admin/sources/shop", config={"path": "x"})["sync_schedule"] == wanted["sync_schedule"]
    assert admin.change("/api/admin/sources/shop", sync_schedule="cron 0 5 * * 1-5")["config"] == {"path": "x"}
    assert admin.ask("PUT", "/api/admin/sources/shop", {"sync_schedule": "daily 05:00 Mars"})[0] == 422
    assert admin.change("/api/admin/sources/shop", sync_schedule=None)["sync_schedule"] is None


def test_the_audit_log_of_a_source_has_no_config(admin: Api) -> None:
    secret = "https://ann:hunter2@example.com/"
    admin.make("/api/admin/sources/shop", {"type": "external", "config": {"url": secret}})
    admin.change("/api/admin/sources/shop", config={"url": f"{secret}x"})
    assert [params for _, _, params in admin.audited("source.update")] == [{"type": "external", "config": ["url"]}]
    with admin.process.state.read() as db:
        assert "hunter2" not in str(db.execute("from audit_log").fetchall())


def test_a_table_is_registered_with_defaults(shop: Api) -> None:
    made = shop.make("/api/admin/tables/shop.orders", {})
    assert {name: made[name] for name in made if name not in ("uuid", "registered_at", "updated_at")} == {
        "id": "shop.orders",
        "source": "shop",
        "name": "orders",
        "source_table": "orders",
        "bucket": None,
        "description": None,
        "query_mode": "local",
        "sync_strategy": "full_refresh",
        "primary_key": [],
        "cursor_column": None,
        "sync_schedule": None,
        "profile_after_sync": True,
        "is_public": False,
        "server_only": False,
        "options": {},
        "registered_by": shop.get("/api/me")["user_id"],
    }
    assert shop.get("/api/admin/tables/shop.orders") == made
    assert shop.get("/api/admin/tables?source=shop")["tables"] == [made]
    assert shop.get("/api/admin/tables?source=crm")["tables"] == []
    assert shop.ask("POST", "/api/admin/tables/shop.orders", {})[0] == 409
    assert shop.ask("POST", "/api/admin/tables/crm.orders", {})[0] == 404
    assert shop.ask("GET", "/api/admin/tables/shop.none")[0] == 404


FULL = {
    "source_table": "Orders 2024.csv",
    "bucket": "in.c-main",
    "description": "All\norders",
    "query_mode": "local",
    "sync_strategy": "incremental",
    "primary_key": ["order_id", "line"],
    "cursor_column": "changed_at",
    "sync_schedule": "daily 05:00,17:30",
    "profile_after_sync": False,
    "is_public": True,
    "server_only": True,
    "options": {"delimiter": ";", "types": {"zip": "VARCHAR"}},
}


def test_all_fields_of_a_registration_are_kept(shop: Api) -> None:
    shop.make("/api/admin/tables/shop.orders", FULL)
    kept = shop.get("/api/admin/tables/shop.orders")
    assert {name: kept[name] for name in FULL} == FULL


def test_an_edit_changes_only_the_named_fields(shop: Api) -> None:
    before = shop.make("/api/admin/tables/shop.orders", FULL)
    for name, value in {"description": "new", "is_public": False, "options": {"header": False}}.items():
        after = shop.change("/api/admin/tables/shop.orders", **{name: value})
        before |= {name: value, "updated_at": after["updated_at"]}
        assert after == before


def test_changes_without_effect_are_not_audited(shop: Api) -> None:
    before = shop.make("/api/admin/tables/shop.orders", FULL)
    assert shop.change("/api/admin/tables/shop.orders", **FULL) == before
    shop.change("/api/admin/sources/shop", type="csv")
    assert shop.audited("table.update") == shop.audited("source.update") == []


def test_null_clears_a_field(shop: Api) -> None:
    before = shop.make("/api/admin/tables/shop.orders", FULL)
    cleared: dict[str, object] = {
        "source_table": "orders",
        "bucket": None,
        "description": None,
        "primary_key": [],
        "sync_schedule": None,
        "options": {},
    }
    after = shop.change("/api/admin/tables/shop.orders", **dict.fromkeys(cleared))
    assert after == {**before, **cleared, "updated_at": after["updated_at"]}


@pytest.mark.parametrize("name", ["query_mode", "sync_strategy", "profile_after_sync", "is_public", "server_only"])
def test_required_fields_cannot_be_cleared(shop: Api, name: str) -> None:
    shop.make("/api/admin/tables/shop.orders", FULL)
    status, answer = shop.ask("PUT", "/api/admin/tables/shop.orders", {name: None})
    assert status == 422
    assert name in answer["detail"]


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"query_mode": "hybrid"}, "query_mode"),
    ({"sync_strategy": "partitioned"}, "sync_strategy"),
    ({"sync_strategy": "incremental"}, "primary_key"),
    ({"sync_strategy": "incremental", "primary_key": []}, "primary_key"),
    ({"primary_key": ["Order ID"]}, "primary_key"),
    ({"primary_key": ["a", "a"]}, "primary_key"),
    ({"primary_key": "a"}, "primary_key"),
    ({"sync_schedule": "every 0m"}, "sync_schedule"),
    ({"sync_schedule": "daily 24:00"}, "sync_schedule"),
    (
        {"sync_schedule": "hourly"},
        "sync_schedule: 'hourly' is not a valid schedule; write every 15m or every 6h, daily 05:00",
    ),
    ({"sync_schedule": "daily 05:00 Prague"}, "no time zone 'Prague'; write daily 05:00"),
    ({"sync_schedule": "cron 0 5 31 2 *"}, "bad day-of-month; write cron"),
    ({"sync_schedule": "daily 05:00," + "05:00," * 40 + "05:00"}, "sync_schedule"),
    ({"query_mode": "remote", "server_only": True}, "server_only"),
    ({"query_mode": "remote", "sync_strategy": "incremental", "primary_key": ["a"]}, "full_refresh"),
    ({"options": {"delimeter": ";"}}, "delimeter"),
    ({"options": {"types": {"zip": "TEXTUAL"}}}, "TEXTUAL"),
    ({"folder": "x"}, "folder"),
    ({"uuid": "x"}, "uuid"),
    ({"bucket": ""}, "bucket"),
]


@pytest.mark.parametrize(("wrong", "reason"), WRONG)
def test_an_invalid_table_is_refused_with_the_reason(shop: Api, wrong: dict[str, Any], reason: str) -> None:
    shop.make("/api/admin/tables/shop.visits", {})
    for method, table in (("POST", "orders"), ("PUT", "visits")):
        status, answer = shop.ask(method, f"/api/admin/tables/shop.{table}", wrong)
        assert status == 422
        assert reason in answer["detail"]


def test_a_change_that_contradicts_the_registration_is_refused(shop: Api) -> None:
    shop.make("/api/admin/tables/shop.orders", {"sync_strategy": "incremental", "primary_key": ["id"]})
    assert shop.ask("PUT", "/api/admin/tables/shop.orders", {"primary_key": None})[0] == 422
    shop.change("/api/admin/tables/shop.orders", primary_key=None, cursor_column="day")
    assert shop.ask("PUT", "/api/admin/tables/shop.orders", {"cursor_column": None})[0] == 422


@pytest.mark.parametrize("id_", ["orders", "shop.Orders", "shop.a.b", "shop.", ".orders", "shop.a%20b"])
def test_a_table_id_is_a_source_and_a_name(shop: Api, id_: str) -> None:
    assert shop.ask("POST", f"/api/admin/tables/{id_}", {})[0] == 422


def test_a_deregistered_table_is_left_alone_until_it_is_registered_again(shop: Api) -> None:
    first = shop.make("/api/admin/tables/shop.orders", {})
    shop.remove("/api/admin/tables/shop.orders")
    assert shop.get("/api/admin/sources/shop")["excluded"] == ["orders"]
    assert shop.change("/api/admin/sources/shop", config={"path": "/srv"})["excluded"] == ["orders"]
    again = shop.make("/api/admin/tables/shop.orders", {})
    assert again["uuid"] != first["uuid"]
    assert shop.get("/api/admin/sources/shop")["excluded"] == []


def test_deregistering_an_unknown_table_is_not_found(shop: Api) -> None:
    assert shop.ask("DELETE", "/api/admin/tables/shop.none")[0] == 404
    assert shop.ask("DELETE", "/api/admin/tables/none.none")[0] == 404


def test_rights_end_even_if_the_data_cannot_be_dropped(shop: Api, store: Store) -> None:
    shop.make("/api/admin/tables/shop.orders", {"is_public": True})
    store.put(extract_key("shop"), b"no database", if_version=ABSENT)
    assert shop.ask("DELETE", "/api/admin/tables/shop.orders")[0] == 422
    assert shop.ask("GET", "/api/admin/tables/shop.orders")[0] == 404


class TestPublicByDefault:
    @pytest.fixture
    def environ(self, environ: dict[str, str]) -> dict[str, str]:
        return {**environ, "TABLES_PUBLIC": "true"}

    def test_the_instance_decides_whether_new_tables_are_public(self, shop: Api) -> None:
        assert shop.make("/api/admin/tables/shop.orders", {})["is_public"] is True
        assert shop.make("/api/admin/tables/shop.visits", {"is_public": False})["is_public"] is False
