"""The sweep as whoever calls it sees it: in its answer, in the snapshots, and in what becomes of runs."""

from copy import deepcopy
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from ulid import ULID

from analyst import runs
from analyst.contract.extraction import Extraction
from analyst.runs import RunRecord
from analyst.store import Store
from analyst.sweep import Sweep
from tests.clouds import Cloud
from tests.doubles.pieces import Pieces
from tests.doubles.wrapped_store import AgedStore
from tests.integration.world import World


class Shop(World):
    """All functions, and a table of many small files."""

    def __init__(self, folder: Path, cloud: Cloud, old: "Shop | None" = None) -> None:
        """Open a shop in an empty bucket, or go on with a copy of an old one's."""
        super().__init__(folder, cloud, admin=old.admin if old else None)
        self.source: Pieces = deepcopy(old.source) if old else Pieces()
        if old is None:
            self.extract(40)

    def extract(self, pieces: int) -> None:
        self.source.grow(pieces)
        extraction = Extraction(self.process.store, "shop", runs.new_run_id(), self.process.clock)
        assert extraction.run(lambda: self.source).record.status == "ok"
        self.ask("POST", "/rebuild", {})

    def files(self, snapshot: int | None = None) -> int:
        query = "" if snapshot is None else f"?snapshot={snapshot}"
        return len(self.ask("GET", f"/api/sync/manifest{query}")["tables"]["shop.orders"]["files"])


@pytest.fixture(scope="module")
def scattered(shared_cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """What tests go on with copies of."""
    return Shop(tmp_path_factory.mktemp("shop"), shared_cloud)


@pytest.fixture
def world(scattered: Shop, tmp_path: Path, at_once: None) -> Shop:  # noqa: ARG001
    return Shop(tmp_path, scattered.cloud.copy(tmp_path), scattered)


def test_a_scattered_table_is_reported_compacted_and_rebuilt(world: Shop) -> None:
    assert world.files() == 40
    report = world.ask("POST", "/sweep", {"dry_run": True})
    assert [(t["source"], t["table"], t["files"]) for t in report["compacted"]] == [("shop", "orders", 40)]
    assert report["rebuild"] is None
    swept = world.ask("POST", "/sweep", {})
    assert swept == {**report, "dry_run": False, "rebuild": {"status": "published", "snapshot": 2, "error": None}}
    table = world.ask("GET", "/api/sync/manifest")["tables"]["shop.orders"]
    assert (len(table["files"]), table["rows"]) == (1, 40)
    assert world.files(snapshot=1) == 40
    assert world.ask("POST", "/sweep", {})["compacted"] == []


def test_a_sweep_does_not_compact_a_table_that_was_rolled_back(world: Shop) -> None:
    world.extract(1)
    assert world.ask("POST", "/api/admin/snapshots/1/rollback", {})["snapshot"] == 3
    for dry_run in (True, False):
        assert world.ask("POST", "/sweep", {"dry_run": dry_run})["compacted"] == []
    assert world.ask("POST", "/rebuild", {})["snapshot"] == 3
    assert world.files() == 40
    world.extract(1)
    assert [table["files"] for table in world.ask("POST", "/sweep", {})["compacted"]] == [42]
    table = world.ask("GET", "/api/sync/manifest")["tables"]["shop.orders"]
    assert (table["rows"], len(table["files"])) == (42, 1)


def in_three_days(world: Shop) -> Store:
    return AgedStore(world.process.store, 3 * 86400)


def test_gathered_audit_events_are_reported_too(world: Shop) -> None:
    for dry_run in (True, False):
        world.ask("POST", "/sweep", {"dry_run": dry_run})
    before = world.ask("GET", "/api/admin/audit?action=bucket.sweep")
    later = in_three_days(world)
    batches = len(list(later.list("state/audit/")))
    answers = [Sweep(later, timedelta(days=1)).run(dry_run=dry_run) for dry_run in (True, False)]
    assert [(answer.problems, answer.gathered >= batches) for answer in answers] == [((), True)] * 2
    assert answers[0].gathered == answers[1].gathered
    assert all(entry.key.endswith(".parquet") for entry in later.list("state/audit/"))
    assert world.ask("GET", "/api/admin/audit?action=bucket.sweep") == before
    assert [event["params"]["compacted"] for event in before["events"]] == [1, 1]


def test_results_of_archived_runs_can_still_be_read(world: Shop) -> None:
    began = datetime.now(UTC) - timedelta(days=4)
    run_id = str(ULID.from_datetime(began))
    record = RunRecord(
        run_id=run_id, kind="extract", source="shop", status="failed", started_at=began, finished_at=began
    )
    runs.write(world.process.store, record)
    before = [world.ask("GET", path) for path in ("/api/sync/status", f"/api/sync/status?run={run_id}")]
    later = in_three_days(world)
    Sweep(later, timedelta(days=1)).run()
    assert not [entry for entry in later.list("state/runs/") if "archive-" not in entry.key]
    assert [world.ask("GET", path) for path in ("/api/sync/status", f"/api/sync/status?run={run_id}")] == before
    assert before[1]["runs"][0]["status"] == "failed"
    assert len(before[0]["runs"]) == 3
