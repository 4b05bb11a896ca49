"""Generate the sample data: nine files and a manifest."""

import json
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import duckdb

from da.sample import customers, marketing, randomness, sales
from da.sample.randomness import END, SIZES

Format = Literal["csv", "parquet"]

MANIFEST = "_manifest.json"

TABLES = (
    "customers",
    "products",
    "campaigns",
    "web_sessions",
    "web_leads",
    "orders",
    "order_items",
    "payments",
    "support_tickets",
)

_OPTIONS = {"csv": "format csv, header", "parquet": "format parquet, compression zstd"}


@dataclass(frozen=True, slots=True)
class Manifest:
    """The content of `_manifest.json`. `tables` maps each table to its number of rows."""

    generator: str
    size: str
    format: str
    seed: int
    date_range: dict[str, str]
    tables: dict[str, int]
    total_rows: int


def generate(size: str, seed: int, format: Format, output: Path) -> Manifest:  # noqa: A002 - the option's word
    """Write the nine tables and the manifest into a folder, replacing earlier sample data.

    Files appear only after all of them have been written, the manifest last.

    Raises:
        FileExistsError: the folder has files with these names that are not sample data.
    """
    output.mkdir(parents=True, exist_ok=True)
    _refuse_foreign(output)
    with TemporaryDirectory(prefix=".sample-", dir=output) as made, duckdb.connect() as con:
        _create(con, size, seed)
        tables = {table: _write(con, table, format, Path(made)) for table in TABLES}
        days = {"start": SIZES[size].start.isoformat(), "end": (END - timedelta(days=1)).isoformat()}
        manifest = Manifest("da sample-data", size, format, seed, days, tables, sum(tables.values()))
        _replace(Path(made), output, manifest)
    return manifest


def _create(con: duckdb.DuckDBPyConnection, size: str, seed: int) -> None:
    con.execute("set TimeZone = 'UTC'")
    randomness.install(con, seed)
    randomness.create_calendar(con, SIZES[size])
    customers.create(con, SIZES[size])
    sales.create_products(con, SIZES[size])
    marketing.create(con, SIZES[size])
    sales.create_sales(con, SIZES[size])
    sales.create_support(con, SIZES[size])


def _write(con: duckdb.DuckDBPyConnection, table: str, format: Format, folder: Path) -> int:  # noqa: A002
    path = str(folder / f"{table}.{format}").replace("'", "''")
    columns = [name for name, *_ in con.execute(f"describe {table}").fetchall() if not name.startswith("_")]
    copied = con.execute(
        f"copy (select {', '.join(columns)} from {table} order by _no) to '{path}' ({_OPTIONS[format]})"
    )
    return int(copied.fetchall()[0][0])


def _existing(output: Path) -> list[Path]:
    return [path for table in TABLES for suffix in _OPTIONS if (path := output / f"{table}.{suffix}").exists()]


def _refuse_foreign(output: Path) -> None:
    if not (output / MANIFEST).exists() and (files := _existing(output)):
        raise FileExistsError(f"'{files[0].name}' exists and is not sample data; choose another folder with --output")


def _replace(made: Path, output: Path, manifest: Manifest) -> None:
    for path in _existing(output):
        path.unlink()
    for path in sorted(made.iterdir()):
        path.replace(output / path.name)
    (output / MANIFEST).write_text(json.dumps(asdict(manifest), indent=2) + "\n", encoding="utf-8", newline="\n")
