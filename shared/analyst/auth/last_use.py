"""Last use of access tokens: one empty object per token and day, written some seconds after the use.

Each process writes a use once per day. If that fails, it is written at the next use: nothing waits for it. The uses of some
seconds are written together, so that the first answers of a process do not share the store with them.
"""

import threading
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Final

from analyst.audit.writer import Later, by_a_timer
from analyst.errors import AnalystError
from analyst.store import ABSENT, Store, StoreConflictError

if TYPE_CHECKING:
    from analyst.state.tokens import Token

USES: Final = "state/token-uses/"
"""The prefix of `<token id>/<YYYY-MM-DD>`."""

_AFTER: Final = 5.0
_ONE_BY_ONE: Final = 20


class LastUses:
    """Records uses. Thread-safe. `later` runs a function after some seconds."""

    def __init__(self, store: Store, *, later: Later = by_a_timer) -> None:
        self._store = store
        self._later = later
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._day: date | None = None
        self._seen: set[str] = set()
        self._unwritten: list[tuple[str, date]] = []

    def saw(self, token_id: str, now: datetime) -> None:
        """Record the use of a token."""
        with self._lock:
            if self._day != now.date():
                self._day, self._seen = now.date(), set()
            if token_id in self._seen:
                return
            self._seen.add(token_id)
            self._unwritten.append((token_id, now.date()))
            is_first = len(self._unwritten) == 1
        if is_first:
            try:
                self._later(_AFTER, self.write)
            except RuntimeError:  # no thread can be started; the request has nothing to do with that
                self.write()

    def write(self) -> None:
        """Write the uses that are only in memory. When this returns, those that another thread was writing are written, too."""
        with self._writing:
            with self._lock:
                uses, self._unwritten = self._unwritten, []
            for token_id, day in uses:
                try:
                    self._store.put(f"{USES}{token_id}/{day.isoformat()}", b"", if_version=ABSENT)
                except StoreConflictError:
                    pass  # another process recorded it today
                except AnalystError:
                    with self._lock:
                        self._seen.discard(token_id)


def with_last_use(store: Store, tokens: "Sequence[Token]") -> "tuple[Token, ...]":
    """Return tokens with the dates of their last use.

    Raises:
        UnavailableError: the store does not respond.
    """
    prefixes = [f"{USES}{token.id}/" for token in tokens] if len(tokens) <= _ONE_BY_ONE else [USES]
    last = _last(entry.key for prefix in prefixes for entry in store.list(prefix))
    return tuple(token.model_copy(update={"last_used_on": last.get(token.id)}) for token in tokens)


def _last(keys: Iterable[str]) -> dict[str, date]:
    """Return the last day of each token. Keys are sorted, so the last one wins."""
    last: dict[str, date] = {}
    for key in keys:
        token_id, _, day = key.removeprefix(USES).partition("/")
        last[token_id] = date.fromisoformat(day)
    return last
