"""What is due is synced, once, whenever the scheduler calls."""

import shutil
from datetime import timedelta
from typing import Any

import pytest

from tests.integration.schedule.conftest import NOON, Schedule
from tests.integration.world import SERVICE_TOKEN

DAY = timedelta(days=1)


def test_a_new_source_is_read_completely_at_the_first_call_and_not_at_the_next(schedule: Schedule) -> None:
    shop = schedule
    for table in ("orders", "items"):
        shop.write(f"shop/{table}.csv", "id\n1\n")
    shop.add_source("shop")
    shop.call()
    ((at, source, entry),) = shop.started
    assert (at, source, entry["tables"], entry["why"]) == (NOON, "shop", None, "it has never run")
    assert shop.synced() == {"items": "ok", "orders": "ok"}
    entry = shop.call(NOON + timedelta(minutes=5))["shop"]
    assert (entry["outcome"], entry["why"], entry["next_due"]) == (
        "not_due",
        "it is not due yet",
        "2026-03-27T12:15:00Z",
    )
    assert shop.call(NOON + timedelta(minutes=15))["shop"]["outcome"] == "started"
    assert shop.synced() == {"items": "unchanged", "orders": "unchanged"}


def test_only_the_tables_that_are_due_are_read(shop: Schedule) -> None:
    shop.set("shop", "never")
    shop.set("shop.orders", "daily 15:30")
    shop.set("shop.items", "every 2h")
    found = {}
    for hours in (1, 2, 3, 4, 6):
        entry = shop.call(NOON + timedelta(hours=hours))["shop"]
        found[hours] = entry["tables"] if entry["outcome"] == "started" else entry["next_due"]
    assert found == {
        1: "2026-03-27T14:00:00Z",
        2: ["items"],
        3: "2026-03-27T15:30:00Z",
        4: ["items", "orders"],
        6: ["items"],
    }
    assert shop.synced() == {"items": "unchanged"}


def test_a_missed_time_is_made_up_for_once_even_after_midnight(shop: Schedule) -> None:
    shop.set("shop", "daily 23:00")
    shop.call(NOON.replace(hour=22, minute=59))
    shop.call_every(40, until=NOON.replace(hour=2) + DAY)
    shop.call_every(80, until=NOON.replace(hour=8) + 3 * DAY)  # the first of these comes after a night and a day
    assert shop.times() == ["27 23:39", "28 23:39", "29 23:39"]
    shop.call(NOON.replace(hour=8) + 7 * DAY)
    shop.call(NOON.replace(hour=9) + 7 * DAY)
    shop.call(NOON.replace(hour=23) + 7 * DAY)
    assert shop.times()[3:] == ["03 08:00", "03 23:00"]


def test_a_time_of_day_is_that_of_its_zone_when_clocks_change(shop: Schedule) -> None:
    shop.set("shop", "daily 02:30 Europe/Prague")
    for day, times in ((28, ("01:00", "01:30")), (29, ("00:30", "01:00")), (30, ("00:00", "00:30"))):
        shop.call_at(*(f"{day} {time}" for time in (*times, "02:00", "12:00")))
    assert shop.times() == ["28 01:30", "29 01:00", "30 00:30"]
    shop.set("shop", "daily 12:00 America/New_York")
    shop.call_at("30 15:30", "30 16:00", "30 16:30", "31 12:00")
    assert shop.times()[3:] == ["30 16:00"]


def test_a_table_without_a_schedule_has_that_of_its_source_or_of_the_instance(shop: Schedule) -> None:
    shop.set("shop.orders", "daily 05:00")
    assert {id_: (found["schedule"], found["said_by"]) for id_, found in shop.shown().items()} == {
        "shop": ("every 15m", "instance"),
        "shop.items": ("every 15m", "instance"),
        "shop.orders": ("daily 05:00", "table"),
    }
    shop.set("shop", "every 6h")
    assert (shop.shown()["shop.items"]["schedule"], shop.shown()["shop.items"]["said_by"]) == ("every 6h", "source")
    shop.set("shop.orders", None)
    assert shop.shown()["shop.orders"]["schedule"] == "every 6h"


def test_a_source_that_is_never_due_runs_only_on_demand(schedule: Schedule) -> None:
    schedule.write("shop/orders.csv", "id\n1\n")
    schedule.add_source("shop", "never")
    entry = schedule.call()["shop"]
    assert (entry["outcome"], entry["why"], entry["next_due"]) == (
        "not_due",
        "it runs only on demand",
        None,
    )
    schedule.world.ask("POST", "/api/sync/trigger", {"sources": ["shop"]}, token=SERVICE_TOKEN)
    schedule.background.wait()
    assert schedule.shown()["shop.orders"]["last_run"] == "2026-03-27T12:00:00Z"


def test_an_extract_written_by_an_external_process_is_never_due(schedule: Schedule) -> None:
    schedule.world.ask("POST", "/api/admin/sources/theirs", {"type": "external"})
    entry = schedule.call()["theirs"]
    assert (entry["outcome"], entry["why"]) == ("not_due", "an external process writes its extract")


def test_new_files_are_read_with_the_others(shop: Schedule) -> None:
    shop.write("shop/returns.csv", "id\n1\n")
    assert shop.call(NOON + timedelta(minutes=15))["shop"]["tables"] is None
    assert sorted(shop.synced()) == ["items", "orders", "returns"]
    assert shop.call(NOON + timedelta(minutes=16))["shop"]["outcome"] == "not_due"


def test_new_files_are_found_at_the_times_of_their_source_even_if_its_tables_have_others(shop: Schedule) -> None:
    for table in ("orders", "items"):
        shop.set(f"shop.{table}", "daily 05:00")
    shop.write("shop/returns.csv", "id\n1\n")
    assert shop.call(NOON + timedelta(minutes=15))["shop"]["tables"] == []
    assert shop.synced() == {}
    assert shop.call(NOON + timedelta(minutes=16))["shop"]["tables"] == ["returns"]


def test_a_deregistered_table_is_not_read_until_it_is_registered_again(shop: Schedule) -> None:
    shop.world.ask("DELETE", "/api/admin/tables/shop.orders")
    shop.call(NOON + timedelta(minutes=15))
    assert shop.synced().keys() == {"items"}
    shop.world.ask("POST", "/api/admin/tables/shop.orders", {"sync_schedule": "daily 05:00"})
    entry = shop.call(NOON + timedelta(minutes=16))["shop"]
    assert (entry["tables"], shop.synced()) == (["orders"], {"orders": "ok"})


def test_a_source_that_is_added_again_does_not_wait_for_the_failures_of_its_predecessor(shop: Schedule) -> None:
    shop.add_source("crm", "every 15m")
    shutil.rmtree(shop.files / "crm")
    assert shop.call(NOON + timedelta(minutes=1))["crm"]["outcome"] == "started"
    assert shop.call(NOON + timedelta(minutes=2))["crm"]["outcome"] != "started"
    shop.world.ask("DELETE", "/api/admin/sources/crm")
    shop.add_source("crm", "every 15m")
    assert shop.call(NOON + timedelta(minutes=3))["crm"]["outcome"] == "started"


def test_a_table_is_synced_with_the_settings_of_the_registry(shop: Schedule) -> None:
    merged = {"sync_strategy": "incremental", "primary_key": ["id"]}
    shop.world.ask("PUT", "/api/admin/tables/shop.orders", merged)
    for table in ("orders", "items"):
        shop.write(f"shop/{table}.csv", "id\n2\n3\n")
    shop.call(NOON + timedelta(minutes=15))
    tables = {table["id"]: table["rows"] for table in shop.world.ask("GET", "/api/catalog/tables")["tables"]}
    assert tables == {"shop.orders": 3, "shop.items": 2}


def test_an_unreadable_schedule_is_reported_and_affects_no_other(shop: Schedule) -> None:
    shop.world.process.state.edit(
        lambda db: db.execute("update table_registry set sync_schedule = 'hourly' where name = 'orders'")
    )
    assert shop.call(NOON + timedelta(minutes=15))["shop"]["tables"] == ["items"]
    orders = shop.shown()["shop.orders"]
    assert (orders["is_due"], orders["next_due"]) == (False, None)
    assert orders["why"].startswith("'hourly' is not a valid schedule: write every 15m")
    shop.world.ask("PUT", "/api/admin/tables/shop.orders", {"description": "can be changed all the same"})


BODIES: list[Any] = [None, {}, {"any": "thing"}]


@pytest.mark.parametrize("body", BODIES)
def test_a_scheduler_may_send_any_body(schedule: Schedule, body: Any) -> None:
    assert schedule.world.ask("POST", "/schedule", body, token=SERVICE_TOKEN)["sources"] == []


def test_extracts_on_request_count_as_runs_and_the_scheduler_waits_for_them(shop: Schedule) -> None:
    shop.clock.now = NOON + timedelta(minutes=14)
    shop.world.ask("POST", "/api/sync/trigger", {"tables": ["shop.items"]}, token=SERVICE_TOKEN)
    shop.background.wait()
    shown = shop.shown()
    assert (shown["shop.items"]["last_run"], shown["shop.orders"]["last_run"]) == (
        "2026-03-27T12:14:00Z",
        "2026-03-27T12:00:00Z",
    )


def test_without_anything_to_sync_only_the_sweep_is_due(schedule: Schedule) -> None:
    assert schedule.call() == {"": {"outcome": "started", "why": "it has never run", "next_due": None}}
    entry = schedule.call(NOON + timedelta(minutes=5))[""]
    assert (entry["outcome"], entry["next_due"]) == ("not_due", "2026-03-28T03:00:00Z")
    schedule.call_every(60, until=NOON + DAY)
    assert schedule.world.ask("GET", "/api/admin/schedule")["sweep"]["last_run"] == "2026-03-28T03:05:00Z"
