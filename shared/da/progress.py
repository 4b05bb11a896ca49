"""Show progress on stderr: of a transfer, in bytes, and of what happens on the server, in words."""

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from da.output import tick
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


class Ticker:
    """One line on a terminal that says what is happening and for how long; silent if stderr is none, or not wanted."""

    def __init__(self, *, wanted: bool) -> None:
        self._is_shown = wanted and sys.stderr.isatty()
        self._began = monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.clear()

    def show(self, text: str) -> None:
        """Replace the line."""
        if self._is_shown:
            seconds = f" ({monotonic() - self._began:.0f} s)"
            room = shutil.get_terminal_size().columns - len(seconds) - 1
            tick(f"{text[:room]}{seconds}")

    def clear(self) -> None:
        """Remove the line, so that others can be printed."""
        if self._is_shown:
            tick("")
