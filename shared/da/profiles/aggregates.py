"""Aggregates: what one query over a piece of a table asks of each column, and how the answers enter its sketch."""

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
    """Return whether all numbers are finite: DuckDB orders NaN after infinity."""
    return all(math.isfinite(float(each)) for each in (sketch.least, sketch.greatest) if each is not None)


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
    """Return the query of the most frequent values: column, number of distinct values, value, count, hash."""
    if has_hash(sketch, is_long=is_long):
        grouped = f"select any_value(c{i}) v, h{i} h, count(*) n from {place} where c{i} is not null group by h{i}"
    else:
        grouped = f"select c{i} v, 0 h, count(*) n from {place} where c{i} is not null group by c{i}"
    hashed = "h" if has_hash(sketch, is_long=is_long) else "hash(v)"
    return (
        f"(with g as materialized ({grouped}) select {i} i, (select count(*) from g) d, left(v::varchar, {LONG}) v, n, "
        f"{hashed} h from (from g order by n desc, v, h limit {MOST_COUNTED}))"
    )


def extremes(i: int, sketch: Sketch, *, is_long: bool) -> list[tuple[str, str]]:
    """Return the aggregates that bound the values of a column."""
    value, made = f"c{i}", [("values", f"count(c{i})")]
    if sketch.kind == "number":
        made += [("least", f"min({value})::varchar"), ("greatest", f"max({value})::varchar")]
    elif sketch.kind in {"date", "timestamp"}:
        made += time_extremes(value)
    elif sketch.kind == "boolean":
        made.append(("trues", f"count_if({value})"))
    else:
        length = f"l{i}" if has_hash(sketch, is_long=is_long) else f"length({value})"
        made += [("shortest", f"min({length})"), ("longest", f"max({length})"), ("characters", f"sum({length})")]
        made.append(("blanks", f"count_if({length} = 0)"))
        if sketch.kind != "binary":
            made += [("least", f"left(min({value}), {LONG})"), ("greatest", f"left(max({value}), {LONG})")]
            made.append(("emails", f"count_if(e{i})" if is_long else f"count_if(contains({value}, '@'))"))
    return made


def time_extremes(value: str) -> list[tuple[str, str]]:
    """Return the aggregates that bound times."""
    made: list[tuple[str, str]] = []
    for name, function in (("least", "min"), ("greatest", "max")):
        made.append((name, f"{function}({value})::varchar"))
        # an infinite time has no microseconds; it is found by that, and the extremes are computed without such
        made.append((f"{name}_us", f"case when isfinite({function}({value})) then epoch_us({function}({value})) end"))
    return made


def with_extremes(sketch: Sketch, found: dict[str, Any], rows: int) -> Sketch:
    """Return a sketch with the counts and extremes that were found in so many rows."""
    said = {name: value for name, value in found.items() if value is not None and not name.endswith("_us")}
    if found.get("least_us") is not None and found.get("greatest_us") is not None:
        said["spanned"] = (found["least_us"], found["greatest_us"])
    if "characters" in said:
        said["characters"] = int(said["characters"])
    if sketch.kind == "number":
        said["numbers"] = said["values"]
    return replace(sketch, nulls=rows - said["values"], **said)


def finite_extremes(i: int) -> list[tuple[str, str]]:
    """Return the aggregates that bound the finite ones of numbers."""
    finite = f"case when isfinite(c{i}::double) then c{i} end"
    return [
        ("numbers", f"count({finite})"),
        ("least", f"min({finite})::varchar"),
        ("greatest", f"max({finite})::varchar"),
    ]


def with_finite_extremes(sketch: Sketch, found: dict[str, Any], rows: int) -> Sketch:  # noqa: ARG001 - like the others
    """Return a sketch with the extremes of its finite numbers."""
    return replace(sketch, **found)


def with_finite_times(sketch: Sketch, found: dict[str, Any], rows: int) -> Sketch:  # noqa: ARG001 - like the others
    """Return a sketch with the extremes of its finite times."""
    spanned = None if found["least_us"] is None else (found["least_us"], found["greatest_us"])
    return replace(sketch, least=found["least"], greatest=found["greatest"], spanned=spanned)


def with_mean(sketch: Sketch, found: dict[str, Any], rows: int) -> Sketch:  # noqa: ARG001 - like the others
    """Return a sketch with a mean near which the deviations are summed."""
    mean = found["mean"]
    return replace(sketch, mean=mean if mean is not None and math.isfinite(mean) else 0.0)


def sums(i: int, sketch: Sketch) -> list[tuple[str, str]]:
    """Return the aggregates that add numbers; deviations from a mean of the sample are exact where sums of squares are not."""
    finite, squarable = finite_value(i, sketch), squarable_value(i, sketch)
    apart = f"({squarable} - ({sketch.mean!r}))"
    if sketch.type in SMALL_INTEGERS or sketch.type.startswith(("DECIMAL(1", "DECIMAL(2")):
        total = f"sum({finite})::varchar"
    else:
        total = f"fsum(({finite})::double)::varchar"
    made = [("total", total), ("squared", f"count({squarable})")]
    made += [("apart", f"sum({apart})"), ("squares", f"sum({apart} * {apart})")]
    if float(sketch.least or 0) <= 0 <= float(sketch.greatest or 0):
        made.append(("zeros", f"count_if(c{i} = 0)"))
    if float(sketch.least or 0) < 0:
        made.append(("negatives", f"count_if({finite} < 0)"))
    return made


def with_sums(sketch: Sketch, found: dict[str, Any], rows: int) -> Sketch:  # noqa: ARG001 - like the others
    """Return a sketch with the sums, and the moments that follow from them."""
    said = dict(found)
    count, apart, squares = said.pop("squared"), said.pop("apart") or 0.0, said.pop("squares") or 0.0
    mean, deviations = sketch.mean, 0.0
    if count:
        mean += apart / count
        deviations = max(0.0, squares - apart * apart / count)
    is_whole = count == sketch.numbers and math.isfinite(deviations)
    return replace(sketch, mean=mean, squares=deviations if is_whole else None, **said)
