"""Objects that expire with their age: secrets, sessions, counters, results, notifications and jobs."""

from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from typing import Final

from analyst import usage
from analyst.auth.last_use import USES
from analyst.auth.limits import COUNTERS
from analyst.auth.session_list import PREFIX as SESSIONS
from analyst.auth.sessions import REFRESH_LASTS
from analyst.auth.single_use_tokens import USED
from analyst.contract.source_jobs import PREFIX as JOBS
from analyst.notifications import outbox, telegram_bot
from analyst.query import CACHED, RESULTS
from analyst.scripts import stored_scripts
from analyst.store import Entry, Store

_DAY: Final = timedelta(days=1)

YOUNG = timedelta(days=1)
"""A younger object may be about to be referenced."""


def is_older(entry: Entry, age: timedelta) -> bool:
    """Return whether an object is older than `age`, by the store's clock."""
    return entry.age > age.total_seconds()


def expired(store: Store) -> Iterator[Entry]:
    """List what has expired.

    That is secrets, sessions, counters, all but the last day of a token's use, results of queries, notifications, jobs.

    A one-time secret must be remembered as used for as long as the longest-lived secret would be valid.
    """
    yield from (entry for entry in store.list(USED) if is_older(entry, REFRESH_LASTS + _DAY))
    yield from (entry for entry in store.list(SESSIONS) if is_older(entry, REFRESH_LASTS + _DAY))
    yield from (entry for entry in store.list(COUNTERS) if is_older(entry, _DAY))
    yield from (entry for entry in store.list(RESULTS) if is_older(entry, _DAY))
    yield from (entry for entry in store.list(CACHED) if is_older(entry, 7 * _DAY))
    yield from (entry for entry in store.list(JOBS) if is_older(entry, _DAY))
    yield from outbox.expired(store)
    yield from stored_scripts.expired(store)
    for prefix in telegram_bot.EXPIRING:
        yield from (entry for entry in store.list(prefix) if is_older(entry, _DAY))
    yield from (entry for entry in store.list(usage.PREFIX) if is_older(entry, usage.KEPT))
    for entry, following in pairwise(store.list(USES)):
        if entry.key.rpartition("/")[0] == following.key.rpartition("/")[0] and is_older(entry, _DAY):
            yield entry
