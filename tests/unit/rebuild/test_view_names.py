"""A view's name belongs to its table for good."""

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analyst import view_names
from analyst.store import Store
from tests.examples import examples
from tests.reading import query
from tests.unit.rebuild.building import extract, rebuild, views

SOURCES = st.sampled_from(["a", "b", "a_b"])
TABLES = st.sampled_from(["t", "b_t", "a_t", "t_2", "a_b_t", "_meta", "_tables", "select"])
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


@pytest.mark.slow
@settings(max_examples=examples(3), deadline=None, suppress_health_check=list(HealthCheck))
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
        seen |= {f"{source}.{table}" for source, tables in sources.items() for table in tables}
        assert set(views(store)) == seen  # what is gone without a word stays as it was
