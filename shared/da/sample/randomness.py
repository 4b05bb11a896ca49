"""Randomness in SQL that is the same on every machine, with any number of threads, in every DuckDB.

A drawn number is the MD5 of what it is drawn for, so that no row depends on another one or on the order of work.
`hash()` may change between versions of DuckDB and `random()` depends on threads. All that follows from a draw is
integer arithmetic, or the few operations of floating point (`*`, `/`, `sqrt`) that IEEE 754 rounds in one way.
"""

from collections.abc import Iterable, Mapping

import duckdb


def install(con: duckdb.DuckDBPyConnection, seed: int) -> None:
    """Make the macros `draw`, `skewed` and `money` in a connection."""
    con.execute(f"""
        -- a whole number in [0, n), for the row `id`
        create macro draw(what, id, n) as
            (md5_number_lower(concat_ws('/', '{seed}', what, id)) % n::ubigint)::bigint;

        -- the same, and small numbers are drawn more often: half of the draws fall into the first 35 %
        create macro skewed(what, id, n) as
            floor(n * (draw(what, id, 1048576) / 1048576::double) * sqrt(draw(what, id, 1048576) / 1048576::double))::bigint;

        create macro money(cents) as (cents * 0.01::decimal(3, 2))::decimal(12, 2);
    """)


def one_of(what: str, id: str, values: str | Iterable[str]) -> str:  # noqa: A002 - the word of `draw`
    """Write the SQL that draws one of `values` (words with no quotes in them) for the row that the SQL `id` names."""
    words = values.split() if isinstance(values, str) else list(values)
    return f"list_extract({words}, 1 + draw('{what}', {id}, {len(words)}))"


def weighted(what: str, id: str, weights: Mapping[str, int]) -> str:  # noqa: A002
    """Write the SQL that draws one of the keys as often as their weights say."""
    return one_of(what, id, [word for word, weight in weights.items() for _ in range(weight)])
