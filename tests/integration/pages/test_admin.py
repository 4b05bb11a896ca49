"""The pages of administrators: they show what the API returns, and their forms change what the API changes."""

import html
import json
import re
import threading
from pathlib import Path
from typing import Any

import pytest

from analyst import saved_queries
from tests.integration.pages.conftest import Browser
from tests.integration.world import World

PAGES = [
    "",
    "/sources",
    "/tables",
    "/runs",
    "/schedule",
    "/people",
    "/access",
    "/requests",
    "/audit",
    "/snapshots",
    "/settings",
]


def id_of(world: World, email: str) -> str:
    return next(id_ for id_, user in world.process.access.refresh().users.items() if user.email == email)


@pytest.mark.parametrize("page", PAGES)
def test_every_admin_page_is_shown_and_has_a_json_twin(admin: Browser, page: str) -> None:
    shown = admin.get(f"/admin{page}")
    assert shown.status_code == 200, html.unescape(shown.text.partition("<main")[2])
    assert f'<a href="/admin{page}" aria-current="page">' in shown.text
    assert isinstance(admin.json(f"/admin{page}.json"), dict)


@pytest.mark.parametrize("page", PAGES)
def test_admin_pages_are_visible_only_to_administrators(kim: Browser, page: str) -> None:
    assert kim.get(f"/admin{page}").status_code == 403
    assert kim.client.get(f"/admin{page}.json", base_url="http://localhost").status_code == 403


def test_a_source_is_added_tested_registered_synced_and_removed(admin: Browser, world: World) -> None:
    folder = Path(str(world.process.settings.source_roots[0]), "erp")
    folder.mkdir()
    (folder / "invoices.csv").write_text("id;total\n1;10\n")
    form = admin.get("/admin/sources?type=csv").text
    assert form.count('name="option"') > 20
    wrong = admin.post("/admin/sources", name="erp", type="csv", option=["path", "skip"], text=["/nowhere", "many"])
    assert (wrong.status_code, 'value="/nowhere"' in wrong.text) == (422, True), wrong.text.partition("<main")[2]
    options = {"path": str(folder), "delimiter": ";", "header": "true", "nullstr": "NA\n-"}
    added = admin.post("/admin/sources", name="erp", type="csv", option=list(options), text=list(options.values()))
    assert (added.status_code, added.headers["Location"]) == (303, "/admin/sources/erp?done=added")
    source = world.ask("GET", "/api/admin/sources/erp")
    assert source["config"] == {
        "path": str(folder),
        "delimiter": ";",
        "header": True,
        "nullstr": ["NA", "-"],
    }
    assert "passed" in (shown := admin.get("/admin/sources/erp?look=test").text), shown.partition("<main")[2]
    assert 'name="table" value="invoices" checked' in admin.get("/admin/sources/erp?look=tables").text
    assert admin.post("/admin/sources/erp/register", table="invoices").status_code == 303
    synced = admin.post("/admin/sources/erp/sync")
    assert synced.status_code == 303
    run = ended(admin, synced.headers["Location"])
    assert (run["source"], [each["table"] for each in run["tables"]]) == ("erp", ["invoices"])
    assert "invoices" in admin.get(synced.headers["Location"]).text
    assert "This removes 1 table" in admin.get("/admin/sources/erp?look=removal").text
    assert admin.post("/admin/sources/erp/remove", confirm="shop").status_code == 422
    assert admin.post("/admin/sources/erp/remove", confirm="erp").status_code == 303
    assert "erp" not in [each["name"] for each in world.ask("GET", "/api/admin/sources")["sources"]]


def ended(admin: Browser, path: str) -> Any:
    """Wait for a run, which another thread does, and return it."""
    for _ in range(2400):
        run = admin.json(f"{path}.json")["run"]
        if run["status"] != "pending":
            return run
        threading.Event().wait(0.05)
    raise AssertionError("the run has not ended")


def test_people_groups_and_grants_are_managed_on_pages(admin: Browser) -> None:
    added = admin.post("/admin/people", email="Eve@Example.com", name="Eve", role="viewer")
    assert added.status_code == 303
    path = added.headers["Location"].partition("?")[0]
    assert "eve@example.com" in admin.post("/admin/people/search", q="eve").text
    assert admin.post(path, name="Eva", role="analyst", active="true").status_code == 303
    assert admin.json(f"{path}.json")["user_shown"]["role"] == "analyst"
    invited = admin.post(f"{path}/invite").text
    assert "/auth/password/set?token=" in html.unescape(invited)
    assert admin.post("/admin/groups", name="team").status_code == 303
    (group,) = admin.json("/admin/people.json")["groups"]
    assert admin.post(f"/admin/groups/{group['id']}/members", user="eve@example.com", what="add").status_code == 303
    granted = admin.post("/admin/access", kind="group", to="team", table="shop.salaries")
    assert granted.status_code == 303
    asked = admin.post("/admin/access/explain", user="eve@example.com", table="shop.salaries")
    assert "eve" not in asked.headers["Location"]
    page = admin.get(asked.headers["Location"]).text
    assert "team" in page
    assert 'value="eve@example.com"' in page
    assert "shop.salaries" in admin.get(path).text
    (grant,) = [each for each in admin.json("/admin/access.json")["grants"] if each["principal"]["name"] == "team"]
    assert admin.post(f"/admin/access/{grant['id']}/revoke").status_code == 303
    assert admin.post(f"/admin/groups/{group['id']}/delete").status_code == 303
    assert admin.post(f"{path}/delete", confirm="nobody").status_code == 422
    eve, store = path.rpartition("/")[2], admin.world.process.store
    saved_queries.remember(store, eve, "select 1", admin.world.process.clock())
    assert admin.post(f"{path}/delete", confirm="eve@example.com").status_code == 303
    assert saved_queries.history(store, eve) == ()
    assert admin.get(path).status_code == 404


def test_a_request_is_decided(admin: Browser, world: World) -> None:
    bob = Browser(world).sign_in("bob@example.com")
    bob.post("/tables/shop/salaries/request", reason="For <b>me</b>")
    page = admin.get("/admin/requests").text
    assert "For &lt;b&gt;me&lt;/b&gt;" in page
    (request,) = admin.json("/admin/requests.json")["requests"]
    decided = admin.post(f"/admin/requests/{request['id']}", decision="approve", answer="Welcome")
    assert decided.status_code == 303
    assert bob.get("/tables/shop/salaries").status_code == 200
    assert "Welcome" in bob.get("/account").text
    assert "approved" in admin.get("/admin/requests?status=all").text
    world.ask("DELETE", f"/api/admin/permissions/{_grant_of(world, 'bob@example.com')}")


def _grant_of(world: World, email: str) -> str:
    found = world.ask("GET", f"/api/admin/permissions?user={email}")["permissions"]
    return str(found[0]["id"])


def test_a_table_is_changed(admin: Browser, world: World) -> None:
    form = {"sync_schedule": "every 6h", "sync_strategy": "full_refresh", "primary_key": "id", "server_only": "true"}
    assert admin.post("/admin/tables/shop/salaries", **form).status_code == 303
    table = world.ask("GET", "/api/admin/tables/shop.salaries")
    assert (table["sync_schedule"], table["primary_key"], table["server_only"]) == ("every 6h", ["id"], True)
    poor = admin.post("/admin/tables/shop/salaries", sync_schedule="sometimes")
    assert (poor.status_code, "sometimes" in poor.text) == (422, True)
    granted = admin.post("/admin/tables/shop/salaries/grant", kind="user", to="ann@example.com")
    assert granted.status_code == 303
    assert "ann@example.com" in admin.get("/admin/tables/shop/salaries").text
    world.ask("DELETE", f"/api/admin/permissions/{_grant_of_table(world)}")
    assert admin.post("/admin/tables/shop/salaries/remove", confirm="x").status_code == 422


def _grant_of_table(world: World) -> str:
    found = world.ask("GET", "/api/admin/permissions?table=shop.salaries")["permissions"]
    return str(found[0]["id"])


def test_events_are_filtered_without_an_address_in_the_url(admin: Browser, world: World) -> None:
    Browser(world).sign_in("ann@example.com").post("/query", sql="select 1 as one")
    world.process.audit.close()
    found = admin.post("/admin/audit", user="ann@example.com", action="query")
    assert "example.com" not in found.headers["Location"]
    page = admin.get(found.headers["Location"]).text
    assert "<code>query</code>" in page
    assert 'value="ann@example.com"' in page
    events: Any = admin.json(found.headers["Location"].replace("/admin/audit?", "/admin/audit.json?"))["events"]
    assert {each["email"] for each in events} == {"ann@example.com"}
    assert admin.post("/admin/audit", user="nobody@example.com").status_code == 404
    assert "No matching events" in admin.get("/admin/audit?until=2001-01-01").text


def test_a_rollback_is_previewed_then_done_and_released(admin: Browser, world: World) -> None:
    folder = Path(str(world.process.settings.source_roots[0]), "shop")
    (folder / "orders.csv").write_text("id,amount,day\n1,10,2026-01-01\n")
    world.ask("POST", "/extract/csv", {"source": "shop"})
    numbers = [each["snapshot"] for each in admin.json("/admin/snapshots.json")["snapshots"]]
    preview = admin.post("/admin/snapshots", number=str(numbers[1]), preview="true").text
    assert f"Rolling back to snapshot {numbers[1]} would change" in preview
    assert "/tables/shop/orders" in preview
    assert admin.json("/admin/snapshots.json")["snapshots"][0]["snapshot"] == numbers[0]
    assert admin.post("/admin/snapshots", number=str(numbers[1])).status_code == 303
    assert [each["source"] for each in admin.json("/admin/snapshots.json")["held_back"]] == ["shop"]
    assert admin.post("/admin/snapshots/release", source="shop").status_code == 303
    assert admin.json("/admin/snapshots.json")["held_back"] == []


def test_settings_are_checked_and_secrets_not_shown(admin: Browser, world: World) -> None:
    page = admin.get("/admin/settings").text
    secret = str(world.process.environ["BOOTSTRAP_SECRET"])
    assert secret not in page
    assert secret not in json.dumps(admin.json("/admin/settings.json"))
    checked = admin.post("/admin/settings", text="instance: {nam: x}\nquery: {workers: many}\n").text
    assert "would be refused" in checked
    assert "did you mean instance.name" in html.unescape(checked)
    assert "This configuration is valid" in admin.post("/admin/settings", text="instance: {name: x}").text


def test_a_sweep_is_previewed(admin: Browser) -> None:
    assert "It would delete" in admin.post("/admin/sweep", dry_run="true").text


def test_a_materialized_table_is_added_and_its_sql_changed_by_a_form(admin: Browser, world: World) -> None:
    assert admin.post("/admin/sources", name="reports", type="materialized").status_code == 303
    page = admin.get("/admin/sources/reports").text
    assert "Add a table of SQL" in page
    assert re.findall(r'name="option" value="(\w+)"', page.partition('id="add"')[2].partition("</section>")[0]) == [
        "sql",
        "engine",
        "connection",
        "max_bytes_billed",
        "allow_fewer",
    ]
    wrong = {"table": "daily", "schedule": "daily 05:00", "option": "sql", "text": "select nothing from shop.none"}
    refused = admin.post("/admin/sources/reports/tables", **wrong)
    assert refused.status_code == 422
    assert "select nothing from shop.none</textarea>" in refused.text
    added = admin.post("/admin/sources/reports/tables", **{**wrong, "text": "select id from shop.orders"})
    assert added.headers["Location"] == "/admin/tables/reports/daily?done=added"
    table = world.ask("GET", "/api/admin/tables/reports.daily")
    assert (table["sync_schedule"], table["options"]["inputs"]) == ("daily 05:00", ["shop.orders"])
    path = "/admin/tables/reports/daily"
    bad = admin.post(f"{path}/options", option="sql", text="drop table x")
    assert (bad.status_code, "drop table x</textarea>" in bad.text) == (422, True)
    assert admin.post(f"{path}/options", option="sql", text="select amount from shop.orders").status_code == 303
    assert "select amount from shop.orders</textarea>" in admin.get(f"{path}?done=changed").text


@pytest.mark.parametrize(("type_", "option"), [("bigquery", "datasets"), ("keboola", "buckets"), ("csv", "path")])
def test_each_source_type_has_a_form_made_from_its_model(admin: Browser, type_: str, option: str) -> None:
    page = admin.get(f"/admin/sources?type={type_}").text
    field = page.partition(f'name="option" value="{option}"')[2].partition("</label>")[0]
    assert '<span class="hint">' in field


def test_options_of_a_table_are_changed_by_a_form(admin: Browser) -> None:
    page = admin.get("/admin/tables/shop/orders").text
    assert 'action="/admin/tables/shop/orders/options"' in page
    refused = admin.post("/admin/tables/shop/orders/options", option=["skip"], text=["many"])
    assert (refused.status_code, 'value="many"' in refused.text) == (422, True)
    assert admin.post("/admin/tables/shop/none/options", option=["skip"], text=["1"]).status_code == 404
