"""A process that is killed at any point leaves the old state or the new one, and the next run completes the rest."""

import signal
from collections.abc import Iterator
from typing import Any

import polars as pl
import pytest

from analyst.rebuild import Rebuild
from analyst.rebuild.contents import EMBEDDED
from analyst.snapshots import Snapshots
from analyst.store import Store
from tests.bucket_contents import database, folder
from tests.clouds import Cloud
from tests.doubles.wrapped_store import AgedStore
from tests.examples import size
from tests.forks import Forks, forking
from tests.processes import ROOT
from tests.unit import crash_worker

pytestmark = [pytest.mark.many, pytest.mark.slow]

STRIDE = size(6, many=1, some=3)
EXTRACT = "extracts/toy/extract.duckdb"


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with forking(ROOT / "tests/unit/crash_worker.py") as forks:
        yield forks


def dies(forks: Forks, step: int, what: str, cloud: Cloud, generation: int) -> bool:
    """Run a process that dies at its nth step; tell whether it did."""
    code = forks.run({"settings": dict(cloud.settings), "what": what, "generation": generation, "step": step})
    assert code in (0, -signal.SIGKILL)
    return code != 0


def generations(store: Store, key: str) -> list[Any]:
    with database(store, key) as con:
        con.execute(f"set variable data_root = '{store.url}'")
        return [
            con.execute("select min(generation), max(generation), count(*) from whole").fetchone(),
            con.execute("select max(generation), count(*), count(distinct generation) from grown").fetchone(),
            con.execute("select generation, id from merged").fetchall(),
        ]


def delta_generations(store: Store) -> set[Any]:
    """Return the newest generation of each table as readers of Delta see it."""
    with folder(store, "extracts/toy/data/") as tables:
        logs = list(tables.glob("*/_delta_log"))
        assert len(logs) == 3
        return {pl.read_delta(str(log.parent))["generation"].max() for log in logs}


def whole(generation: int) -> list[Any]:
    return [(generation, generation, 10), (generation, generation, generation), [(generation, 1)]]


def crash_everywhere(forks: Forks, prepared: Cloud, what: str, generation: int) -> list[Store]:
    """Run a process on a copy of a bucket for each `STRIDE`th point at which it can die, from the first on."""
    crashed: list[Store] = []
    while True:
        cloud = prepared.copy()
        if not dies(forks, len(crashed) * STRIDE + 1, what, cloud, generation):
            return crashed
        crashed.append(cloud.open())


@pytest.fixture
def prepared(cloud: Cloud) -> Cloud:
    store = cloud.open()
    crash_worker.extract(store, 1)
    crash_worker.rebuild(store)
    return cloud


def test_a_publish_can_be_interrupted_anywhere(forks: Forks, prepared: Cloud) -> None:
    crashed = crash_everywhere(forks, prepared, "extract", 2)
    assert len(crashed) * STRIDE >= 8
    for store in crashed:
        published = generations(store, EXTRACT)
        assert published in (whole(1), whole(2))
        assert delta_generations(store) <= {1, 2} if published == whole(2) else delta_generations(store) == {1}
        crash_worker.extract(store, 3)
        assert generations(store, EXTRACT) == whole(3)
        assert delta_generations(store) == {3}


@pytest.mark.parametrize(("what", "embedded"), [("rebuild", EMBEDDED), ("rebuild in parts", 0)])
def test_a_rebuild_can_be_interrupted_anywhere(forks: Forks, prepared: Cloud, what: str, embedded: int) -> None:
    crash_worker.extract(prepared.open(), 2)
    crashed = crash_everywhere(forks, prepared, what, 2)
    assert len(crashed) * STRIDE >= 12
    for store in crashed:
        assert Snapshots(store).current().number in (1, 2)
        rebuilding = Rebuild(AgedStore(store), crash_worker.now, tuple, embedded=embedded)
        assert rebuilding.run().status in ("published", "unchanged")
        newest = Snapshots(store).current()
        assert newest.number == 2
        assert {table.version for table in newest.catalog.tables} == {2}
        assert generations(store, "analytics/analytics.duckdb") == whole(2)
