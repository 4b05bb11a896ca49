"""Lineage: the graph of what a caller sees, with materialized tables between, and how `da` draws it."""

from datetime import UTC, datetime

import pytest

from analyst.access import AccessList, Caller, Registration, Role
from analyst.access.rules import Granted, Grants, User
from analyst.catalog import Catalog, Input, Table
from analyst.descriptions import Texts
from analyst.lineage import Lineage, around, lineage
from analyst.snapshots import Snapshot
from da.commands.catalog import flowchart, tree

AT = datetime(2026, 1, 1, tzinfo=UTC)
ADMIN = Caller("root", "root@example.com", Role.ADMIN, frozenset())
ANN = Caller("ann", "ann@example.com", Role.ANALYST, frozenset())


def table(id_: str, *inputs: str) -> Table:
    source, name = id_.split(".")
    made = tuple(Input(table=each, hash=each) for each in inputs)
    return Table(source=source, name=name, view=name, hash=id_, registration=id_, inputs=made)


TABLES = (
    table("marts.daily", "shop.orders", "shop.payroll"),
    table("marts.weekly", "marts.daily"),
    table("shop.orders"),
    table("shop.payroll"),
)
SNAPSHOT = Snapshot(1, Catalog(snapshot=1, built_at=AT, tables=TABLES), {each.id: each for each in TABLES}, {})


def seen(caller: Caller = ADMIN, *granted: str, snapshot: Snapshot = SNAPSHOT) -> Lineage:
    registered = {
        each.id: Registration(uuid=each.id, source=each.source, name=each.name, registered_at=AT) for each in TABLES
    }
    rules = AccessList(
        tables=registered,
        grants=Grants(users={"ann": Granted(tables=granted)}),
        users={"ann": User(email="ann@example.com", role=Role.ANALYST)},
        withdrawn={},
    )
    return lineage(snapshot, rules, caller, Texts(), {})


def edges(graph: Lineage) -> set[str]:
    return {f"{each.source} > {each.target}".replace("table:", "") for each in graph.edges}


def test_materialized_tables_come_from_their_inputs() -> None:
    assert edges(seen()) == {
        "source:shop > shop.orders",
        "source:shop > shop.payroll",
        "shop.orders > marts.daily",
        "shop.payroll > marts.daily",
        "marts.daily > marts.weekly",
    }
    assert {each.name: each.kind for each in seen().nodes}["marts.daily"] == "materialized"


@pytest.mark.parametrize(
    ("granted", "wanted"),
    [
        (("marts.daily", "shop.orders"), {"source:shop > shop.orders", "shop.orders > marts.daily"}),
        (("marts.daily",), {"source:marts > marts.daily"}),
        (("marts.weekly", "shop.orders"), {"source:marts > marts.weekly", "source:shop > shop.orders"}),
        ((), set()),
    ],
)
def test_hidden_tables_connect_nothing_in_the_lineage(granted: tuple[str, ...], wanted: set[str]) -> None:
    graph = seen(ANN, *granted)
    assert edges(graph) == wanted
    assert {each.name for each in graph.nodes if "." in each.name} == set(granted)


def test_a_table_is_out_of_date_once_an_input_has_changed() -> None:
    tables = tuple(each.model_copy(update={"hash": "new"}) if each.id == "shop.orders" else each for each in TABLES)
    later = Snapshot(2, Catalog(snapshot=2, built_at=AT, tables=tables), {each.id: each for each in tables}, {})
    assert [each.name for each in seen(snapshot=later).nodes if each.is_stale] == ["marts.daily"]
    hidden = seen(ANN, "marts.daily", snapshot=later)
    assert not any(each.is_stale for each in hidden.nodes)


def test_a_part_of_the_graph_follows_a_direction_and_a_depth() -> None:
    assert edges(around(seen(), "table:marts.daily", "down", 9)) == {"marts.daily > marts.weekly"}
    assert edges(around(seen(), "table:marts.weekly", "up", 1)) == {"marts.daily > marts.weekly"}
    assert len(edges(around(seen(), "table:marts.daily", "both", 9))) == 5


def test_the_graph_is_drawn_as_a_tree() -> None:
    graph = around(seen(), "table:marts.daily", "both", 9).model_dump(mode="json")
    assert tree(graph, "table:marts.daily") == [
        "marts.daily (materialized)",
        "  comes from",
        "    shop.orders",
        "      shop (source)",
        "    shop.payroll",
        "      shop (source)",
        "  goes into",
        "    marts.weekly (materialized)",
    ]
    drawn = flowchart(graph).splitlines()
    assert drawn[0] == "flowchart LR"
    assert '  n0[("shop")]' in drawn
    assert len([line for line in drawn if "-->" in line]) == 5
