"""What the instance does on a schedule of its own: it checks freshness, and imports from OpenMetadata."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from analyst.context import Process
from analyst.store import Store
from tests.doubles.openmetadata import TOKEN, openmetadata, table
from tests.integration.schedule.conftest import NOON, Clock, Schedule
from tests.integration.world import SERVICE_TOKEN, Begun, OneByOne

HOUR = timedelta(hours=1)


def notice(schedule: Schedule) -> str | None:
    found: dict[str, Any] = schedule.world.ask("GET", "/api/sync/manifest")["tables"]["shop.orders"]
    text: str | None = found.get("notice")
    return text


def test_a_table_whose_source_has_stopped_is_reported_as_stale(schedule: Schedule) -> None:
    schedule.write("shop/orders.csv", "id,at\n1,2026-03-27 11:00:00\n2,\n")
    schedule.add_source("shop", "never")
    schedule.world.ask("POST", "/extract/csv", {"source": "shop"}, token=SERVICE_TOKEN)
    expected = [
        {"kind": "freshness", "columns": ["at"], "max_age_hours": 24, "severity": "block"},
        {"kind": "not_null", "columns": ["at"]},
    ]
    schedule.world.ask("PUT", "/api/admin/tables/shop.orders/expectations", {"expectations": expected})
    schedule.write("shop/orders.csv", "id,at\n1,2026-03-27 11:30:00\n2,\n")
    schedule.world.ask("POST", "/extract/csv", {"source": "shop"}, token=SERVICE_TOKEN)
    null = "expectations are not met: not_null at: 1 of 2 rows fail"
    assert notice(schedule) == null
    schedule.call(NOON + 20 * HOUR)
    assert notice(schedule) == null
    schedule.call(NOON + 24 * HOUR)
    old = "freshness at: the newest row is from 2026-03-27 11:30 UTC, more than 24 hours ago"
    assert notice(schedule) == f"expectations are not met: {old}; not_null at: 1 of 2 rows fail"
    snapshot = schedule.world.ask("GET", "/api/sync/manifest")["snapshot"]
    schedule.call(NOON + 30 * HOUR)  # nothing is published again
    assert schedule.world.ask("GET", "/api/sync/manifest")["snapshot"] == snapshot
    checks = schedule.world.ask("GET", "/api/tables/shop.orders/expectations")["checks"]
    assert [check["results"][0]["passed"] for check in checks] == [False, True]
    schedule.write("shop/orders.csv", "id,at\n1,2026-03-28 17:00:00\n")
    schedule.world.ask("POST", "/extract/csv", {"source": "shop"}, token=SERVICE_TOKEN)
    assert notice(schedule) is None


def test_descriptions_are_imported_on_schedule_and_show_their_age(begun: Begun, tmp_path: Path) -> None:
    clock = Clock()

    def process(environ: Mapping[str, str], store: Store) -> Process:
        return Process({**environ, "ACCESS_MAX_AGE": "0"}, store=store, clock=clock)

    with openmetadata() as catalog:
        variables = {
            "OPENMETADATA_URL": catalog.url,
            "OPENMETADATA_TOKEN": TOKEN,
            "OPENMETADATA_SCHEDULE": "every 6h",
        }
        world = begun.world(tmp_path, process=process, variables=variables)
        world.process._made["background"] = background = OneByOne()
        (tmp_path / "sources/orders.csv").write_text("id\n1\n")
        world.ask("POST", "/api/admin/sources/shop", {"type": "csv", "config": {"path": str(tmp_path / "sources")}})
        world.ask("POST", "/extract/csv", {"source": "shop"})

        def call(hours: int) -> Mapping[str, Any]:
            clock.now = NOON + hours * HOUR
            world.ask("POST", "/schedule", token=SERVICE_TOKEN)
            background.wait()
            return world.ask("GET", "/api/catalog/tables/shop.orders")

        catalog.tables = [table("x.y.shop.orders", description="First")]
        found = call(0)
        assert (found["description"], found["imported_at"]) == ("First", "2026-03-27T12:00:00Z")
        catalog.tables = [table("x.y.shop.orders", description="Second")]
        assert call(5)["description"] == "First"
        assert call(6)["description"] == "Second"
        catalog.status = 503  # the last import stays, with its age, and the schedule shows the failure
        found = call(12)
        assert (found["description"], found["imported_at"]) == ("Second", "2026-03-27T18:00:00Z")
        catalog.status, catalog.tables = 200, []
        assert call(18)["description"] == "Second", "an answer without any table is doubted"
        world.ask("POST", "/api/admin/openmetadata/import", {"losses": 1})
        found = world.ask("GET", "/api/catalog/tables/shop.orders")
        assert (found["description"], found["imported_at"]) == (None, None)
        jobs = world.ask("GET", "/api/admin/schedule")["jobs"]
        assert [(job["source"], job["job"], job["schedule"]) for job in jobs] == [
            ("", "freshness", "every 1h"),
            ("", "openmetadata", "every 6h"),
        ]
