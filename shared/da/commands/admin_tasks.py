"""`da admin tasks`: calls between functions that wait, run, or failed for good."""

from typing import Annotated, Any

import typer

from da.help import Commands
from da.options import Json
from da.output import print_json, print_table, respond
from da.server import segment
from da.session import doing
from da.text import local_time

app = Commands("Show the tasks of the server; retry or drop those that failed for good.")

Id = Annotated[str, typer.Argument(metavar="ID", help="The id of a failed task, as `list` shows it.")]


@app.command("list")
def list_tasks(json: Json = False) -> None:
    """List tasks: those that failed for good, then those that run or wait.

    A task is a call that one function makes to another, such as an extract. It is repeated after temporary failures.

    Examples:
      da admin tasks list
    """
    with doing("list the tasks") as server:
        tasks = server.get("/api/admin/tasks")["tasks"]
    if json:
        print_json(tasks)
        return
    print_table(
        _COLUMNS,
        [_row(task) for task in tasks],
        optional=("source",),
        empty="There are no tasks that wait, run or have failed; to list past runs, run: da admin runs",
    )


@app.command("retry")
def retry(task: Id, json: Json = False) -> None:
    """Retry a task that failed for good. An extract gets a new run id.

    Examples:
      da admin tasks retry 01KMQ000000000000000000000
    """
    with doing(f"retry the task '{task}'") as server:
        response = server.post(f"/api/admin/tasks/{segment(task)}/retry", {})
    started = next((one["run_id"] for one in response["tasks"]), None)
    respond(response, f"The task {task} runs again{f' as run {started}' if started else ''}.", json=json)


@app.command("drop")
def drop(task: Id, json: Json = False) -> None:
    """Drop a task that failed for good.

    Examples:
      da admin tasks drop 01KMQ000000000000000000000
    """
    with doing(f"drop the task '{task}'") as server:
        server.delete(f"/api/admin/tasks/{segment(task)}")
    respond({"id": task}, f"Dropped the task {task}.", json=json)


_COLUMNS = ("id", "function", "source", "status", "attempts", "since", "reason")


def _row(task: dict[str, Any]) -> tuple[str, ...]:
    since = local_time(task["failed_at"] or task["created_at"]) or ""
    columns = task["id"], task["path"], task["source"] or "", task["status"], str(task["attempts"]), since
    return *columns, task["error"] or ""
