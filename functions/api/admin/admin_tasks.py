"""Tasks: calls of functions that wait, run, or failed for good."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from analyst.access import Role
from analyst.context import Context
from analyst.http import function
from analyst.state.fields import Output
from analyst.tasks import Task

_NONE = "No task with this id has failed."
TaskId = Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,64}$")]


class TaskView(Output):
    """A call of the function at `path`. `due` is when a waiting task runs, `error` why the last attempt failed."""

    id: str
    path: str
    status: Literal["waiting", "running", "failed"]
    source: str | None
    run_id: str | None
    created_at: datetime
    due: datetime | None
    failed_at: datetime | None
    attempts: int
    error: str | None

    @classmethod
    def of(cls, task: Task) -> "TaskView":
        """Show a task, without its body."""
        source, run_id = task.body.get("source"), task.body.get("run_id")
        return cls(
            id=task.id,
            path=task.path,
            status="failed" if task.failed_at else "running" if task.claim else "waiting",
            source=source if isinstance(source, str) else None,
            run_id=run_id if isinstance(run_id, str) else None,
            created_at=task.created_at,
            due=None if task.failed_at or task.claim else task.due,
            failed_at=task.failed_at,
            attempts=task.attempts,
            error=task.error,
        )


class TaskList(Output):
    """Tasks: those that failed for good first, then those that run or wait."""

    tasks: tuple[TaskView, ...]


@function("GET", "/api/admin/tasks", allow=Role.ADMIN)
def list_tasks(ctx: Context) -> TaskList:
    """List the tasks that failed for good, and those that are running or waiting."""
    ledger = ctx.process.task_ledger
    failed = sorted(ledger.failures(), key=lambda task: (task.failed_at or task.created_at, task.id), reverse=True)
    waiting = sorted(ledger.waiting(), key=lambda task: (task.created_at, task.id))
    return TaskList(tasks=tuple(TaskView.of(task) for task in [*failed, *waiting]))


@function("POST", "/api/admin/tasks/{id}/retry", allow=Role.ADMIN, answers={404: _NONE}, audit="task.retry")
def retry_task(id: TaskId, ctx: Context) -> TaskList:
    """Run a task that failed for good once more. An extract gets a new run id."""
    added = ctx.tasks.retry(id)
    ctx.audited(task=id)
    return TaskList(tasks=() if added is None else (TaskView.of(added),))


@function("DELETE", "/api/admin/tasks/{id}", allow=Role.ADMIN, answers={404: _NONE}, audit="task.drop")
def drop_task(id: TaskId, ctx: Context) -> None:
    """Drop a task that failed for good."""
    ctx.process.task_ledger.forget(id)
    ctx.audited(task=id)
