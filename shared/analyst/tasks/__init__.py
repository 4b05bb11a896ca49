"""Calls of functions by functions: at once, and as tasks that survive the process that asked for them."""

from analyst.tasks.calls import Tasks
from analyst.tasks.delivery import Background, Delivery, HostDelivery
from analyst.tasks.ledger import Task, TaskLedger, is_waiting
from analyst.tasks.runner import TASK_ID, LocalCall, Ran, Runner

__all__ = [
    "TASK_ID",
    "Background",
    "Delivery",
    "HostDelivery",
    "LocalCall",
    "Ran",
    "Runner",
    "Task",
    "TaskLedger",
    "Tasks",
    "is_waiting",
]
