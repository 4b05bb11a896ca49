"""Numbers, sizes, times and tables of text as people read them."""

import shutil
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

_KILO = 1000
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_LONGEST = 60
"""Characters of a cell when a terminal is watching."""


def bytes_text(size: float) -> str:
    """Write a size: `12.3 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < _KILO:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"  # noqa: PLR2004
        size /= _KILO
    return f"{size:.1f} TB"


def count_text(count: int, noun: str) -> str:
    """Write a count: `1 table`, `2 tables`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def seconds_text(seconds: float) -> str:
    """Write a duration: `0.4 s`, `3 min 20 s`."""
    if seconds < _MINUTE:
        return f"{seconds:.1f} s"
    return f"{seconds // _MINUTE:.0f} min {seconds % _MINUTE:.0f} s"


def ago_text(then: datetime, now: datetime | None = None) -> str:
    """Write how long ago it was: `3 hours ago`."""
    seconds = ((now or datetime.now(UTC)) - then).total_seconds()
    for unit, name in ((_DAY, "day"), (_HOUR, "hour"), (_MINUTE, "minute")):
        if seconds >= unit:
            return f"{count_text(int(seconds // unit), name)} ago"
    return "just now"


def clean(text: str) -> str:
    """Replace what could play tricks on a terminal: control characters, line ends, directions of writing."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else " " if c in "\n\t\r" else "\N{REPLACEMENT CHARACTER}" for c in text)


def terminal_width() -> int | None:
    """Return the columns of the terminal on stdout, `None` if there is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str | None]],
    *,
    right: Sequence[bool] = (),
    width: int | None = None,
    longest: int = _LONGEST,
) -> Iterator[str]:
    """Set rows under columns; `None` shows as NULL. With a `width`, long cells and columns too many are left out."""
    limit = longest if width else sys.maxsize
    cells = [[_cut(clean(cell), limit) for cell in columns]]
    cells += [[_cut("NULL" if cell is None else clean(cell), limit) for cell in row] for row in rows]
    widths = [max(map(columns_of, column)) for column in zip(*cells, strict=True)]
    shown = _fitting(widths, width)
    for index, line in enumerate(cells):
        yield _line(line, widths, shown, right)
        if index == 0:
            yield "  ".join("─" * widths[i] if i >= 0 else "─" for i in shown)


def columns_of(text: str) -> int:
    """Count the terminal columns of a text: some characters take two, some none."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF") for c in text)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _fitting(widths: Sequence[int], width: int | None) -> list[int]:
    """Choose the columns to show, from both ends inwards; -1 stands for those left out."""
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
