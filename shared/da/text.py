"""Format numbers, sizes, times and tables of text."""

import shutil
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

_KILO = 1000
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_LONGEST, _SHORTEST = 60, 12
"""Maximum width of a cell, and minimum width of an elastic column."""


def bytes_text(size: float) -> str:
    """Format a size: `12.3 MB`."""
    if size < _KILO:
        return f"{size:.0f} B"
    for unit in ("kB", "MB", "GB"):
        size /= _KILO
        if size < _KILO - 0.5:
            return f"{size:.1f} {unit}" if size < 100 else f"{size:.0f} {unit}"  # noqa: PLR2004
    return f"{size / _KILO:.1f} TB"


def count_text(count: int, noun: str) -> str:
    """Format a count: `1 table`, `2 tables`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def seconds_text(seconds: float) -> str:
    """Format a duration: `0.4 s`, `3 min 20 s`."""
    if seconds < _MINUTE:
        return f"{seconds:.1f} s"
    return f"{seconds // _MINUTE:.0f} min {seconds % _MINUTE:.0f} s"


def ago_text(then: datetime, now: datetime | None = None) -> str:
    """Format the time since `then`: `3 hours ago`."""
    seconds = ((now or datetime.now(UTC)) - then).total_seconds()
    for unit, name in ((_DAY, "day"), (_HOUR, "hour"), (_MINUTE, "minute")):
        if seconds >= unit:
            return f"{count_text(int(seconds // unit), name)} ago"
    return "just now"


def clean(text: str) -> str:
    """Replace characters that could affect a terminal: control characters, line breaks, text direction."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else " " if c in "\n\t\r" else "\N{REPLACEMENT CHARACTER}" for c in text)


def terminal_width() -> int | None:
    """Return the width of the terminal on stdout; `None` if there is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


@dataclass(frozen=True, slots=True)
class Layout:
    """A table as lines; `hidden` counts the columns that did not fit."""

    lines: list[str]
    hidden: int


def layout(
    columns: Sequence[str],
    rows: Iterable[Sequence[str | None]],
    *,
    right: Sequence[bool] = (),
    width: int | None = None,
    elastic: bool = False,
) -> Layout:
    """Lay out a table; `None` is shown as NULL.

    With a `width`, long cells are truncated, and columns in the middle are hidden if they do not fit. An `elastic` last
    column takes the remaining width.
    """
    cells = [[clean(cell) for cell in columns]]
    cells += [["NULL" if cell is None else clean(cell) for cell in row] for row in rows]
    if width is not None:
        cells = _cut(cells, width, elastic=elastic)
    widths = [max(map(columns_of, column)) for column in zip(*cells, strict=True)]
    shown = _fitting(widths, width)
    lines = [_line(line, widths, shown, right) for line in cells]
    lines.insert(1, "  ".join("─" * widths[index] if index >= 0 else "─" for index in shown))
    return Layout(lines, len(widths) - sum(index >= 0 for index in shown))


def columns_of(text: str) -> int:
    """Return the display width of a text: some characters take two columns, some none."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF") for c in text)


def _cut(cells: list[list[str]], width: int, *, elastic: bool) -> list[list[str]]:
    limits = [_LONGEST] * len(cells[0])
    if elastic:
        taken = sum(min(max(map(len, column)), _LONGEST) + 2 for column in list(zip(*cells, strict=True))[:-1])
        limits[-1] = max(width - taken, _SHORTEST)
    return [[_shortened(cell, limit) for cell, limit in zip(line, limits, strict=True)] for line in cells]


def _shortened(text: str, limit: int) -> str:
    """Truncate a text to a display width."""
    if columns_of(text) <= limit:
        return text
    text = text[: limit - 1]
    while columns_of(text) > limit - 1:
        text = text[:-1]
    return f"{text}…"


def _fitting(widths: Sequence[int], width: int | None) -> list[int]:
    """Choose the columns to show, from both ends inwards; -1 stands for hidden columns."""
    if width is None or sum(widths) + 2 * (len(widths) - 1) <= width:
        return list(range(len(widths)))
    left, right = [0], list[int]()
    room = width - widths[0] - 3
    low, high = 1, len(widths) - 1
    while low <= high:
        index = low if len(left) <= len(right) else high
        if widths[index] + 2 > room:
            break
        room -= widths[index] + 2
        if index == low:
            left.append(index)
            low += 1
        else:
            right.insert(0, index)
            high -= 1
    return [*left, -1, *right]


def _line(cells: Sequence[str], widths: Sequence[int], shown: Sequence[int], right: Sequence[bool]) -> str:
    parts = []
    for index in shown:
        if index < 0:
            parts.append("…")
            continue
        fill = " " * (widths[index] - columns_of(cells[index]))
        parts.append(fill + cells[index] if right and right[index] else cells[index] + fill)
    return "  ".join(parts).rstrip()
