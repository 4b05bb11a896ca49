"""What happened to items of the memory, and whom it concerns: reviewers, those who proposed an item, and its audience.

Only the author of an item is told about its text: others may lose the right to read its tables later.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from analyst.access import AccessList, Caller, Role
from analyst.memory.governance import IN_FORCE
from analyst.memory.item import Change, Item
from analyst.notifications.notification import Kind, caller_of


@dataclass(frozen=True, slots=True)
class MemoryEvent:
    """Something to report to one person. `key` identifies the event."""

    key: str
    at: datetime
    kind: Kind
    title: str
    text: str
    url: str
    user_id: str


def events(
    items: Sequence[Item], access: AccessList, seen_by: Callable[[Caller], Iterable[Item]], since: datetime
) -> Iterator[MemoryEvent]:
    """Return what happened since a time. `seen_by` returns the items that a person may see now."""
    callers = [caller for user_id in access.users if (caller := caller_of(access, user_id)) is not None]
    yield from _to_review(items, callers, since)
    decided = [(item, change) for item in items if (change := _decision(item)) is not None and change.at >= since]
    yield from _decided(decided, callers, seen_by)
    yield from _approved(decided, callers, seen_by)


def _to_review(items: Sequence[Item], callers: Sequence[Caller], since: datetime) -> Iterator[MemoryEvent]:
    """Tell reviewers of items that wait; those that were proposed together are one event."""
    waiting: dict[datetime, list[Item]] = defaultdict(list)
    for item in items:
        if item.status == "pending" and item.created_at >= since:
            waiting[item.created_at].append(item)
    for at, found in waiting.items():
        title = _counted(len(found), "is waiting for review", "are waiting for review")
        for caller in callers:
            if caller.includes(Role.KM_ADMIN) and {item.source_id for item in found} != {caller.user_id}:
                yield _event(f"memory review {at.isoformat()}", at, "memory_review", title, "", "/memory/admin", caller)


def _decided(
    decided: Sequence[tuple[Item, Change]], callers: Sequence[Caller], seen_by: Callable[[Caller], Iterable[Item]]
) -> Iterator[MemoryEvent]:
    """Notify the author of an item, unless they decided themselves."""
    for caller in callers:
        mine = [(item, change) for item, change in decided if item.source_id == caller.user_id]
        visible = {item.id for item in seen_by(caller)} if mine else set[str]()
        for item, change in mine:
            if change.by != caller.email and item.id in visible:
                title = f"Your item '{item.title}' is {item.status}"
                key = f"memory decided {item.id} {change.at.isoformat()}"
                yield _event(key, change.at, "memory_decided", title, change.reason or "", "/memory", caller)


def _approved(
    decided: Sequence[tuple[Item, Change]], callers: Sequence[Caller], seen_by: Callable[[Caller], Iterable[Item]]
) -> Iterator[MemoryEvent]:
    """Tell the audience of items that are in force since a decision; those of one decision are one event."""
    together: dict[datetime, set[str]] = defaultdict(set)
    for item, change in decided:
        if item.status in IN_FORCE and change.before not in IN_FORCE:
            together[change.at].add(item.id)
    if not together:
        return
    for caller in callers:
        visible = {item.id for item in seen_by(caller) if item.status in IN_FORCE and item.source_id != caller.user_id}
        for at, ids in together.items():
            if count := len(ids & visible):
                title = _counted(count, "was approved", "were approved")
                key = f"memory approved {at.isoformat()}"
                yield _event(key, at, "memory_approved", title, "", "/memory", caller)


def _decision(item: Item) -> Change | None:
    """Return the last decision on an item, past edits; the history begins with the newest."""
    return next((change for change in item.history if change.action != "edit"), None)


def _counted(count: int, one: str, many: str) -> str:
    return f"A memory item {one}" if count == 1 else f"{count} memory items {many}"


def _event(key: str, at: datetime, kind: Kind, title: str, text: str, url: str, caller: Caller) -> MemoryEvent:  # noqa: PLR0917 - one field each
    return MemoryEvent(f"{key} {caller.user_id}", at, kind, title, text, url, caller.user_id or "")
