"""`da admin tasks`: what failed for good is shown, and retried or dropped."""

import json

from tests.doubles.functions_api import FunctionsApi
from tests.integration.da.conftest import Da
from tests.integration.da.test_json import Checked

ID = "01KMQ000000000000000000000"
TASK = {
    "id": ID,
    "path": "/extract/csv",
    "status": "failed",
    "source": "shop",
    "run_id": ID,
    "created_at": "2026-03-27T12:00:00Z",
    "due": None,
    "failed_at": "2026-03-27T12:05:00Z",
    "attempts": 5,
    "error": "the bucket does not respond",
}


def test_tasks_are_listed(api: FunctionsApi, logged_in: Da) -> None:
    api.answers["GET", "/api/admin/tasks"] = [(200, {"tasks": [TASK]}), (200, {"tasks": [TASK]}), (200, {"tasks": []})]
    _, _, line = logged_in("admin", "tasks", "list").out.splitlines()
    cells = [cell.strip() for cell in line.split("  ") if cell]
    assert cells == [ID, "/extract/csv", "shop", "failed", "5", "2026-03-27 13:05 CET", "the bucket does not respond"]
    assert json.loads(logged_in("admin", "tasks", "list", "--json").out) == [TASK]
    assert "There are no tasks that wait" in logged_in("admin", "tasks", "list").out


def test_a_failed_task_is_retried_or_dropped(api: FunctionsApi, logged_in: Da) -> None:
    again = {**TASK, "status": "waiting", "run_id": "01KMQ000000000000000000001"}
    checked = Checked(logged_in)
    api.answers["POST", f"/api/admin/tasks/{ID}/retry"] = [(200, {"tasks": [again]}), (200, {"tasks": [again]})]
    assert "runs again as run 01KMQ000000000000000000001" in logged_in("admin", "tasks", "retry", ID).out
    assert checked("admin.tasks.retry", ID)
    api.answers["DELETE", f"/api/admin/tasks/{ID}"] = [(204, {}), (204, {})]
    assert logged_in("admin", "tasks", "drop", ID).out == f"Dropped the task {ID}.\n"
    assert checked("admin.tasks.drop", ID)
