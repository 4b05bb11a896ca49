"""Plots as inline SVG, drawn at the server: one style, no script, and nothing that a policy would have to allow.

Every function returns markup made of numbers and escaped texts. A plot has a title, which screen readers read.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from markupsafe import Markup, escape

_WIDTH: Final = 720
_HEIGHT: Final = 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 12, 28
_MINI: Final = (144, 32)
_MOST_TICKS: Final = 5
_LONGEST_LABEL: Final = 14
_MOST_LABELS: Final = 7
_CHARACTER, _BETWEEN = 6.8, 14
"""The width of a character of a label, on average, and the room between two labels."""
_TIMESTAMP: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d)(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d(?::?\d\d)?)?", re.ASCII
)
_LARGEST: Final = 1e300
_SMALLEST_SPAN: Final = 1e-9
_SVG: Final = Markup('<svg class="{}" viewBox="0 0 {} {}" role="img" aria-label="{}"{}>{}</svg>')
_FRAME: Final = Markup('<div class="chart" tabindex="0" role="group" aria-label="{}">{}</div>')
_RECT: Final = Markup('<rect class="{}" x="{}" y="{}" width="{}" height="{}"{}>{}</rect>')
_TITLE: Final = Markup("<title>{}</title>")


def histogram(column: Mapping[str, Any]) -> Markup:
    """Draw the distribution of a column's profile: its histogram, or the two parts of a boolean."""
    found = column.get("histogram")
    if found and found["frequencies"]:
        labels = [
            f"{label}: {count:,}" for label, count in zip(found["boundaries"], found["frequencies"], strict=False)
        ]
        return mini_bars(found["frequencies"], labels, f"Distribution of {column['name']}")
    if column.get("trueProportion") is not None:
        return share(column["trueProportion"], f"{100 * column['trueProportion']:.1f} % true")
    return Markup("")


def mini_bars(values: Sequence[float], labels: Sequence[str], title: str) -> Markup:
    """Draw bars without axes, each with its label as a tooltip."""
    width, height = _MINI
    step, most = width / max(len(values), 1), max([*values, 1])
    bars = Markup("").join(
        _RECT.format(
            "bar" if value else "dim",
            _n(place * step),
            _n(height - max(height * value / most, 1)),
            _n(max(step - 1, 0.5)),
            _n(max(height * value / most, 1)),
            "",
            _TITLE.format(label),
        )
        for place, (value, label) in enumerate(zip(values, labels, strict=False))
    )
    return _SVG.format("mini", width, height, title, Markup(' preserveAspectRatio="none"'), bars)


def share(value: float | None, title: str = "") -> Markup:
    """Draw a share between 0 and 1 as a bar."""
    filled = min(max(value or 0.0, 0.0), 1.0)
    bars = _RECT.format("dim", 0, 0, 100, 10, "", "") + _RECT.format("bar", 0, 0, _n(100 * filled), 10, "", "")
    title = title or f"{100 * filled:.0f} %"
    return _SVG.format("part", 100, 10, title, Markup(' preserveAspectRatio="none"'), bars)


def spark(points: Sequence[float], title: str) -> Markup:
    """Draw values in order as a small line."""
    width, height = _MINI
    if len(points) < 2:  # noqa: PLR2004 - a line has two ends
        return Markup("")
    low, high = min(points), max(points)
    span = (high - low) or 1
    step = width / (len(points) - 1)
    path = " ".join(
        f"{_n(place * step)},{_n(height - 2 - (height - 4) * (value - low) / span)}"
        for place, value in enumerate(points)
    )
    line = Markup('<polyline class="line" points="{}"/>').format(path)
    return _SVG.format("mini", width, height, title, Markup(' preserveAspectRatio="none"'), line)


class _Scale:
    """A linear scale with round ticks."""

    def __init__(self, values: Iterable[float], start: float, end: float, *, zero: bool) -> None:
        known = _bounded(values) or [0.0]
        low, high = min(known), max(known)
        if zero:
            low, high = min(low, 0.0), max(high, 0.0)
        if high - low <= _SMALLEST_SPAN * max(abs(low), abs(high)):  # the ticks would be one number
            low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
        size = 10.0 ** math.floor(math.log10((high - low) / _MOST_TICKS))
        step = next(size * each for each in (1, 2, 5, 10) if (high - low) / (size * each) <= _MOST_TICKS)
        if all(value == int(value) for value in known):  # counts have no halves
            step = max(step, 1.0)
        self.low, self.high = math.floor(low / step) * step, math.ceil(high / step) * step
        count = round((self.high - self.low) / step)
        self.ticks = [self.low + step * place for place in range(count + 1)]
        self.start, self.end = start, end

    def __call__(self, value: float) -> float:
        """Return the coordinate of a value."""
        inside = min(max(value, self.low), self.high)
        return self.start + (self.end - self.start) * (inside - self.low) / (self.high - self.low)


def line(labels: Sequence[str], values: Sequence[float | None], title: str) -> Markup:
    """Draw values over an ordered axis; a missing one interrupts the line."""
    known = [value for value in values if value is not None]
    scale, x = _Scale(known, _HEIGHT - _BOTTOM, _TOP, zero=_starts_at_zero(known)), _steps(len(values))
    parts, piece = [_axes(scale)], list[str]()
    for place, value in enumerate([*values, None]):
        if value is not None:
            piece.append(f"{_n(x(place))},{_n(scale(value))}")
        elif piece:
            parts.append(Markup('<polyline class="line" points="{}"/>').format(" ".join(piece)))
            if len(piece) == 1:
                at = piece[0].split(",")
                parts.append(Markup('<circle class="dot" cx="{}" cy="{}" r="3"/>').format(*at))
            piece = []
    return _plot([*parts, _labels(labels, x)], title)


def line_of(points: Sequence[tuple[str, float | None]], title: str) -> Markup:
    """Draw labelled values in order."""
    return line([label for label, _ in points], [value for _, value in points], title)


def bars(labels: Sequence[str], values: Sequence[float | None], title: str) -> Markup:
    """Draw a bar for each label."""
    scale = _Scale([value for value in values if value is not None], _HEIGHT - _BOTTOM, _TOP, zero=True)
    width = (_WIDTH - _LEFT - _RIGHT) / max(len(values), 1)
    parts = [_axes(scale)]
    for place, value in enumerate(values):
        if value is not None:
            top, foot = sorted((scale(value), scale(0)))
            tip = _TITLE.format(f"{labels[place]}: {compact(value)}")
            parts.append(
                _RECT.format(
                    "bar",
                    _n(_LEFT + place * width + width * 0.1),
                    _n(top),
                    _n(width * 0.8),
                    _n(max(foot - top, 0.5)),
                    "",
                    tip,
                )
            )
    return _plot([*parts, _labels(labels, lambda place: _LEFT + (place + 0.5) * width)], title)


def scatter(points: Sequence[tuple[float, float]], title: str) -> Markup:
    """Draw a point for each pair."""
    y = _Scale((each[1] for each in points), _HEIGHT - _BOTTOM, _TOP, zero=False)
    x = _Scale((each[0] for each in points), _LEFT, _WIDTH - _RIGHT, zero=False)
    dots = [Markup('<circle class="dot" cx="{}" cy="{}" r="3"/>').format(_n(x(a)), _n(y(b))) for a, b in points]
    ticks = [
        Markup('<text x="{}" y="{}" text-anchor="middle">{}</text>').format(_n(x(each)), _HEIGHT - 8, compact(each))
        for each in x.ticks
    ]
    return _plot([_axes(y), *dots, *ticks], title)


def distribution(values: Sequence[float], title: str) -> Markup:
    """Draw a histogram of values in at most 30 bins of equal width."""
    values = _bounded(values)
    low, high = min(values), max(values)
    count = max(min(30, math.ceil(math.sqrt(len(values)))), 1)
    width = (high - low) / count or 1.0
    bins = [0] * count
    for value in values:
        bins[min(int((value - low) / width), count - 1)] += 1
    labels = [f"{compact(low + place * width)} to {compact(low + (place + 1) * width)}" for place in range(count)]
    return bars(labels, bins, title)


def _bounded(values: Iterable[float]) -> list[float]:
    """Return numbers whose differences are numbers: those of doubles may be infinite."""
    return [min(max(value, -_LARGEST), _LARGEST) for value in values]


def _starts_at_zero(values: Sequence[float]) -> bool:
    """Return whether a line should show zero: unless its values are all far from it compared with how they differ."""
    return not values or max(values) - min(values) > 0.5 * max(abs(value) for value in values)


def _steps(count: int) -> Callable[[int], float]:
    step = (_WIDTH - _LEFT - _RIGHT) / max(count - 1, 1)
    return lambda place: _LEFT + place * step


def _axes(scale: _Scale) -> Markup:
    lines = [
        Markup(
            '<line class="axis" x1="{}" x2="{}" y1="{}" y2="{}"/><text x="{}" y="{}" text-anchor="end">{}</text>'
        ).format(
            _LEFT, _WIDTH - _RIGHT, _n(scale(tick)), _n(scale(tick)), _LEFT - 8, _n(scale(tick) + 4), compact(tick)
        )
        for tick in scale.ticks
    ]
    return Markup("").join(lines)


def _labels(labels: Sequence[str], x: Callable[[int], float]) -> Markup:
    """Write the labels below a plot, as many as fit."""
    labels = [
        label if len(label) <= _LONGEST_LABEL else f"{label[: _LONGEST_LABEL - 1]}…" for label in _short_times(labels)
    ]
    room = (_WIDTH - _LEFT - _RIGHT) / (_CHARACTER * max(map(len, labels), default=0) + _BETWEEN)
    every = max(1, math.ceil(len(labels) / min(max(room, 1), _MOST_LABELS)))
    return Markup("").join(
        Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>').format(
            _n(x(place)),
            _HEIGHT - 8,
            "end" if len(labels) > 1 and place == len(labels) - 1 else "middle",
            label,
        )
        for place, label in enumerate(labels)
        if place % every == 0
    )


def _short_times(labels: Sequence[str]) -> list[str]:
    """Shorten timestamps to what differs between them: the days, the times of one day, or days of a year with times."""
    found = [_TIMESTAMP.fullmatch(label) for label in labels]
    days = [each[1] for each in found if each is not None]
    if not labels or len(days) < len(labels):
        return [*labels]
    times = [each[2] for each in found if each is not None]
    distinct = len(set(days))
    if set(times) == {"00:00"} or distinct >= _MOST_LABELS:
        return days
    if distinct == 1:
        return times
    return [f"{day[5:]} {at}" for day, at in zip(days, times, strict=True)]


def _plot(parts: Iterable[Markup], title: str) -> Markup:
    return _FRAME.format(title, _SVG.format("plot", _WIDTH, _HEIGHT, title, "", Markup("").join(parts)))


def _n(value: float) -> str:
    """Write a coordinate."""
    return f"{value:.1f}".removesuffix(".0") if math.isfinite(value) else "0"


def compact(value: float) -> str:
    """Write a number briefly: `1.23M`."""
    if 1000 <= abs(value) < 100_000 and value == int(value):  # noqa: PLR2004 - as long as its short form, and exact
        return f"{int(value):,}"
    for size, mark in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{mark}"
    return f"{value:.4g}"


def figure(value: Any) -> str:
    """Write a figure of a profile: numbers briefly, an absent one as `none`."""
    if value is None:
        return "none"
    return compact(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def highlighted(text: str, words: Iterable[str]) -> Markup:
    """Mark words in a text."""
    found = [re.escape(word) for word in words if word]
    if not found:
        return escape(text)
    pieces = re.split(f"({'|'.join(found)})", text, flags=re.IGNORECASE)
    return Markup("").join(
        Markup("<mark>{}</mark>").format(piece) if place % 2 else escape(piece) for place, piece in enumerate(pieces)
    )


FILTERS: Final = (histogram, share, spark, line_of, compact, figure, highlighted)
"""Filters of the templates."""
