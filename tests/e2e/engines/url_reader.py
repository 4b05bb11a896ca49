"""Reads signed URLs of parquet files with Polars: `python -m tests.e2e.engines.url_reader`, the URLs as JSON on stdin.

It prints the rows as JSON, each value as text in a form that is the same for all engines; times are in UTC.
"""

import json
import sys
from typing import Any

import pyarrow as pa

from tests.e2e.engines.reader import text


def rows(found: pa.Table) -> list[Any]:
    return sorted([text(value) for _, value in sorted(row.items())] for row in found.to_pylist())


if __name__ == "__main__":
    import polars as pl

    print(json.dumps(rows(pl.scan_parquet(json.load(sys.stdin)).collect().to_arrow())), flush=True)
