"""Columns all of whose values are known: everything else about them follows from the values and their counts."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Context, Decimal
from itertools import groupby
from typing import Any, Final

from da.profiles import sensitive
from da.profiles.sketches import Counted, Sketch

_SQUARABLE: Final = 1e150
_DIGITS_OF_A_CARD: Final = 12
_LONGEST_SHAPE: Final = 64
_RUN: Final = 12
_SHAPES: Final = 50
_DAY: Final = timedelta(days=1) // timedelta(microseconds=1)
_EXACT: Final = Context(prec=100)


@dataclass(frozen=True, slots=True)
class Known:
    """A value of a column. `measure` is the length of a text, or the microseconds since 1970 of a finite time."""

    value: str
    count: int
    hash: int
    measure: int | None
    has_at: bool


def whole(sketch: Sketch, known: Sequence[Known], rows: int) -> Sketch:
    """Return the sketch of a column with these values and no others, in so many rows."""
    values = sum(each.count for each in known)
    made = replace(
        sketch,
        values=values,
        nulls=rows - values,
        counted=tuple(Counted(each.value, each.count, each.hash) for each in known),
        distinct=len(known),
    )
    if not known:
        return made
    if sketch.kind == "number":
        made = _numbers(made)
    elif sketch.kind in {"date", "timestamp"}:
        made = _times(made, known)
    elif sketch.kind == "boolean":
        return replace(made, trues=sum(each.count for each in known if each.value == "true"))
    else:
        made = _texts(made, known)
    if not is_examined(made):
        return made
    return examined(made, ((each.value, each.count) for each in known))


def _numbers(sketch: Sketch) -> Sketch:
    is_float = sketch.type in {"FLOAT", "DOUBLE"}
    parse: Any = float if is_float else Decimal if sketch.type.startswith("DECIMAL") else int
    parsed = [(parse(each.value), each) for each in sketch.counted]
    finite = [(value, each) for value, each in parsed if not is_float or math.isfinite(value)]
    if not finite:
        return sketch
    if is_float:
        total = repr(_sum(value * each.count for value, each in finite))
    else:
        exact = Decimal(0)
        for value, each in finite:
            exact = _EXACT.fma(Decimal(value), Decimal(each.count), exact)
        total = format(exact, "f")
    numbers = sum(each.count for _, each in finite)
    usable = [(float(value), each.count) for value, each in finite if abs(value) < _SQUARABLE]
    count = sum(n for _, n in usable)
    mean = _sum(value * n for value, n in usable) / count if count else 0.0
    squares = _sum((value - mean) * (value - mean) * n for value, n in usable)
    return replace(
        sketch,
        least=min(finite, key=lambda pair: pair[0])[1].value,
        greatest=max(finite, key=lambda pair: pair[0])[1].value,
        total=total,
        numbers=numbers,
        mean=mean,
        squares=squares if count == numbers and math.isfinite(squares) else None,
        zeros=sum(each.count for value, each in finite if value == 0),
        negatives=sum(each.count for value, each in finite if value < 0),
    )


def _sum(values: Iterable[float]) -> float:
    listed = list(values)
    try:
        return math.fsum(listed)
    except (OverflowError, ValueError):  # an intermediate sum is infinite
        return sum(listed)


def _times(sketch: Sketch, known: Sequence[Known]) -> Sketch:
    finite = [(each.measure, each) for each in known if each.measure is not None]
    if not finite:
        return replace(sketch, days={})
    days: dict[int, int] = {}
    for measure, each in finite:
        days[measure // _DAY] = days.get(measure // _DAY, 0) + each.count
    first, last = min(finite, key=lambda pair: pair[0]), max(finite, key=lambda pair: pair[0])
    return replace(sketch, least=first[1].value, greatest=last[1].value, spanned=(first[0], last[0]), days=days)


def _texts(sketch: Sketch, known: Sequence[Known]) -> Sketch:
    lengths = [(each.measure or 0, each.count) for each in known]
    made = replace(
        sketch,
        shortest=min(length for length, _ in lengths),
        longest=max(length for length, _ in lengths),
        characters=sum(length * count for length, count in lengths),
        blanks=sum(count for length, count in lengths if length == 0),
    )
    if sketch.kind == "binary":
        return made
    return replace(
        made,
        least=min(each.value for each in known),
        greatest=max(each.value for each in known),
        emails=sum(each.count for each in known if each.has_at),
    )


def is_examined(sketch: Sketch) -> bool:
    """Return whether values are examined as texts: texts, and integers long enough to be numbers of cards."""
    if sketch.kind in {"text", "nested"}:
        return True
    is_fraction = sketch.type in {"FLOAT", "DOUBLE"}
    return sketch.kind == "number" and not is_fraction and len(sketch.greatest or "") > _DIGITS_OF_A_CARD


def examined(sketch: Sketch, texts: Iterable[tuple[str, int]]) -> Sketch:
    """Add what some texts look like: their shapes, and whether they are addresses, numbers or keys of people."""
    content, shapes, count = dict[str, int](), dict[str, int](), 0
    for text, n in texts:
        count += n
        if reason := sensitive.content_of(text):
            content[reason] = content.get(reason, 0) + n
        if sketch.kind == "text":
            shape = shape_of(text)
            shapes[shape] = shapes.get(shape, 0) + n
    most = dict(sorted(shapes.items(), key=lambda item: (-item[1], item[0]))[:_SHAPES])
    return replace(sketch, content=content, patterns=most, examined=count)


class _Marks(dict[int, str]):
    """The mark of each character, as `str.translate` asks for it."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        return (
            "9" if character.isdigit() else ("A" if character.isupper() else "a") if character.isalpha() else character
        )


_MARKS: Final = _Marks({code: _Marks().__missing__(code) for code in range(256)})


def shape_of(text: str) -> str:
    """Return the shape of a text: letters as `A` or `a`, digits as `9`, all else as it is; long runs end in `+`.

    `AB-1234` has the shape `AA-9999`.
    """
    marks = text[:_LONGEST_SHAPE].translate(_MARKS)
    if len(marks) <= _RUN:
        return marks
    runs = ((mark, len(list(same))) for mark, same in groupby(marks))
    return "".join(mark * length if length <= _RUN else f"{mark * _RUN}+" for mark, length in runs)
