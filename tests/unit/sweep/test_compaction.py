"""Many small files become few, and readers of the table see no difference."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import DeltaTable
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analyst import runs
from analyst.contract.extraction import Extraction
from analyst.errors import UnavailableError
from analyst.rebuild import Rebuild
from analyst.snapshots import Snapshots
from analyst.store import Store
from analyst.sweep import Rule, Sweep
from tests.bucket_contents import folder
from tests.doubles.memory_store import MemoryStore
from tests.doubles.pieces import Pieces
from tests.doubles.toy_source import Toy, ToyTable
from tests.examples import examples
from tests.unit.sweep.scattered_tables import DAY, FEW, Bucket

pytestmark = pytest.mark.slow


def test_many_small_files_become_one_and_nothing_else_changes(bucket: Bucket, source: Pieces) -> None:
    before, state = bucket.seen(), bucket.extracted().state("orders")
    assert len(bucket.files()) == 5
    answer = bucket.sweep()
    assert [(t.source, t.table, t.files) for t in answer.compacted] == [("shop", "orders", 5)]
    assert bucket.seen() == before
    assert len(bucket.files()) == 1
    assert bucket.extracted().state("orders").version == state.version + 1
    assert bucket.asked == ["/rebuild"]
    (table,) = Snapshots(bucket.store).current().catalog.tables
    assert [file.path for file in table.files] == [file.path for file in bucket.files()]
    assert bucket.sweep().compacted == ()
    assert bucket.asked == ["/rebuild"]
    source.grow(1)
    assert bucket.extract(source) == "ok"
    assert [n for n, _ in bucket.ask("from orders")] == [1, 2, 3, 4, 5, 6]


def test_the_delta_log_marks_a_compaction_as_no_change_of_data(bucket: Bucket, source: Pieces) -> None:
    assert source.pieces
    bucket.sweep()
    about, *actions = bucket.commit()
    assert about["commitInfo"]["operation"] == "OPTIMIZE"
    assert [next(iter(action)) for action in actions] == ["remove"] * 5 + ["add"]
    assert {one["dataChange"] for action in actions for one in action.values()} == {False}
    stats = json.loads(actions[-1]["add"]["stats"])
    assert (stats["numRecords"], stats["minValues"]["n"], stats["maxValues"]["n"]) == (5, 1, 5)
    for version, files in ((0, 5), (1, 1)):
        with folder(bucket.store, "extracts/shop/data/orders/") as root:
            assert len(DeltaTable(str(root), version=version).file_uris()) == files
        assert bucket.delta(version).height == 5


def test_a_dry_run_reports_the_same_and_changes_nothing(bucket: Bucket, source: Pieces) -> None:
    assert source.pieces
    before = {entry.key: entry.version for entry in bucket.store.list("")}
    report = bucket.sweep(dry_run=True)
    assert {entry.key: entry.version for entry in bucket.store.list("")} == before
    assert report.compacted
    done = bucket.sweep()
    assert done.rebuild
    assert done.rebuild.snapshot == 2
    assert done.model_copy(update={"dry_run": True, "rebuild": None}) == report


def test_a_failed_rebuild_is_reported_and_the_compaction_kept(bucket: Bucket, source: Pieces) -> None:
    def call(path: str, body: dict[str, Any]) -> dict[str, Any]:
        raise UnavailableError(f"{path} is away: {body}")

    assert source.pieces
    answer = Sweep(bucket.store, DAY, rule=FEW, call=call).run()
    assert answer.rebuild
    assert (answer.rebuild.status, answer.rebuild.error, len(bucket.files())) == (
        "failed",
        "/rebuild is away: {'source': None}",
        1,
    )


@pytest.fixture
def moved(tmp_path: Path) -> "Moved":
    return Moved(tmp_path)


@dataclass
class Moved:
    """A bucket in memory, whose clock is ours to move: what is there has to be fetched."""

    folder: Path
    seconds: float = 1_767_322_800.0
    store: MemoryStore = field(init=False)

    def __post_init__(self) -> None:
        self.store = MemoryStore(lambda: self.seconds)

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.seconds, UTC)

    def sweep_daily(self, days: int) -> None:
        for _ in range(days):
            self.seconds += 86400
            assert Sweep(self.store, DAY, now=self.now, rule=FEW).run().problems == ()

    def paths(self) -> set[str]:
        return {entry.key for entry in self.store.list("extracts/shop/data/") if entry.key.endswith(".parquet")}

    def delta(self, version: int | None) -> list[int]:
        for entry in self.store.list("extracts/shop/data/"):
            (self.folder / entry.key).parent.mkdir(parents=True, exist_ok=True)
            self.store.download(entry.key, self.folder / entry.key)
        found = pl.read_delta(str(self.folder / "extracts/shop/data/orders"), version=version)
        shutil.rmtree(self.folder / "extracts")
        return list(found["n"].sort())


def test_earlier_snapshots_and_versions_keep_their_files_for_the_retention_time(moved: Moved) -> None:
    source = Pieces()
    source.grow(5)
    Extraction(moved.store, "shop", runs.new_run_id(), moved.now).run(lambda: source)
    Rebuild(moved.store, moved.now, tuple).run()
    old = moved.paths()
    moved.sweep_daily(1)
    assert len(moved.paths()) == 6
    Rebuild(moved.store, moved.now, tuple).run()
    snapshots = Snapshots(moved.store)
    assert [len(snapshots.at(number).catalog.tables[0].files) for number in (1, 2)] == [5, 1]
    moved.sweep_daily(8)
    assert old < moved.paths()
    assert (moved.delta(0), moved.delta(1)) == ([1, 2, 3, 4, 5], [1, 2, 3, 4, 5])
    moved.sweep_daily(3)
    assert len(moved.paths()) == 1
    assert moved.delta(None) == [1, 2, 3, 4, 5]


def test_files_of_different_partitions_stay_apart(bucket: Bucket) -> None:
    source = Pieces()
    source.grow(8)
    bucket.extract(source)
    bucket.edit("update extract._files set \"partition\" = (stats->>'$.columns.n.min')::int // 5")
    before = bucket.seen()
    assert bucket.compacted() == [("orders", 8)]
    assert [(file.partition, file.rows) for file in bucket.files()] == [("0", 4), ("1", 4)]
    assert bucket.seen() == before


def test_files_of_different_columns_stay_apart_unless_they_alternate(bucket: Bucket) -> None:
    source = Pieces()
    source.grow(4, "select {n} as n, 'a' as t")
    source.grow(4, "select {n} as n")
    bucket.extract(source)
    before = bucket.seen()
    assert bucket.compacted() == [("orders", 8)]
    assert [file.rows for file in bucket.files()] == [4, 4]
    assert bucket.seen() == before
    for _ in range(3):
        source.grow(1, "select {n} as n, 'a' as t")
        source.grow(1, "select {n} as n")
    bucket.extract(source)
    assert bucket.compacted() == [("orders", 8)]
    assert [file.rows for file in bucket.files()] == [14]


def test_a_keyed_table_stays_compact_without_a_sweep(bucket: Bucket) -> None:
    for number in range(1, 5):
        query = f"select range as n, {number} as t from range({number})"
        bucket.extract(Toy({"orders": ToyTable(query, str(number), primary_key=("n",))}))
    assert (len(bucket.files()), bucket.compacted()) == (1, [])


def test_work_beyond_the_limit_is_done_by_the_next_sweep(bucket: Bucket, source: Pieces) -> None:
    bucket.extract(source, name="crm")
    before, rule = bucket.seen(), Rule(fewest=2, batch_files=3, most_tables=1)
    done = [(table.source, table.files) for _ in range(5) for table in bucket.sweep(rule=rule).compacted]
    assert done == [("crm", 5), ("shop", 5), ("crm", 2), ("shop", 2)]
    assert (len(bucket.files()), bucket.seen()) == (1, before)


def test_equal_files_have_names_of_their_own(bucket: Bucket) -> None:
    pieces = [f"select unnest({ns}) as n" for ns in ([1, 2], [3], [1], [2, 3])]
    bucket.extract(Pieces("blind", pieces))
    before = bucket.seen()
    assert bucket.compacted(rule=Rule(fewest=3, batch_files=2)) == [("orders", 4)]
    first, second = bucket.files()
    assert (first.sha256, first.path != second.path) == (second.sha256, True)
    assert bucket.seen() == before


def test_files_of_many_row_groups_keep_their_order(bucket: Bucket) -> None:
    source = Pieces()
    source.pieces = [
        f"select range as n, hash(range) % 7 as t from range({n}, {n + 130_000})" for n in range(0, 650_000, 130_000)
    ]
    bucket.extract(source)
    assert bucket.compacted() == [("orders", 5)]
    wrong = "select count(*) from (select n, row_number() over () - 1 as place from orders) where n <> place"
    assert (bucket.ask(wrong), bucket.ask("select count(*) from orders")) == ([(0,)], [(650_000,)])


PIECES = (
    "select {n} as n, 'x' || {n} as t",
    "select {n} as n, {n} / 7 as added, null::integer as nothing",
    "select unnest([{n}, {n}, {n}]) as n, unnest(['', null, 'é']) as t",
    "select {n}::bigint as n, [{n}] as list, {{'a': {n}}} as struct",
    "select {n} as n, timestamp '2026-01-01' + to_days({n}) as at, {n}::decimal(10, 2) as t",
)
STEPS = st.lists(st.one_of(st.sampled_from(PIECES), st.sampled_from(["extract", "compact", "rebuild"])), max_size=10)


@pytest.mark.slow
@settings(max_examples=examples(2), deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=STEPS)
def test_appends_with_compactions_equal_appends_alone(
    steps: list[str], new_store: Callable[[], Store], tmp_path_factory: pytest.TempPathFactory
) -> None:
    compacted, plain = (Bucket(new_store(), tmp_path_factory.mktemp(name)) for name in ("compacted", "plain"))
    source = Pieces()
    source.grow(3)
    for step in ["extract", *steps, "extract", "compact"]:
        if step == "extract":
            compacted.now = plain.now = max(compacted.now, plain.now)
            assert compacted.extract(source) == plain.extract(source)
        elif step == "compact":
            compacted.compacted(rule=Rule(fewest=3, batch_files=4))
        elif step == "rebuild":
            compacted.rebuild()
        else:
            source.grow(1, step)
    assert compacted.seen() == plain.seen()
    compacted.rebuild()
    plain.rebuild()
    columns = [bucket.catalog().tables[0].columns for bucket in (compacted, plain)]
    assert columns[0] == columns[1]
    assert len(compacted.files()) <= len(plain.files())
