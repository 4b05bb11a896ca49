"""What a rebuild makes of damage, of races and of sources that come and go."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analyst import ownership, runs
from analyst.catalog import CURRENT
from analyst.contract.extraction import Extraction
from analyst.errors import LeaseLostError, UnavailableError
from analyst.rebuild import Rebuild, RebuildAnswer
from analyst.rebuild.publishing import COPY
from analyst.snapshots import Snapshots
from analyst.store import ANY, Store
from tests.doubles.around import AgedStore
from tests.doubles.faulty_store import Fault, FaultyStore
from tests.doubles.toy_source import Toy, ToyTable
from tests.reading import data, edited, pointer, query

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def extract(store: Store, source: str, tables: Mapping[str, str]) -> None:
    toy = Toy({name: ToyTable(query, query) for name, query in tables.items()})
    assert Extraction(store, source, runs.new_run_id(), lambda: NOW).run(lambda: toy).record.status != "failed"


def rebuild(store: Store) -> RebuildAnswer:
    return Rebuild(store, lambda: NOW, tuple).run()


def views(store: Store) -> dict[str, str]:
    return {table.id: table.view for table in Snapshots(store).current().catalog.tables}


def damage(store: Store, source: str, content: bytes = b"broken") -> None:
    store.put(f"extracts/{source}/extract.duckdb", content, if_version=ANY)


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
def test_a_damaged_snapshot_is_made_anew_without_any_change_of_a_source(store: Store, kind: str) -> None:
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
def test_a_damaged_analytics_duckdb_is_made_anew_when_it_is_needed(store: Store, content: bytes) -> None:
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


def test_a_pointer_that_is_none_is_told_and_mended_by_deleting_it(store: Store) -> None:
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


def test_problems_come_and_go_with_their_cause(store: Store) -> None:
    extract(store, "shop", {"orders": "select 1 as n"})
    extract(store, "crm", {"people": "select 1 as n"})
    good = store.read("extracts/shop/extract.duckdb")
    assert good is not None

    def problems() -> list[tuple[str, str | None]]:
        return [(problem.source, problem.table) for problem in rebuild(store).problems]

    assert problems() == []
    damage(store, "shop")
    assert problems() == [("shop", None)]
    extract(store, "crm", {"people": "select 2 as n"})
    assert problems() == [("shop", None)]
    assert rebuild(store).status == "unchanged"
    assert problems() == [("shop", None)]
    store.put("extracts/shop/extract.duckdb", good.data, if_version=ANY)
    assert problems() == []
    damage(store, "shop", b"broken again")
    assert problems() == [("shop", None)]
    assert query(store, "from orders") == [(1,)]
    store.delete("extracts/shop/extract.duckdb")
    assert problems() == []
    assert views(store) == {"crm.people": "people"}


def test_when_all_sources_are_gone_so_are_their_tables(store: Store) -> None:
    extract(store, "shop", {"orders": "select 1 as n"})
    rebuild(store)
    store.delete("extracts/shop/extract.duckdb")
    assert (rebuild(store).tables, views(store)) == (0, {})
    extract(store, "other", {"orders": "select 1 as n"})
    rebuild(store)
    assert views(store) == {"other.orders": "other_orders"}


def test_a_table_that_left_meta_leaves_the_snapshot(store: Store) -> None:
    extract(store, "shop", {"orders": "select 1 as n", "items": "select 1 as n"})
    rebuild(store)
    with edited(store, "extracts/shop/extract.duckdb") as path, duckdb.connect(path) as con:
        con.execute("delete from _meta where table_name = 'orders'")
    rebuild(store)
    assert views(store) == {"shop.items": "items"}


def test_what_nobody_can_see_is_recorded_without_a_snapshot(store: Store) -> None:
    extract(store, "shop", {"orders": "select 1 as n"})
    rebuild(store)
    with edited(store, "extracts/shop/extract.duckdb") as path, duckdb.connect(path) as con:
        con.execute("create table notes (t varchar)")
    before = pointer(store)
    assert rebuild(store).status == "unchanged"
    assert pointer(store).built_from != before.built_from
    assert pointer(store).catalog == before.catalog


def test_a_changed_remote_view_or_attachment_is_published(store: Store) -> None:
    extract(store, "big", {"orders": "select 1 as n"})

    def change(*statements: str) -> int | None:
        with edited(store, "extracts/big/extract.duckdb") as path, duckdb.connect(path) as con:
            for statement in statements:
                con.execute(statement)
        return rebuild(store).snapshot

    remote = "create or replace view far as select 1::int as n, {} as origin"
    assert change("insert into _meta (table_name, query_mode) values ('far', 'remote')", remote.format("'one'")) == 1
    assert change(remote.format("'two'")) == 2
    assert change("insert into _remote_attach values ('bq', 'bigquery', 'project=a', 'BQ_TOKEN')") == 3
    assert change("update _remote_attach set url = 'project=b'") == 4
    assert query(store, "select source, alias, url from _remote_attach") == [("big", "bq", "project=b")]
    extract(store, "other", {"people": "select 1 as n"})
    assert rebuild(store).snapshot == 5
    assert query(store, "select source, alias, url from _remote_attach") == [("big", "bq", "project=b")]


# What a rebuild writes: the lease, analytics.duckdb, the catalog, the pointer, the copy, the release, the record.
POINTER_WRITE = 3


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("write", range(7))
def test_an_answer_that_is_lost_fails_no_rebuild(store: Store, fault: Fault, write: int) -> None:
    extract(store, "shop", {"orders": "select 1 as n"})
    rebuild(store)
    extract(store, "shop", {"orders": "select 2 as n"})
    assert rebuild(FaultyStore(store, puts=[*[None] * write, fault])).status == "published"
    assert query(store, "from orders") == [(2,)]
    assert Snapshots(store).current().number == 2
    assert data(store, COPY) == data(store, pointer(store).duckdb)


def test_a_builder_that_wakes_up_late_changes_nothing(store: Store) -> None:
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


SOURCES = st.sampled_from(["a", "b", "a_b"])
TABLES = st.sampled_from(["t", "b_t", "a_t", "t_2", "a_b_t", "_meta", "_tables", "select"])
HISTORY = st.lists(st.lists(st.tuples(SOURCES, TABLES).map(".".join), unique=True, max_size=8), max_size=8)


@given(history=HISTORY)
def test_view_names_never_move_and_are_never_shared(history: list[list[str]]) -> None:
    owners: dict[str, str] = {}
    for tables in history:
        before, owners = owners, ownership.assign(owners, tables)
        assert before.items() <= owners.items()
        assert set(tables) <= set(owners.values())
        assert len(set(owners.values())) == len(owners)
        assert len({view.lower() for view in owners} | ownership.RESERVED) == len(owners) + len(ownership.RESERVED)
        assert owners == ownership.assign(before, tables)


@pytest.mark.slow
@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    history=st.lists(
        st.dictionaries(SOURCES, st.sets(TABLES.filter(lambda name: name != "_meta"), min_size=1, max_size=3)),
        min_size=2,
        max_size=4,
    )
)
def test_the_snapshot_keeps_to_it(history: list[dict[str, set[str]]], new_store: Callable[[], Store]) -> None:
    store = new_store()
    owned: dict[str, str] = {}
    for number, sources in enumerate(history):
        for source in ("a", "b", "a_b"):
            store.delete(f"extracts/{source}/extract.duckdb")
            if source in sources:
                extract(store, source, {t: f"select '{source}.{t}' as id, {number} as n" for t in sources[source]})
        rebuild(store)
        for table, view in views(store).items():
            assert owned.setdefault(table, view) == view
            assert query(store, f'select id from "{view}"') == [(table,)]
        assert set(views(store)) == {f"{source}.{table}" for source, tables in sources.items() for table in tables}


def test_one_file_that_fells_duckdb_hurts_no_other_source(store: Store) -> None:
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


def test_a_store_that_does_not_answer_for_a_moment_is_no_damage(store: Store) -> None:
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
    assert answered >= 5


def test_a_snapshot_that_can_not_be_read_for_a_moment_is_still_kept(store: Store) -> None:
    for number in (1, 2):
        extract(store, "shop", {"orders": f"select {number} as n"})
        rebuild(store)
    with pytest.raises(UnavailableError):
        list(Snapshots(FaultyStore(store, reads=[True])).kept(24))
