"""SQL at the server: one read-only statement over the tables that its caller can read.

Two independent layers keep a statement within these tables. `statement` reads its syntax tree and refuses everything but
a query of known kinds of sources and functions. `worker` runs it in a process of its own, in which DuckDB has a view for
each table that the statement names and may open only the files of these views.

`engine` is the entrance; `pool` keeps worker processes ready and ends those that exceed their limits.
"""

from typing import Final

RESULTS: Final = "query/results/"
"""The prefix of whole results, which the sweep deletes after a day."""

CACHED: Final = "query/cache/"
"""The prefix of results that repeated queries find again; the sweep deletes them after a week."""
