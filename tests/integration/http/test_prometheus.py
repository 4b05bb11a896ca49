"""Prometheus: what it reads, who may read it, and that processes of a host are added up."""

import urllib.request
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from analyst.context import Process
from tests.clouds import Cloud
from tests.integration.world import SERVICE_TOKEN, Begun, World
from tests.processes import Host, host

TOKEN = "prometheus-token-of-the-tests-0123456789abcdef"
ON = {"PROMETHEUS": "true", "PROMETHEUS_TOKEN": TOKEN}
Samples = dict[tuple[str, tuple[str, ...]], float]


def parsed(text: str) -> Samples:
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture
def world(begun: Begun, tmp_path: Path) -> World:
    return begun.world(tmp_path, variables=ON)


def read(world: World) -> Samples:
    answer = world.send("GET", "/prometheus", token=TOKEN)
    assert (answer.status_code, answer.content_type) == (200, "text/plain; version=0.0.4; charset=utf-8")
    return parsed(answer.text)


def test_requests_are_counted_by_function_and_status(world: World) -> None:
    before = read(world)
    assert [world.send("GET", path).status_code for path in ("/api/health", "/api/health", "/api/x", "/api/y")] == [
        200,
        200,
        404,
        404,
    ]
    after = read(world)
    for labels, more in ((("health", "200"), 2), (("none", "404"), 2), (("prometheus", "200"), 1)):
        name = "analyst_requests_total"
        assert after[name, labels] - before.get((name, labels), 0) == more
    name = "analyst_request_duration_seconds_count"
    assert after[name, ("health",)] - before.get((name, ("health",)), 0) == 2


def test_metrics_cover_sources_tasks_and_the_snapshot_without_tables_and_people(begun: Begun, tmp_path: Path) -> None:
    clock = [1e6]
    world = begun.world(tmp_path, variables=ON, process=partial(Process, monotonic=lambda: clock[0]))
    assert ("analyst_snapshot_age_seconds", ()) not in read(world)
    clock[0] += 16
    (tmp_path / "sources/secrettable.csv").write_text("a\n1\n")
    config = {"type": "csv", "config": {"path": str(tmp_path / "sources")}}
    world.ask("POST", "/api/admin/sources/shop", config)
    world.ask("POST", "/extract/csv", {"source": "shop"})
    found = read(world)
    good = found["analyst_source_last_good_timestamp_seconds", ("shop",)]
    assert good > 1.7e9
    assert found["analyst_source_failed", ("shop",)] == 0
    assert 0 <= found["analyst_snapshot_age_seconds", ()] < 600
    assert found["analyst_tasks", ("failed",)] == 0
    (tmp_path / "sources/secrettable.csv").write_text('a\n"\n1,2,3\n')
    world.send("POST", "/extract/csv", {"source": "shop"})
    assert read(world)["analyst_source_failed", ("shop",)] == 0  # read from the bucket at most every 15 seconds
    clock[0] += 16
    found = read(world)
    assert found["analyst_source_failed", ("shop",)] == 1
    assert found["analyst_source_last_good_timestamp_seconds", ("shop",)] == good
    text = world.send("GET", "/prometheus", token=TOKEN).text
    assert "secrettable" not in text
    assert "@" not in text


def test_waiting_and_failed_tasks_are_counted(world: World) -> None:
    world.process.task_ledger.add("/profile", {"run_id": "a"}, name=None, delay=3600, request_id="r", trace=None)
    task = world.process.task_ledger.add("/sweep", {}, name=None, delay=3600, request_id="r", trace=None)
    assert task is not None
    world.process.task_ledger.give_up(task, "it was too much")
    found = read(world)
    assert found["analyst_tasks", ("waiting",)] == 1
    assert found["analyst_tasks", ("failed",)] == 1


@pytest.mark.parametrize(
    ("token", "status"),
    [(TOKEN, 200), (SERVICE_TOKEN, 200), ("", 200), (None, 401), ("x" * 40, 401), (TOKEN[:-1], 401)],
)
def test_metrics_are_readable_with_their_own_token_the_service_token_or_as_an_administrator(
    world: World, token: str | None, status: int
) -> None:
    assert world.send("GET", "/prometheus", token=token).status_code == status


@pytest.mark.parametrize("path", ["/api/sync/manifest", "/api/admin/health", "/api/catalog/tables", "/schedule"])
def test_the_metrics_token_is_valid_for_nothing_else(world: World, path: str) -> None:
    method = "POST" if path == "/schedule" else "GET"
    assert world.send(method, path, {} if method == "POST" else None, token=TOKEN).status_code == 401


def test_by_default_nothing_is_counted(begun: Begun, tmp_path: Path) -> None:
    world = begun.world(tmp_path)
    assert world.send("GET", "/prometheus").status_code == 404
    assert world.process.counters is None


def test_an_analyst_may_not_read_metrics(world: World) -> None:
    world.ask("POST", "/api/users", {"email": "ann@example.com", "role": "analyst"})
    token = world.ask("POST", "/auth/tokens", {"name": "t", "user": "ann@example.com"})["token"]
    assert world.send("GET", "/prometheus", token=str(token)).status_code == 403


def scrape(running: Host) -> Samples:
    request = urllib.request.Request(f"{running.url}/prometheus", headers={"Authorization": f"Bearer {TOKEN}"})
    with urllib.request.urlopen(request, timeout=30) as response:
        return parsed(response.read().decode())


@pytest.mark.slow
def test_counts_of_all_processes_of_a_host_are_added_up_whichever_process_answers(
    shared_cloud: Cloud, tmp_path: Path
) -> None:
    """Every connection is a new one, so either of two workers may accept it; each counts in a file of its own."""
    scratch = tmp_path / "scratch"
    settings: dict[str, Any] = {"WORKERS": "2", "PROMETHEUS": "true", "PROMETHEUS_TOKEN": TOKEN, "fork": True}
    with host(tmp_path, shared_cloud, SCRATCH_DIR=str(scratch), **settings) as running:
        scrape(running)
        asked = 0
        while len(list(scratch.rglob("*.counters"))) < 2:  # until both have answered something
            running.ask("GET", "/api/health")
            asked += 1
        for _ in range(10):
            running.ask("GET", "/api/health")
        assert {scrape(running)["analyst_requests_total", ("health", "200")] for _ in range(4)} == {asked + 10}
