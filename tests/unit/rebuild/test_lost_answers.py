"""How a rebuild handles lost answers, an unavailable store, and builders that resume late."""

import pytest

from analyst.errors import LeaseLostError, UnavailableError
from analyst.rebuild.publishing import COPY
from analyst.snapshots import Snapshots
from analyst.store import Store
from tests.bucket_contents import data, pointer, query
from tests.clouds import Cloud
from tests.doubles.faulty_store import Fault, FaultyStore
from tests.doubles.wrapped_store import AgedStore
from tests.unit.rebuild.lake import extract, rebuild

pytestmark = pytest.mark.slow

# What a rebuild writes: the lease, analytics.duckdb, the catalog, the pointer, the copy, the release, the record.
POINTER_WRITE = 3


@pytest.fixture(scope="module")
def news(shared_cloud: Cloud) -> Cloud:
    """A bucket with a snapshot, and an extract that is newer; tests work on copies."""
    store = shared_cloud.open()
    extract(store, "shop", {"orders": "select 1 as n"})
    rebuild(store)
    extract(store, "shop", {"orders": "select 2 as n"})
    return shared_cloud


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("write", range(7))
def test_a_lost_answer_does_not_fail_a_rebuild(news: Cloud, fault: Fault, write: int) -> None:
    store = news.copy().open()
    assert rebuild(FaultyStore(store, puts=[*[None] * write, fault])).status == "published"
    assert query(store, "from orders") == [(2,)]
    assert Snapshots(store).current().number == 2
    assert data(store, COPY) == data(store, pointer(store).duckdb)


def test_a_builder_that_resumes_late_changes_nothing(store: Store) -> None:
    extract(store, "shop", {"orders": "select 1 as n"})
    rebuild(store)
    extract(store, "shop", {"orders": "select 2 as n"})
    another = AgedStore(store)
    sleeping = FaultyStore(store, puts=[*[None] * POINTER_WRITE, lambda: rebuild(another)])
    with pytest.raises(LeaseLostError):
        rebuild(sleeping)
    published = pointer(store)
    assert (published.snapshot, published.epoch) == (2, 3)
    assert query(store, "from orders") == [(2,)]
    assert rebuild(another).status == "unchanged"


def test_a_store_that_does_not_answer_for_a_moment_is_not_taken_for_damage(store: Store) -> None:
    extract(store, "alpha", {"orders": "select 1 as n"})
    rebuild(store)
    extract(store, "beta", {"people": "select 2 as n"})
    rebuild(store)
    before = pointer(store)
    answered = 0
    while True:
        try:
            rebuild(FaultyStore(store, reads=[*[False] * answered, True]))
        except UnavailableError:
            answered += 1
        else:
            break
        assert rebuild(AgedStore(store)).status == "unchanged"
        assert (pointer(store).snapshot, pointer(store).catalog) == (before.snapshot, before.catalog)
    assert answered >= 3


def test_a_snapshot_that_cannot_be_read_for_a_moment_is_still_kept(store: Store) -> None:
    for number in (1, 2):
        extract(store, "shop", {"orders": f"select {number} as n"})
        rebuild(store)
    with pytest.raises(UnavailableError):
        list(Snapshots(FaultyStore(store, reads=[True])).kept(24))
