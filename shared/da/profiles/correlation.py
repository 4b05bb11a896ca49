"""Correlations: the moments of pairs of columns, mergeable, and Pearson's coefficient of them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from da.sql import quote

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


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
        ), f as (select r, i, v from u where v is not null and isfinite(v) and abs(v) < 1e75)
        select a.i, b.i, count(*), avg(a.v), avg(b.v), sum(a.v * a.v), sum(b.v * b.v), sum(a.v * b.v)
        from f a join f b using (r) where a.i < b.i group by all
        """
    ).fetchall()
    names, means, made = list(columns), [mean for _, mean in columns.values()], dict[str, Moments]()
    for x, y, count, mean_x, mean_y, xx, yy, xy in found:
        made[f"{names[x]}\n{names[y]}"] = Moments(
            count,
            mean_x + means[x],
            mean_y + means[y],
            max(0.0, xx - count * mean_x * mean_x),
            max(0.0, yy - count * mean_y * mean_y),
            xy - count * mean_x * mean_y,
        )
    return made
