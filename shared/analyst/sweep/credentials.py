"""What signing in leaves behind: marks of things that were used, counters of attempts, days on which tokens were used."""

from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from typing import Final

from analyst.auth.last_use import USES
from analyst.auth.limits import COUNTERS
from analyst.auth.once import USED
from analyst.auth.sessions import REFRESH_LASTS
from analyst.store import Entry, Store
from analyst.sweep.pointers import is_older

_DAY: Final = timedelta(days=1)


def spent(store: Store) -> Iterator[Entry]:
    """List what is of no use any more.

    What was used may be forgotten once all that works once has expired, a counter once its time is over; of the days on
    which a token was used only the last is told.
    """
    yield from (entry for entry in store.list(USED) if is_older(entry, REFRESH_LASTS + _DAY))
    yield from (entry for entry in store.list(COUNTERS) if is_older(entry, _DAY))
    for entry, following in pairwise(store.list(USES)):
        if entry.key.rpartition("/")[0] == following.key.rpartition("/")[0] and is_older(entry, _DAY):
            yield entry
