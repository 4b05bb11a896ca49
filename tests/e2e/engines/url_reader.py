"""Reads signed URLs of parquet files: `python -m tests.e2e.engines.url_reader polars|daft`, the URLs as JSON on stdin.

It prints the rows as JSON, each value as text in a form that is the same for all engines; times are in UTC.
"""

import json
import sys
from typing import Any

import pyarrow as pa

from tests.e2e.engines.reader import text


def rows(found: pa.Table) -> list[Any]:
    return sorted([text(value) for _, value in sorted(row.items())] for row in found.to_pylist())


def by_polars(urls: list[str]) -> pa.Table:
    import polars as pl

    return pl.scan_parquet(urls).collect().to_arrow()


def by_daft(urls: list[str]) -> pa.Table:
    import daft

    return daft.read_parquet([url.replace("?", r"\?") for url in urls]).to_arrow()  # it takes ? for a wildcard


if __name__ == "__main__":
    read = {"polars": by_polars, "daft": by_daft}[sys.argv[1]]
    print(json.dumps(rows(read(json.load(sys.stdin)))), flush=True)
