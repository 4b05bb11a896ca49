"""Whatever fails, ends or interferes, nothing is started twice, and nothing is lost."""

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, cast

import pytest
from duckdb import DuckDBPyConnection

from analyst.errors import UnavailableError
from analyst.runs import new_run_id
from analyst.scheduling.ledger import KEY, Start, edit
from analyst.state import Actor
from analyst.state.sources import NewSource, create_source
from analyst.store import ABSENT, ANY, Store
from tests.doubles.faulty_store import Fault, FaultyStore
from tests.doubles.memory_store import MemoryStore
from tests.integration.schedule.conftest import NOON, Schedule, serve
from tests.integration.world import SERVICE_TOKEN, OneByOne

MINUTE = timedelta(minutes=1)
DUE = NOON + 15 * MINUTE


def runs_of(shop: Schedule) -> int:
    """Count the extracts that have ended."""
    listed = shop.world.ask("GET", "/api/sync/status?limit=100", token=SERVICE_TOKEN)["runs"]
    return sum(run["kind"] == "extract" for run in listed)


def test_a_failing_table_is_retried_after_doubling_pauses_and_at_its_times(shop: Schedule) -> None:
    shop.set("shop", "daily 15:00")
    shop.write("shop/orders.csv", "id\n1,2\n")
    shop.write("shop/items.csv", "id\n7\n")
    shop.call_at("27 14:55", "27 15:00", "27 15:04", "27 15:05", "27 15:14", "27 15:15", "27 15:34", "27 15:35")
    shop.call_at("27 16:14", "27 16:15", "27 17:34", "27 17:35", "27 20:00")
    assert shop.times() == ["27 15:00", "27 15:05", "27 15:15", "27 15:35", "27 16:15", "27 17:35"]
    assert [entry["tables"] for _, _, entry in shop.started] == [None] + 5 * [["orders"]]
    orders = shop.shown()["shop.orders"]
    assert (orders["failures"], orders["next_due"]) == (6, "2026-03-27T20:15:00Z")
    assert orders["why"].startswith("it failed 6 times in a row: orders.csv:2: has 2 values where the header has 1")
    shop.set("shop", "cron 10 20 * * *")
    assert shop.call(NOON + 490 * MINUTE)["shop"]["tables"] is None
    shop.write("shop/orders.csv", "id\n1\n")
    shop.call(NOON + 24 * 60 * MINUTE)
    assert shop.synced() == {"orders": "ok"}
    assert (shop.shown()["shop.orders"]["failures"], shop.shown()["shop.orders"]["error"]) == (0, None)


def test_a_table_that_keeps_failing_is_retried_once_an_hour_however_often_it_is_due(shop: Schedule) -> None:
    shop.write("shop/orders.csv", "id\n1,2\n")
    shop.set("shop.orders", "every 1m")
    shop.set("shop", "never")
    shop.set("shop.items", "never")
    shop.call_at("27 12:05")
    for before, due in (("12:09", "12:10"), ("12:19", "12:20"), ("12:39", "12:40")):
        shop.call_at(f"27 {before}", f"27 {due}")
    for hour in range(13, 17):
        shop.call_at(f"27 {hour}:19", f"27 {hour}:20")
    shop.call_at("27 17:00")
    assert shop.times() == [
        "27 12:05", "27 12:10", "27 12:20", "27 12:40", "27 13:20", "27 14:20", "27 15:20", "27 16:20",
    ]  # fmt: skip


def test_a_source_that_cannot_be_read_is_retried_as_a_whole(shop: Schedule) -> None:
    (shop.files / "shop").rename(shop.files / "gone")
    shop.call(DUE)
    assert shop.call(DUE + 4 * MINUTE)["shop"]["outcome"] == "not_due"
    assert {id_: found["failures"] for id_, found in shop.shown().items()} == {
        "shop": 1,
        "shop.items": 1,
        "shop.orders": 1,
    }
    assert "no such file or folder" in shop.shown()["shop"]["why"]
    (shop.files / "gone").rename(shop.files / "shop")
    shop.call(DUE + 5 * MINUTE)
    assert sorted(shop.synced()) == ["items", "orders"]


def test_a_source_whose_function_is_missing_leaves_a_record_with_the_reason(shop: Schedule) -> None:
    actor, crm = Actor(None, shop.clock.now), NewSource(name="crm", type="bigquery")

    def of_a_newer_version(db: DuckDBPyConnection) -> None:
        create_source(db, actor, crm, {})
        db.execute("update sources set type = 'salesforce' where name = 'crm'")

    shop.world.process.state.edit(of_a_newer_version)
    assert shop.call(NOON + MINUTE)["crm"]["outcome"] == "started"
    outcomes = [shop.call(NOON + minute * MINUTE)["crm"]["outcome"] for minute in range(2, 8)]
    assert outcomes == 5 * ["running"] + ["started"]  # its task is tried five times
    assert shop.shown()["crm"]["failures"] == 1


def beside(shop: Schedule, store: Store | None = None, *, background: OneByOne | None = None) -> Schedule:
    """Serve the same bucket, or a copy of it, in another process."""
    other = serve(shop.cloud, shop.files.parent, shop.world.admin, another=store, background=background)
    other.clock.now = shop.clock.now
    return other


def test_of_simultaneous_calls_one_starts_what_is_due(shop: Schedule) -> None:
    shop.clock.now = DUE
    processes = [beside(shop) for _ in range(4)]
    together = threading.Barrier(8)

    def call(schedule: Schedule) -> str:
        together.wait()
        answer = schedule.world.ask("POST", "/schedule", token=SERVICE_TOKEN)
        return str(answer["sources"][0]["outcome"])

    with ThreadPoolExecutor(8) as pool:
        outcomes = Counter(pool.map(call, processes * 2))
    for process in processes:
        process.background.wait()
    assert outcomes["started"] == 1
    assert set(outcomes) <= {"started", "running", "not_due"}
    assert runs_of(shop) == 2


def test_of_two_overlapping_calls_the_one_that_ends_first_starts_what_is_due(shop: Schedule) -> None:
    shop.clock.now = DUE
    slow = beside(shop, FaultyStore(shop.world.process.store, puts=[lambda: shop.call(DUE)]))
    assert slow.call(DUE)["shop"]["outcome"] in ("running", "not_due")
    assert [shop.times(), slow.times()] == [["27 12:15"], []]
    assert runs_of(shop) == 2


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("before", [0, 1])
def test_a_lost_answer_of_the_store_changes_nothing(shop: Schedule, before: int, fault: Fault) -> None:
    store = FaultyStore(shop.world.process.store, puts=[*before * [None], fault])
    entry = beside(shop, store).call(DUE)["shop"]
    store.land()
    assert (entry["outcome"], runs_of(shop)) == ("started", 2)
    assert shop.call(DUE + MINUTE)["shop"]["outcome"] == "not_due"


class Forgetful(OneByOne):
    """The process ends while things wait to be run."""

    def run(self, task: Callable[[], object]) -> None:
        """Forget it."""


def test_runs_marked_by_a_process_that_ended_are_started_by_a_later_call(shop: Schedule) -> None:
    start = Start(run_id=new_run_id(DUE), source="shop", at=DUE)
    edit(shop.world.process.store, lambda before: (before.model_copy(update={"starts": {start.run_id: start}}), None))
    assert shop.call(DUE + MINUTE)["shop"]["outcome"] == "running"
    entry = shop.call(DUE + 2 * MINUTE)["shop"]
    assert (entry["outcome"], entry["why"]) == ("started", "the process that was starting it has ended")
    assert shop.call(DUE + 3 * MINUTE)["shop"]["outcome"] == "not_due"
    assert runs_of(shop) == 2


def test_tasks_of_a_process_that_ended_are_run_by_a_later_call(shop: Schedule) -> None:
    shop.clock.now = DUE
    entry = beside(shop, background=Forgetful()).call(DUE)["shop"]
    shop.call(DUE + MINUTE)
    assert shop.call(DUE + 2 * MINUTE)["shop"]["outcome"] == "not_due"
    assert runs_of(shop) == 2
    (run,) = shop.world.ask("GET", f"/api/sync/status?run={entry['run_id']}", token=SERVICE_TOKEN)["runs"]
    assert run["status"] == "ok"


def test_a_run_without_a_task_and_a_heartbeat_is_lost_after_a_minute_and_retried(shop: Schedule) -> None:
    start = Start(run_id=new_run_id(DUE), source="shop", at=DUE, under_way=True)
    edit(shop.world.process.store, lambda before: (before.model_copy(update={"starts": {start.run_id: start}}), None))
    assert shop.call(DUE + MINUTE)["shop"]["outcome"] == "running"
    entry = shop.call(DUE + 2 * MINUTE)["shop"]
    assert entry["outcome"] == "not_due"
    assert "the run was lost" in entry["why"]
    assert shop.call(DUE + 5 * MINUTE)["shop"]["outcome"] == "started"
    assert shop.shown()["shop.orders"]["failures"] == 0


def test_times_of_a_wrong_clock_are_not_believed(shop: Schedule) -> None:
    wrong = beside(shop, background=Forgetful())
    wrong.call(NOON + timedelta(days=40_000))
    assert shop.call(DUE)["shop"]["outcome"] == "started"
    assert shop.call(DUE + MINUTE)["shop"]["outcome"] == "not_due"
    assert shop.shown()["shop.orders"]["last_run"] == "2026-03-27T12:15:00Z"


def test_tasks_without_room_are_run_by_a_later_call(shop: Schedule) -> None:
    shop.clock.now = DUE
    full = OneByOne(room=1)
    busy = threading.Event()
    full.run(busy.wait)
    crowded = beside(shop, background=full)
    answer = crowded.world.send("POST", "/schedule", token=SERVICE_TOKEN)
    assert (answer.status_code, answer.get_json()["sources"][0]["outcome"]) == (200, "started")
    busy.set()
    shop.call(DUE + MINUTE)
    assert runs_of(shop) == 2


def test_a_triggered_run_that_could_not_be_added_fails_and_is_retried(shop: Schedule) -> None:
    def fail() -> None:
        raise UnavailableError("the bucket does not respond")

    store = FaultyStore(shop.world.process.store, puts=[None, fail])  # first the note in the ledger, then the task
    answer = beside(shop, store).world.send("POST", "/api/sync/trigger", {"sources": ["shop"]}, token=SERVICE_TOKEN)
    assert answer.status_code == 503
    assert shop.call(NOON + MINUTE)["shop"]["outcome"] == "not_due"
    assert "the bucket does not respond" in shop.shown()["shop.orders"]["why"]
    assert shop.call(NOON + 5 * MINUTE)["shop"]["outcome"] == "started"


def test_no_more_than_twenty_extracts_run_at_once(shop: Schedule) -> None:
    shop.add_empty_sources(21)
    shop.clock.now = NOON + MINUTE
    forgetful = beside(shop, background=Forgetful())
    outcomes = Counter(entry["outcome"] for name, entry in forgetful.call(NOON + MINUTE).items() if name)
    assert outcomes == {"started": 20, "waiting": 1, "not_due": 1}


def test_a_failed_sweep_is_retried(shop: Schedule) -> None:
    store = shop.world.process.store
    kept = store.read("analytics/current.json")
    assert kept is not None
    store.put("analytics/current.json", b"{}", if_version=ANY)
    three = NOON.replace(hour=3) + timedelta(days=1)
    outcomes = [shop.call(three + minutes * MINUTE)[""]["outcome"] for minutes in (0, 1, 2, 4)]
    assert outcomes == ["started", "not_due", "not_due", "not_due"]  # its task is tried five times, and then fails
    assert shop.world.ask("GET", "/api/admin/schedule")["sweep"]["failures"] == 0
    outcomes = [shop.call(three + minutes * MINUTE)[""]["outcome"] for minutes in (7, 8)]
    assert outcomes == ["not_due", "started"]
    assert shop.world.ask("GET", "/api/admin/schedule")["sweep"]["failures"] == 1
    store.put("analytics/current.json", kept.data, if_version=ANY)
    shop.call(three + 9 * MINUTE)
    assert shop.call(three + 40 * MINUTE)[""]["outcome"] == "not_due"
    assert [task for task in shop.world.process.task_ledger.waiting() if task.name != "lake"] == []


def test_an_unreadable_ledger_is_reported_and_can_be_deleted(shop: Schedule) -> None:
    store = shop.world.process.store
    store.put(KEY, b"{", if_version=ANY)
    answer = shop.world.send("POST", "/schedule", token=SERVICE_TOKEN)
    assert (answer.status_code, f"{KEY!r} can't be read; delete it" in answer.text) == (503, True)
    store.delete(KEY)
    assert shop.call()["shop"]["outcome"] == "started"


class Counting:
    """A bucket in memory that counts what it is asked for."""

    def __init__(self) -> None:
        self.inner = MemoryStore()
        self.asked: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        if name != "url":
            self.asked[name] += 1
        return getattr(self.inner, name)


def test_a_call_sends_few_requests_to_the_store(shop: Schedule) -> None:
    shop.add_empty_sources(5)
    store = Counting()
    for entry in shop.world.process.store.list(""):
        found = shop.world.process.store.read(entry.key)
        assert found is not None
        store.inner.put(entry.key, found.data, if_version=ABSENT)

    def asked(at: timedelta, process: Schedule) -> dict[str, int]:
        before = Counter(store.asked)
        process.call(NOON + at)
        return dict(store.asked - before)

    forgetful = beside(shop, cast("Store", store), background=Forgetful())
    access, state, ledger, scripts, pause, record, task, lanes = 1, 1, 1, 1, 1, 1, 1, {"list": 3}
    names = sum(1 for _ in store.inner.list("state/tasks/"))
    assert asked(MINUTE, forgetful) == {
        **lanes,
        "read": access + state + ledger + scripts + pause + record + names + 5 * task + ledger,
        "download": state,
        "put": 2 * ledger + 5 * task,
    }
    assert asked(2 * MINUTE, forgetful) == {
        **lanes,
        "read": state + ledger + scripts + pause + 5 * record + names + 5 * task,
    }
    for run in (entry for _, _, entry in forgetful.started):
        body = {"source": run["source"], "tables": run["tables"], "run_id": run["run_id"]}
        forgetful.world.send("POST", "/extract/csv", body, token=SERVICE_TOKEN)
    assert asked(3 * MINUTE, forgetful) == {
        **lanes,
        "read": state + ledger + scripts + pause + 5 * record + names + 5 * task,
        "put": ledger,
    }
    assert asked(4 * MINUTE, forgetful) == {**lanes, "read": state + ledger + scripts + pause + names + 5 * task}
