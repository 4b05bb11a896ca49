"""The progress of reading a Jira source, stored as the cursor of its tables."""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final, Self

import orjson

from analyst.contract.connector import Cursor

OVERLAP: Final = int(timedelta(minutes=15).total_seconds() * 1000)
"""Milliseconds by which increments overlap, because Jira's index lags."""

_DAY: Final = int(timedelta(days=1).total_seconds() * 1000)

MOST_FAILED: Final = 1000
"""More failed issues mean that something else is wrong."""


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress; times are Jira's, in epoch milliseconds.

    Issues created from `created` on were never read; it is `None` once all were. All updates before `updated` were
    read. `failed` issues could not be fetched, and are retried. `gone` are the times, by our clock, at which issues
    were removed without confirmation because Jira no longer showed them, of at least the last day. `scope` is the query
    for all issues of the source; it is `None` in cursors of older versions.
    """

    updated: int
    created: int | None = None
    failed: frozenset[str] = field(default=frozenset())
    gone: tuple[int, ...] = ()
    scope: str | None = None

    @classmethod
    def read(cls, cursor: Cursor) -> "Self | None":
        """Read a cursor; `None` if nothing was read yet, or it is another connector's."""
        try:
            document = orjson.loads(cursor) if isinstance(cursor, str) else None
            if document is None:
                return None
            return cls(
                document["updated"],
                document["created"],
                frozenset(document["failed"]),
                tuple(document.get("gone", ())),
                document.get("scope"),
            )
        except (ValueError, TypeError, KeyError):
            return None

    def cursor(self) -> Cursor:
        """Return the progress as a cursor."""
        document: dict[str, Any] = {"created": self.created, "failed": sorted(self.failed), "updated": self.updated}
        if self.gone:
            document["gone"] = self.gone
        if self.scope is not None:
            document["scope"] = self.scope
        return orjson.dumps(document).decode()

    def within(self, scope: str) -> Self:
        """Return the progress within a scope: after a change, issues that were updated long ago may belong to it."""
        is_other = self.scope is not None and self.scope != scope
        return replace(self, scope=scope, created=0 if is_other else self.created)

    def began_at(self) -> int:
        """Return the time from which an increment reads."""
        return max(self.updated - OVERLAP, 0)

    def after(self, moment: int, read: Collection[str], failed: Collection[str]) -> Self:
        """Return the progress after issues up to a moment were read, except some that failed."""
        left = (self.failed - frozenset(read)) | frozenset(failed)
        if self.created is not None:
            return replace(self, created=max(self.created, moment), failed=left)
        return replace(self, updated=max(self.updated, moment), failed=left)

    def gone_since_yesterday(self, now: int) -> int:
        """Count the issues that were removed within the last day because Jira did not show them."""
        return sum(moment > now - _DAY for moment in self.gone)

    def with_gone(self, count: int, now: int) -> Self:
        """Record the number of issues that were removed now."""
        return replace(self, gone=(*(moment for moment in self.gone if moment > now - _DAY), *[now] * count))

    def through(self) -> Self:
        """Return the progress after all issues were read once."""
        return replace(self, created=None)
