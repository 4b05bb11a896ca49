"""An extract that takes longer than a request may take is cut, and continues as the next task of the same run."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from ulid import ULID

from tests.integration.world import Begun, World

NAMES = ["a", "b", "c", "d", "e"]


@pytest.fixture
def world(begun: Begun, tmp_path: Path, at_once: None) -> World:  # noqa: ARG001
    """All functions, and a source of five files."""
    world = begun.world(tmp_path)
    for name in NAMES:
        (tmp_path / f"sources/{name}.csv").write_text(f"{name}\n1\n")
    world.ask("POST", "/api/admin/sources/shop", {"type": "csv", "config": {"path": str(tmp_path / "sources")}})
    return world


def test_a_cut_run_publishes_finished_tables_and_names_the_remaining_ones(world: World) -> None:
    world.process.stopping.set()
    run_id = str(ULID())
    answer = world.send("POST", "/extract/csv", {"source": "shop", "run_id": run_id})
    assert answer.status_code == 202
    result = answer.get_json()
    read = [table["table"] for table in result["tables"] if table["status"] == "ok"]
    assert len(read) >= 1
    assert sorted([*read, *result["left"]]) == NAMES
    assert set(world.ask("GET", "/api/sync/manifest")["tables"]) == {f"shop.{name}" for name in read}
    (run,) = world.ask("GET", f"/api/sync/status?run={run_id}")["runs"]
    assert run["status"] == "pending"
    (task,) = [task for task in world.process.task_ledger.waiting() if task.name != "lake"]
    assert (task.id, list(task.body["tables"])) == (f"{run_id}-1", result["left"])


def test_the_parts_of_a_cut_run_have_one_record(world: World) -> None:
    world.process.stopping.set()
    (triggered,) = world.ask("POST", "/api/sync/trigger", {})["runs"]
    for _ in range(20):  # as another process would, after each time that this one was stopped
        tasks = [task for task in world.process.task_ledger.waiting() if task.path == "/extract/csv"]
        for task in tasks:
            world.client.post(
                task.path, headers={"Authorization": f"Bearer {world.admin}", "X-Task-Id": task.id}, buffered=True
            )
        if not tasks:
            break
    (run,) = world.ask("GET", f"/api/sync/status?run={triggered['run_id']}")["runs"]
    assert run["status"] == "ok"
    assert [(table["table"], table["status"]) for table in run["tables"]] == [(name, "ok") for name in NAMES]
    assert set(world.ask("GET", "/api/sync/manifest")["tables"]) == {f"shop.{name}" for name in NAMES}
    began = datetime.fromisoformat(run["started_at"])
    assert began < datetime.now(UTC)
    assert world.process.task_ledger.failure_count() == 0
