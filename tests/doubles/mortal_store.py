"""A store that kills its process at the nth step that changes something, before or after it: what a power failure does."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from analyst.store import Condition
from analyst.store.file import FileStore


@dataclass
class Fate:
    """How many steps are left; each write is two, before it and after it."""

    steps: int

    def step(self) -> None:
        self.steps -= 1
        if self.steps == 0:
            os.kill(os.getpid(), signal.SIGKILL)


class MortalStore(FileStore):
    """A store in a folder whose writes count down the fate of the process."""

    def __init__(self, root: Path, fate: Fate) -> None:
        super().__init__(root, lambda: b"s" * 32)
        self._fate = fate

    def put(self, key: str, data: bytes, *, if_version: str | Condition, mode: int = 0o666) -> str:
        self._fate.step()
        version = super().put(key, data, if_version=if_version, mode=mode)
        self._fate.step()
        return version

    def upload(self, key: str, path: Path) -> str:
        self._fate.step()
        version = super().upload(key, path)
        self._fate.step()
        return version
