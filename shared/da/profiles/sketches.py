"""Sketches: mergeable statistics of a column, exact where that is possible in bounded space.

Counts, extremes, sums, moments, the days of dates, and all values of columns with at most 1,000 distinct ones merge
exactly. The number of distinct values is else estimated by HyperLogLog (4,096 registers, standard error 1.6 %), quantiles
from points at equal ranks of sampled rows. Source: O. Ertl, "New cardinality estimation algorithms for HyperLogLog
sketches" (2017), algorithm 6; T. F. Chan et al., "Updating formulae and a pairwise algorithm for computing sample
variances" (1979).
"""

import base64
import math
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal
from typing import Any, Final, Literal, Self

Kind = Literal["number", "boolean", "date", "timestamp", "text", "nested", "binary"]

MOST_COUNTED: Final = 1000
"""The number of distinct values up to which all values of a column are counted."""

TOP: Final = 50
"""The number of most frequent values that are kept of columns with more distinct values."""

REGISTERS: Final = 4096
DISTINCT_ERROR: Final = 0.016
"""The standard error of an estimated number of distinct values: 1.04 / sqrt(4096)."""

MOST_DAYS: Final = 20_000
POINTS: Final = 2048
"""The number of points of a merged quantile summary; more are thinned."""

_WIDTH: Final = 52
_PATTERNS_KEPT: Final = 50


@dataclass(frozen=True, slots=True)
class Counted:
    """A value as DuckDB writes it, how often it occurs, and its hash."""

    value: str
    count: int
    hash: int


@dataclass(frozen=True, slots=True)
class Sketch:
    """The statistics of a column in some rows. Values are texts as DuckDB writes them."""

    type: str
    kind: Kind
    values: int = 0
    """Rows with a value; NaN and infinity are values."""
    nulls: int = 0
    least: str | None = None
    greatest: str | None = None
    spanned: tuple[int, int] | None = None
    """The extremes of dates and times in microseconds since 1970."""
    total: str | None = None
    """The sum of the finite numbers."""
    numbers: int = 0
    """Finite numbers that `mean` and `squares` count."""
    mean: float = 0.0
    squares: float | None = 0.0
    """The sum of squared deviations from the mean; `None` if numbers are too large to be squared."""
    zeros: int = 0
    negatives: int = 0
    trues: int = 0
    shortest: int | None = None
    longest: int | None = None
    characters: int = 0
    blanks: int = 0
    counted: tuple[Counted, ...] = ()
    """The most frequent values; all of them if `is_whole`."""
    is_whole: bool = True
    is_partial: bool = False
    """Whether values may occur more often than `counted` says, because it was merged from lists of frequent values."""
    is_sampled: bool = False
    """Whether the counts of `counted` were extrapolated from a sample."""
    distinct: int | None = 0
    """The exact number of distinct values; `None` if only `registers` estimate it."""
    registers: bytes = b""
    points: tuple[tuple[float, float], ...] = ()
    """Numbers at equal ranks, with the number of rows that each stands for."""
    sampled: int = 0
    """The rows that `points` were taken from."""
    quantiles: tuple[float, ...] = ()
    """Exact quantiles at `PROBABILITIES`, if these rows were looked at as a whole."""
    bins: tuple[int, ...] = ()
    """The exact counts of a histogram from `least` to `greatest`, if these rows were looked at as a whole."""
    days: Mapping[int, int] | None = None
    """Rows by day since 1970; `None` if there are too many days, or for other kinds."""
    patterns: Mapping[str, int] = field(default_factory=dict)
    """The shapes of sampled texts, such as `AAA-999`."""
    examined: int = 0
    """Texts whose shape and content were examined."""
    content: Mapping[str, int] = field(default_factory=dict)
    """Examined texts by the kind of sensitive content in them."""
    emails: int = 0
    """Rows with an `@`."""
    withheld: str | None = None
    """Why the values are sensitive; then the sketch has counts only."""
    is_masked: bool = False
    """Whether an extreme looks sensitive, so that both are unknown."""

    def merged(self, other: Self) -> Self:
        """Return the statistics of the rows of both."""
        withheld, nulls = self.withheld or other.withheld, self.nulls + other.nulls
        if not other.values or not self.values:
            made = replace(self if self.values else other, nulls=nulls)
            return made.bare(withheld) if withheld else made
        least, greatest = _extremes(self, other)
        mean, squares, numbers = _moments(self, other)
        counted = _counted(self, other)
        made = replace(
            self,
            values=self.values + other.values,
            nulls=nulls,
            least=least,
            greatest=greatest,
            spanned=_spanned(self.spanned, other.spanned),
            total=_sum(self.total, other.total),
            numbers=numbers,
            mean=mean,
            squares=squares,
            zeros=self.zeros + other.zeros,
            negatives=self.negatives + other.negatives,
            trues=self.trues + other.trues,
            shortest=_smaller(self.shortest, other.shortest),
            longest=_larger(self.longest, other.longest),
            characters=self.characters + other.characters,
            blanks=self.blanks + other.blanks,
            registers=_joined(self, other),
            points=() if counted["is_whole"] else _thinned((*_points(self), *_points(other))),
            sampled=0 if counted["is_whole"] else _sampled(self) + _sampled(other),
            quantiles=(),
            bins=(),
            days=_days(self.days, other.days),
            patterns=_most(self.patterns, other.patterns),
            examined=self.examined + other.examined,
            content=dict(Counter(self.content) + Counter(other.content)),
            emails=self.emails + other.emails,
            is_masked=self.is_masked or other.is_masked,
            **counted,
        )
        return made.bare(withheld) if withheld else made

    def bare(self, reason: str) -> Self:
        """Return the counts only: the sketch of a sensitive column, in which no value can be found."""
        return type(self)(
            self.type,
            self.kind,
            values=self.values,
            nulls=self.nulls,
            is_whole=False,
            distinct=self.distinct,
            registers=_registers(self),
            examined=self.examined,
            content=self.content,
            emails=self.emails,
            withheld=reason,
        )

    def listed(self) -> Self:
        """Return the sketch with registers and points that do not depend on `counted`."""
        return replace(self, registers=_registers(self), points=tuple(_points(self)), sampled=_sampled(self))

    @property
    def distinct_estimate(self) -> int:
        """The number of distinct values, estimated if it is not known."""
        if self.distinct is not None:
            return self.distinct
        return min(self.values, max(len(self.counted), round(estimate(self.registers))))

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object without the fields that have their default values."""
        made: dict[str, Any] = {}
        for each in fields(self):
            value, usual = getattr(self, each.name), _DEFAULTS.get(each.name)
            if value != usual or each.name in ("type", "kind"):
                made[each.name] = value
        if self.registers:
            made["registers"] = base64.b85encode(zlib.compress(self.registers, 1)).decode()
        if "counted" in made:
            made["counted"] = [[each.value, each.count, each.hash] for each in self.counted]
        if self.points:
            made["points"] = [[value for value, _ in self.points], [weight for _, weight in self.points]]
        if self.days is not None:
            made["days"] = [*map(list, sorted(self.days.items()))]
        return made

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read a sketch; raises `ValueError`, `KeyError` or `TypeError` if it is invalid."""
        made = dict(document)
        if "registers" in made:
            made["registers"] = zlib.decompress(base64.b85decode(made["registers"]))
        if "counted" in made:
            made["counted"] = tuple(Counted(*each) for each in made["counted"])
        if made.get("days") is not None:
            made["days"] = dict(made["days"])
        if "points" in made:
            made["points"] = tuple(zip(*made["points"], strict=True))
        for name in ("quantiles", "bins"):
            if name in made:
                made[name] = tuple(made[name])
        if made.get("spanned") is not None:
            made["spanned"] = tuple(made["spanned"])
        return cls(**made)


_DEFAULTS: Final = {each.name: getattr(Sketch("", "text"), each.name) for each in fields(Sketch)}

PROBABILITIES: Final = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
"""The quantiles of a profile."""


def absent(kind: Kind, type_: str, rows: int) -> Sketch:
    """Return the sketch of a column in rows of a file that does not have it."""
    return Sketch(type_, kind, nulls=rows)


def number(text: str) -> int | float:
    """Parse a number as DuckDB writes it."""
    try:
        return int(text)
    except ValueError:
        return float(text)


def estimate(registers: bytes) -> float:
    """Return the estimated number of distinct values whose hashes are in the registers."""
    if not registers:
        return 0.0
    counts = Counter(registers)
    z = REGISTERS * _tau(1 - counts[_WIDTH + 1] / REGISTERS)
    for rank in range(_WIDTH, 0, -1):
        z = 0.5 * (z + counts[rank])
    z += REGISTERS * _sigma(counts[0] / REGISTERS)
    return 0.0 if math.isinf(z) else REGISTERS * REGISTERS / (2 * math.log(2) * z)


def _sigma(x: float) -> float:
    if x == 1:
        return math.inf
    y, z, before = 1.0, x, -1.0
    while z != before:
        x, before = x * x, z
        z += x * y
        y += y
    return z


def _tau(x: float) -> float:
    if x in {0, 1}:
        return 0.0
    y, z, before = 1.0, 1 - x, -1.0
    while z != before:
        x, before, y = math.sqrt(x), z, 0.5 * y
        z -= (1 - x) ** 2 * y
    return z / 3


def registers_of(least: Iterable[tuple[int, int]]) -> bytes:
    """Return the registers for the least remaining hash in each bucket."""
    made = bytearray(REGISTERS)
    for bucket, rest in least:
        made[bucket] = _WIDTH + 1 - rest.bit_length()
    return bytes(made)


def _registers(sketch: Sketch) -> bytes:
    """Return the registers of a sketch; those of one that lists all its values are computed from their hashes."""
    if sketch.registers or not sketch.is_whole:
        return sketch.registers
    made = bytearray(REGISTERS)
    for each in sketch.counted:
        bucket, rest = each.hash & (REGISTERS - 1), each.hash >> 12
        made[bucket] = max(made[bucket], _WIDTH + 1 - rest.bit_length())
    return bytes(made)


def _joined(one: Sketch, other: Sketch) -> bytes:
    is_listed = one.is_whole and other.is_whole and not one.registers and not other.registers
    if is_listed and len({each.value for each in (*one.counted, *other.counted)}) <= MOST_COUNTED:
        return b""
    return bytes(map(max, _registers(one), _registers(other)))


def _counted(one: Sketch, other: Sketch) -> dict[str, Any]:
    """Merge the counted values, and what is known of the number of distinct ones."""
    counts = Counter({each.value: each.count for each in one.counted})
    counts.update({each.value: each.count for each in other.counted})
    hashes = {each.value: each.hash for each in (*other.counted, *one.counted)}
    by_value = Decimal if one.kind == "number" else str
    ordered = sorted(counts.items(), key=lambda item: (-item[1], by_value(item[0])))
    is_whole = one.is_whole and other.is_whole and len(counts) <= MOST_COUNTED
    kept = ordered if is_whole else ordered[:TOP]
    if is_whole:
        distinct: int | None = len(counts)
    elif _are_apart(one, other) and one.distinct is not None and other.distinct is not None:
        distinct = one.distinct + other.distinct
    else:
        distinct = None
    return {
        "counted": tuple(Counted(value, count, hashes[value]) for value, count in kept),
        "is_whole": is_whole,
        "is_partial": not is_whole,
        "is_sampled": one.is_sampled or other.is_sampled,
        "distinct": distinct,
    }


def _are_apart(one: Sketch, other: Sketch) -> bool:
    """Return whether no value can be in both, because one column's values are all below the other's."""
    if None in (one.least, one.greatest, other.least, other.greatest):
        return False
    first, second = sorted((one, other), key=lambda each: _key(each, each.least))
    return bool(_key(first, first.greatest) < _key(second, second.least))


def _key(sketch: Sketch, value: str | None) -> Any:
    if sketch.kind == "number":
        return Decimal(value or "0")
    if sketch.spanned is not None:
        return sketch.spanned[0] if value == sketch.least else sketch.spanned[1]
    return value or ""


def _extremes(one: Sketch, other: Sketch) -> tuple[str | None, str | None]:
    if one.is_masked or other.is_masked:
        return None, None
    lows = [each for each in (one, other) if each.least is not None]
    highs = [each for each in (one, other) if each.greatest is not None]
    least = min(lows, key=lambda each: _key(each, each.least), default=None)
    greatest = max(highs, key=lambda each: _key(each, each.greatest), default=None)
    return None if least is None else least.least, None if greatest is None else greatest.greatest


def _moments(one: Sketch, other: Sketch) -> tuple[float, float | None, int]:
    numbers = one.numbers + other.numbers
    if not numbers:
        return 0.0, 0.0, 0
    apart = other.mean - one.mean
    mean = one.mean + apart * other.numbers / numbers
    if one.squares is None or other.squares is None:
        return mean, None, numbers
    between = apart * apart * one.numbers * other.numbers / numbers
    return mean, one.squares + other.squares + between, numbers


def _sum(one: str | None, other: str | None) -> str | None:
    if one is None or other is None:
        return one if other is None else other
    try:
        return str(int(one) + int(other))
    except ValueError:
        pass
    if "e" in one or "e" in other or "E" in one or "E" in other:
        return repr(float(one) + float(other))
    return str(Decimal(one) + Decimal(other))


def _spanned(one: tuple[int, int] | None, other: tuple[int, int] | None) -> tuple[int, int] | None:
    if one is None or other is None:
        return one or other
    return min(one[0], other[0]), max(one[1], other[1])


def _smaller(one: int | None, other: int | None) -> int | None:
    return one if other is None else other if one is None else min(one, other)


def _larger(one: int | None, other: int | None) -> int | None:
    return one if other is None else other if one is None else max(one, other)


def _days(one: Mapping[int, int] | None, other: Mapping[int, int] | None) -> Mapping[int, int] | None:
    if one is None or other is None:
        return None
    made = Counter(one)
    made.update(other)
    return dict(made) if len(made) <= MOST_DAYS else None


def _most(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    made = Counter(one)
    made.update(other)
    return dict(sorted(made.items(), key=lambda item: (-item[1], item[0]))[:_PATTERNS_KEPT])


def _points(sketch: Sketch) -> Sequence[tuple[float, float]]:
    """Return the points of a sketch; those of one that lists all its values are these."""
    if sketch.points or not sketch.is_whole or sketch.kind != "number":
        return sketch.points
    values = [(float(each.value), float(each.count)) for each in sketch.counted]
    return [(value, count) for value, count in values if math.isfinite(value)]


def _sampled(sketch: Sketch) -> int:
    return sketch.values if sketch.is_whole else sketch.sampled


def _thinned(points: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """Return points in order; of too many, neighbours are joined."""
    ordered = sorted(points)
    while len(ordered) > POINTS:
        pairs = zip(ordered[::2], ordered[1::2], strict=False)
        rest = ordered[-1:] if len(ordered) % 2 else []
        ordered = [*((one[0] if one[1] > two[1] else two[0], one[1] + two[1]) for one, two in pairs), *rest]
    return tuple(ordered)


def quantile(points: Sequence[tuple[float, float]], probability: float) -> float | None:
    """Return the quantile of weighted points: the one in whose share of the rows the rank falls."""
    whole = sum(weight for _, weight in points)
    reached = 0.0
    for value, weight in points:
        reached += weight
        if reached >= probability * whole:
            return value
    return points[-1][0] if points else None


def exact_quantile(ordered: Sequence[tuple[float, int]], probability: float) -> float:
    """Return the quantile of values with their counts, interpolated linearly between neighbours."""
    rows = sum(count for _, count in ordered)
    rank = probability * (rows - 1)
    below, part = int(rank), rank - int(rank)
    reached, low = 0, None
    for value, count in ordered:
        reached += count
        if low is None and reached > below:
            low = float(value)
            if part == 0 or reached > below + 1:
                return low
        elif low is not None:
            return low + (float(value) - low) * part
    return float(ordered[-1][0])
