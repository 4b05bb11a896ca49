"""Measure what README.md beside this tells, and print it: `run.py [--only NAME …]`. Ends with 1 when a target is missed."""

import argparse
import sys
import tempfile
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[2])

from tests.bench.extract import BARE, write_csv  # noqa: E402 - the project is found by the line above
from tests.bench.measurement import Row, cost, python  # noqa: E402 - the same

REFERENCE = 5.7
"""Processor seconds of the calibration on the machine for which the targets were set."""
NAMES = (
    *(
        "rebuild",
        "extract",
        "folders",
        "stable_files",
        "increments",
        "delta",
        "manifest",
        "access",
        "sync",
        "mirror",
        "startup",
        "store_requests",
        "objects",
        "pages",
        "profiles",
        "diff",
    ),
    *("jira_transform", "jira_backfill", "jira", "keboola", "bigquery"),
    *("query", "gateway"),
)


def main() -> int:
    """Run the benchmarks one after another."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", choices=NAMES, help="run this one; may be given several times")
    only = parser.parse_args().only
    taken = calibration()
    slowness = taken / REFERENCE
    print(
        f"calibration: {taken:.1f} s of processor time for DuckDB's COPY of the CSV of extract.py; reference {REFERENCE} s,"
    )
    print(f"so targets in seconds and milliseconds are those of README.md times {slowness:.2f}")
    print(f"{'what':<66} {'measured':>12} {'target':>10}  kept  beside")
    rows = [row for name in only or NAMES for row in _shown(import_module(f"tests.bench.{name}").measure(), slowness)]
    return 0 if all(row.ok for row in rows) else 1


def calibration() -> float:
    """Return the processor seconds of DuckDB's own COPY to parquet, the least of three runs: how fast this machine is."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sources" / "large.csv"
        write_csv(path)
        return min(cost(python(BARE, path, Path(folder) / f"{number}.parquet")).cpu for number in range(3))


def _shown(rows: Iterable[Row], slowness: float) -> Iterable[Row]:
    for measured_row in rows:
        row = measured_row.on_this_machine(slowness)
        measured = f"{row.value:.3g} {row.unit}"
        print(f"{row.what:<66} {measured:>12} {row.target:>10}  {'yes' if row.ok else 'NO':<4}  {row.peer}", flush=True)
        yield row


if __name__ == "__main__":
    sys.exit(main())
