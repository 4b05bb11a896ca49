"""Show the progress of a download on stderr: bytes, rate, time left."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from da.text import count_text

if TYPE_CHECKING:
    from rich.progress import Progress as Display
    from rich.progress import TaskID

    from da.download import Progress


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


@contextmanager
def progress(total: int, files: int, *, wanted: bool) -> "Iterator[Progress]":
    """Show a progress bar while the block runs, if wanted and stderr is a terminal."""
    if not wanted or not sys.stderr.isatty():
        yield _Silent()
        return
    with _display() as display:
        yield _Shown(display, display.add_task(count_text(files, "file"), total=total))


def _display() -> "Display":
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    what, bar = TextColumn("{task.description}"), BarColumn()
    numbers = DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()
    return Progress(what, bar, *numbers, console=Console(stderr=True), transient=True)
