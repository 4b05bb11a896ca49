"""A table whose export takes longer than a task may take: its tasks are cut at TASK_SECONDS, and their process is killed and
stopped in the middle; the table is published whole, and no slice that was converted is read again."""

import os
import signal
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from analyst.connectors.keboola.slices import BATCH_BYTES
from tests.bucket_contents import ask as ask_bucket
from tests.clouds import FileCloud
from tests.doubles.keboola.project import Project
from tests.doubles.keboola.server import serving
from tests.e2e.test_task_deaths import Service, ask
from tests.processes import Host

SLICES = 5
WIDTH = 1000
ROWS = BATCH_BYTES // (WIDTH - 10) + 1
"""Rows of a slice, which is a batch."""


def a_slice(number: int) -> bytes:
    line = f'"{number}","{"x" * (WIDTH - 10)}"\n'.encode()
    packed = zlib.compressobj(level=1, wbits=31)
    return b"".join([packed.compress(line * ROWS), packed.flush()])


def until(is_so: Callable[[], object]) -> None:
    end = time.monotonic() + 400
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_table_is_read_by_many_tasks_although_their_process_dies(tmp_path: Path) -> None:
    (tmp_path / "sources").mkdir()
    project = Project(parquet=False)
    count = SLICES * ROWS
    project.table("in.c-a.big", ["slice", "text"], slices=[a_slice(number) for number in range(SLICES)], count=count)

    def kept() -> int:
        return len([*(tmp_path / "bucket/jobs/kbc/big/pieces").glob("*/*.json")])

    with serving(project) as keboola:
        settings = {**keboola.settings, "TASK_SECONDS": "1", "BASE_URL": "http://localhost"}
        app = Service(tmp_path, "app", **settings)
        host = Host(app.url)
        try:
            ask(host, "GET", "/api/health")
            admin = host.bootstrap()
            source = {"type": "keboola", "config": keboola.config, "sync_schedule": "never"}
            ask(host, "POST", "/api/admin/sources/kbc", source, admin)
            ask(host, "POST", "/api/admin/tables/kbc.big", {"source_table": "in.c-a.big"}, admin)
            run = ask(host, "POST", "/api/sync/trigger", {"sources": ["kbc"]})["runs"][0]["run_id"]

            def status() -> str:
                ask(host, "POST", "/schedule", {})
                return str(ask(host, "GET", f"/api/sync/status?run={run}")["runs"][0]["status"])

            until(lambda: kept() >= 2)
            app.kill()
            at_death = kept()
            app.start()
            until(lambda: status() and kept() >= at_death + 1)
            os.kill(app.process.pid, signal.SIGTERM)
            assert app.process.wait(timeout=60) == 0
            app.start()
            until(lambda: status() == "ok")

            def tables() -> Any:
                ask(host, "POST", "/schedule", {})
                return ask(host, "GET", "/api/sync/manifest", token=admin)["tables"]

            until(lambda: "kbc.big" in tables())
            assert ask(host, "GET", "/api/health")["failed_tasks"] == 0
        finally:
            app.close()
        downloads = len(keboola.asked(r"/o/"))
    found = ask_bucket(
        FileCloud(tmp_path / "bucket").open(),
        "extracts/kbc/extract.duckdb",
        f"select slice, count(*), min(length(text)) = {WIDTH - 10} from big group by all order by all",
    )
    assert found == [(str(number), ROWS, True) for number in range(SLICES)]
    assert len(project.exports) == 1
    assert kept() == SLICES
    print(f"{at_death} batches were kept at the death; {downloads} downloads of {SLICES} slices")
