"""Whether acknowledged edits of a swapped object are still in its history.

Pointers list the ids of their last edits, so that a writer finds its own after a lost response. The same list shows a lost
condition, with no request besides those that writers make anyway: if an object has ids from before an edit of this process, but
not the id of that edit, then its writer had not read the edit. Either its server no longer keeps the conditions that it
kept when it was tested, or somebody has restored an earlier state. A test shows which.
"""

import logging
import threading
from collections.abc import Sequence
from typing import Final

from analyst import logs
from analyst.store.guarantees import require_again
from analyst.store.interface import Store

_LOG = logging.getLogger(f"{logs.ROOT}.store")


class _Edits:
    """The last edit of this process of each object, and the ids that were listed before it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: dict[tuple[str, str], tuple[frozenset[str], str]] = {}

    def made(self, place: tuple[str, str], recent: Sequence[str]) -> None:
        with self._lock:
            self._made[place] = (frozenset(recent[:-1]), recent[-1])

    def lost(self, place: tuple[str, str], recent: Sequence[str]) -> str | None:
        """Return the edit that a list lacks; `None` also after so many others that no earlier id is left."""
        with self._lock:
            before, edit = self._made.get(place, (frozenset(), ""))
            return None if not before or edit in recent or before.isdisjoint(recent) else edit

    def forget(self, place: tuple[str, str], edit: str) -> None:
        with self._lock:
            if self._made.get(place, (frozenset(), ""))[1] == edit:
                del self._made[place]


_EDITS: Final = _Edits()


def made(store: Store, key: str, recent: Sequence[str]) -> None:
    """Remember an acknowledged edit: the last of the `recent` ids that the object lists now."""
    _EDITS.made((store.url, key), recent)


def check(store: Store, key: str, recent: Sequence[str]) -> None:
    """Check the ids that an object lists against the last edit of this process.

    Raises:
        SettingsError: the server of the bucket does not keep its conditions.
        UnavailableError: the store does not respond.
    """
    edit = _EDITS.lost((store.url, key), recent)
    if edit is None:
        return
    now = store.read(key)
    if now is not None and edit.encode() in now.data:
        return  # another thread made it after these ids were read
    _EDITS.forget((store.url, key), edit)
    _LOG.error("an acknowledged edit is gone", extra={"fields": {"key": key, "edit": edit}})
    require_again(store)
