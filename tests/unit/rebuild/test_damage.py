"""How a rebuild handles damage."""

from collections.abc import Callable

import pytest

from analyst.catalog import CURRENT
from analyst.errors import UnavailableError
from analyst.snapshots import Snapshots
from analyst.store import ANY, Store
from tests.bucket_contents import pointer, query
from tests.unit.rebuild.lake import damage, extract, rebuild, views

pytestmark = pytest.mark.slow


def delete(store: Store, *keys: str) -> None:
    for key in keys:
        store.delete(key)


DAMAGES: dict[str, Callable[[Store], object]] = {
    "the catalog is gone": lambda store: store.delete(pointer(store).catalog),
    "the catalog is cut off": lambda store: store.put(pointer(store).catalog, b'{"snapshot":', if_version=ANY),
    "the catalog is another": lambda store: store.put(
        pointer(store).catalog, b'{"snapshot":1,"built_at":0}', if_version=ANY
    ),
    "analytics.duckdb is gone": lambda store: store.delete(pointer(store).duckdb),
    "both are gone": lambda store: delete(store, pointer(store).catalog, pointer(store).duckdb),
    "the pointer is gone": lambda store: store.delete(CURRENT),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_snapshot_is_rebuilt_without_any_change_of_a_source(store: Store, kind: str) -> None:
    extract(store, "alpha", {"orders": "select 1 as n"})
    rebuild(store)
    extract(store, "aaa", {"orders": "select 2 as n"})
    rebuild(store)
    before = views(store)
    DAMAGES[kind](store)
    assert rebuild(store).status == "published"
    assert views(store) == before == {"alpha.orders": "orders", "aaa.orders": "aaa_orders"}
    assert query(store, "from orders union all from aaa_orders order by n") == [(1,), (2,)]
    assert pointer(store).snapshot == 3
    assert rebuild(store).status == "unchanged"


@pytest.mark.parametrize("content", [b"", b"no database", b"\x00" * 70_000])
def test_a_damaged_analytics_duckdb_is_rebuilt_when_it_is_needed(store: Store, content: bytes) -> None:
    extract(store, "shop", {"orders": "select 1 as n"})
    extract(store, "crm", {"people": "select 1 as n"})
    rebuild(store)
    store.put(pointer(store).duckdb, content, if_version=ANY)
    extract(store, "crm", {"people": "select 2 as n"})
    assert rebuild(store).problems == ()
    assert (query(store, "from orders"), query(store, "from people")) == ([(1,)], [(2,)])


def test_a_broken_source_keeps_its_tables_even_when_the_snapshot_is_damaged(store: Store) -> None:
    extract(store, "shop", {"orders": "select 1 as n, 'x' as t"})
    rebuild(store)
    before = Snapshots(store).current().catalog.tables
    damage(store, "shop")
    store.delete(pointer(store).duckdb)
    assert [problem.source for problem in rebuild(store).problems] == ["shop"]
    assert Snapshots(store).current().catalog.tables == before
    assert query(store, "from orders") == [(1, "x")]


def test_an_invalid_pointer_is_reported_and_repaired_by_deleting_it(store: Store) -> None:
    extract(store, "shop", {"orders": "select 1 as n"})
    rebuild(store)
    store.put(CURRENT, b"{", if_version=ANY)
    with pytest.raises(UnavailableError, match="delete it"):
        rebuild(store)
    with pytest.raises(UnavailableError, match="delete it"):
        Snapshots(store).current()
    store.delete(CURRENT)
    assert rebuild(store).snapshot == 2


def test_a_pointer_with_members_of_a_later_version_is_read(store: Store) -> None:
    extract(store, "shop", {"orders": "select 1 as n"})
    rebuild(store)
    text = pointer(store).model_dump_json()[:-1] + ', "of_later": {"x": 1}}'
    store.put(CURRENT, text.encode(), if_version=ANY)
    assert rebuild(store).status == "unchanged"
    extract(store, "shop", {"orders": "select 2 as n"})
    assert rebuild(store).snapshot == 2


def test_a_file_that_crashes_duckdb_affects_no_other_source(store: Store) -> None:
    """Found by turning bits over at random: reading it invalidates the whole DuckDB."""
    extract(store, "good", {"orders": "select 1 as n"})
    extract(store, "bad", {"people": "select 1 as n"})
    extract(store, "zoo", {"animals": "select 1 as n"})
    rebuild(store)
    found = store.read("extracts/bad/extract.duckdb")
    assert found is not None
    blocks = [found.data[start : start + 16384] for start in range(12288, len(found.data), 16384)]
    for number in range(1, len(blocks)):
        swapped = [*blocks]
        swapped[0], swapped[number] = swapped[number], swapped[0]
        damage(store, "bad", found.data[:12288] + b"".join(swapped))
        extract(store, "good", {"orders": f"select {number} as n"})
        answer = rebuild(store)
        assert {problem.source for problem in answer.problems} <= {"bad"}
        assert answer.tables == 3
        assert query(store, "from orders") == [(number,)]
