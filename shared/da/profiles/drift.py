"""Drift: what has changed in a table since its last profile. No message contains a value."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

Json = Mapping[str, Any]

_FEWER: Final = 0.7
_MORE: Final = 2.0
_MISSING: Final = 0.05
_SHIFT: Final = 0.5
_INSTABLE: Final = 0.25
"""The population stability index from which a distribution counts as changed."""

_SMALL: Final = 1e-4


def changes_since(before: Json, after: Json) -> list[dict[str, Any]]:
    """Return the changes from one profile of a table to the next: figures before and after, by column."""
    made = [*_differences(None, before["tableProfile"], after["tableProfile"], ("rowCount", "columnCount"))]
    old, new = _columns(before), _columns(after)
    made += [
        {"column": name, "figure": "column", "before": old[name]["dataType"], "after": None}
        for name in old.keys() - new
    ]
    made += [
        {"column": name, "figure": "column", "before": None, "after": new[name]["dataType"]}
        for name in new.keys() - old
    ]
    for name in new:
        if name in old:
            figures = ("dataType", "nullProportion", "distinctCount", "mean", "median", "min", "max")
            is_hidden = old[name].get("isSensitive") or new[name].get("isSensitive")
            made += _differences(name, old[name], new[name], figures[: 3 if is_hidden else None])
    return sorted(made, key=lambda each: (each["column"] or "", each["figure"]))


def drift_alerts(before: Json, after: Json) -> list[dict[str, Any]]:
    """Return alerts on the changes that are large enough to be looked at."""
    made = [{"column": None, "type": kind, "message": message} for kind, message in _of_rows(before, after)]
    old, new = _columns(before), _columns(after)
    made += [
        {"column": name, "type": "column_removed", "message": "is no longer there"} for name in sorted(old.keys() - new)
    ]
    made += [{"column": name, "type": "column_added", "message": "is new"} for name in sorted(new.keys() - old)]
    for name in new:
        if name in old:
            found = _of_column(old[name], new[name])
            made += [{"column": name, "type": kind, "message": message} for kind, message in found]
    return made


def summary_of(profile: Json) -> dict[str, Any]:
    """Return what is kept of a profile in the history of its table."""
    columns = {
        name: {"nullProportion": each["nullProportion"], "distinctCount": each["distinctCount"]}
        for name, each in _columns(profile).items()
    }
    return {
        **profile["tableProfile"],
        "completeness": profile["completeness"],
        "alerts": len(profile["alerts"]),
        "columns": columns,
    }


def _columns(profile: Json) -> dict[str, Json]:
    return {each["name"]: each for each in profile["columnProfile"]}


def _differences(column: str | None, before: Json, after: Json, figures: Sequence[str]) -> Iterator[dict[str, Any]]:
    for figure in figures:
        if before.get(figure) != after.get(figure):
            yield {"column": column, "figure": figure, "before": before.get(figure), "after": after.get(figure)}


def _of_rows(before: Json, after: Json) -> Iterator[tuple[str, str]]:
    old, new = before["tableProfile"]["rowCount"], after["tableProfile"]["rowCount"]
    if old and new < _FEWER * old:
        yield "rows_dropped", f"the table has {new:,} rows, and had {old:,}"
    elif old and new > _MORE * old:
        yield "rows_grown", f"the table has {new:,} rows, and had {old:,}"


def _of_column(before: Json, after: Json) -> Iterator[tuple[str, str]]:
    if before["dataType"] != after["dataType"]:
        yield "type_changed", f"is {after['dataType']}, and was {before['dataType']}"
        return
    if not before["valuesCount"] or not after["valuesCount"]:
        if before["valuesCount"]:
            yield "drift_missing", "has no values any more"
        return
    missing = after["nullProportion"] - before["nullProportion"]
    if abs(missing) >= _MISSING:
        old, new = 100 * before["nullProportion"], 100 * after["nullProportion"]
        yield "drift_missing", f"has no value in {new:.1f} % of the rows, and had none in {old:.1f} %"
    few, many = sorted((before["distinctCount"], after["distinctCount"]))
    if many > _MORE * max(few, 1) and many > 10:  # noqa: PLR2004 - fewer vary by chance
        yield "drift_distinct", f"has {after['distinctCount']:,} distinct values, and had {before['distinctCount']:,}"
    if before.get("stddev") and after.get("mean") is not None:
        shift = (after["mean"] - before["mean"]) / before["stddev"]
        if abs(shift) >= _SHIFT:
            yield (
                "drift_mean",
                f"has a mean that is {abs(shift):.1f} standard deviations {'higher' if shift > 0 else 'lower'}",
            )
    if _instability(before, after) >= _INSTABLE:
        yield "drift_values", "has its values distributed otherwise"


def _instability(before: Json, after: Json) -> float:
    """Return the population stability index of the most frequent values of a category; 0 of other columns."""
    if before["category"] != "STRING" or before["distinctCount"] > 10 or after["distinctCount"] > 10:  # noqa: PLR2004 - all are known
        return 0.0
    old, new = ({each["value"]: each["proportion"] for each in side.get("topValues", ())} for side in (before, after))
    if not old or not new:
        return 0.0
    shares = [(max(old.get(value, 0), _SMALL), max(new.get(value, 0), _SMALL)) for value in old.keys() | new.keys()]
    return float(sum((one - other) * math.log(one / other) for one, other in shares))
