"""Runs statements in the database of a worker without checking them.

Reads a JSON object from stdin: the statements, a file that they may read, a folder, and whether the system confines the
process too. Writes what each returned or raised, as JSON.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from analyst.query import sandbox
from analyst.query.run import Run
from analyst.query.worker import Worker


def main() -> None:
    given = json.load(sys.stdin)
    home = Path(given["folder"])
    worker = Worker(home, 300_000_000, 1_000_000_000, frozenset())
    file = os.open(given["file"], os.O_RDONLY)
    request: dict[str, Any] = {
        "sql": "select 1",
        "parameters": {},
        "format": "json",
        "limit": None,
        "ordered": None,
        "most_bytes": 1 << 30,
        "tables": ["shop.orders"],
        "views": [{"schema": "main", "name": "orders", "columns": given["columns"], "files": [0], "casts": False}],
    }
    con = worker._con
    run = Run(con, request, [file], home)
    run.prepare()
    if given["confined"]:
        assert sandbox.confine(home, [file])
    run.lock(1)
    answers = []
    for sql in given["statements"]:
        try:
            answers.append(str(con.execute(sql).fetchall())[:10_000])
        except Exception as error:  # noqa: BLE001 - it is the answer
            answers.append(f"{type(error).__name__}: {error}"[:10_000])
    json.dump(answers, sys.stdout)


main()
