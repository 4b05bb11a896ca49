"""Server-sent events: the notifications of one person, for browsers (https://html.spec.whatwg.org, section 9.2).

A function can't hold a connection for hours, and each that waits occupies a thread. So an answer ends after the first
events, or after some seconds without any, and the browser asks again by itself, with the id of the last event
(`Last-Event-ID`). That id is a `Position`, so nothing is kept for a reader, and any process can answer.
"""

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Self

OVERLAP_MS: Final = 60_000
"""How much times of different hosts may differ, in milliseconds, before an event is missed."""
_MOST_IDS: Final = 64
_MOST_WAITING: Final = 6
"""Requests of a process that may wait, each in a thread; further ones are answered at once."""
_SHORT: Final = 10
"""The last characters of a notification's id that identify it among those of a few minutes."""
_POSITION: Final = re.compile(rf"([0-9]{{1,15}})((?:\.[0-9A-HJKMNP-TV-Z]{{{_SHORT}}}){{0,{_MOST_IDS}}})")


@dataclass(frozen=True, slots=True)
class Added:
    """A notification in the inbox: its id, and when it was added, in milliseconds since 1970."""

    id: str
    ms: int

    @property
    def short(self) -> str:
        """The part of the id that positions contain."""
        return self.id[-_SHORT:]


@dataclass(frozen=True, slots=True)
class Position:
    """How far a reader has come: when the last event was added, and which were added shortly before.

    Notifications are not added in the order of their ids, which have the times of their events.
    """

    ms: int
    ids: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Parse a position; `None` if the string is not one."""
        found = _POSITION.fullmatch(text)
        return None if found is None else cls(int(found[1]), tuple(found[2].split(".")[1:]))

    def __str__(self) -> str:
        return ".".join((str(self.ms), *self.ids))

    @classmethod
    def at_end(cls, added: Sequence[Added], now: datetime) -> Self:
        """Return the position of a reader who wants only what follows."""
        ms = int(now.timestamp() * 1000)
        return cls(ms, _recent(added, ms))

    def new(self, added: Sequence[Added]) -> list[Added]:
        """Return what the reader has not been sent, in the order in which it was added."""
        found = [each for each in added if each.ms > self.ms - OVERLAP_MS and each.short not in self.ids]
        return sorted(found, key=lambda each: (each.ms, each.id))

    def after(self, added: Sequence[Added]) -> Self:
        """Return the position after all that was added."""
        ms = max([self.ms, *(each.ms for each in added)])
        return type(self)(ms, _recent(added, ms))


def _recent(added: Sequence[Added], ms: int) -> tuple[str, ...]:
    # Twice the overlap, because the same notification looks a little younger to another host.
    recent = sorted((each for each in added if each.ms > ms - 2 * OVERLAP_MS), key=lambda each: each.ms)
    return tuple(each.short for each in recent[-_MOST_IDS:])


class Waiting:
    """The requests of a process that wait for events."""

    def __init__(self) -> None:
        self._places = threading.BoundedSemaphore(_MOST_WAITING)

    @contextmanager
    def place(self, *, wanted: bool) -> Iterator[bool]:
        """Hold one of the places for those who wait, if one is wanted and free; return whether one is held."""
        if not wanted or not self._places.acquire(blocking=False):
            yield False
            return
        try:
            yield True
        finally:
            self._places.release()

    def close(self) -> None:
        """Do nothing: those who wait see that the process stops."""


def event(name: str, data: str, id_: Position | None = None) -> str:
    """Return an event whose data is one line."""
    return f"event: {name}\n{'' if id_ is None else f'id: {id_}{chr(10)}'}data: {data}\n\n"


def answer(events: Sequence[str], *, again_after: float) -> str:
    """Return the text of an answer; the browser asks again after some seconds."""
    return f"retry: {int(again_after * 1000)}\n\n" + ("".join(events) or ": nothing new\n\n")
