"""The service desk's own fields: agreements and request types."""

from typing import Any

from analyst.connectors.jira.issue import values
from analyst.connectors.jira.issue.values import Report

Flat = tuple[str | None, int | None, int | None]


def sla(value: Any, name: str, report: Report) -> Flat:
    """Tell of the cycle that goes on, else of the last one completed: whether it is breached, its goal and its time.

    Times are in milliseconds. What says that the agreement can't be told (`errorMessage`) has no cycle.
    """
    if value is None:
        return None, None, None
    if not isinstance(value, dict):
        report.count(name)
        return None, None, None
    cycle = value.get("ongoingCycle")
    completed = value.get("completedCycles")
    if cycle is None and isinstance(completed, list) and completed:
        cycle = completed[-1]
    elif cycle is None and completed is not None and not isinstance(completed, list):
        report.count(name)
    if cycle is None:
        return None, None, None
    if not isinstance(cycle, dict):
        report.count(name)
        return None, None, None
    return (
        values.text(cycle.get("breached"), name, report),
        _millis(cycle.get("goalDuration"), name, report),
        _millis(cycle.get("elapsedTime"), name, report),
    )


def _millis(duration: Any, name: str, report: Report) -> int | None:
    if isinstance(duration, dict):
        duration = duration.get("millis")
    return values.whole(duration, name, report)


def request_type(value: Any, name: str, report: Report) -> tuple[str | None, str | None]:
    """Tell the name of a request's type, and its status as the customer sees it."""
    if value is None:
        return None, None
    if not isinstance(value, dict):
        report.count(name)
        return None, None
    kind = values.member(value.get("requestType"), "name", name, report)
    return kind, values.member(value.get("currentStatus"), "status", name, report)
