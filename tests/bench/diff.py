"""The rows that differ between two versions of a table of 10M rows, of whose 100 files one has changed.

Files that both versions have are not read, so the table is as large as its changed file: 100,000 rows and 10 columns.
"""

import tempfile
import time
from pathlib import Path

import duckdb

from da.agents.row_diff import counted_sql, diff_sql
from tests.bench.measurement import Row, at_most

ROWS = 100_000
_COLUMNS = """
    i as id, 'customer ' || (i % 1000) as customer, i * 1.5 as amount, date '2024-01-01' + (i % 365)::int as day, i % 7 as a,
    'x' || i % 13 as b, i::double as c, i % 2 = 0 as d, i as e, 'note ' || i as f
"""
_CHANGED = "select * replace (amount + (id % 10 = 0)::int as amount) from '{}' where id % 1000 <> 1"


def measure() -> list[Row]:
    """Count the rows that differ, and read the first 100, by key and as multisets."""
    with tempfile.TemporaryDirectory() as folder, duckdb.connect(config={"threads": 1}) as con:
        before, after = (Path(folder) / f"{name}.parquet" for name in ("before", "after"))
        con.execute(f"copy (select {_COLUMNS} from range({ROWS}) r(i)) to '{before}'")
        con.execute(f"copy ({_CHANGED.format(before)}) to '{after}'")
        con.execute(f"create view before as from '{before}'; create view after as from '{after}'")
        kinds = {str(name): str(kind) for name, kind, *_ in con.execute("describe from before").fetchall()}
        what = "diff of a table of 10M rows, 1 of 100 files changed"
        return [
            at_most(f"{what}, by key: processor time of DuckDB", _seconds(con, diff_sql(kinds, kinds, ["id"])), "s", 2),
            at_most("the same without a key", _seconds(con, diff_sql(kinds, kinds, [])), "s", 2),
        ]


def _seconds(con: duckdb.DuckDBPyConnection, sql: str) -> float:
    began = time.process_time()
    assert sum(count for _change, count in con.execute(counted_sql(sql)).fetchall()) > ROWS / 10
    con.execute(f"{sql} limit 101").fetchall()
    return time.process_time() - began
