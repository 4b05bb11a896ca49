"""The result of a query as people see it: cells as texts, and the plot that suits its columns."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from markupsafe import Markup

from analyst.catalog import Table
from analyst.names import quote
from analyst.pages import plots
from analyst.rebuild.view_names import name_parts

Chart = Literal["auto", "none", "line", "bar", "scatter", "histogram"]

_NUMBER: Final = re.compile(r"(U?(TINY|SMALL|BIG|HUGE)INT|U?INTEGER|FLOAT|DOUBLE|DECIMAL.*)", re.ASCII)
_TIME: Final = re.compile(r"(DATE|TIMESTAMP.*|TIME.*)", re.ASCII)
_KEY: Final = re.compile(r"(^|_)(id|key|no|nr)$", re.IGNORECASE)
"""Names of columns whose numbers measure nothing."""

_MOST_BARS: Final = 60
_MOST_POINTS: Final = 2000
_LONGEST: Final = 2000
_MOST_NAMES: Final = 20_000
_NOISE: Final = 4
"""By how much 12 significant digits must be shorter to be shown instead: sums such as 3396.8500000000004 end in noise."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A value as text; NULL is `None`. `exact` is all of a number that is shown without its binary noise."""

    text: str | None
    exact: str | None = None

    @classmethod
    def of(cls, value: Any) -> "Cell":
        """Write a value of a JSON answer."""
        if value is None:
            return cls(None)
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        if isinstance(value, float) and len(short := repr(float(f"{value:.12g}"))) <= len(text) - _NOISE:
            return cls(short, text)
        return cls(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…")


_PLAIN: Final = re.compile(r"[a-z_][a-z0-9_]*")
_RESERVED: Final = frozenset(
    re.findall(
        r"\w+",
        """all analyse analyze and any array as asc asymmetric both case cast check collate column constraint create default
        deferrable desc describe distinct do else end except false fetch for foreign from group having in initially intersect
        into lambda lateral leading limit not null offset on only or order pivot pivot_longer pivot_wider placing primary
        qualify references returning select show some summarize symmetric table then to trailing true union unique unpivot
        using variadic when where window with""",
    )
)
"""Words that DuckDB takes for a name only in quotes; reading them from it would import it."""


def plain(*parts: str) -> str:
    """Write a name for people: quoted only where DuckDB needs it."""
    return ".".join(part if _PLAIN.fullmatch(part) and part not in _RESERVED else quote(part) for part in parts)


def readable_name(table_id: str, view: str) -> str:
    """Return a table's name in a statement, quoted only where DuckDB needs it."""
    return plain(*name_parts(table_id, view))


def is_number(kind: str) -> bool:
    """Return whether a DuckDB type is that of numbers."""
    return _NUMBER.fullmatch(kind) is not None


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot of a result, and the choices that led to it; `x` and `y` are the names of columns."""

    chart: Chart
    x: str | None
    y: str | None
    markup: Markup


def plot(
    columns: Sequence[Mapping[str, str]], rows: Sequence[Sequence[Any]], chart: Chart, x: str | None, y: str | None
) -> Plot:
    """Draw a result. `auto` chooses the kind by the types of the columns, as do missing columns."""
    names = [column["name"] for column in columns]
    numbers = [column["name"] for column in columns if is_number(column["type"])]
    times = [column["name"] for column in columns if _TIME.fullmatch(column["type"])]
    measures = sorted((name for name in numbers if name != x), key=lambda name: _KEY.search(name) is not None)
    y = y if y in numbers else next(iter(measures), None)
    if chart == "auto":
        chart = _suited(columns, rows, numbers, times)
    if y is None or not rows or chart == "none":
        return Plot("none", x, y, Markup(""))
    if chart == "scatter":
        x = x if x in numbers else next((name for name in numbers if name != y), y)
    elif x not in names or (x == y and chart != "histogram"):
        others = [name for name in names if name not in numbers]
        x = next(iter([*times, *others, *(name for name in names if name != y)]), None)
    return Plot(chart, x, y, _drawn(chart, names, rows, x, y))


def _suited(
    columns: Sequence[Mapping[str, str]], rows: Sequence[Sequence[Any]], numbers: list[str], times: list[str]
) -> Chart:
    if not numbers or len(rows) < 2:  # noqa: PLR2004 - one value is no plot
        return "none"
    if times:
        place = [column["name"] for column in columns].index(times[0])
        is_series = len({row[place] for row in rows}) == len(rows)
        return "line" if is_series else "histogram"  # of raw rows, with several values at a time
    if len(numbers) == len(columns):
        return "histogram" if len(numbers) == 1 else "scatter"
    return "bar" if len(rows) <= _MOST_BARS else "none"


def _drawn(chart: Chart, names: list[str], rows: Sequence[Sequence[Any]], x: str | None, y: str) -> Markup:
    values = [_number(row[names.index(y)]) for row in rows]
    if chart == "histogram":
        known = [value for value in values if value is not None]
        return plots.distribution(known, f"Histogram of {y}") if known else Markup("")
    place = None if x is None else names.index(x)
    found = [
        str(number + 1) if place is None else Cell.of(row[place]).text or "NULL" for number, row in enumerate(rows)
    ]
    title = f"{y} by {x or 'row'}"
    if chart == "scatter" and place is not None:
        pairs = [(_number(row[place]), value) for row, value in zip(rows, values, strict=True)]
        points = [(one, other) for one, other in pairs if one is not None and other is not None][:_MOST_POINTS]
        return plots.scatter(points, title) if points else Markup("")
    if not any(value is not None for value in values):
        return Markup("")
    if chart == "line":
        ordered = (
            sorted(zip(found, values, strict=True), key=lambda each: each[0])
            if place is not None
            else list(zip(found, values, strict=True))
        )
        return plots.line([each[0] for each in ordered], [each[1] for each in ordered], title)
    return plots.bars(found[:_MOST_BARS], values[:_MOST_BARS], title)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def shown_result(answer: Mapping[str, Any], chart: Chart, x: str | None, y: str | None) -> dict[str, Any]:
    """Return the JSON answer to a query as the editor shows it: its cells, its plot and its receipt."""
    columns = answer["columns"]
    return {
        "answer": answer,
        "plot": plot(columns, answer["rows"], chart, x, y),
        "rows": [[Cell.of(value) for value in row] for row in answer["rows"]],
        "numeric": [is_number(column["type"]) for column in columns],
        "numbers": {column["name"] for column in columns if is_number(column["type"])},
        "receipt": json.dumps(answer["receipt"], indent=2, ensure_ascii=False) if answer["receipt"] else None,
    }


def names_for(tables: Sequence[Table]) -> tuple[tuple[str, ...], ...]:
    """Return what a statement can name, for completion: each name with its kind or type, and the table it belongs to."""
    names: list[tuple[str, ...]] = []
    for table in tables:
        name = readable_name(table.id, table.view)
        names.append((name, "table", table.name))
        if table.view != name:
            names.append((plain(table.view), "table", table.name))
    for table in tables:
        if len(names) > _MOST_NAMES:
            break
        names += [(plain(column.name), column.type, table.name) for column in table.columns]
    return tuple(dict.fromkeys(names))[:_MOST_NAMES]
