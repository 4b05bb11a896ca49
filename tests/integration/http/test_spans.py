"""OpenTelemetry: spans of requests, tasks and the store, in one trace from the caller to the last task."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from analyst.context import Process
from analyst.errors import UnavailableError
from analyst.spans import NoSpans, spans_of
from analyst.store import Store
from tests.clouds import Cloud
from tests.doubles.otlp import Collector, collector
from tests.integration.world import Begun
from tests.processes import ROOT, SERVICE_TOKEN, Host, host

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
HEADERS = {"traceparent": f"00-{TRACE}-{PARENT}-01"}


@pytest.mark.slow
def test_a_trace_goes_from_the_caller_through_requests_and_tasks_to_the_store(
    shared_cloud: Cloud, tmp_path: Path
) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop/secrettable.csv").write_text("a\n1\n")
    with collector() as got:
        settings: dict[str, Any] = {"sources": tmp_path, "fork": True, "OTEL_EXPORTER_OTLP_ENDPOINT": got.url}
        for name in ("app", "worker"):
            (tmp_path / name).mkdir()
        with (
            host(tmp_path / "worker", shared_cloud, OTEL_SERVICE_NAME="worker", **settings) as worker,
            host(tmp_path / "app", shared_cloud, OTEL_SERVICE_NAME="app", TASKS_URL=worker.url, **settings) as app,
        ):
            _run_a_traced_extract(app, app.bootstrap(), tmp_path)
        ours = {span.id: span for span in got.spans if span.trace == TRACE}  # all have arrived when the host has ended
    named = {span.name: span for span in ours.values() if not span.name.startswith("store")}
    triggered, task, extract = (
        named[name] for name in ("POST /api/sync/trigger", "task /extract/csv", "POST /extract/csv")
    )
    assert (triggered.kind, triggered.parent, triggered.service) == ("server", PARENT, "app")
    assert triggered.attributes["http.response.status_code"] == "202"
    assert triggered.attributes["analyst.function"]
    assert (task.kind, task.parent, task.service) == ("consumer", triggered.id, "worker")
    assert extract.parent == task.id
    stored = [span for span in ours.values() if span.name.startswith("store")]
    assert {span.name for span in stored} >= {"store read", "store put"}
    assert {span.kind for span in stored} == {"client"}
    assert {span.parent for span in stored} <= ours.keys()
    assert extract.id in {span.parent for span in stored}
    assert "secrettable" not in str(ours)


def _run_a_traced_extract(running: Host, admin: str, home: Path) -> None:
    source = {"type": "csv", "config": {"path": str(home / "shop")}}
    assert running.ask("POST", "/api/admin/sources/shop", source, token=admin)[0] == 201
    status, answer = running.ask(
        "POST", "/api/sync/trigger", {"sources": ["shop"]}, token=SERVICE_TOKEN, headers=HEADERS
    )
    assert status == 202, answer
    run = answer["runs"][0]["run_id"]
    end = time.monotonic() + 60
    while running.ask("GET", f"/api/sync/status?run={run}", token=SERVICE_TOKEN)[1]["runs"][0]["status"] != "ok":
        assert time.monotonic() < end


@pytest.fixture
def got() -> Iterator[Collector]:
    with collector() as found:
        yield found


def test_a_request_without_a_trace_begins_one_and_a_failure_is_marked(
    begun: Begun, tmp_path: Path, got: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", got.url)
    world = begun.world(tmp_path, variables={"OTEL_EXPORTER_OTLP_ENDPOINT": got.url})
    world.send("GET", "/api/health")
    world.send("GET", "/api/no/such/thing")
    world.process.close()
    found = {span.name: span for span in got.spans if span.kind == "server"}
    assert found["GET /api/health"].parent == ""
    assert found["GET unknown"].attributes["http.response.status_code"] == "404"
    assert found["GET unknown"].attributes["error.type"]
    assert found["GET /api/health"].service == "ai-data-analyst"


def test_texts_of_errors_are_not_sent(got: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", got.url)
    spans = spans_of({"OTEL_EXPORTER_OTLP_ENDPOINT": got.url})

    class Broken:
        def read(self, key: str) -> None:
            raise UnavailableError(f"{key!r} can't be read")

        put = upload = download = list = list_folders = head = delete = read

    store = spans.store(cast("Store", Broken()))
    with pytest.raises(UnavailableError), spans.span("request", "server", None):
        store.read("data/secrettable/1.parquet")
    spans.close()
    assert {span.name for span in got.spans} == {"request", "store read"}
    assert "secrettable" not in str(got.spans)
    assert next(span for span in got.spans if span.name == "store read").attributes["error.type"] == "UnavailableError"


def test_a_collector_that_fails_changes_no_answer(
    begun: Begun, tmp_path: Path, got: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    got.status = 400
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", got.url)
    world = begun.world(tmp_path, variables={"OTEL_EXPORTER_OTLP_ENDPOINT": got.url})
    assert world.send("GET", "/api/health").status_code == 200
    world.process.close()
    assert got.requests > 0


@pytest.mark.parametrize(
    "environ",
    [{}, {"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a", "OTEL_SDK_DISABLED": "true"}],
)
def test_by_default_no_spans_are_made(environ: dict[str, str]) -> None:
    assert isinstance(spans_of(environ), NoSpans)
    assert isinstance(Process(environ).spans, NoSpans)


def test_opentelemetry_is_imported_only_if_it_is_used(tmp_path: Path) -> None:
    code = f"""
import os, sys
os.environ["DATA_URL"] = "{tmp_path.as_uri()}"
from functions.host import host
from analyst.http.application import app, discover
from analyst.http.function import process
from werkzeug.test import Client
client = Client(app(process(), discover(["functions.api"])))
assert client.get("/api/health").status_code == 200
print(sorted(name for name in sys.modules if name.partition(".")[0] == "opentelemetry"))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
