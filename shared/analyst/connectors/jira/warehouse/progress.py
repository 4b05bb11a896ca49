"""How far a Jira source was read, as the cursor of its tables has it."""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final, Self

import orjson

from analyst.contract.connector import Cursor

OVERLAP: Final = int(timedelta(minutes=15).total_seconds() * 1000)
"""By how many milliseconds an increment reads what came before: Jira's index lags, and orders by what it has seen."""

_DAY: Final = int(timedelta(days=1).total_seconds() * 1000)

MOST_FAILED: Final = 1000
"""How many issues may fail before something else is wrong."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it was read; times are Jira's, in epoch milliseconds.

    `created` is from when on issues are left that have never been read, until all have been: then it is `None`. Before
    `updated` nothing changes any more that was not read. `failed` are issues that could not be had, and are tried again.
    `gone` are the times, by our clock, when issues were taken out because Jira no longer showed them, for a day at least.
    """

    updated: int
    created: int | None = None
    failed: frozenset[str] = field(default=frozenset())
    gone: tuple[int, ...] = ()

    @classmethod
    def read(cls, cursor: Cursor) -> "Self | None":
        """Read a cursor; `None` where nothing was read yet, or by something else."""
        try:
            told = orjson.loads(cursor) if isinstance(cursor, str) else None
            if told is None:
                return None
            return cls(told["updated"], told["created"], frozenset(told["failed"]), tuple(told.get("gone", ())))
        except (ValueError, TypeError, KeyError):
            return None

    def cursor(self) -> Cursor:
        """Write it as a cursor."""
        told: dict[str, Any] = {"created": self.created, "failed": sorted(self.failed), "updated": self.updated}
        if self.gone:
            told["gone"] = self.gone
        return orjson.dumps(told).decode()

    def began_at(self) -> int:
        """Tell from when on an increment reads."""
        return max(self.updated - OVERLAP, 0)

    def after(self, moment: int, read: Collection[str], failed: Collection[str]) -> Self:
        """Tell how far it was read when the issues up to a moment were, but for some that failed."""
        left = (self.failed - frozenset(read)) | frozenset(failed)
        if self.created is not None:
            return replace(self, created=max(self.created, moment), failed=left)
        return replace(self, updated=max(self.updated, moment), failed=left)

    def gone_since_yesterday(self, now: int) -> int:
        """Count the issues that Jira did not show any more within the last day."""
        return sum(moment > now - _DAY for moment in self.gone)

    def with_gone(self, count: int, now: int) -> Self:
        """Note that so many issues were taken out now."""
        return replace(self, gone=(*(moment for moment in self.gone if moment > now - _DAY), *[now] * count))

    def through(self) -> Self:
        """Tell that all issues were read once."""
        return replace(self, created=None)
