"""The system state in a bucket: read it, and edit it."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from analyst.access import CURRENT
from analyst.state.attempts import Attempts
from analyst.state.reading import StateReader
from analyst.store import Store, swapping
from analyst.store.swapping import swap

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

T = TypeVar("T")

_PATIENCE: Final = 60.0
_DOUBLED: Final = 5
"""How often the pauses between attempts grow."""


class State:
    """The system state in a bucket.

    `now` is the clock, `published` is called after each edit of this process (see `AccessReader.expire`), `sleep` waits
    before an edit, or a write of it, is tried again.
    """

    def __init__(
        self,
        store: Store,
        now: Callable[[], datetime],
        *,
        published: Callable[[], None] = lambda: None,
        scratch: Path | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._store = store
        self._now = now
        self._published = published
        self._scratch = scratch
        self._sleep = sleep
        self._reader = StateReader(store, now, scratch)
        self._editing = threading.Lock()

    def read(self) -> "AbstractContextManager[DuckDBPyConnection]":
        """Open the state as it is now, for reading only.

        Raises:
            UnavailableError: the store does not answer, or the state is damaged.
            StateTooNewError: a newer program has written it.
        """
        return self._reader.open()

    def edit(self, change: "Callable[[DuckDBPyConnection], T]") -> T:
        """Change the state, publish it with the access list that follows from it, and return what `change` returned.

        `change` runs again, on what others wrote, whenever they came between: all it does goes through the connection
        it is given. Whatever it raises ends the edit, and nothing is changed.

        Raises:
            UnavailableError: the store does not answer, others came between all the time, or the state is damaged.
            UnsureWriteError: a write got no answer and can't be read back; the change may have been made.
            StateTooNewError: a newer program has written the state.
        """
        attempts = Attempts(self._store, self._now, self._scratch, change, self._sleep)
        with self._editing:  # one at a time in this process: they would only come between each other
            try:
                pauses = self._pauses(attempts)
                swap(self._store, CURRENT, attempts.next, done=attempts.is_in, pauses=pauses, sleep=self._sleep)
            finally:
                self._published()
        return attempts.result

    def _pauses(self, attempts: Attempts[T]) -> Iterator[float]:
        """Yield pauses between attempts, which are in proportion to what an attempt takes.

        Those who come between each other would else go on doing so: of many attempts side by side, one is of use.
        """
        waited = 0.0
        for tries, pause in enumerate(swapping.pauses_for(self._store)):
            spread = attempts.seconds * 2 ** min(tries, _DOUBLED)
            longer = max(pause, random.uniform(0.0, spread))  # noqa: S311 - only spreads the contenders
            yield longer
            waited += longer
            if waited > _PATIENCE:
                return
