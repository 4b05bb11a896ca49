"""Retry policy."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Patience:
    """Try `attempts` times, waiting `first` seconds after the first failure and twice as long after each next one."""

    attempts: int = 5
    first: float = 0.25
    longest: float = 30.0
    """Seconds. If a server asks to wait more than four times as long, give up."""
    pause: Callable[[float], object] = time.sleep

    def delay(self, failures: int, asked: float | None = None) -> float:
        """Return the seconds to wait after a number of failures; never less than the server asked for."""
        doubled = self.first * 2.0 ** (failures - 1)
        return max(min(self.longest, doubled) * random.uniform(0.5, 1.0), asked or 0.0)  # noqa: S311

    def is_over(self, failures: int, asked: float | None = None) -> bool:
        """Return whether to give up after a number of failures."""
        return failures >= self.attempts or (asked or 0.0) > 4 * self.longest
