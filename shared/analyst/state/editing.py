"""The system state in a bucket: read it, and edit it."""

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from analyst.access import CURRENT
from analyst.state.attempts import Attempts
from analyst.state.reading import StateReader
from analyst.store import Store
from analyst.store.swapping import swap

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

T = TypeVar("T")


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
                swap(self._store, CURRENT, attempts.next, done=attempts.is_in, sleep=self._sleep)
            finally:
                self._published()
        return attempts.result
