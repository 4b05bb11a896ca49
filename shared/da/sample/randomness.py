"""Random numbers in SQL, the sizes of the sample data and its calendar.

The same seed produces the same data on every machine, with any number of threads and any version of DuckDB. A random
number is the MD5 of its purpose and row, so that no row depends on another one or on the order of execution: `hash()`
may change between versions of DuckDB, and `random()` depends on threads. Everything else is integer arithmetic, or the
floating-point operations that IEEE 754 rounds exactly (`*`, `/`, `sqrt`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

import duckdb


def install(con: duckdb.DuckDBPyConnection, seed: int) -> None:
    """Create the macros `draw`, `skewed` and `money` in a connection."""
    con.execute(f"""
        -- a whole number in [0, n), for the row `id`
        create macro draw(what, id, n) as
            (md5_number_lower(concat_ws('/', '{seed}', what, id)) % n::ubigint)::bigint;

        -- the same, skewed towards small numbers: half of the draws are in the first 35 %
        create macro skewed(what, id, n) as
            floor(n * (draw(what, id, 1048576) / 1048576::double) * sqrt(draw(what, id, 1048576) / 1048576::double))::bigint;

        create macro money(cents) as (cents * 0.01::decimal(3, 2))::decimal(12, 2);
    """)


def one_of(what: str, id: str, values: str | Iterable[str]) -> str:  # noqa: A002 - the word of `draw`
    """Return SQL that draws one of `values` (words without quotes) for the row with the SQL `id`."""
    words = values.split() if isinstance(values, str) else list(values)
    return f"list_extract({words}, 1 + draw('{what}', {id}, {len(words)}))"


def weighted(what: str, id: str, weights: Mapping[str, int]) -> str:  # noqa: A002
    """Return SQL that draws one of the keys in proportion to their weights."""
    return one_of(what, id, [word for word, weight in weights.items() for _ in range(weight)])


END = date(2026, 3, 1)
"""The first day after the data; fixed, so that a seed always produces the same bytes."""


@dataclass(frozen=True, slots=True)
class Size:
    """Rows of the directly generated tables, and the months (of 30 days) that they cover."""

    customers: int
    products: int
    campaigns: int
    web_sessions: int
    web_leads: int
    orders: int
    support_tickets: int
    months: int

    @property
    def days(self) -> int:
        """Days that the data covers."""
        return 30 * self.months

    @property
    def start(self) -> date:
        """First day of the data."""
        return END - timedelta(days=self.days)


SIZES = {
    "xs": Size(50, 30, 10, 500, 50, 100, 30, 3),
    "s": Size(500, 100, 30, 10_000, 1_000, 2_000, 500, 12),
    "m": Size(5_000, 300, 80, 100_000, 10_000, 20_000, 5_000, 24),
    "l": Size(50_000, 1_000, 200, 1_000_000, 100_000, 200_000, 50_000, 36),
}
"""The available sizes by name."""


MONTHS = [70, 80, 90, 95, 100, 95, 85, 90, 100, 110, 135, 150]
"""Weights from January to December; 100 is average."""

WEEKDAYS = [105, 105, 100, 100, 110, 120, 90]
"""Weights from Monday to Sunday."""

HOURS = [10, 6, 4, 3, 4, 8, 18, 35, 55, 75, 90, 95, 100, 92, 88, 86, 88, 94, 105, 120, 125, 105, 65, 28]
"""Weights of the hours of a day."""


def create_calendar(con: duckdb.DuckDBPyConnection, size: Size) -> None:
    """Create the table `hours` and the table macro `moments` in a connection.

    Weights grow by half from the first day to the last; each day deviates by up to a fifth.
    """
    con.execute(f"""
        create table hours as
        with weighed as (
            select day, day::timestamp + to_hours(hour) as opens,
                   {MONTHS}[month(day)] * {WEEKDAYS}[isodow(day)] * {HOURS}[hour + 1]::bigint
                   * (2 * {size.days} + day_no) * (80 + draw('day', day_no, 41)) as weight
            from (select date '{size.start}' + day_no::integer as day, day_no from range({size.days}) r(day_no)),
                 range(24) h(hour)
        )
        select *, (sum(weight) over (order by opens) - weight)::bigint as before
        from weighed;

        -- n moments in order: (no from 1, day, moment), one from each n-th of the total weight
        create macro moments(what, n) as table
        with whole as (select max(before + weight) // n as share from hours),
             drawn as (select no, share * (no - 1) + draw(what, no, share) as position from range(1, n + 1) r(no), whole)
        select no, day, opens + to_seconds((position - before) * 3600 // weight) as moment
        from drawn asof join hours on position >= before;
    """)
