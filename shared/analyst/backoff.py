"""Retries with growing, random pauses: the one loop for everything that is worth another attempt.

The pauses are values that a caller passes on, so that a test replaces them (or `sleep`) without patching anything.
"""

import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def growing(shortest: float, longest: float) -> Iterator[float]:
    """Yield pauses in seconds, without end: random ones, whose upper bound doubles each time until it is `longest`.

    Without the random part, processes that collided once would collide again at every attempt.
    """
    bound = shortest * 2
    while True:
        yield random.uniform(shortest, bound)  # noqa: S311 - only spreads the contenders
        bound = min(bound * 2, longest)


def within(pauses: Iterable[float], seconds: float) -> Iterator[float]:
    """Yield pauses for as long as those before add up to less than `seconds`."""
    waited = 0.0
    for pause in pauses:
        if waited >= seconds:
            return
        yield pause
        waited += pause


def attempts(
    pauses: Iterable[float], most: int | None = None, sleep: Callable[[float], None] = time.sleep
) -> Iterator[int]:
    """Yield the number of each attempt, from 1, and sleep before the next one; the pauses and `most` limit how many.

    The caller leaves the loop with the first attempt that succeeds; when the loop ends by itself, none has.
    """
    yield 1
    for number, pause in enumerate(islice(pauses, None if most is None else most - 1), 2):
        sleep(pause)
        yield number


class Pace:
    """Keeps what is requested again and again apart. Thread-safe."""

    def __init__(self, seconds: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._last = float("-inf")

    def pause(self) -> float:
        """Return after how many seconds a request may be served; all that come until then share one time."""
        with self._lock:
            now = self._monotonic()
            if now >= self._last + self._seconds:
                self._last = now
            elif now >= self._last:
                self._last += self._seconds
            return self._last - now


def repeat(
    action: Callable[[], T],
    *,
    on: type[Exception] | tuple[type[Exception], ...],
    pauses: Iterable[float],
    sleep: Callable[[float], None] = time.sleep,
    failed: Callable[[Exception, float], object] = lambda _error, _pause: None,
) -> T:
    """Return what `action` returns; after an error in `on`, run it again for as long as there are pauses.

    `failed` is called with the error and the seconds until the next attempt. The error of the last attempt is raised.
    """
    for pause in pauses:
        try:
            return action()
        except on as error:
            failed(error, pause)
            sleep(pause)
    return action()
