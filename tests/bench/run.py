"""Measure what README.md beside this tells, and print it: `run.py [--only NAME …]`. Ends with 1 when a target is missed."""

import argparse
import sys
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[2])

from tests.bench.measuring import Row  # noqa: E402 - the project is found by the line above

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
        "profiles",
    ),
    *("jira_transform", "jira_backfill", "jira", "keboola", "bigquery"),
    "query",
)


def main() -> int:
    """Run the benchmarks one after another."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", choices=NAMES, help="run this one; may be given several times")
    print(f"{'what':<66} {'measured':>12} {'target':>10}  kept  beside")
    rows = [
        row
        for name in parser.parse_args().only or NAMES
        for row in _shown(import_module(f"tests.bench.{name}").measure())
    ]
    return 0 if all(row.ok for row in rows) else 1


def _shown(rows: Iterable[Row]) -> Iterable[Row]:
    for row in rows:
        measured = f"{row.value:.3g} {row.unit}"
        print(f"{row.what:<66} {measured:>12} {row.target:>10}  {'yes' if row.ok else 'NO':<4}  {row.peer}", flush=True)
        yield row


if __name__ == "__main__":
    sys.exit(main())
