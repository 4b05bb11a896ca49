"""The profile of a table: a JSON document made of sketches, in the names of OpenMetadata's table and column profiles.

`estimated` lists the figures of a column that are not exact, with the error of each: the standard error of a number of
distinct values, and the greatest error of the rank of a quantile (with a probability of 99 %).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import islice, pairwise
from typing import Any, Final

from da.profiles import sensitive
from da.profiles.correlation import BETWEEN
from da.profiles.scan import BINS, Scanned
from da.profiles.sketches import (
    DISTINCT_ERROR,
    PROBABILITIES,
    Kind,
    Sketch,
    exact_quantile,
    number,
    quantile,
)

Json = dict[str, Any]

CATEGORIES: Final[Mapping[Kind, str]] = {
    "number": "NUMERIC",
    "boolean": "BOOLEAN",
    "date": "DATE",
    "timestamp": "TIMESTAMP",
    "text": "STRING",
    "nested": "STRING",
    "binary": "STRING",
}
CATEGORICAL: Final = 50
"""The number of distinct values up to which a text is a category."""

SHOWN_VALUES: Final = 10
_SAMPLE_VALUES: Final = 5
_LONGEST: Final = 100
_STRONG: Final = 0.9
_ENOUGH: Final = 30
"""Rows from which a correlation is worth an alert."""

_NEARLY_EQUAL: Final = 0.99
_CORRELATIONS: Final = 50
_LABELS: Final = ("day", "month", "quarter", "year")


@dataclass(frozen=True, slots=True)
class Described:
    """What is known of a table besides its rows. `at` is the time of the profile in milliseconds since 1970."""

    table: str
    at: int
    size_bytes: int
    description: str | None = None
    primary_key: tuple[str, ...] = ()
    sync_strategy: str | None = None
    last_sync: str | None = None
    columns: Mapping[str, str | None] = field(default_factory=dict)
    """Descriptions of columns by name; the names at the source may be among them."""


def profile_of(scanned: Scanned, about: Described) -> Json:
    """Return the profile of a table."""
    reasons = {name: sensitive.reason_of(name, sketch) for name, sketch in scanned.columns.items()}
    hidden = frozenset(name for name, reason in reasons.items() if reason)
    columns = [_column(name, sketch, scanned, reasons[name], about) for name, sketch in scanned.columns.items()]
    correlations = _correlations(scanned, hidden)
    cells = scanned.rows * len(columns)
    missing = sum(sketch.nulls for sketch in scanned.columns.values())
    dates = next((each for each in columns if each["category"] in {"DATE", "TIMESTAMP"} and "min" in each), None)
    alerts = [alert for each in columns for alert in each["alerts"]]
    return {
        "table": about.table,
        "description": about.description,
        "tableProfile": {
            "timestamp": about.at,
            "rowCount": scanned.rows,
            "columnCount": len(columns),
            "sizeInByte": about.size_bytes,
        },
        "primaryKey": list(about.primary_key),
        "syncStrategy": about.sync_strategy,
        "lastSync": about.last_sync,
        "completeness": _percent(cells - missing, cells) if cells else None,
        "missingCount": missing,
        "missingProportion": _share(missing, cells),
        "duplicateCount": _duplicates(scanned, about.primary_key),
        "types": _counted(each["category"] for each in columns),
        "dateRange": dates and {"column": dates["name"], **{name: dates[name] for name in ("min", "max", "spanDays")}},
        "keyCandidates": [[each["name"]] for each in columns if _is_key(scanned.columns[each["name"]], scanned.rows)],
        "correlations": correlations,
        "isSampled": any(each["estimated"] for each in columns),
        "alerts": [*_table_alerts(scanned, about), *alerts, *_correlation_alerts(correlations)],
        "columnProfile": columns,
        "sampleRows": _rows(scanned, hidden),
    }


def without_values(profile: Json, columns: Iterable[str]) -> Json:
    """Return a profile without the values of some columns, because a tag says that they are sensitive."""
    hidden = frozenset(columns)
    if not hidden:
        return profile
    listed = [
        {**{name: each[name] for name in _COUNTS if name in each}, "isSensitive": True, "sensitive": "tag"}
        if each["name"] in hidden
        else each
        for each in profile["columnProfile"]
    ]
    dates = profile["dateRange"]
    return {
        **profile,
        "dateRange": None if dates and dates["column"] in hidden else dates,
        "correlations": [each for each in profile["correlations"] if not hidden & set(each["columns"])],
        "columnProfile": listed,
        "sampleRows": [
            {name: sensitive.WITHHELD if name in hidden and value is not None else value for name, value in row.items()}
            for row in profile["sampleRows"]
        ],
    }


_COUNTS: Final = (
    *("name", "dataType", "category", "description", "isPrimaryKey", "valuesCount", "nullCount", "nullProportion"),
    *("completeness", "distinctCount", "distinctProportion", "duplicateCount", "uniqueCount", "estimated", "alerts"),
)
"""What is shown of a sensitive column: counts, and no values."""


def _column(name: str, sketch: Sketch, scanned: Scanned, reason: str | None, about: Described) -> Json:
    rows = scanned.rows
    made: Json = {
        "name": name,
        "dataType": sketch.type,
        "category": CATEGORIES[sketch.kind],
        "description": about.columns.get(name),
        "isPrimaryKey": name in about.primary_key,
        "isSensitive": reason is not None,
        "valuesCount": sketch.values,
        "nullCount": sketch.nulls,
        "nullProportion": _share(sketch.nulls, rows),
        "completeness": _percent(sketch.values, rows) if rows else None,
        "distinctCount": sketch.distinct_estimate,
        "distinctProportion": _share(sketch.distinct_estimate, sketch.values),
        "duplicateCount": sketch.values - sketch.distinct_estimate,
        "uniqueCount": _unique(sketch),
        "estimated": {} if sketch.distinct is not None else {"distinctCount": DISTINCT_ERROR},
    }
    if reason is not None:
        made["sensitive"] = reason
    elif sketch.values:
        made |= _VALUES.get(sketch.kind, _text)(sketch, made["estimated"])
        made |= _frequent(sketch, [row.get(name) for row in scanned.sample], made["estimated"])
    made["alerts"] = [{"column": name, **alert} for alert in _alerts(sketch, made, rows)]
    return made


def _number(sketch: Sketch, estimated: Json) -> Json:
    made: Json = {
        "nonFiniteCount": sketch.values - sketch.numbers,
        "zerosCount": sketch.zeros,
        "zerosProportion": _share(sketch.zeros, sketch.values),
        "negativeCount": sketch.negatives,
        "negativeProportion": _share(sketch.negatives, sketch.values),
    }
    if not sketch.numbers or sketch.is_masked:  # an extreme is withheld; the others could come near it
        return made
    total = number(sketch.total or "0")
    deviation = (
        math.sqrt(sketch.squares / (sketch.numbers - 1)) if sketch.squares is not None and sketch.numbers > 1 else None
    )
    made |= {
        "min": _shown_number(sketch.least),
        "max": _shown_number(sketch.greatest),
        "sum": _finite(total),
        "mean": _finite(total / sketch.numbers),
        "stddev": _finite(deviation),
    }
    is_exact = sketch.is_whole and not sketch.is_sampled
    ordered = _ordered(sketch)
    cuts, error = ([exact_quantile(ordered, each) for each in PROBABILITIES], 0.0) if is_exact else _quantiles(sketch)
    if error:
        estimated["quantiles"] = error
    finite = [_finite(cut) for cut in cuts]
    made["quantiles"] = {f"p{round(100 * p)}": cut for p, cut in zip(PROBABILITIES, finite, strict=True)}
    made |= {"firstQuartile": finite[2], "median": finite[3], "thirdQuartile": finite[4]}
    histogram = _histogram(sketch, sketch.points if error else ordered)
    if histogram is not None:
        made["histogram"] = histogram
        if error:
            estimated["histogram"] = error
    return made


def _quantiles(sketch: Sketch) -> tuple[list[float], float]:
    """Return the quantiles of values that are not all counted, and the greatest error of their ranks; 0 if they are exact."""
    if sketch.quantiles:
        return list(sketch.quantiles), 0.0
    found = [quantile(sketch.points, each) for each in PROBABILITIES]
    # the points of each piece stand for a share of it; a sample of n rows is off by sqrt(ln(2 / 0.01) / 2n) at most (DKW)
    error = 1 / 128 + math.sqrt(math.log(200) / (2 * max(sketch.sampled, 1)))
    return [each if each is not None else math.nan for each in found], round(error, 4)


def _ordered(sketch: Sketch) -> list[tuple[float, int]]:
    values = ((number(each.value), each.count) for each in sketch.counted)
    return sorted((value, count) for value, count in values if math.isfinite(value))


def _histogram(sketch: Sketch, weighted: Sequence[tuple[float, float]]) -> Json | None:
    """Return the histogram; of `weighted` values, unless the sketch has its bins."""
    low, high = float(sketch.least or 0), float(sketch.greatest or 0)
    if not (high > low and math.isfinite(high - low)):
        return None
    width = (high - low) / BINS
    if not width:
        return None
    counts = list(sketch.bins)
    if not counts:
        bins = [0.0] * BINS
        for value, weight in weighted:
            bins[max(0, min(BINS - 1, math.floor((value - low) / width)))] += weight
        counts = [round(each) for each in bins]
    edges = [low + (high - low) * step / BINS for step in range(BINS)]
    return {
        "boundaries": [_label(a, b) for a, b in zip(edges, [*edges[1:], high], strict=True)],
        "edges": [*edges, high],
        "frequencies": counts,
    }


def _time(sketch: Sketch, estimated: Json) -> Json:
    if sketch.spanned is None:
        return {}
    days = sketch.days
    first, last = (each // 86_400_000_000 for each in sketch.spanned)
    made: Json = {"min": sketch.least, "max": sketch.greatest, "spanDays": last - first}
    if not days:
        estimated["histogram"] = None
        return made
    try:
        unit, labels = _by_unit(days, first, last)
    except OverflowError:  # a year that Python has no dates for
        return made
    missing = last - first + 1 - len(days)
    made["histogram"] = {"unit": unit, "boundaries": list(labels), "frequencies": list(labels.values())}
    made["gaps"] = {"missingDays": missing, "longest": _longest_gap(sorted(days))}
    return made


def _by_unit(days: Mapping[int, int], first: int, last: int) -> tuple[str, dict[str, int]]:
    span = last - first
    unit = _LABELS[0 if span <= 45 else 1 if span <= 200 else 2 if span <= 20 * 366 else 3]  # noqa: PLR2004 - about 40 bars
    made: dict[str, int] = {}
    start = _day(first)
    for offset in range(span + 1) if unit != "year" else ():
        made.setdefault(_unit_label(start + timedelta(offset), unit), 0)
    if unit == "year":
        years = range(start.year, _day(last).year + 1)
        made = {f"{year:04}": 0 for year in years[:200]}
    for day, count in sorted(days.items()):
        label = _unit_label(_day(day), unit)
        made[label] = made.get(label, 0) + count
    return unit, made


def _day(number_: int) -> date:
    return date(1970, 1, 1) + timedelta(number_)


def _unit_label(day: date, unit: str) -> str:
    if unit == "quarter":
        return f"{day.year:04}-Q{(day.month + 2) // 3}"
    return day.isoformat()[: {"day": 10, "month": 7, "year": 4}[unit]]


def _longest_gap(days: Sequence[int]) -> Json | None:
    """Return the most days in a row without a row."""
    gaps = [(after - before - 1, before + 1) for before, after in pairwise(days) if after - before > 1]
    if not gaps:
        return None
    length, start = max(gaps, key=lambda gap: (gap[0], -gap[1]))
    return {"from": _day(start).isoformat(), "to": _day(start + length - 1).isoformat(), "days": length}


def _boolean(sketch: Sketch, estimated: Json) -> Json:  # noqa: ARG001 - like the others
    return {
        "trueCount": sketch.trues,
        "falseCount": sketch.values - sketch.trues,
        "trueProportion": _share(sketch.trues, sketch.values),
    }


def _text(sketch: Sketch, estimated: Json) -> Json:
    made: Json = {
        "minLength": sketch.shortest,
        "maxLength": sketch.longest,
        "meanLength": sketch.characters / sketch.values,
        "blankCount": sketch.blanks,
    }
    if sketch.kind != "text":
        return made
    made |= {"min": _shown(sketch.least), "max": _shown(sketch.greatest)}
    if sketch.patterns:
        shapes = list(sketch.patterns.items())[:SHOWN_VALUES]
        made["patterns"] = [{"pattern": s, "count": n, "proportion": _share(n, sketch.examined)} for s, n in shapes]
        if sketch.examined < sketch.values:
            made["patternsSampledRows"] = sketch.examined
            estimated["patterns"] = None
    return made


_VALUES: Final = {"number": _number, "date": _time, "timestamp": _time, "boolean": _boolean}


def _frequent(sketch: Sketch, some: Sequence[str | None], estimated: Json) -> Json:
    """Return the most frequent values, and some values as examples; nothing of a binary column."""
    if sketch.kind in {"binary", "boolean"}:
        return {}
    shown = ((each, _shown_as(sketch, each.value)) for each in sketch.counted)
    kept = list(islice(((each, value) for each, value in shown if value is not None), SHOWN_VALUES))
    seen = (_shown_as(sketch, each) for each in some if each is not None and each != sensitive.WITHHELD)
    values = dict.fromkeys([*(value for _, value in kept), *(each for each in seen if each is not None)])
    made: Json = {"sampleValues": list(values)[:_SAMPLE_VALUES]}
    if sketch.counted and (sketch.counted[0].count > 1 or sketch.is_whole):
        made["topValues"] = [
            {"value": value, "count": each.count, "proportion": _share(each.count, sketch.values)}
            for each, value in kept
        ]
        if sketch.is_sampled or sketch.is_partial:
            estimated["topValues"] = None
    return made


def _unique(sketch: Sketch) -> int | None:
    """Return how many values occur exactly once; `None` if that is not known."""
    if sketch.is_whole and not sketch.is_sampled:
        return sum(each.count == 1 for each in sketch.counted)
    return sketch.values if sketch.distinct == sketch.values else None


def _alerts(sketch: Sketch, column: Json, rows: int) -> Iterable[Json]:
    """Yield what stands out in a column. No message contains a value."""
    if rows and not sketch.values:
        yield _alert("empty", "has no values")
        return
    if column["isSensitive"]:
        yield _alert("sensitive", "looks sensitive, so its values are not shown")
    if sketch.distinct == 1 and not sketch.nulls:
        yield _alert("constant", "has the same value in every row")
    elif sketch.distinct == sketch.values and sketch.values > 1:
        yield _alert("unique", "has only distinct values")
    missing = 100 * sketch.nulls / rows if rows else 0.0
    if missing > 5:  # noqa: PLR2004 - the limits of the alerts
        yield _alert("high_missing" if missing > 30 else "missing", f"has no value in {missing:.1f} % of the rows")  # noqa: PLR2004
    if not column["isSensitive"]:
        yield from _ALERTS.get(sketch.kind, _no_alerts)(sketch, column)


def _no_alerts(sketch: Sketch, column: Json) -> Iterable[Json]:  # noqa: ARG001 - like the others
    return ()


def _number_alerts(sketch: Sketch, column: Json) -> Iterable[Json]:  # noqa: ARG001 - like the others
    if sketch.zeros > sketch.values / 2:
        yield _alert("zeros", f"is zero in {100 * sketch.zeros / sketch.values:.1f} % of its values")
    if sketch.values > sketch.numbers:
        yield _alert("non_finite", f"has {sketch.values - sketch.numbers:,} values that are NaN or infinite")


def _text_alerts(sketch: Sketch, column: Json) -> Iterable[Json]:  # noqa: ARG001 - like the others
    distinct = sketch.distinct_estimate
    top = sketch.counted[0].count if sketch.counted else 0
    if 1 < distinct <= CATEGORICAL and top > 0.6 * sketch.values:
        yield _alert("imbalance", f"has one value in {100 * top / sketch.values:.1f} % of its rows")
    if distinct > CATEGORICAL:
        about = "" if sketch.distinct is not None else "about "
        yield _alert("high_cardinality", f"has {about}{distinct:,} distinct values")
    if sketch.blanks:
        yield _alert("blank", f"is empty text in {sketch.blanks:,} rows")


def _time_alerts(sketch: Sketch, column: Json) -> Iterable[Json]:  # noqa: ARG001 - like the others
    longest = (column.get("gaps") or {}).get("longest")
    if longest and longest["days"] > max(7, 0.1 * column["spanDays"]):
        yield _alert("gap", f"has no rows on {longest['days']:,} days in a row")


_ALERTS: Final = {"number": _number_alerts, "text": _text_alerts, "date": _time_alerts, "timestamp": _time_alerts}


def _alert(kind: str, message: str) -> Json:
    return {"type": kind, "message": message}


def _table_alerts(scanned: Scanned, about: Described) -> Iterable[Json]:
    if not scanned.rows:
        yield {"column": None, **_alert("no_rows", "the table has no rows")}
    duplicates = _duplicates(scanned, about.primary_key)
    if duplicates:
        key = ", ".join(about.primary_key)
        yield {"column": None, **_alert("duplicates", f"{duplicates:,} rows repeat the key {key} of another row")}


def _duplicates(scanned: Scanned, key: Sequence[str]) -> int | None:
    """Return how many rows repeat the key of another one; `None` if there is no key or it is not known exactly."""
    if not key:
        return None
    if scanned.duplicates is not None:
        return scanned.duplicates
    if len(key) == 1 and key[0] in scanned.columns:
        sketch = scanned.columns[key[0]]
        if sketch.distinct is not None:
            return scanned.rows - sketch.distinct - bool(sketch.nulls)
    return None


def _is_key(sketch: Sketch, rows: int) -> bool:
    return (
        rows > 1
        and sketch.nulls == 0
        and sketch.distinct == rows
        and sketch.kind in {"number", "text", "date", "timestamp"}
    )


def _correlations(scanned: Scanned, hidden: frozenset[str]) -> list[Json]:
    made: list[Json] = []
    for pair, moments in scanned.correlated.items():
        columns, coefficient = pair.split(BETWEEN), moments.coefficient
        if coefficient is not None and not hidden & set(columns):
            made.append({"columns": columns, "coefficient": round(coefficient, 6), "rows": moments.count})
    return sorted(made, key=lambda each: (-abs(each["coefficient"]), each["columns"]))[:_CORRELATIONS]


def _correlation_alerts(correlations: Sequence[Json]) -> Iterable[Json]:
    for each in correlations:
        if abs(each["coefficient"]) >= _STRONG and each["rows"] >= _ENOUGH:
            one, other = each["columns"]
            how = "nearly determines" if abs(each["coefficient"]) >= _NEARLY_EQUAL else "strongly correlates with"
            yield {"column": one, **_alert("correlated", f"{how} '{other}' (r = {each['coefficient']:.2f})")}


def _rows(scanned: Scanned, hidden: frozenset[str]) -> list[Json]:
    """Return some rows as texts; values of sensitive columns, and values that look sensitive, are withheld."""
    made: list[Json] = []
    for row in scanned.sample:
        shown: Json = {}
        for name, value in row.items():
            if value is None:
                shown[name] = None
            elif name in hidden or value == sensitive.WITHHELD:
                shown[name] = sensitive.WITHHELD
            else:
                kept = _shown_as(scanned.columns[name], value)
                shown[name] = sensitive.WITHHELD if kept is None else str(kept)
        made.append(shown)
    return made


def _shown_as(sketch: Sketch, value: str) -> str | float | int | None:
    if sketch.kind == "number":
        return _shown_number(value)
    return value if sketch.kind in {"date", "timestamp", "boolean"} else _shown(value)


def _shown(value: str | None) -> str | None:
    """Return a text as it may be shown, shortened; `None` if it looks sensitive."""
    if value is None or value.startswith(sensitive.MASK) or sensitive.content_of(value) is not None:
        return None
    return value if len(value) <= _LONGEST else f"{value[: _LONGEST - 1]}…"


def _shown_number(value: str | None) -> int | float | None:
    """Return a number as it may be shown: not one that could be the number of a card."""
    if value is None or sensitive.is_card_number(value):
        return None
    return _finite(number(value))


def _finite(value: float | None) -> float | int | None:
    return value if value is not None and math.isfinite(value) else None


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 2)


def _counted(names: Iterable[str]) -> dict[str, int]:
    made: dict[str, int] = {}
    for name in names:
        made[name] = made.get(name, 0) + 1
    return made


def _label(low: float, high: float) -> str:
    return f"{compact(low)} – {compact(high)}"  # noqa: RUF001 - the sign of a range


def compact(value: float) -> str:
    """Write a number briefly: 1.2K, 3M, 4.5B."""
    for size, mark in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if abs(value) >= size:
            return f"{value / size:.4g}{mark}"
    return f"{value:.4g}"
