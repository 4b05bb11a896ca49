"""How long to wait between attempts on Google Cloud Storage."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from google.api_core.retry import Retry
from google.cloud.storage.retry import DEFAULT_RETRY  # type: ignore[import-untyped]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds: reads wait `read` first, writes `write` (one object takes one write per second), then longer and longer.

    No wait is longer than `longest`. A read is given up after `patience` seconds, a write after `attempts`.
    """

    read: float = 0.2
    write: float = 1.0
    longest: float = 8.0
    patience: float = 60.0
    attempts: int = 5

    def retry(self) -> Retry:
        """Tell the library how to repeat what may be repeated."""
        retry: Retry = DEFAULT_RETRY.with_delay(initial=self.read, maximum=self.longest)
        return retry.with_timeout(self.patience)

    def repeat(self, write: Callable[[], T], on: tuple[type[Exception], ...], sleep: Callable[[float], None]) -> T:
        """Write, and again after each of these errors; the last attempt's is raised."""
        for pause in self.pauses():
            try:
                return write()
            except on:
                sleep(pause)
        return write()

    def pauses(self) -> Iterator[float]:
        """Yield pauses between attempts to write, never the same twice."""
        most = self.write * 2
        for _ in range(self.attempts - 1):
            yield random.uniform(self.write, most)  # noqa: S311 - only spreads the contenders
            most = min(most * 2, self.longest)


PACE = Pace()
"""As the service wants it."""
