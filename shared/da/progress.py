"""Show the progress of a transfer on stderr: bytes, rate, time left."""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

from da.text import count_text

if TYPE_CHECKING:
    from rich.progress import Progress as Display
    from rich.progress import TaskID


class Progress(Protocol):
    """Receives progress updates."""

    def add(self, size: int) -> None:
        """Add transferred bytes; negative if some had to be discarded."""


Bar = Callable[[int, int], AbstractContextManager[Progress]]
"""Shows progress for a total of bytes and files."""


class _Silent:
    def add(self, size: int) -> None:
        """Show nothing."""


@dataclass(frozen=True, slots=True)
class _Shown:
    display: "Display"
    task: "TaskID"

    def add(self, size: int) -> None:
        """Advance the bar."""
        self.display.advance(self.task, size)


def bar(*, wanted: bool) -> Bar:
    """Return a progress bar that appears if wanted and stderr is a terminal."""
    return partial(_progress, wanted=wanted and sys.stderr.isatty())


@contextmanager
def _progress(total: int, files: int, *, wanted: bool) -> Iterator[Progress]:
    if not wanted:
        yield _Silent()
        return
    with _display() as display:
        yield _Shown(display, display.add_task(count_text(files, "file"), total=total))


def _display() -> "Display":
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    what, columns = TextColumn("{task.description}"), BarColumn()
    numbers = DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()
    return Progress(what, columns, *numbers, console=Console(stderr=True), transient=True)
