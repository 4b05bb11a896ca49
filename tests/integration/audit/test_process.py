"""What is in the audit log when a process is stopped, or killed."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from analyst.store import Store
from tests.clouds import Cloud
from tests.integration.world import World
from tests.processes import ROOT, host

SERVER = """
import os, sys
from werkzeug.serving import make_server
from analyst.context import Process
from analyst.http import app
from analyst.http.application import discover
functions = discover(["functions.api.manifest"])
server = make_server("127.0.0.1", 0, app(Process(os.environ), functions), threaded=True)
print(server.port, flush=True)
server.serve_forever()
"""


def events(store: Store) -> list[Any]:
    found = (store.read(entry.key) for entry in store.list("state/audit/"))
    return [json.loads(line) for batch in found if batch is not None for line in batch.data.splitlines()]


def test_events_of_answered_requests_survive_a_killed_process(tmp_path: Path, cloud: Cloud) -> None:
    world = World(tmp_path, cloud)
    command, environ = [sys.executable, "-c", SERVER], {**os.environ, **cloud.settings}
    child = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert child.stdout is not None
    try:
        url = f"http://127.0.0.1:{int(child.stdout.readline())}/api/sync/manifest"

        def ask(number: int) -> str | None:
            headers = {"Authorization": f"Bearer {world.admin}", "X-Request-Id": f"request-{number}"}
            try:
                with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30) as answer:
                    found = answer.headers["X-Request-Id"]
            except OSError:
                return None
            if number == 20:
                child.send_signal(signal.SIGKILL)
            return str(found)

        with ThreadPoolExecutor(8) as pool:
            answered = {found for found in pool.map(ask, range(60)) if found is not None}
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
    assert "request-20" in answered
    assert answered <= {event["request_id"] for event in events(cloud.open())}


def test_counted_events_survive_the_end_of_the_process(tmp_path: Path, cloud: Cloud) -> None:
    with host(tmp_path, cloud, fork=True) as server:
        token = server.bootstrap()
        for _ in range(5):
            assert server.ask("GET", "/api/sync/manifest", token=token, headers={"If-None-Match": "*"})[0] == 304
        assert sum(event.get("count", 1) for event in events(cloud.open())) == 1
    assert sum(event.get("count", 1) for event in events(cloud.open())) == 5
