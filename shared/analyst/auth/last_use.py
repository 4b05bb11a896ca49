"""Last use of access tokens: one empty object per token and day, written after the response.

A use is written once by each process and day. When that fails it is written at the next use: nothing waits for it.
"""

import threading
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Final

from analyst.errors import AnalystError
from analyst.store import ABSENT, Store, StoreConflictError

if TYPE_CHECKING:
    from analyst.state.tokens import Token

USES: Final = "state/token-uses/"
"""Below it `<token id>/<YYYY-MM-DD>`."""

_ONE_BY_ONE: Final = 20


class LastUses:
    """Remembers uses. `run` runs something after the answer."""

    def __init__(self, store: Store, run: Callable[[Callable[[], object]], None]) -> None:
        self._store = store
        self._run = run
        self._lock = threading.Lock()
        self._day: date | None = None
        self._seen: set[str] = set()

    def saw(self, token_id: str, now: datetime) -> None:
        """Remember that a token was used."""
        if not self._is_new(token_id, now.date()):
            return
        try:
            self._run(lambda: self._write(token_id, now.date()))
        except AnalystError:
            self._forget(token_id)

    def _is_new(self, token_id: str, day: date) -> bool:
        with self._lock:
            if self._day != day:
                self._day, self._seen = day, set()
            is_new = token_id not in self._seen
            self._seen.add(token_id)
            return is_new

    def _write(self, token_id: str, day: date) -> None:
        try:
            self._store.put(f"{USES}{token_id}/{day.isoformat()}", b"", if_version=ABSENT)
        except StoreConflictError:
            pass  # another process saw it today
        except AnalystError:
            self._forget(token_id)

    def _forget(self, token_id: str) -> None:
        with self._lock:
            self._seen.discard(token_id)


def with_last_use(store: Store, tokens: "Sequence[Token]") -> "tuple[Token, ...]":
    """Return tokens with the days of their last use.

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
