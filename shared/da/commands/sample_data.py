"""`da sample-data`: generate nine related tables of a web shop."""

import time
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from da.errors import UsageError, cause_of
from da.options import Json
from da.output import print_json, say


class SampleSize(StrEnum):
    """The size: about 1 thousand, 20 thousand, 200 thousand or 2 million rows."""

    XS = "xs"
    S = "s"
    M = "m"
    L = "l"


class SampleFormat(StrEnum):
    """The file format."""

    CSV = "csv"
    PARQUET = "parquet"


def sample_data(
    size: Annotated[
        SampleSize, typer.Option(help="Size: about 1 thousand, 20 thousand, 200 thousand or 2 million rows.")
    ] = SampleSize.S,
    seed: Annotated[int, typer.Option(help="Random seed; the same seed produces the same files.")] = 42,
    format: Annotated[SampleFormat, typer.Option(help="File format.")] = SampleFormat.CSV,  # noqa: A002 - the option's name
    output: Annotated[Path, typer.Option(help="Output folder; created if it does not exist.")] = Path("sample-data"),
    json: Json = False,
) -> None:
    """Generate sample data: nine related tables of a web shop, such as customers, orders and payments.

    Examples:
      da sample-data --output sources/shop
      da sample-data --size l --format parquet
    """
    import duckdb

    from da.sample.generation import generate

    began = time.monotonic()
    try:
        manifest = generate(size.value, seed, format.value, output)
    except (OSError, duckdb.IOException) as error:
        cause = cause_of(error) if isinstance(error, OSError) else str(error)
        raise UsageError(f"can't write to '{output}': {cause}; choose another folder with --output") from None
    if json:
        print_json(asdict(manifest))
        return
    for table, rows in manifest.tables.items():
        say(f"{table:<16} {rows:>9,} rows")
    say(f"Wrote {manifest.total_rows:,} rows to {output} in {time.monotonic() - began:.1f} s")
