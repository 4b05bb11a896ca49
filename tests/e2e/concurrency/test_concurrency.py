"""Many publishers, builders and readers at once, each a process of its own, on one bucket."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.clouds import Cloud
from tests.processes import ROOT, Host, da, host

ACTORS = ROOT / "tests/e2e/concurrency/actors.py"
ROWS = 1000


def start(cloud: Cloud, *arguments: object) -> subprocess.Popen[str]:
    environ = {**os.environ, **cloud.settings, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ACTORS), *map(str, arguments)]
    return subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> Any:
    output, _ = process.communicate(timeout=900)
    assert process.returncode == 0
    return json.loads(output)


def read_along(server: Host, token: str, workspace: Path, stop: Path) -> tuple[int, int]:
    """Sync until `stop` appears and look at the mirror after each time; tell how often, and the rows appended."""
    rounds = appended = 0
    while True:
        last_round = stop.exists()
        da(workspace, "sync", "--quiet", server=server, token=token)
        rounds += 1
        database = workspace / "user/duckdb/analytics.duckdb"
        if database.exists():
            appended = check_mirror(database, appended)
        if last_round:
            return rounds, appended


def check_mirror(database: Path, appended: int) -> int:
    """Check that every table is of one generation and whole; return the rows of the appended one, never fewer."""
    with duckdb.connect(database, read_only=True) as con:
        views = {
            name
            for (name,) in con.execute(
                "select view_name from duckdb_views() where not internal and schema_name = 'main'"
            ).fetchall()
        }
        for view in sorted(views - {"shared"}):
            found = con.execute(
                f"select count(*), count(distinct n), count(distinct generation) from {view}"
            ).fetchone()
            assert found == (ROWS, ROWS, 1), (view, found)
        if "shared" not in views:
            return appended
        row = con.execute("select count(*), count(distinct id) from shared").fetchone()
        assert row is not None
        assert row[0] == row[1] >= appended
        return int(row[0])


@pytest.mark.parametrize(("publishers", "times", "readers"), [(8, 25, 4)])
def test_no_update_is_lost_and_no_reader_sees_half_of_one(
    cloud: Cloud, tmp_path: Path, publishers: int, times: int, readers: int
) -> None:
    stop = tmp_path / "stop"
    with host(tmp_path, cloud) as server, ThreadPoolExecutor(readers) as pool:
        token = server.bootstrap()
        builders = [start(cloud, "rebuild", stop) for _ in range(2)]
        writers = [start(cloud, "publish", f"t{number}", times) for number in range(publishers)]
        writers += [start(cloud, "append", "shared", writer, times) for writer in range(2)]
        reading = [
            pool.submit(read_along, server, token, tmp_path / f"reader{number}", stop) for number in range(readers)
        ]
        for writer in writers:
            finish(writer)
        stop.touch()
        seen = [finish(builder)["seen"] for builder in builders]
        read = [future.result() for future in reading]
        last = da(tmp_path / "last", "sync", "--json", server=server, token=token)
        assert json.loads(last.stdout)
        assert check_mirror(tmp_path / "last/user/duckdb/analytics.duckdb", 0) == 2 * times
        with duckdb.connect(tmp_path / "last/user/duckdb/analytics.duckdb", read_only=True) as con:
            for number in range(publishers):
                assert con.execute(f"select max(generation) from t{number}").fetchone() == (times,)
    assert all(rounds > 0 for rounds, _appended in read)
    for epochs_and_snapshots in seen:
        assert epochs_and_snapshots == sorted(epochs_and_snapshots)
    published = [entry.key for entry in cloud.open().list("analytics/") if "catalog" in entry.key]
    numbers = [int(key.removeprefix("analytics/").split("-")[0]) for key in published]
    assert numbers == list(range(1, len(numbers) + 1))
