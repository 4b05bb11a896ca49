"""What a process remembers for its pages follows the bucket, also when another process changes it."""

from pathlib import Path
from typing import Any

import pytest

from analyst.context import Process
from tests.clouds import Cloud
from tests.integration.pages.conftest import Browser
from tests.integration.world import World


@pytest.fixture(scope="module")
def both(shared_cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Two processes on one bucket: one that shows pages, and one that changes what they show."""
    folder = tmp_path_factory.mktemp("both")
    one = World(folder, shared_cloud)
    (folder / "sources" / "shop").mkdir()
    (folder / "sources" / "shop" / "orders.csv").write_text("id,amount\n1,10\n2,20\n")
    one.ask("POST", "/api/admin/sources/shop", {"type": "csv", "config": {"path": str(folder / "sources" / "shop")}})
    one.ask("POST", "/extract/csv", {"source": "shop"})
    one.ask("POST", "/api/users", {"email": "ann@example.com", "role": "analyst"})
    variables = {"ACCESS_MAX_AGE": "0"}
    other = World(
        folder, shared_cloud, admin=one.admin, process=lambda env, store: Process({**env, **variables}, store=store)
    )
    yield other, one, folder
    one.process.close()
    other.process.close()


def test_the_home_page_follows_changes_of_grants_and_data(both: tuple[World, World, Path]) -> None:
    pages, changes, folder = both
    ann = Browser(pages).sign_in("ann@example.com")
    assert (ann.json("/index.json")["tables"], ann.json("/index.json")["newest"]) == (0, [])
    grant = changes.ask("POST", "/api/admin/permissions", {"user": "ann@example.com", "source": "shop"})
    seen = ann.json("/index.json")
    assert (seen["tables"], seen["columns"], seen["rows"]) == (1, 2, 2)
    assert [each["id"] for each in seen["fresh"]] == [each["table"]["id"] for each in seen["newest"]] == ["shop.orders"]
    (folder / "sources" / "shop" / "orders.csv").write_text("id,amount,day\n1,10,2026-01-01\n2,20,\n3,30,\n")
    (folder / "sources" / "shop" / "items.csv").write_text("id\n1\n")
    changes.ask("POST", "/extract/csv", {"source": "shop"})
    seen = ann.json("/index.json")
    assert (seen["tables"], seen["columns"], seen["rows"]) == (2, 4, 4)
    changes.ask("DELETE", "/api/admin/tables/shop.items")
    assert ann.json("/index.json")["tables"] == 1
    assert ann.get("/tables/shop/items").status_code == 404
    changes.ask("DELETE", f"/api/admin/permissions/{grant['id']}")
    assert ann.json("/index.json")["tables"] == 0


def test_the_schedule_and_the_runs_follow_changes(both: tuple[World, World, Path]) -> None:
    pages, changes, _ = both
    admin = Browser(pages).sign_in("admin@example.com")
    ids = [each["id"] for each in admin.json("/admin/schedule.json")["schedule"]["entries"]]
    assert ids == ["shop", "shop.orders"]
    before = admin.json("/admin/runs.json")["runs"]
    changes.ask("PUT", "/api/admin/tables/shop.orders", {"sync_schedule": "daily 05:00"})
    changes.ask("POST", "/extract/csv", {"source": "shop"})
    entries = {each["id"]: each for each in admin.json("/admin/schedule.json")["schedule"]["entries"]}
    assert entries["shop.orders"]["schedule"] == "daily 05:00"
    after = admin.json("/admin/runs.json")["runs"]
    assert len(after) > len(before)
    assert after[-len(before) :] == before


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("", ["shop", "shop.orders"]),
        ("q=ORD", ["shop.orders"]),
        ("q=none", []),
        ("source=shop", ["shop", "shop.orders"]),
        ("source=other", []),
        ("state=running", []),
        ("state=failing", []),
        ("page=99", ["shop", "shop.orders"]),
    ],
)
def test_the_schedule_can_be_searched(both: tuple[World, World, Path], query: str, ids: list[str]) -> None:
    admin = Browser(both[0]).sign_in("admin@example.com")
    found = admin.json(f"/admin/schedule.json?{query}")["schedule"]
    assert [each["id"] for each in found["entries"]] == ids
    assert (found["count"], found["page"], found["pages"]) == (len(ids), 1, 1)
    assert admin.get(f"/admin/schedule?{query}").status_code == 200


@pytest.mark.parametrize("query", ["state=odd", "page=0", "page=x", "other=1"])
def test_an_invalid_search_is_refused(both: tuple[World, World, Path], query: str) -> None:
    assert Browser(both[0]).sign_in("admin@example.com").get(f"/admin/schedule?{query}").status_code == 422


def test_the_reason_why_somebody_can_read_a_table_is_current(both: tuple[World, World, Path]) -> None:
    pages, changes, _ = both
    about = "/api/admin/access?user=ann@example.com&table=shop.orders"
    assert pages.ask("GET", about)["access"][0]["readable"] is False
    grant = changes.ask("POST", "/api/admin/permissions", {"user": "ann@example.com", "table": "shop.orders"})
    assert pages.ask("GET", about)["access"][0]["readable"] is True
    changes.ask("DELETE", f"/api/admin/permissions/{grant['id']}")
    assert pages.ask("GET", about)["access"][0]["readable"] is False
