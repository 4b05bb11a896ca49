"""Rate limits of credential endpoints, shared by all instances: one small object in the bucket per limit and key.

An attempt is counted before it is answered, by compare-and-swap, so that concurrent attempts can't evade the limit. If
attempts on one key arrive faster than the object can be swapped, they are refused as too many.
"""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import uuid4

from analyst.errors import RateLimitedError, UnavailableError
from analyst.store import Object, Store
from analyst.store.compare_and_swap import swap

COUNTERS: Final = "state/limits/"
"""The prefix of the counters."""

_PAUSES: Final = (0.02, 0.1, 0.3)


@dataclass(frozen=True, slots=True)
class Limit:
    """A maximum number of attempts within a time, counted under a name."""

    name: str
    attempts: int
    within: timedelta


class Limits:
    """Counts attempts in a bucket. `sleep` waits before a swap is repeated."""

    def __init__(self, store: Store, sleep: Callable[[float], None] = time.sleep) -> None:
        self._store = store
        self._sleep = sleep

    def count(self, limit: Limit, key: str, now: datetime) -> None:
        """Count an attempt, such as a password tried for an e-mail (`key`, of which only a hash is kept).

        Raises:
            RateLimitedError: there were too many within the limit's time.
            UnavailableError: the store does not respond.
        """
        attempt = _Attempt(limit, now)
        place = f"{COUNTERS}{limit.name}/{hashlib.sha256(key.encode(errors='replace')).hexdigest()[:32]}.json"
        try:
            swap(self._store, place, attempt.added, done=attempt.is_in, pauses=_PAUSES, sleep=self._sleep)
        except UnavailableError as error:
            # Losing every swap means that attempts arrive faster than the object can be written, so the limit is exceeded.
            # Without an object there was no contention, so the store itself is down.
            if error.code != UnavailableError.code or self._store.head(place) is None:
                raise
            raise _refusal(1) from error


class _Attempt:
    """One attempt to be added to a counter."""

    def __init__(self, limit: Limit, now: datetime) -> None:
        self._limit = limit
        self._now = now.timestamp()
        self._id = uuid4().hex

    def added(self, current: Object | None) -> bytes:
        """Return the counter with this attempt added.

        Raises:
            RateLimitedError: it is full.
        """
        since = self._now - self._limit.within.total_seconds()
        recent = [(at, id_) for at, id_ in _read(current) if since < at]
        if len(recent) >= self._limit.attempts:
            raise _refusal(max(1, round(min(at for at, _ in recent) - since)))
        return json.dumps([*recent, (self._now, self._id)]).encode()

    def is_in(self, current: Object) -> bool:
        """Return whether a counter contains this attempt."""
        return any(id_ == self._id for _, id_ in _read(current))


def _read(current: Object | None) -> Sequence[tuple[float, str]]:
    """Parse a counter; a damaged one counts as empty, which only helps an attacker who can write to the bucket."""
    try:
        found: Any = json.loads(current.data) if current else []
        return [(float(at), str(id_)) for at, id_ in found]
    except (ValueError, TypeError):
        return []


def _refusal(seconds: int) -> RateLimitedError:
    return RateLimitedError(f"too many attempts; try again in {seconds} seconds", retry_after=seconds)
