"""When things happen in the sample data: by season, weekday, hour, and more of it from month to month."""

import duckdb

from da.sample.sizes import Size

MONTHS = [70, 80, 90, 95, 100, 95, 85, 90, 100, 110, 135, 150]
"""Weights from January to December, 100 is usual."""

WEEKDAYS = [105, 105, 100, 100, 110, 120, 90]
"""Weights from Monday to Sunday."""

HOURS = [10, 6, 4, 3, 4, 8, 18, 35, 55, 75, 90, 95, 100, 92, 88, 86, 88, 94, 105, 120, 125, 105, 65, 28]
"""Weights of the hours of a day."""


def create(con: duckdb.DuckDBPyConnection, size: Size) -> None:
    """Make the table `hours` and the table macro `moments` in a connection.

    The last day weighs half as much again as the first one; each day is up to a fifth better or worse than that.
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

        -- n moments in their order: (no from 1, day, moment). One from each n-th of the whole weight.
        create macro moments(what, n) as table
        with whole as (select max(before + weight) // n as share from hours),
             drawn as (select no, share * (no - 1) + draw(what, no, share) as position from range(1, n + 1) r(no), whole)
        select no, day, opens + to_seconds((position - before) * 3600 // weight) as moment
        from drawn asof join hours on position >= before;
    """)
