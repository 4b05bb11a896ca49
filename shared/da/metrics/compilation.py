"""Compiling a metric to SQL: its expression, by dimensions and by time, of the rows that its filters leave."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final, Self

from da.errors import DaError
from da.sql import quote

GRAINS: Final = ("hour", "day", "week", "month", "quarter", "year")
_ALIASES: Final = {"hourly": "hour", "daily": "day", "weekly": "week", "monthly": "month", "quarterly": "quarter"}
_ALIASES_OF_YEARS: Final = {"yearly": "year", "annual": "year", "annually": "year"}

_WRAPPED: Final = {
    "sum": "sum({})",
    "count": "count({})",
    "average": "avg({})",
    "avg": "avg({})",
    "mean": "avg({})",
    "min": "min({})",
    "max": "max({})",
    "median": "median({})",
    "count_distinct": "count(distinct {})",
    "distinct": "count(distinct {})",
}
_AGGREGATE: Final = re.compile(
    r"\b(sum|count|avg|mean|min|max|median|mode|quantile\w*|stddev\w*|var\w*|approx_\w+|arg_m\w+|bool_\w+|any_value|first|last"
    r"|corr|covar\w*|regr_\w+|product|fsum|favg|kurtosis|skewness|entropy|mad|count_if|histogram)\s*\(",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Dimension:
    """What a metric can be grouped by: a column or an expression, under a name."""

    name: str
    expression: str


@dataclass(frozen=True, slots=True)
class Join:
    """A table whose columns dimensions use. `alias` is the name by which expressions qualify its columns."""

    table: str
    alias: str
    on: str


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric as it is compiled. `table` is `<source>.<name>`."""

    name: str
    table: str
    alias: str
    expression: str
    time_column: str | None = None
    grain: str | None = None
    dimensions: tuple[Dimension, ...] = ()
    filters: tuple[str, ...] = ()
    joins: tuple[Join, ...] = ()

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote; raises `KeyError` or `TypeError` if it is invalid."""
        return cls(
            **{
                **document,
                "dimensions": tuple(Dimension(**each) for each in document["dimensions"]),
                "filters": tuple(document["filters"]),
                "joins": tuple(Join(**each) for each in document["joins"]),
            }
        )

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {
            "name": self.name,
            "table": self.table,
            "alias": self.alias,
            "expression": self.expression,
            "time_column": self.time_column,
            "grain": self.grain,
            "dimensions": [{"name": each.name, "expression": each.expression} for each in self.dimensions],
            "filters": list(self.filters),
            "joins": [{"table": each.table, "alias": each.alias, "on": each.on} for each in self.joins],
        }


def aggregate_of(expression: str, kind: str | None) -> str:
    """Return the aggregate of a metric: its expression, wrapped by the function of its type if it has none."""
    plain = expression.strip().rstrip(";").strip()
    if kind is None or kind.lower() not in _WRAPPED or _AGGREGATE.search(plain):
        return plain
    return _WRAPPED[kind.lower()].format(plain)


def grain_of(text: str) -> str:
    """Return a grain by its name: `month` or `monthly`.

    Raises:
        DaError: there is no such grain.
    """
    word = text.strip().lower()
    grain = {**_ALIASES, **_ALIASES_OF_YEARS}.get(word, word)
    if grain not in GRAINS:
        raise DaError(f"there is no grain '{text}'; use one of {', '.join(GRAINS)}")
    return grain


def compile_metric(
    metric: Metric, *, by: Sequence[str] = (), where: Iterable[str] = (), grain: str | None = None
) -> str:
    """Return the SQL of a metric.

    Args:
        metric: the metric.
        by: names of its dimensions.
        where: conditions in SQL, all of which must hold.
        grain: the unit of time to group by.

    Raises:
        DaError: it has no such dimension, no time column, or the grain is unknown.
    """
    groups = [_dimension(metric, name) for name in dict.fromkeys(by)]
    if grain is not None:
        unit = grain_of(grain)
        if metric.time_column is None:
            raise DaError(f"the metric '{metric.name}' has no time column, so it has no grain; leave out '{grain}'")
        taken = {each.name for each in groups}
        name = unit if unit not in taken else f"time_{unit}"
        groups.insert(0, Dimension(name, f"date_trunc('{unit}', {metric.time_column})"))
    selected = [_selected(each) for each in groups]
    selected.append(f"{metric.expression} as {_alias(metric.name)}")
    lines = [
        "select",
        ",\n".join(f"    {each}" for each in selected),
        f"from {_table(metric.table)} as {_alias(metric.alias)}",
    ]
    lines += [f"left join {_table(join.table)} as {_alias(join.alias)} on {join.on}" for join in metric.joins]
    conditions = [each.strip() for each in (*metric.filters, *where) if each.strip()]
    if conditions:
        # each on lines of its own, so that a comment at its end comments out nothing else
        lines.append("where " + "\n  and ".join(f"({each}\n)" if "--" in each else f"({each})" for each in conditions))
    if groups:
        lines += ["group by all", f"order by {', '.join(str(place) for place in range(1, len(groups) + 1))}"]
    return "\n".join(lines)


def _dimension(metric: Metric, name: str) -> Dimension:
    wanted = name.strip().lower()
    found = next((each for each in metric.dimensions if each.name.lower() == wanted), None)
    if found is None:
        names = [each.name for each in metric.dimensions]
        near = get_close_matches(wanted, names, n=1)
        advice = f"did you mean '{near[0]}'?" if near else f"it has {', '.join(names)}" if names else "it has none"
        raise DaError(f"the metric '{metric.name}' has no dimension '{name}'; {advice}")
    return found


def _selected(dimension: Dimension) -> str:
    if dimension.expression == quote(dimension.name):
        return dimension.expression
    return f"{dimension.expression} as {_alias(dimension.name)}"


def _alias(name: str) -> str:
    return quote(name)


def _table(table: str) -> str:
    return ".".join(quote(part) for part in table.split(".", 1))
