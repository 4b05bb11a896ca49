"""Aggregates: what queries over a piece of a table ask of each column, and how the answers enter its sketch."""

import math
from dataclasses import replace
from typing import Any, Final

from da.profiles.sketches import MOST_COUNTED, Kind, Sketch
from da.sql import quote

LONG: Final = 256
"""The characters that are kept of a text."""

_SQUARABLE: Final = 1e150
INTEGERS: Final = frozenset(
    {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT"}
)
SMALL_INTEGERS: Final = frozenset({"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"})


def kind_of(type_: str) -> Kind:
    """Return the kind of a DuckDB type."""
    if type_ in INTEGERS or type_ in {"FLOAT", "DOUBLE"} or type_.startswith("DECIMAL"):
        return "number" if not type_.endswith("]") else "nested"
    if type_.startswith("TIMESTAMP") and not type_.endswith("]"):
        return "timestamp"
    if type_.endswith("]") or type_.startswith(("STRUCT", "MAP", "UNION", "JSON", "VARIANT")):
        return "nested"
    return {"BOOLEAN": "boolean", "DATE": "date", "BLOB": "binary"}.get(type_, "text")  # type: ignore[return-value]


def as_read(i: int, name: str, type_: str, kind: Kind, *, is_long: bool) -> str:  # noqa: PLR0911 - a table
    """Return the expressions of a column in `t`: its value, and of long ones also length, hash and whether it has an @."""
    column = quote(name)
    if kind == "number":
        if type_ in SMALL_INTEGERS:
            return f"{column}::bigint as c{i}"
        return f"{column}::double as c{i}" if type_ in {"FLOAT", "UHUGEINT"} else f"{column} as c{i}"
    if kind == "timestamp":
        return f"{column}::timestamp as c{i}"
    if kind == "binary":
        return f"case when {column} is not null then '' end as c{i}, octet_length({column}) as l{i}, hash({column}) as h{i}"
    if kind in {"text", "nested"}:
        text = column if type_ == "VARCHAR" else f"{column}::varchar"
        if is_long:
            more = f"length({text}) as l{i}, hash({text}) as h{i}, contains({text}, '@') as e{i}"
            return f"left({text}, {LONG}) as c{i}, {more}"
        return f"{text} as c{i}"
    return f"{column} as c{i}"


def has_hash(sketch: Sketch, *, is_long: bool) -> bool:
    """Return whether `t` has a hash of the column's values, because it does not have the whole values."""
    return sketch.kind == "binary" or (is_long and sketch.kind in {"text", "nested"})


def is_finite(sketch: Sketch) -> bool:
    """Return whether all numbers and times are finite: DuckDB orders NaN after infinity."""
    if sketch.kind in {"date", "timestamp"}:
        return sketch.spanned is not None
    return sketch.kind != "number" or all(
        math.isfinite(float(each)) for each in (sketch.least, sketch.greatest) if each is not None
    )


def finite_value(i: int, sketch: Sketch) -> str:
    """Return the expression of a number, without NaN and infinity."""
    return f"c{i}" if sketch.numbers == sketch.values else f"case when isfinite(c{i}::double) then c{i} end"


def squarable_value(i: int, sketch: Sketch) -> str:
    """Return the expression of a number as a double, without those whose square is infinite."""
    largest = max(abs(float(sketch.least or 0)), abs(float(sketch.greatest or 0)))
    if sketch.numbers == sketch.values and largest < _SQUARABLE:
        return f"c{i}::double"
    return f"case when isfinite(c{i}::double) and abs(c{i}::double) < {_SQUARABLE!r} then c{i}::double end"


def counting(i: int, sketch: Sketch, place: str, *, is_long: bool) -> str:
    """Return the query of the most frequent values: column, number of distinct values, and the fields of `Known`."""
    is_text = sketch.kind in {"text", "nested"}
    if has_hash(sketch, is_long=is_long):
        at = f"any_value(e{i})" if is_text else "false"
        grouped = f"select any_value(c{i}) v, any_value(l{i}) m, {at} e, h{i} h, count(*) n"
        grouped += f" from {place} where c{i} is not null group by h{i}"
        return (
            f"(with g as materialized ({grouped}) select {i} i, (select count(*) from g) d, left(v, {LONG}) v, n, h, m, e "
            f"from (from g order by n desc, v, h limit {MOST_COUNTED}))"
        )
    measure = {"date": _MICROSECONDS, "timestamp": _MICROSECONDS}.get(sketch.kind, "length(v)" if is_text else "null")
    at = "contains(v, '@')" if is_text else "false"
    return (
        f"(with g as materialized (select c{i} v, count(*) n from {place} where c{i} is not null group by c{i}) "
        f"select {i} i, (select count(*) from g) d, left(v::varchar, {LONG}) v, n, hash(v) h, ({measure})::bigint m, {at} e "
        f"from (from g order by n desc, v limit {MOST_COUNTED}))"
    )


_MICROSECONDS: Final = "case when isfinite(v) then epoch_us(v) end"


def bounds(i: int, sketch: Sketch) -> list[tuple[str, str]]:
    """Return the aggregates that count and bound the values of a column; DuckDB answers most from Parquet's statistics."""
    value, made = f"c{i}", [("values", f"count(c{i})")]
    if sketch.kind == "number":
        made += [("least", f"min({value})::varchar"), ("greatest", f"max({value})::varchar")]
    elif sketch.kind in {"date", "timestamp"}:
        made += _times(value)
    return made


def _times(value: str) -> list[tuple[str, str]]:
    made: list[tuple[str, str]] = []
    for name, function in (("least", "min"), ("greatest", "max")):
        made.append((name, f"{function}({value})::varchar"))
        # an infinite time has no microseconds; it is found by that, and the extremes are computed without such
        made.append((f"{name}_us", f"case when isfinite({function}({value})) then epoch_us({function}({value})) end"))
    return made


def with_bounds(sketch: Sketch, found: dict[str, Any], rows: int) -> Sketch:
    """Return a sketch with the counts and extremes that were found in so many rows."""
    figures = {name: value for name, value in found.items() if value is not None and not name.endswith("_us")}
    if found.get("least_us") is not None and found.get("greatest_us") is not None:
        figures["spanned"] = (found["least_us"], found["greatest_us"])
    if sketch.kind == "number":
        figures["numbers"] = figures["values"]
    return replace(sketch, nulls=rows - figures["values"], **figures)


def finite_bounds(i: int, sketch: Sketch) -> list[tuple[str, str]]:
    """Return the aggregates that bound the finite ones of numbers or times."""
    if sketch.kind != "number":
        return _times(f"case when isfinite(c{i}) then c{i} end")
    finite = f"case when isfinite(c{i}::double) then c{i} end"
    return [
        ("numbers", f"count({finite})"),
        ("least", f"min({finite})::varchar"),
        ("greatest", f"max({finite})::varchar"),
    ]


def with_finite_bounds(sketch: Sketch, found: dict[str, Any], rows: int) -> Sketch:  # noqa: ARG001 - like the others
    """Return a sketch with the extremes of its finite values."""
    if sketch.kind == "number":
        return replace(sketch, **found)
    spanned = None if found["least_us"] is None else (found["least_us"], found["greatest_us"])
    return replace(sketch, least=found["least"], greatest=found["greatest"], spanned=spanned)


def with_mean(sketch: Sketch, found: dict[str, Any], rows: int) -> Sketch:  # noqa: ARG001 - like the others
    """Return a sketch with a mean near which the deviations are summed."""
    mean = found["mean"]
    return replace(sketch, mean=mean if mean is not None and math.isfinite(mean) else 0.0)


def summing(i: int, sketch: Sketch, *, is_long: bool, is_grouped: bool) -> list[tuple[str, str, str]]:
    """Return the aggregates of a column: name, the function that joins those of groups, and the expression.

    Deviations from a mean of the sample are exact where sums of squares are not. `is_grouped`: the rows are the values of
    the column with the number of their rows, `n`.
    """
    if sketch.kind == "number":
        return _of_numbers(i, sketch, is_grouped=is_grouped)
    if sketch.kind not in {"text", "nested", "binary"}:
        return []
    length, times = f"l{i}" if has_hash(sketch, is_long=is_long) else f"length(c{i})", " * n" if is_grouped else ""
    made = [("shortest", "min", f"min({length})"), ("longest", "max", f"max({length})")]
    made += [("characters", "sum", f"sum({length}{times})"), ("blanks", "sum", _rows(f"{length} = 0", is_grouped))]
    if sketch.kind != "binary":
        made += [("least", "min", f"min(c{i})"), ("greatest", "max", f"max(c{i})")]
        made.append(("emails", "sum", _rows(f"e{i}" if is_long else f"contains(c{i}, '@')", is_grouped)))
    return made


def _rows(condition: str, is_grouped: bool) -> str:
    return f"sum(n) filter (where {condition})" if is_grouped else f"count_if({condition})"


def _of_numbers(i: int, sketch: Sketch, *, is_grouped: bool) -> list[tuple[str, str, str]]:
    finite, squarable, times = finite_value(i, sketch), squarable_value(i, sketch), " * n" if is_grouped else ""
    apart = f"({squarable} - ({sketch.mean!r}))"
    if sketch.type in SMALL_INTEGERS:
        made = [("total", "sum", f"sum({finite}::hugeint{times})" if is_grouped else f"sum({finite})")]
    elif _width(sketch.type) in range(1, 30):
        wide = f"{finite}::decimal(38, {sketch.type[8:-1].partition(',')[2]})"
        made = [("total", "sum", f"sum({wide}{times})" if is_grouped else f"sum({finite})")]
    else:
        made = [("total", "fsum", f"fsum(({finite})::double{times})")]
    made += [("apart", "fsum", f"sum({apart}{times})"), ("squares", "fsum", f"sum({apart} * {apart}{times})")]
    if squarable != f"c{i}::double":
        made.append(
            (
                "squared",
                "sum",
                f"sum(n) filter (where {squarable} is not null)" if is_grouped else f"count({squarable})",
            )
        )
    if float(sketch.least or 0) <= 0 <= float(sketch.greatest or 0):
        made.append(("zeros", "sum", _rows(f"c{i} = 0", is_grouped)))
    if float(sketch.least or 0) < 0:
        made.append(("negatives", "sum", _rows(f"{finite} < 0", is_grouped)))
    return made


def _width(type_: str) -> int:
    """Return the digits of a DECIMAL; 0 of another type."""
    return int(type_[8:].partition(",")[0]) if type_.startswith("DECIMAL(") else 0


def with_sums(sketch: Sketch, found: dict[str, Any]) -> Sketch:
    """Return a sketch with the sums, and the moments that follow from them."""
    sums: dict[str, Any] = {name: value for name, value in found.items() if value is not None}
    if sketch.kind != "number":
        sums |= {name: int(value) for name, value in sums.items() if name in {"characters", "blanks", "emails"}}
        sums |= {name: value[:LONG] for name, value in sums.items() if name in {"least", "greatest"}}
        return replace(sketch, **sums)
    count, apart, squares = int(sums.pop("squared", sketch.numbers)), sums.pop("apart", 0.0), sums.pop("squares", 0.0)
    mean, deviations = sketch.mean, 0.0
    if count:
        mean += apart / count
        deviations = max(0.0, squares - apart * apart / count)
    total = sums.pop("total", None)
    return replace(
        sketch,
        mean=mean,
        squares=deviations if count == sketch.numbers and math.isfinite(deviations) else None,
        total=None if total is None else repr(total) if isinstance(total, float) else format(total, "f"),
        zeros=int(sums.get("zeros", 0)),
        negatives=int(sums.get("negatives", 0)),
    )
