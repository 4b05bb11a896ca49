"""`da sample-data`: nine related tables of a web shop, to try things on."""

import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from da.errors import UsageError
from da.output import say


class SampleSize(StrEnum):
    """How much of it: about 1 thousand, 20 thousand, 200 thousand or 2 million rows."""

    XS = "xs"
    S = "s"
    M = "m"
    L = "l"


class SampleFormat(StrEnum):
    """What kind of files."""

    CSV = "csv"
    PARQUET = "parquet"


def sample_data(
    size: Annotated[
        SampleSize, typer.Option(help="About 1 thousand, 20 thousand, 200 thousand or 2 million rows.")
    ] = SampleSize.S,
    seed: Annotated[int, typer.Option(help="The same seed gives the same files.")] = 42,
    format: Annotated[SampleFormat, typer.Option(help="What kind of files.")] = SampleFormat.CSV,  # noqa: A002 - the option's name
    output: Annotated[Path, typer.Option(help="The folder to write into; it is made when it is not there.")] = Path(
        "sample-data"
    ),
) -> None:
    """Write nine related tables of a web shop: customers, orders, payments, visits, tickets and more."""
    import duckdb

    from da.sample.generation import generate

    began = time.monotonic()
    try:
        manifest = generate(size.value, seed, format.value, output)
    except (OSError, duckdb.IOException) as error:
        raise UsageError(f"{output} can't be written to: {getattr(error, 'strerror', None) or error}") from None
    for table, rows in manifest.tables.items():
        say(f"{table:<16} {rows:>9,} rows")
    say(f"{manifest.total_rows:,} rows written to {output} in {time.monotonic() - began:.1f} s")
