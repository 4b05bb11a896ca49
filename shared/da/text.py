"""Format numbers, sizes, times and tables of text for a terminal."""

import os
import shutil
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

_KILO = 1000
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_LONGEST = 60
"""Maximum width of a cell of a query's result."""

_NARROW, _NARROWEST = 24, 8
"""Width down to which text is wrapped before columns are hidden, and width down to which any column is wrapped."""

_GREEN, _YELLOW, _RED = "32", "33", "31"
_STATES = {
    **dict.fromkeys(("ok", "up to date", "current", "published", "unchanged", "approved", "active", "enabled"), _GREEN),
    **dict.fromkeys(("warning", "Warning:", "behind", "incomplete", "moved", "never synced", "unknown"), _YELLOW),
    **dict.fromkeys(("pending", "running", "partial", "superseded", "WARNING"), _YELLOW),
    **dict.fromkeys(("problem", "failed", "lost", "missing", "denied", "inactive", "revoked", "da:", "ERROR"), _RED),
}
"""Colors of words that name a state (ECMA-48, 'Select graphic rendition')."""


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
    if seconds < _MINUTE - 0.05:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), _MINUTE)
    return f"{minutes} min {rest} s"


def ago_text(then: datetime, now: datetime | None = None) -> str:
    """Format the time since `then`: `3 hours ago`."""
    seconds = ((now or datetime.now(UTC)) - then).total_seconds()
    for unit, name in ((_DAY, "day"), (_HOUR, "hour"), (_MINUTE, "minute")):
        if seconds >= unit:
            return f"{count_text(int(seconds // unit), name)} ago"
    return "just now"


def local_time(text: str | datetime | None, *, seconds: bool = False) -> str:
    """Format a time in the local time zone, which is named: `2026-03-01 14:30 CET`; empty if there is none."""
    if not text:
        return ""
    when = text if isinstance(text, datetime) else datetime.fromisoformat(text)
    local = when.astimezone()
    return f"{local:%Y-%m-%d %H:%M:%S %Z}" if seconds else f"{local:%Y-%m-%d %H:%M %Z}"


def local_day(text: str | None) -> str:
    """Format the local day of a time; a day without a time stays as it is."""
    if not text or "T" not in text:
        return text or ""
    return f"{datetime.fromisoformat(text).astimezone():%Y-%m-%d}"


def has_color(*, err: bool = False) -> bool:
    """Return whether stdout, or stderr, shows colors.

    `NO_COLOR` turns them off (no-color.org), `FORCE_COLOR` on; otherwise they are shown in a terminal only.
    """
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    stream = sys.stderr if err else sys.stdout
    old_console = sys.platform == "win32" and not (os.environ.get("WT_SESSION") or os.environ.get("TERM"))
    return stream.isatty() and os.environ.get("TERM") != "dumb" and not old_console


def painted(word: str, *, err: bool = False) -> str:
    """Color a word that names a state, if colors are shown; other words stay plain."""
    color = _STATES.get(word)
    return f"\x1b[{color}m{word}\x1b[0m" if color and has_color(err=err) else word


def clean(text: str) -> str:
    """Replace characters that could affect a terminal: control characters, line breaks, text direction."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else " " if c in "\n\t\r" else "\N{REPLACEMENT CHARACTER}" for c in text)


def is_encodable(text: str) -> bool:
    """Return whether stdout can show a text; a Windows console or pipe may have a code page such as cp1252."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def rule() -> str:
    """Return the character of the line below the header of a table."""
    return "─" if is_encodable("─") else "-"


def terminal_width() -> int | None:
    """Return the width of the terminal on stdout; `None` if there is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


_IN_MEMORY = 8 << 20
"""Bytes of rows that are kept in memory while a table is laid out."""


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
) -> Layout:
    """Lay out the result of a query; `None` is shown as NULL.

    With a `width`, long cells are truncated, and columns in the middle are hidden if they do not fit.
    """
    lines, hidden = laid_out(columns, rows, right=right, width=width)
    return Layout(list(lines), hidden)


def laid_out(
    columns: Sequence[str],
    rows: Iterable[Sequence[str | None]],
    *,
    right: Sequence[bool] = (),
    width: int | None = None,
) -> tuple[Iterator[str], int]:
    """Lay out a result of any size like `layout`; return the lines and the number of hidden columns.

    The width of a column depends on all rows, so these are read first, and those of a large result are kept in a file.
    """
    import json
    from tempfile import SpooledTemporaryFile

    longest = None if width is None else _LONGEST
    head = [_shown(cell, longest) for cell in columns]
    widths = [columns_of(cell) for cell in head]
    kept = SpooledTemporaryFile(_IN_MEMORY, "w+", encoding="utf-8", errors="surrogatepass")  # noqa: SIM115 - read lazily
    try:
        for row in rows:
            cells = [_shown(cell, longest) for cell in row]
            widths = [max(known, columns_of(cell)) for known, cell in zip(widths, cells, strict=True)]
            kept.write(f"{json.dumps(cells)}\n")
    except BaseException:
        kept.close()
        raise
    shown = _fitting(widths, width)

    def lines() -> Iterator[str]:
        yield _line(head, widths, shown, right)
        line = rule()
        yield "  ".join(line * (widths[index] if index >= 0 else 1) for index in shown)
        with kept:
            kept.seek(0)
            for text in kept:
                yield _line(json.loads(text), widths, shown, right)

    return lines(), len(widths) - sum(index >= 0 for index in shown)


def _shown(cell: str | None, longest: int | None) -> str:
    text = "NULL" if cell is None else clean(cell)
    return text if longest is None else _shortened(text, longest)


def listing(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    right: Sequence[str] = (),
    optional: Sequence[str] = (),
    width: int | None = None,
    paint: Callable[[str], str] = str,
) -> tuple[list[str], list[str]]:
    """Lay out a list without losing text; return its lines and the columns that are hidden.

    If the list is wider than `width`, its last column is wrapped, then `optional` columns are hidden in the order
    given, then the widest columns are wrapped.
    """
    cells = [list(map(clean, columns)), *([clean(cell) for cell in row] for row in rows)]
    widths = {name: max(columns_of(line[at]) for line in cells) for at, name in enumerate(columns)}
    hidden = _narrow(widths, columns[-1], optional, width)
    shown = [at for at, name in enumerate(columns) if name in widths]
    lines = []
    for number, line in enumerate(cells):
        wrapped = [list(_wrapped(line[at], widths[columns[at]])) for at in shown]
        for depth in range(max(map(len, wrapped))):
            parts = []
            for at, texts in zip(shown, wrapped, strict=True):
                text = texts[depth] if depth < len(texts) else ""
                fill = " " * (widths[columns[at]] - columns_of(text))
                word = paint(text) if number else text
                parts.append(fill + word if columns[at] in right else word + fill)
            lines.append("  ".join(parts).rstrip())
        if number == 0:
            lines.append("  ".join(rule() * widths[columns[at]] for at in shown))
    return lines, hidden


def _narrow(widths: dict[str, int], text: str, optional: Sequence[str], width: int | None) -> list[str]:
    """Shrink the columns until they fit; return those that are removed."""
    hidden: list[str] = []
    natural = widths[text]

    def excess() -> int:
        return 0 if width is None else sum(widths.values()) + 2 * (len(widths) - 1) - width

    def shrink(name: str, least: int) -> None:
        widths[name] = max(min(widths[name], least), widths[name] - max(excess(), 0))

    shrink(text, _NARROW)
    for name in optional:
        if excess() > 0:
            del widths[name]
            hidden.append(name)
    if hidden and excess() < 0:  # room that a hidden column has left
        widths[text] = min(natural, widths[text] - excess())
    while excess() > 0 and (widest := max(widths, key=lambda name: widths[name])) and widths[widest] > _NARROWEST:
        widths[widest] -= 1
    return hidden


def _wrapped(text: str, width: int) -> Iterator[str]:
    """Break a text into lines of at most `width` columns, between words if possible."""
    while columns_of(text) > width:
        end = taken = 0
        while end < len(text) and taken + columns_of(text[end]) <= width:
            taken += columns_of(text[end])
            end += 1
        space = text.rfind(" ", 1, end + 1)
        end = space if space > 0 else max(end, 1)
        yield text[:end].rstrip()
        text = text[end:].lstrip()
    yield text


def columns_of(text: str) -> int:
    """Return the display width of a text: some characters take two columns, some none."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF") for c in text)


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
