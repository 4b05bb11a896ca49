"""A process that is told to stop (SIGTERM) finishes the request that it answers, and hands an extract over to another one."""

import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.e2e.test_task_deaths import Service, ask
from tests.processes import SERVICE_TOKEN, Host

TABLES = 12
ROWS = 300_000


def rows(host: Host, admin: str) -> dict[str, int]:
    tables = ask(host, "GET", "/api/sync/manifest", token=admin)["tables"]
    return {name: table["rows"] for name, table in tables.items()}


def goes_on(home: Path, run_id: str, admin: str, data: Path, of_first: Mapping[Path, int]) -> None:
    """Start another process, which publishes the rest and reads nothing again."""
    second = Service(home, "second", BASE_URL="http://localhost")
    try:
        host = Host(second.url)
        ask(host, "GET", "/api/health")
        end = time.monotonic() + 120
        while (run := ask(host, "GET", f"/api/sync/status?run={run_id}")["runs"][0])["status"] == "pending":
            ask(host, "POST", "/schedule", {})  # as the scheduler does
            assert time.monotonic() < end, run
            time.sleep(0.2)
        assert (run["status"], run["error"]) == ("ok", None)
        assert sorted(table["table"] for table in run["tables"]) == [f"t{number:02}" for number in range(TABLES)]
        expected = {f"shop.t{number:02}": ROWS for number in range(TABLES)}
        while rows(host, admin) != expected:  # the rebuild follows as another task
            ask(host, "POST", "/schedule", {})
            assert time.monotonic() < end, rows(host, admin)
            time.sleep(0.2)
        now = {path.relative_to(data): path.stat().st_mtime_ns for path in data.glob("*/*.parquet")}
        assert of_first.items() <= now.items()  # what the first one has published is not read again
        assert ask(host, "GET", "/api/health")["failed_tasks"] == 0
    finally:
        second.close()


def test_a_stopped_process_answers_pending_requests_and_another_continues_its_extract(tmp_path: Path) -> None:
    files = tmp_path / "sources/shop"
    files.mkdir(parents=True)
    for number in range(TABLES):
        (files / f"t{number:02}.csv").write_text("id,text\n" + "".join(f"{row},x{row}\n" for row in range(ROWS)))
    first = Service(tmp_path, "first", BASE_URL="http://localhost")
    try:
        host = Host(first.url)
        ask(host, "GET", "/api/health")
        admin = host.bootstrap()
        source = {"type": "csv", "config": {"path": str(files)}, "sync_schedule": "never"}
        ask(host, "POST", "/api/admin/sources/shop", source, admin)
        (extract,) = ask(host, "POST", "/api/sync/trigger", {"sources": ["shop"]})["runs"]
        run_id = extract["run_id"]
        answers: list[tuple[int, Any]] = []
        directly = {"source": "shop", "tables": ["t00"]}  # a request that somebody waits for, while the process is told
        waiting = threading.Thread(
            target=lambda: answers.append(host.ask("POST", "/extract/csv", directly, token=SERVICE_TOKEN))
        )
        waiting.start()
        data = tmp_path / "bucket/extracts/shop/data"
        end = time.monotonic() + 60
        while not list(data.glob("*/*.parquet")):
            assert time.monotonic() < end
            time.sleep(0.01)
        first.process.send_signal(signal.SIGTERM)
        assert first.process.wait(timeout=60) == 0
        waiting.join()
        ((status, answer),) = answers
        assert status in (200, 202), answer
        published = {path.name for path in data.iterdir()}
        assert 0 < len(published) < TABLES, published
        of_first = {path.relative_to(data): path.stat().st_mtime_ns for path in data.glob("*/*.parquet")}
    finally:
        first.close()
    goes_on(tmp_path, run_id, admin, data, of_first)
