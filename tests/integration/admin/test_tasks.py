"""Administrators see what failed for good, and retry or drop it."""

import pytest
from ulid import ULID

from tests.integration.world import Begun, World


@pytest.fixture
def world(begun: Begun, tmp_path_factory: pytest.TempPathFactory, at_once: None) -> World:  # noqa: ARG001
    """All functions, and three extracts of a source that is not there."""
    world = begun.world(tmp_path_factory.mktemp("tasks"))
    for _ in range(3):
        world.process.task_ledger.add("/extract/csv", {"source": "gone", "run_id": str(ULID())})
    world.ask("POST", "/schedule")
    world.process.background.close()
    return world


def test_failed_tasks_are_listed_retried_and_dropped(world: World) -> None:
    found = world.ask("GET", "/api/admin/tasks")["tasks"]
    failed = [task for task in found if task["status"] == "failed"]
    assert [(task["path"], task["source"], task["attempts"]) for task in failed] == 3 * [("/extract/csv", "gone", 1)]
    assert "'gone'" in failed[0]["error"]
    assert world.ask("GET", "/api/health", token=None)["failed_tasks"] == 3

    (again,) = world.ask("POST", f"/api/admin/tasks/{failed[0]['id']}/retry")["tasks"]
    assert again["run_id"] not in {None, failed[0]["run_id"]}
    world.ask("DELETE", f"/api/admin/tasks/{failed[1]['id']}")
    assert world.ask("GET", "/api/health", token=None)["failed_tasks"] == 1
    assert world.send("DELETE", f"/api/admin/tasks/{failed[1]['id']}").status_code == 404


def test_each_failed_task_has_a_record_of_its_run(world: World) -> None:
    (task, *_) = (one for one in world.ask("GET", "/api/admin/tasks")["tasks"] if one["status"] == "failed")
    (run,) = world.ask("GET", f"/api/sync/status?run={task['run_id']}")["runs"]
    assert (run["status"], run["error"]) == ("failed", task["error"])
