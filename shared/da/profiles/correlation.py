"""Correlations: the moments of pairs of columns, mergeable, and Pearson's coefficient of them.

The moments of all rows are sums of products, about 3.5 ns of processor time for each of a row. Those of some rows are
joined, so that small tables do not wait for the planning of hundreds of sums.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Final, Self

from da.sql import quote

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


BETWEEN: Final = "\0"
"""Joins the names of a pair; no name of a column has it."""

WIDEST: Final = 1e75
"""Deviations from which on sums of squares could be infinite."""


_CANCELLED: Final = 1e-6
"""The share of a sum of squares below which its difference to another has lost the digits that a coefficient shows."""

_ROUNDING: Final = 1e-9
"""The share of a mean up to which it may be inexact."""


@dataclass(frozen=True, slots=True)
class Moments:
    """Count, means, sums of squared deviations, and the sum of products of deviations of two columns."""

    count: int
    mean_x: float
    mean_y: float
    squares_x: float
    squares_y: float
    products: float

    def merged(self, other: Self) -> Self:
        """Return the moments of the rows of both (Chan, Golub and LeVeque 1979)."""
        count = self.count + other.count
        if not self.count or not other.count:
            return self if self.count else other
        apart_x, apart_y = other.mean_x - self.mean_x, other.mean_y - self.mean_y
        shared = self.count * other.count / count
        return type(self)(
            count,
            self.mean_x + apart_x * other.count / count,
            self.mean_y + apart_y * other.count / count,
            self.squares_x + other.squares_x + apart_x * apart_x * shared,
            self.squares_y + other.squares_y + apart_y * apart_y * shared,
            self.products + other.products + apart_x * apart_y * shared,
        )

    @property
    def coefficient(self) -> float | None:
        """Pearson's coefficient; `None` if a column does not vary."""
        below = math.sqrt(self.squares_x) * math.sqrt(self.squares_y)
        return max(-1.0, min(1.0, self.products / below)) if below and math.isfinite(below) else None

    def to_json(self) -> list[float]:
        """Return a JSON array, the arguments of the class."""
        return [self.count, self.mean_x, self.mean_y, self.squares_x, self.squares_y, self.products]


def moments_of(
    con: "DuckDBPyConnection", table: str, columns: Mapping[str, tuple[str, float]], rows: int, most: int
) -> dict[str, Moments]:
    """Return the moments of all pairs of columns of a table, from at most so many of its rows.

    `columns` maps the names to the columns there and their approximate means. One self-join of stacked values takes the
    place of an aggregate for each pair, whose planning would take longer than the work.
    """
    if len(columns) < 2:  # noqa: PLR2004 - a pair
        return {}
    step = max(1, rows // max(most, 1))
    values = ", ".join(f"c{int(column[1:])}::double - ({mean!r})" for column, mean in columns.values())
    numbers = list(range(len(columns)))
    found = con.execute(
        f"""
        with u as (
            select r, unnest({numbers}) i, unnest([{values}]) v
            from (select *, row_number() over () r from {quote(table)}) where hash(r) % {int(step)} = 0
        ), f as (select r, i, v from u where v is not null and isfinite(v) and abs(v) < {WIDEST!r})
        select a.i, b.i, count(*), avg(a.v), avg(b.v), var_pop(a.v), var_pop(b.v), covar_pop(a.v, b.v)
        from f a join f b using (r) where a.i < b.i group by all
        """
    ).fetchall()
    names, means, made = list(columns), [mean for _, mean in columns.values()], dict[str, Moments]()
    for x, y, count, mean_x, mean_y, xx, yy, xy in found:
        made[f"{names[x]}{BETWEEN}{names[y]}"] = Moments(
            count,
            mean_x + means[x],
            mean_y + means[y],
            xx * count,
            yy * count,
            xy * count,
        )
    return made


@dataclass(frozen=True, slots=True)
class Numbers:
    """A column of numbers: its number in the relation, and an approximate mean.

    `is_full`: every row has a finite value, and none is so large that its square could be infinite.
    """

    column: int
    mean: float
    is_full: bool

    @property
    def deviation(self) -> str:
        """The expression of the deviation from the mean; NULL where it does not count."""
        apart = f"(c{self.column:d}::double - ({self.mean!r}))"
        if self.is_full:
            return apart
        return f"case when isfinite(c{self.column:d}::double) and abs{apart} < {WIDEST!r} then {apart} end"

    @property
    def factors(self) -> tuple[str, str]:
        """The names of the deviation, 0 where there is none, and of 1 where there is one; empty if there always is."""
        return f"e{self.column:d}", "" if self.is_full else f"v{self.column:d}"


def all_moments_of(
    con: "DuckDBPyConnection", relation: str, columns: Mapping[str, Numbers], rows: int, most: int
) -> dict[str, Moments] | None:
    """Return the moments of all pairs of columns from all rows of a relation; `None` if that takes more than `most` products.

    `columns` are its columns by name.
    """
    sums: dict[str, int] = {}
    pairs: dict[str, tuple[Numbers, Numbers, tuple[str, ...]]] = {}
    for (x, one), (y, other) in combinations(columns.items(), 2):
        (ex, vx), (ey, vy) = one.factors, other.factors
        products = ((vx, vy), (ex, vy), (vx, ey), (ex, ex, vy), (vx, ey, ey), (ex, ey))
        terms = tuple(" * ".join(filter(None, factors)) for factors in products)
        pairs[f"{x}{BETWEEN}{y}"] = one, other, terms
        for term in terms:
            sums.setdefault(term, len(sums))
    if len(sums) * rows > most:
        return None
    if not pairs:
        return {}
    deviations = ", ".join(f"{each.deviation} as d{each.column:d}" for each in columns.values())
    factors = ", ".join(
        f"coalesce(d{n:d}, 0) as e{n:d}, (d{n:d} is not null)::double as v{n:d}"
        for n in (each.column for each in columns.values())
    )
    asked = ", ".join(f"sum({term})" if term else "count(*)" for term in sums)
    found = con.execute(f"select {asked} from (select {factors} from (select {deviations} from {relation}))").fetchone()
    values = [each or 0.0 for each in found or ()]
    made: dict[str, Moments] = {}
    for pair, (one, other, terms) in pairs.items():
        count, apart_x, apart_y, xx, yy, xy = (values[sums[term]] for term in terms)
        if not count:
            continue
        squares_x, squares_y = xx - apart_x * apart_x / count, yy - apart_y * apart_y / count
        mean_x, mean_y = apart_x / count, apart_y / count
        if _is_cancelled(squares_x, xx, mean_x, one) or _is_cancelled(squares_y, yy, mean_y, other):
            made[pair] = _moments_of_pair(con, relation, one, other)
            continue
        made[pair] = Moments(
            round(count),
            mean_x + one.mean,
            mean_y + other.mean,
            max(0.0, squares_x),
            max(0.0, squares_y),
            xy - apart_x * apart_y / count,
        )
    return made


def _is_cancelled(squares: float, total: float, apart: float, column: Numbers) -> bool:
    """Return whether a difference of sums has too few digits left, other than by the rounding of a constant column's mean."""
    return squares < _CANCELLED * total and abs(apart) > _ROUNDING * abs(column.mean)


def _moments_of_pair(con: "DuckDBPyConnection", relation: str, one: Numbers, other: Numbers) -> Moments:
    """Return the moments of two columns whose common rows vary little around other means than those of the columns."""
    count, mean_x, mean_y, xx, yy, xy = con.execute(
        f"""
        select count(*), avg(x), avg(y), var_pop(x), var_pop(y), covar_pop(x, y)
        from (select {one.deviation} as x, {other.deviation} as y from {relation}) where x is not null and y is not null
        """
    ).fetchone() or (0, 0.0, 0.0, 0.0, 0.0, 0.0)
    return Moments(count, mean_x + one.mean, mean_y + other.mean, xx * count, yy * count, xy * count)
