"""Materialized tables come after their inputs, never depend on themselves, and are computed when an input has changed."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyst.catalog import Input, Table
from analyst.connectors.materialized.lineage import Graph, cycle_through, levels, outdated

NOW = datetime(2026, 3, 27, 12, tzinfo=UTC)
NAMES = st.sampled_from([f"m.{letter}" for letter in "abcdefg"])


@pytest.mark.parametrize(
    ("graph", "cycle"),
    [
        ({"m.a": ["m.a"]}, ("m.a", "m.a")),
        ({"m.a": ["m.b"], "m.b": ["m.a"]}, ("m.a", "m.b", "m.a")),
        ({"m.a": ["m.c"], "m.b": ["m.a"], "m.c": ["m.b", "shop.orders"]}, ("m.a", "m.b", "m.c", "m.a")),
        ({"m.a": ["m.b"], "m.b": ["m.c"], "m.c": ["m.b"]}, None),
        ({"m.a": ["m.b", "m.c"], "m.b": ["m.c"], "m.c": ["shop.orders"]}, None),
        ({"m.a": []}, None),
    ],
)
def test_a_cycle_is_named_in_the_order_of_computation(graph: Graph, cycle: tuple[str, ...] | None) -> None:
    assert cycle_through(graph, "m.a") == cycle


@given(st.dictionaries(NAMES, st.lists(NAMES, max_size=4)))
def test_a_cycle_is_found_exactly_if_a_table_reaches_itself(graph: dict[str, list[str]]) -> None:
    for table, inputs in graph.items():
        reached, left = set[str](), list(inputs)
        while left:
            each = left.pop()
            if each not in reached:
                reached.add(each)
                left += graph.get(each, [])
        found = cycle_through(graph, table)
        assert (found is not None) is (table in reached)
        if found:
            assert found[0] == found[-1] == table
            assert all(one in graph[other] for one, other in pairwise(found))


@given(st.dictionaries(NAMES, st.lists(NAMES, max_size=4)))
def test_every_table_has_one_level_after_its_inputs(graph: dict[str, list[str]]) -> None:
    graph = {table: [each for each in inputs if each < table] for table, inputs in graph.items()}
    order = list(levels(graph, graph))
    place = {table: number for number, level in enumerate(order) for table in level}
    assert sorted(place) == sorted(graph)
    assert sum(map(len, order)) == len(graph)
    assert all(place[each] < place[table] for table in graph for each in graph[table] if each in graph)


def table(name: str, *inputs: tuple[str, str], sha: str = "1", age: timedelta = timedelta(0)) -> Table:
    read = tuple(Input(table=each, hash=seen) for each, seen in inputs)
    source, plain = name.split(".")
    return Table(source=source, name=plain, view=plain, hash=sha, inputs=read, extracted_at=NOW - age)


@pytest.mark.parametrize(
    ("tables", "due"),
    [
        ([table("s.a"), table("m.x", ("s.a", "1"))], []),
        ([table("s.a", sha="2"), table("m.x", ("s.a", "1"))], ["m.x"]),
        ([table("m.x", ("s.a", "1"))], []),
        ([table("s.a", sha="2"), table("m.x", ("s.a", "1")), table("m.y", ("m.x", "1"), ("s.a", "1"))], ["m.x"]),
        ([table("s.a", sha="2"), table("m.x", ("s.a", "1")), table("m.y", ("m.x", "1"))], ["m.x"]),
        ([table("s.a", sha="2"), table("m.x", ("s.a", "2"), sha="2"), table("m.y", ("m.x", "1"))], ["m.y"]),
        (
            [
                table("s.a", sha="2", age=timedelta(hours=2)),
                table("s.b", sha="2"),
                table("m.x", ("s.a", "1")),
                table("m.y", ("m.x", "1"), ("s.b", "1")),
            ],
            ["m.x", "m.y"],
        ),
    ],
    ids=["unchanged", "changed", "gone", "after its input", "not yet", "now", "waited for an hour"],
)
def test_a_table_is_out_of_date_when_an_input_has_other_data(tables: list[Table], due: list[str]) -> None:
    assert outdated({each.id: each for each in tables}, NOW) == due
