"""Runs of triggered extracts."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from ulid import ULID

from tests.integration.world import Begun, World


@pytest.fixture
def world(begun: Begun, tmp_path: Path, at_once: None) -> World:  # noqa: ARG001
    """All functions, and a source of one file."""
    world = begun.world(tmp_path)
    (tmp_path / "sources/orders.csv").write_text("a\n1\n")
    world.ask("POST", "/api/admin/sources/shop", {"type": "csv", "config": {"path": str(tmp_path / "sources")}})
    return world


def triggered(world: World) -> str:
    (run,) = world.ask("POST", "/api/sync/trigger", {})["runs"]
    world.process.background.close()
    return str(run["run_id"])


def status(world: World, run_id: str) -> dict[str, Any]:
    (run,) = world.ask("GET", f"/api/sync/status?run={run_id}")["runs"]
    assert run["run_id"] == run_id
    return dict(run)


def test_a_run_ends_with_its_record(world: World) -> None:
    run = status(world, triggered(world))
    assert (run["status"], run["tables"][0]["rows"]) == ("ok", 1)


def test_an_extract_that_cannot_start_leaves_a_record_too(world: World) -> None:
    run_id = str(ULID())
    world.process.task_ledger.add("/extract/csv", {"source": "shop", "tables": ["not a name"], "run_id": run_id})
    world.ask("POST", "/schedule")
    world.process.background.close()
    run = status(world, run_id)
    assert (run["status"], run["source"]) == ("failed", "shop")
    assert "'tables.0'" in run["error"]


@pytest.mark.parametrize(("age", "expected"), [(timedelta(seconds=30), "pending"), (timedelta(minutes=2), "lost")])
def test_a_run_without_a_heartbeat_is_lost_in_the_end(world: World, age: timedelta, expected: str) -> None:
    run = status(world, str(ULID.from_datetime(datetime.now(UTC) - age)))
    assert run["status"] == expected
    assert ("trigger it again" in (run["error"] or "")) == (expected == "lost")


def test_a_change_in_the_registry_takes_effect_at_once_and_overrides_the_extract(world: World) -> None:
    world.ask("POST", "/extract/csv", {"source": "shop"})

    def descriptions() -> set[str | None]:
        manifest = world.ask("GET", "/api/sync/manifest")["tables"]["shop.orders"]
        listed = world.ask("GET", "/api/catalog/tables?q=orders")["tables"][0]
        detail = world.ask("GET", "/api/catalog/tables/shop.orders")
        return {manifest["description"], listed["description"], detail["description"]}

    assert descriptions() == {None}
    world.ask("PUT", "/api/admin/tables/shop.orders", {"description": "All that was ordered"})
    assert descriptions() == {"All that was ordered"}
    assert world.ask("GET", "/api/catalog/tables?q=WAS+ordered")["count"] == 1
    world.ask("PUT", "/api/admin/tables/shop.orders", {"description": None})
    assert descriptions() == {None}


def test_administrators_see_the_last_good_run_and_the_error_of_each_source(world: World, tmp_path: Path) -> None:
    world.ask("POST", "/extract/csv", {"source": "shop"})
    (tmp_path / "sources/orders.csv").write_text("a\n1,2\n")
    assert world.send("POST", "/extract/csv", {"source": "shop"}).status_code == 422
    found = world.ask("GET", "/api/admin/health")
    (source,) = found["sources"]
    assert (source["source"], source["status"]) == ("shop", "failed")
    assert source["last_good"] < source["last_run"]
    assert source["error"].startswith("orders: orders.csv:2: has 2 values")
    assert found["snapshot_age"] >= 0
    assert "sources" not in world.ask("GET", "/api/health", token=None)
