"""A store that kills its process at the nth step that changes something, before or after it: what a power failure does."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from analyst.store import Condition
from tests.doubles.wrapped_store import Around


@dataclass
class Fate:
    """How many steps are left; each write is two, before it and after it."""

    steps: int

    def step(self) -> None:
        self.steps -= 1
        if self.steps == 0:
            os.kill(os.getpid(), signal.SIGKILL)


@dataclass
class MortalStore(Around):
    """A store whose writes count down the fate of the process."""

    fate: Fate

    def put(self, key: str, data: bytes, *, if_version: str | Condition) -> str:
        self.fate.step()
        version = super().put(key, data, if_version=if_version)
        self.fate.step()
        return version

    def upload(self, key: str, path: Path) -> str:
        self.fate.step()
        version = super().upload(key, path)
        self.fate.step()
        return version
