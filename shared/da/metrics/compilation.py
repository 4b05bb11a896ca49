"""Compiling a metric to SQL: its expression, by dimensions and by time, of the rows that its filters leave."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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
    "sum_boolean": "count_if({})",
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
class Input:
    """A metric that another one computes with, under an alias.

    `offset` is a span such as `1 month`: its value of that much earlier. `offset_to` is a unit of time: its value at the
    start of that unit.
    """

    alias: str
    metric: "Metric"
    filters: tuple[str, ...] = ()
    offset: str | None = None
    offset_to: str | None = None


@dataclass(frozen=True, slots=True)
class Accumulation:
    """What a cumulative metric adds up: all that came before, a window such as `7 days`, or the current unit of time.

    `period` is the day of a longer unit of time whose value counts: `first`, `last`, or the `average` of all its days.
    """

    window: str | None = None
    to_grain: str | None = None
    period: str = "last"


@dataclass(frozen=True, slots=True)
class LastRows:
    """The rows of a semi-additive metric: those with the greatest (`max`) or least (`min`) time, in each of some groups."""

    time: str
    choice: str
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Conversion:
    """Events of one metric that follow events of another one. The entities and pairs of properties must be equal.

    Each conversion counts for the last event before it that is no older than `window`, in whose groups it is counted.
    `calculation` is `conversion_rate` or `conversions`.
    """

    base: "Metric"
    conversion: "Metric"
    base_entity: str
    conversion_entity: str
    window: str | None = None
    calculation: str = "conversion_rate"
    properties: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric as it is compiled. `table` is `<source>.<name>`.

    With `inputs`, `expression` computes with the values of other metrics, by their aliases; with `conversion`, there is
    none. `fill` takes the place of a missing value; `is_spined` adds the units of time without rows.
    """

    name: str
    table: str
    alias: str
    expression: str
    time_column: str | None = None
    grain: str | None = None
    dimensions: tuple[Dimension, ...] = ()
    filters: tuple[str, ...] = ()
    joins: tuple[Join, ...] = ()
    inputs: tuple[Input, ...] = ()
    accumulation: Accumulation | None = None
    last_rows: LastRows | None = None
    conversion: Conversion | None = None
    fill: float | None = None
    is_spined: bool = False

    @property
    def needs_grain(self) -> bool:
        """Whether it compares units of time, so it has no value without one."""
        return any(each.offset or each.offset_to or each.metric.needs_grain for each in self.inputs)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote; raises `KeyError` or `TypeError` if it is invalid."""
        made: dict[str, Any] = {
            **document,
            "dimensions": tuple(Dimension(**each) for each in document["dimensions"]),
            "filters": tuple(document["filters"]),
            "joins": tuple(Join(**each) for each in document["joins"]),
        }
        if inputs := document.get("inputs"):
            made["inputs"] = tuple(
                Input(**{**each, "metric": cls.from_json(each["metric"]), "filters": tuple(each["filters"])})
                for each in inputs
            )
        if section := document.get("accumulation"):
            made["accumulation"] = Accumulation(**section)
        if section := document.get("last_rows"):
            made["last_rows"] = LastRows(**{**section, "groups": tuple(section["groups"])})
        if section := document.get("conversion"):
            sides = {side: cls.from_json(section[side]) for side in ("base", "conversion")}
            pairs = tuple((one, other) for one, other in section["properties"])
            made["conversion"] = Conversion(**{**section, **sides, "properties": pairs})
        return cls(**made)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object. What a plain metric does not have is left out, so that older versions can read it."""
        made: dict[str, Any] = {
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
        if self.inputs:
            made["inputs"] = [
                {
                    "alias": each.alias,
                    "metric": each.metric.to_json(),
                    "filters": list(each.filters),
                    "offset": each.offset,
                    "offset_to": each.offset_to,
                }
                for each in self.inputs
            ]
        if (added := self.accumulation) is not None:
            made["accumulation"] = {"window": added.window, "to_grain": added.to_grain, "period": added.period}
        if (last := self.last_rows) is not None:
            made["last_rows"] = {"time": last.time, "choice": last.choice, "groups": list(last.groups)}
        if (conversion := self.conversion) is not None:
            made["conversion"] = {
                "base": conversion.base.to_json(),
                "conversion": conversion.conversion.to_json(),
                "base_entity": conversion.base_entity,
                "conversion_entity": conversion.conversion_entity,
                "window": conversion.window,
                "calculation": conversion.calculation,
                "properties": [list(each) for each in conversion.properties],
            }
        if self.fill is not None:
            made["fill"] = self.fill
        if self.is_spined:
            made["is_spined"] = True
        return made


def aggregate_of(expression: str, kind: str | None, percentile: float | None = None) -> str:
    """Return the aggregate of a metric: its expression, wrapped by the function of its type if it has none."""
    plain = expression.strip().rstrip(";").strip()
    if kind is None or _AGGREGATE.search(plain):
        return plain
    if kind.lower() == "percentile" and percentile is not None:
        return f"quantile_cont({plain}, {percentile!r})"
    return _WRAPPED.get(kind.lower(), "{}").format(plain)


def calls_of(expression: str) -> Iterator[tuple[int, int, str, str]]:
    """Yield the calls of aggregate functions: start, end, name and arguments; those within another are left out."""
    past = 0
    for found in _AGGREGATE.finditer(expression):
        if found.start() < past:
            continue
        depth, quoted = 1, ""
        for place in range(found.end(), len(expression)):
            character = expression[place]
            if quoted:
                quoted = "" if character == quoted else quoted
            elif character in "'\"":
                quoted = character
            else:
                depth += (character == "(") - (character == ")")
            if not depth:
                past = place + 1
                yield found.start(), past, found[1].lower(), expression[found.end() : place].strip()
                break


def unwrapped(expression: str) -> tuple[str, str] | None:
    """Return the name and the argument of an expression that is one call of an aggregate: `sum` and `x` of `sum(x)`."""
    plain = expression.strip()
    call = next(calls_of(plain), None)
    if call is None or call[:2] != (0, len(plain)):
        return None
    name, argument = call[2:]
    if name == "count" and (found := re.match(r"distinct\b\s*", argument, re.IGNORECASE)):
        return "count_distinct", argument[found.end() :]
    return name, argument


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


def span_of(text: str) -> str:
    """Return a span of time by its text: `7 days` of `7 day`.

    Raises:
        DaError: it is not a number and a unit of time.
    """
    count, unit = found.groups() if (found := _SPAN.fullmatch(text.strip().lower())) else ("0", "")
    if int(count) < 1 or unit not in GRAINS:
        raise DaError(f"there is no span '{text}'; write a number and a unit, such as 7 days or 1 month")
    return f"{int(count)} {unit}{'s' if int(count) > 1 else ''}"


_ALL_OF_IT: Final = Accumulation()
_SPAN: Final = re.compile(r"(\d{1,5})\s*([a-z]+?)s?")


def compile_metric(
    metric: Metric, *, by: Sequence[str] = (), where: Iterable[str] = (), grain: str | None = None
) -> str:
    """Return the SQL of a metric.

    Args:
        metric: the metric.
        by: names of its dimensions.
        where: conditions in SQL, all of which must hold.
        grain: the unit of time to group by; one that compares units of time has a default.

    Raises:
        DaError: it has no such dimension, no time column, or the grain is unknown.
    """
    if grain is None and metric.needs_grain:
        grain = metric.grain or "month"
    unit = None if grain is None else grain_of(grain)
    if unit is not None and metric.time_column is None:
        raise DaError(f"the metric '{metric.name}' has no time column, so it has no grain; leave out '{grain}'")
    groups = [_dimension(metric, name) for name in dict.fromkeys(by)]
    names = [each.name for each in groups]
    time = None if unit is None else unit if unit not in {name.lower() for name in names} else f"time_{unit}"
    conditions = tuple(each.strip() for each in where if each.strip())
    asked = _Asked(tuple(dict.fromkeys(names)), conditions, unit, time)
    text = _query(metric, metric.name, asked)
    places = len(asked.names) + (time is not None)
    if not places:
        return text
    return f"{text}\norder by {', '.join(str(place) for place in range(1, places + 1))}"


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a metric is compiled for: names of dimensions, conditions, and a unit of time with the name of its column.

    `shift` is added to its times: a value of a month ago counts for this month.
    """

    names: tuple[str, ...]
    where: tuple[str, ...]
    unit: str | None
    time: str | None
    shift: str | None = None

    @property
    def columns(self) -> list[str]:
        """The columns that rows are grouped by, quoted."""
        return [quote(name) for name in ([] if self.time is None else [self.time]) + list(self.names)]


def _query(metric: Metric, name: str, asked: _Asked) -> str:
    """Return the query of the columns asked for and of the value under a name, without an order."""
    if metric.conversion is not None:
        text = _converted(metric.conversion, name, asked)
    elif metric.inputs:
        text = _derived(metric, name, asked)
    elif metric.accumulation is not None and (asked.unit is not None or metric.accumulation != _ALL_OF_IT):
        text = _cumulative(metric, metric.accumulation, name, asked)
    else:
        text = _simple(metric, name, asked)
    return _filled(metric, name, asked, text)


def _simple(metric: Metric, name: str, asked: _Asked) -> str:
    groups = _groups(metric, asked)
    joined = "" if metric.last_rows is None else _last(metric, metric.last_rows, asked)
    return _select(groups, f"{metric.expression} as {quote(name)}", _from(metric) + joined + _where(metric, asked))


def _select(groups: Sequence[Dimension], value: str, rows: str) -> str:
    selected = ",\n".join(f"    {each}" for each in [*map(_selected, groups), value])
    return f"select\n{selected}\n{rows}" + ("\ngroup by all" if groups else "")


def _groups(metric: Metric, asked: _Asked) -> list[Dimension]:
    made = [_dimension(metric, each) for each in asked.names]
    if asked.unit is not None and asked.time is not None:
        made.insert(0, Dimension(asked.time, f"date_trunc('{asked.unit}', {_time(metric, asked)})"))
    return made


def _time(metric: Metric, asked: _Asked) -> str:
    if metric.time_column is None:
        raise DaError(f"the metric '{metric.name}' has no time column")
    return metric.time_column if asked.shift is None else f"{metric.time_column} + interval '{asked.shift}'"


def _from(metric: Metric) -> str:
    lines = [f"from {_table(metric.table)} as {quote(metric.alias)}"]
    lines += [f"left join {_table(join.table)} as {quote(join.alias)} on {join.on}" for join in metric.joins]
    return "\n".join(lines)


def _where(metric: Metric, asked: _Asked, *more: str) -> str:
    conditions = [*(each.strip() for each in metric.filters if each.strip()), *asked.where, *more]
    # each on lines of its own, so that a comment at its end comments out nothing else
    enclosed = [f"({each}\n)" if "--" in each else f"({each})" for each in conditions]
    return "\nwhere " + "\n  and ".join(enclosed) if enclosed else ""


def _last(metric: Metric, last: LastRows, asked: _Asked) -> str:
    """Return the join that leaves the rows of the last time in each group and unit of time."""
    groups = [Dimension(f"_group{place}", each) for place, each in enumerate(last.groups)]
    if asked.unit is not None:
        groups.append(Dimension("_period", f"date_trunc('{asked.unit}', {_time(metric, asked)})"))
    rows = _from(metric) + _where(metric, asked)
    chosen = _select(groups, f"{last.choice}({last.time}) as _at", rows)
    on = [f"{each.expression} is not distinct from _last.{quote(each.name)}" for each in groups]
    return f"\njoin (\n{_indented(chosen)}\n) as _last on {' and '.join([f'{last.time} = _last._at', *on])}"


def _cumulative(metric: Metric, added: Accumulation, name: str, asked: _Asked) -> str:
    """Return a query that joins each unit of time with the rows that count for it."""
    time, rows = _time(metric, asked), _from(metric) + _where(metric, asked)
    groups, hourly = (
        _groups(metric, asked),
        asked.unit == "hour" or (added.window or "").partition(" ")[2][:4] == "hour",
    )
    step = "hour" if hourly else "day"
    at = f"date_trunc('{step}', {time})"
    spine = f"select min({at}) as _first, max({at}) as _last\n{rows}"
    unit = step if added.period == "average" else asked.unit
    if asked.unit is None:
        spine = f"select _last as _at from (\n{_indented(spine)}\n)"
    else:
        every = f"unnest(generate_series(date_trunc('{unit}', _first), _last, interval '1 {unit}')) as _period"
        spine = f"select {every}, _first, _last from (\n{_indented(spine)}\n)"
        end = "greatest(_period, _first)"
        if added.period != "first":
            end = f"least(_period + interval '1 {unit}' - interval '1 {step}', _last)"
        spine = f"select _period, {end} as _at from (\n{_indented(spine)}\n)"
        groups[0] = Dimension(groups[0].name, "_spine._period")
    on = [f"{at} <= _spine._at"]
    if added.window is not None:
        on.append(f"{at} > _spine._at - interval '{added.window}'")
    if added.to_grain is not None:
        on.append(f"{at} >= date_trunc('{added.to_grain}', _spine._at)")
    joined = f"{_from(metric)}\njoin (\n{_indented(spine)}\n) as _spine on {' and '.join(on)}{_where(metric, asked)}"
    text = _select(groups, f"{metric.expression} as {quote(name)}", joined)
    if unit == asked.unit or asked.time is None:
        return text
    column = quote(asked.time)
    outer = [
        f"date_trunc('{asked.unit}', {column}) as {column}",
        *asked.columns[1:],
        f"avg({quote(name)}) as {quote(name)}",
    ]
    return f"select {', '.join(outer)} from (\n{_indented(text)}\n)\ngroup by all"


def _derived(metric: Metric, name: str, asked: _Asked) -> str:
    """Return a query that computes with the values of inputs in the same groups."""
    parts, now = dict[str, str](), list[str]()
    for each in metric.inputs:
        inner = replace(asked, where=(*metric.filters, *each.filters, *asked.where))
        if each.offset is not None and asked.unit is not None and not _is_clipped(each.offset, asked.unit):
            inner = replace(inner, shift=each.offset if asked.shift is None else f"{asked.shift} {each.offset}")
        else:
            now += [each.alias] if each.offset is None and each.offset_to is None else []
        parts[each.alias] = _query(each.metric, each.alias, inner)
    for each in metric.inputs:
        if asked.unit is None or asked.time is None:
            break
        time = f"g.{quote(asked.time)}"
        if each.offset_to is not None:
            at = f"date_trunc('{asked.unit}', date_trunc('{each.offset_to}', {time}))"
            parts[each.alias] = _at_other_times(parts[each.alias], each, at, now, asked)
        elif each.offset is not None and _is_clipped(each.offset, asked.unit):
            at = f"{time} - interval '{each.offset}'"
            parts[each.alias] = _at_other_times(parts[each.alias], each, at, now, asked)
    fills = {each.alias: each.metric.fill for each in metric.inputs}
    return _combined(parts, now, metric.expression, name, asked, fills)


def _cte(alias: str) -> str:
    """Return the name of the query of an input: not its alias, which may be that of a table that a filter reads."""
    return f"_of_{alias}"


def _is_clipped(offset: str, unit: str) -> bool:
    """Return whether several units of time are the same one an offset later: 29 to 31 January and a month."""
    return unit in {"hour", "day"} and not offset.rstrip("s").endswith(("hour", "day", "week"))


def _combined(  # noqa: PLR0917 - the parts of one query
    parts: Mapping[str, str],
    now: Sequence[str],
    expression: str,
    name: str,
    asked: _Asked,
    fills: Mapping[str, float | None],
) -> str:
    """Return a query that computes an expression of the values of several queries with the same groups.

    Only groups of the parts in `now` are in the result: a value of a month ago must not add a month without any other.
    """
    ctes = ", ".join(f"{quote(_cte(alias))} as (\n{_indented(text)}\n)" for alias, text in parts.items())
    is_limited = asked.columns and 0 < len(now) < len(parts)
    union = " union all by name ".join(
        f"(select *, true as _now from {quote(_cte(alias))})"
        if is_limited and alias in now
        else f"(from {quote(_cte(alias))})"
        for alias in parts
    )
    values = [f"{_or(f'any_value({quote(alias)})', fills.get(alias))} as {quote(alias)}" for alias in parts]
    inner = f"select {', '.join([*asked.columns, *values])} from ({union})"
    if asked.columns:
        inner += "\ngroup by all"
    if is_limited:
        inner += "\nhaving bool_or(_now)"
    selected = ",\n".join(f"    {each}" for each in [*asked.columns, f"{expression} as {quote(name)}"])
    return f"with {ctes}\nselect\n{selected}\nfrom (\n{_indented(inner)}\n)"


def _at_other_times(text: str, input_metric: Input, at: str, now: Sequence[str], asked: _Asked) -> str:
    """Return the value of an input at another time, for each group `g` of the inputs in `now`."""
    time = quote(asked.time or "")
    union = " union all by name ".join(f"(from {quote(_cte(alias))})" for alias in now)
    groups = f"select distinct {', '.join(asked.columns)} from ({union})"
    on = [f"v.{time} = {at}"]
    on += [f"v.{column} is not distinct from g.{column}" for column in asked.columns[1:]]
    chosen = ", ".join(f"g.{column}" for column in asked.columns)
    joined = f"join (\n{_indented(text)}\n) as v on {' and '.join(on)}"
    return f"select {chosen}, v.{quote(input_metric.alias)} from ({groups}) as g\n{joined}"


def _converted(definition: Conversion, name: str, asked: _Asked) -> str:
    """Return a query that counts conversions in the groups of the events that they follow."""
    base, conversion = definition.base, definition.conversion
    groups = [Dimension(f"_group{place}", each.expression) for place, each in enumerate(_groups(base, asked))]
    about = [Dimension("_entity", definition.base_entity), Dimension("_at", _time(base, replace(asked, shift=None)))]
    about += [Dimension(f"_property{place}", one) for place, (one, _) in enumerate(definition.properties)]
    selected = ", ".join(map(_selected, [*about, *groups]))
    events = f"select {selected}\n{_from(base)}{_where(base, asked)}"
    at = _time(conversion, replace(asked, shift=None))
    on = [f"{definition.conversion_entity} = _base._entity"]
    on += [f"{other} = _base._property{place}" for place, (_, other) in enumerate(definition.properties)]
    rows = f"{_from(conversion)}\nasof join (\n{_indented(events)}\n) as _base on {' and '.join([*on, f'{at} >= _base._at'])}"
    limit = () if definition.window is None else (f"{at} < _base._at + interval '{definition.window}'",)
    named = [Dimension(column, f"_base._group{place}") for place, column in enumerate(_plain_columns(asked))]
    matched = _select(
        named, f"{conversion.expression} as _conversions", rows + _where(conversion, replace(asked, where=()), *limit)
    )
    parts = {"_events": _query(base, "_events", asked), "_conversions": matched}
    counted = "coalesce(_conversions, 0)"
    expression = counted if definition.calculation == "conversions" else f"{counted} / nullif(_events, 0)"
    return _combined(parts, (), expression, name, asked, {})


def _plain_columns(asked: _Asked) -> list[str]:
    return ([] if asked.time is None else [asked.time]) + list(asked.names)


def _filled(metric: Metric, name: str, asked: _Asked, text: str) -> str:
    """Add the units of time without rows, and the value that takes the place of missing ones."""
    column = quote(name)
    value = column if metric.fill is None else f"{_or(column, metric.fill)} as {column}"
    if metric.is_spined and asked.time is not None and not asked.names:
        time = quote(asked.time)
        every = (
            f"select unnest(generate_series(min({time}), max({time}), interval '1 {asked.unit}')) as {time} from _value"
        )
        return f"with _value as (\n{_indented(text)}\n)\nselect {time}, {value} from ({every}) left join _value using ({time})"
    if metric.fill is None:
        return text
    return f"select {', '.join([*asked.columns, value])} from (\n{_indented(text)}\n)"


def _or(value: str, fill: float | None) -> str:
    return value if fill is None else f"coalesce({value}, {int(fill) if fill == int(fill) else fill!r})"


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())


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
    return f"{dimension.expression} as {quote(dimension.name)}"


def _table(table: str) -> str:
    return ".".join(quote(part) for part in table.split(".", 1))
