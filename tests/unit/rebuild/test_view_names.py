"""A view name belongs to its table permanently."""

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analyst.rebuild import view_names
from analyst.store import Store
from tests.bucket_contents import query
from tests.examples import examples
from tests.unit.rebuild.lake import extract, rebuild, views

SOURCES = st.sampled_from(["a", "b", "a_b"])
TABLES = st.sampled_from(["t", "b_t", "a_t", "t_2", "a_b_t", "_meta", "_tables", "_built", "select"])
HISTORY = st.lists(st.lists(st.tuples(SOURCES, TABLES).map(".".join), unique=True, max_size=8), max_size=8)


@given(history=HISTORY)
def test_view_names_never_move_and_are_never_shared(history: list[list[str]]) -> None:
    owners: dict[str, str] = {}
    for tables in history:
        before, owners = owners, view_names.assign(owners, tables)
        assert before.items() <= owners.items()
        assert set(tables) <= set(owners.values())
        assert len(set(owners.values())) == len(owners)
        assert len({view.lower() for view in owners} | view_names.RESERVED) == len(owners) + len(view_names.RESERVED)
        assert owners == view_names.assign(before, tables)


def test_tables_named_like_those_of_the_snapshot_file_are_published(new_store: Callable[[], Store]) -> None:
    store = new_store()
    extract(store, "a", {"_built": "select 1 as id", "_tables": "select 2 as id", "t": "select 3 as id"})
    rebuild(store)
    assert views(store) == {"a._built": "a__built", "a._tables": "a__tables", "a.t": "t"}
    assert query(store, 'select id from a."_built" union all select id from a__tables order by id') == [(1,), (2,)]


@pytest.mark.slow
@settings(max_examples=examples(3), deadline=None, suppress_health_check=list(HealthCheck))
@given(
    history=st.lists(
        st.dictionaries(SOURCES, st.sets(TABLES.filter(lambda name: name != "_meta"), min_size=1, max_size=3)),
        min_size=2,
        max_size=4,
    )
)
def test_snapshots_keep_each_view_with_the_table_that_owns_it(
    history: list[dict[str, set[str]]], new_store: Callable[[], Store]
) -> None:
    store = new_store()
    owned: dict[str, str] = {}
    seen: set[str] = set()
    for number, sources in enumerate(history):
        for source in ("a", "b", "a_b"):
            store.delete(f"extracts/{source}/extract.duckdb")
            if source in sources:
                extract(store, source, {t: f"select '{source}.{t}' as id, {number} as n" for t in sources[source]})
        rebuild(store)
        for table, view in views(store).items():
            assert owned.setdefault(table, view) == view
            assert query(store, f'select id from "{view}"') == [(table,)]
            source, name = table.split(".")
            assert query(store, f'select id from "{source}"."{name}"') == [(table,)]
        seen |= {f"{source}.{table}" for source, tables in sources.items() for table in tables}
        assert set(views(store)) == seen  # what is gone without a word stays as it was


def test_a_table_is_found_by_its_source_whichever_table_owns_the_short_name(new_store: Callable[[], Store]) -> None:
    store = new_store()
    extract(store, "shop", {"orders": "select 1 as id"})
    rebuild(store)
    extract(store, "erp", {"orders": "select 2 as id, 'x' as more"})
    rebuild(store)
    assert (query(store, "from shop.orders"), query(store, "from erp.orders")) == ([(1,)], [(2, "x")])
    assert (query(store, "from orders"), query(store, "from erp_orders")) == ([(1,)], [(2, "x")])
    extract(store, "shop", {"orders": "select 'one' as id, now() as at"})  # other columns, and the other source is kept
    rebuild(store)
    assert query(store, "select id from shop.orders") == [("one",)]
    assert query(store, "from erp.orders") == [(2, "x")]


@pytest.mark.parametrize("source", sorted(view_names.TAKEN_SCHEMAS - {"information_schema"}))
def test_a_source_never_uses_a_schema_of_duckdb(source: str, new_store: Callable[[], Store]) -> None:
    store = new_store()
    extract(store, "shop", {"orders": "select 1 as id"})
    rebuild(store)
    extract(store, source, {"orders": "select 2 as id"})
    rebuild(store)
    assert query(store, f"from {source}_orders") == [(2,)]
    assert query(store, "from orders") == [(1,)]
    schemas = "select distinct schema_name from duckdb_views() where not internal order by 1"
    assert query(store, schemas) == [("main",), ("shop",)]


def test_a_source_may_be_called_like_a_table_or_the_database(new_store: Callable[[], Store]) -> None:
    store = new_store()
    extract(store, "orders", {"orders": "select 1 as id", "analytics": "select 3 as id"})
    extract(store, "analytics", {"orders": "select 2 as id"})
    rebuild(store)
    assert query(store, "from orders.orders") != query(store, f"from {views(store)['analytics.orders']}")
    assert query(store, "select orders.id from orders.orders") == [(1,)]
    assert query(store, "from orders.analytics") == [(3,)]
