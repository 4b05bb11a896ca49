"""What is looked for in the audit."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from analyst.addresses import normal_email
from analyst.audit.events import AuditEvent, Outcome, Place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from duckdb import DuckDBPyConnection

_AT_ONCE: Final = 200


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked for, among events before a place and not before a time (ms since 1970).

    `user` is an id or an e-mail, `action` how actions begin; what is `None` may be anything.
    """

    before: Place
    since_ms: int
    user: str | None = None
    action: str | None = None
    resource: str | None = None
    outcome: Outcome | None = None
    request_id: str | None = None

    def matches(self, event: AuditEvent) -> bool:
        """Tell whether an event is looked for."""
        place = event.place
        return (
            place < self.before
            and place.ms >= self.since_ms
            and (self.user is None or self.user == event.user_id or normal_email(self.user) == event.email)
            and (self.action is None or event.action.startswith(self.action))
            and (self.resource is None or self.resource in event.resources)
            and (self.outcome is None or event.outcome is self.outcome)
            and (self.request_id is None or event.request_id == self.request_id)
        )

    def among(self, db: "DuckDBPyConnection", rows: str) -> "Iterator[AuditEvent]":
        """Give the events that are looked for, newest first, among the rows of a query; its columns are their fields."""
        before: Place | None = self.before
        while before is not None:
            found = self._page(db, rows, before)
            yield from found
            before = found[-1].place if len(found) == _AT_ONCE else None

    def _page(self, db: "DuckDBPyConnection", rows: str, before: Place) -> list[AuditEvent]:
        result = db.execute(
            f"""
            from ({rows})
            where (epoch_ms("at"), id) < ($ms, $id) and epoch_ms("at") >= $since_ms
                and ($user is null or user_id = $user or email = lower($user))
                and ($action is null or starts_with("action", $action))
                and ($resource is null or list_contains(resources, $resource))
                and ($outcome is null or outcome = $outcome)
                and ($request_id is null or request_id = $request_id)
            order by epoch_ms("at") desc, id desc limit {_AT_ONCE}
            """,
            {
                "ms": before.ms,
                "id": before.id,
                "since_ms": self.since_ms,
                "user": self.user,
                "action": self.action,
                "resource": self.resource,
                "outcome": self.outcome,
                "request_id": self.request_id,
            },
        )
        names = [column[0] for column in result.description]
        return [_event(dict(zip(names, row, strict=True))) for row in result.fetchall()]


def _event(row: dict[str, Any]) -> AuditEvent:
    named = {name: _aware(value) for name, value in row.items() if value is not None}
    return AuditEvent.model_validate({**named, "params": json.loads(row["params"] or "{}")})


def _aware(value: Any) -> Any:
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) else value
