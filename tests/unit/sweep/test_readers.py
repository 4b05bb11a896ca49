"""Every reader finds its files, whatever happened to the bucket before."""

from collections.abc import Callable, Iterator
from datetime import timedelta

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analyst.contract.publishing import drop
from analyst.snapshots import Snapshots
from analyst.store import Store
from tests.examples import examples
from tests.unit.sweep.old_files import DELTA_KEEP, KEEP, ROOT, Bucket

STEPS = st.lists(
    st.one_of(
        st.sampled_from(["publish", "rebuild", "publish and rebuild", "sweep", "drop"]),
        st.sampled_from([0.5, 5.0, 23.0, 26.0, 24.0 * 3, 24.0 * 8]),
    ),
    min_size=4,
    max_size=25,
)


@pytest.mark.slow
@settings(max_examples=examples(5), deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=STEPS)
def test_every_reader_finds_its_files_after_any_sequence_of_sweeps(
    steps: list[str | float], new_quick_store: Callable[[], Store], tmp_path_factory: pytest.TempPathFactory
) -> None:
    bucket = Bucket(new_quick_store(), tmp_path_factory.mktemp("sweep"))
    for step in steps:
        if isinstance(step, float):
            bucket.wait(step)
        elif step == "sweep":
            bucket.sweep()
            assert_readable(bucket)
        elif step == "drop":
            drop(bucket.store, "shop", "orders", now=bucket.now, folder=bucket.folder)
        else:
            if step.startswith("publish"):
                bucket.publish()
            if step.endswith("rebuild"):
                bucket.rebuild()
    bucket.rebuild()
    bucket.wait(24 * 3)
    bucket.sweep_daily(9)
    assert_readable(bucket)
    assert bucket.listed(ROOT, ".parquet") - set(referred(bucket)) - bucket.listed(f"{ROOT}/_delta_log/") == set()


def assert_readable(bucket: Bucket) -> None:
    """Read every file of the kept snapshots, of the extract, and of the Delta versions that were current in the last week."""
    for path in referred(bucket):
        assert bucket.generation_of(path) > 0
    logs = sorted(bucket.store.list(f"{ROOT}/_delta_log/"), key=lambda entry: entry.key)
    commits = [entry for entry in logs if entry.key.endswith(".json")]
    for number, entry in enumerate(commits):
        successor = commits[number + 1].age if number + 1 < len(commits) else 0
        if successor < DELTA_KEEP.total_seconds():
            version = int(entry.key.rsplit("/", 1)[1].removesuffix(".json"))
            assert len(bucket.delta(version)) in (0, 1)


def referred(bucket: Bucket) -> Iterator[str]:
    snapshots = Snapshots(bucket.store)
    for snapshot in (snapshots.current(), *snapshots.kept(KEEP / timedelta(hours=1))):
        yield from (file.path for table in snapshot.catalog.tables for file in table.files)
    if bucket.store.head("extracts/shop/extract.duckdb"):
        with duckdb.connect(bucket.copy("extracts/shop/extract.duckdb"), read_only=True) as con:
            yield from (path for (path,) in con.execute("select path from _files").fetchall())
