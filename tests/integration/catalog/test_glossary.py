"""The glossary and lineage: terms with their history, and graphs of what a caller sees."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.integration.world import Begun, World


def stocked(world: World, folder: Path) -> None:
    """Publish two tables with a metric each."""
    (folder / "sources/shop").mkdir(parents=True)
    (folder / "sources/shop/orders.csv").write_text("id,total\n1,10\n")
    (folder / "sources/shop/payroll.csv").write_text("id,salary\n1,1000\n")
    world.ask("POST", "/api/admin/sources/shop", {"type": "csv", "config": {"path": "shop"}})
    world.ask("POST", "/extract/csv", {"source": "shop"})
    for name, table in {"revenue": "orders", "wages": "payroll"}.items():
        body = {"definition": {"table": table, "expression": "count(*)"}}
        world.ask("PUT", f"/api/admin/metrics/{name}", body)


@pytest.fixture
def world(begun: Begun, tmp_path: Path, at_once: None) -> World:  # noqa: ARG001
    return begun.filled(stocked)[0].world(tmp_path)


def viewer(world: World, *tables: str) -> str:
    world.ask("POST", "/api/users", {"email": "ann@example.com", "role": "viewer"})
    for table in tables:
        world.ask("POST", "/api/admin/permissions", {"user": "ann@example.com", "table": table})
    return str(world.ask("POST", "/auth/tokens", {"name": "x", "user": "ann@example.com"})["token"])


def links(entry: Mapping[str, Any]) -> list[str]:
    return [each["id"] + (f".{each['column']}" if each["column"] else "") for each in entry["term"]["links"]]


LINKS = [
    {"kind": "table", "id": "shop.orders", "column": "total"},
    {"kind": "table", "id": "shop.payroll"},
    {"kind": "metric", "id": "revenue"},
    {"kind": "metric", "id": "wages"},
]


def test_a_term_is_found_by_its_synonyms_and_links_to_tables_and_metrics(world: World) -> None:
    body = {"definition": "What is sold", "synonyms": ["Takings", "obrat"], "links": LINKS}
    world.ask("PUT", "/api/admin/glossary/Turnover", body)
    found = world.ask("GET", "/api/glossary/takings")
    assert (found["term"]["name"], found["term"]["definition"]) == ("Turnover", "What is sold")
    assert links(found) == ["shop.orders.total", "shop.payroll", "revenue", "wages"]
    hits = {(each["kind"], each["id"]) for each in world.ask("GET", "/api/catalog/search?q=obrat")["hits"]}
    assert hits == {
        ("term", "Turnover"),
        ("table", "shop.orders"),
        ("table", "shop.payroll"),
        ("metric", "revenue"),
        ("metric", "wages"),
    }
    assert [each["term"]["name"] for each in world.ask("GET", "/api/glossary?q=SOLD")["terms"]] == ["Turnover"]
    assert world.ask("GET", "/api/glossary?q=nothing")["terms"] == []


def test_a_term_does_not_reveal_hidden_tables(world: World) -> None:
    ann = viewer(world, "shop.orders")
    world.ask("PUT", "/api/admin/glossary/turnover", {"definition": "Sold", "links": LINKS})
    world.ask("PUT", "/api/admin/glossary/turnover", {"links": LINKS[:3]})
    for path in ("/api/glossary", "/api/glossary/turnover", "/api/catalog/search?q=turnover"):
        answer = world.send("GET", path, token=ann)
        assert answer.status_code == 200
        assert "payroll" not in answer.text
        assert "wages" not in answer.text
    assert links(world.ask("GET", "/api/glossary/turnover", token=ann)) == ["shop.orders.total", "revenue"]
    assert world.send("PUT", "/api/admin/glossary/turnover", {"definition": "x"}, token=ann).status_code == 403


def test_changes_keep_a_history_and_a_removed_term_is_gone(world: World) -> None:
    world.ask("PUT", "/api/admin/glossary/churn", {"definition": "Customers who left"})
    world.ask(
        "PUT", "/api/admin/glossary/churn", {"definition": "Customers without an order in a year", "tags": ["kpi"]}
    )
    found = world.ask("PUT", "/api/admin/glossary/churn", {"tags": None})
    assert found["term"]["tags"] == []
    assert [each["before"] for each in found["history"]] == [
        {"tags": ["kpi"]},
        {"definition": "Customers who left", "tags": []},
        None,
    ]
    assert world.ask("DELETE", "/api/admin/glossary/churn") == {"name": "churn"}
    assert world.send("GET", "/api/glossary/churn").status_code == 404
    assert world.send("DELETE", "/api/admin/glossary/churn").status_code == 404
    assert world.ask("GET", "/api/catalog/search?q=churn")["hits"] == []
    again = world.ask("PUT", "/api/admin/glossary/churn", {"definition": "Back"})
    assert (again["term"]["tags"], len(again["history"])) == ([], 5)


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        ({"links": [{"kind": "table", "id": "shop.nothing"}]}, 404, "there is no table 'shop.nothing'"),
        ({"links": [{"kind": "table", "id": "shop.orders", "column": "x"}]}, 422, "has no column 'x'"),
        ({"links": [{"kind": "metric", "id": "x"}]}, 422, "there is no metric 'x'"),
        ({"links": [{"kind": "metric", "id": "revenue", "column": "x"}]}, 422, "metrics have none"),
        ({"links": [{"kind": "person", "id": "x"}]}, 422, ""),
        ({"definition": "x" * 10_001}, 422, ""),
        ({"nothing": 1}, 422, ""),
    ],
)
def test_an_invalid_term_is_refused(world: World, body: dict[str, Any], status: int, reason: str) -> None:
    answer = world.send("PUT", "/api/admin/glossary/term", body)
    assert (answer.status_code, reason in answer.text) == (status, True)
    assert world.ask("GET", "/api/glossary")["terms"] == []


def edges(graph: Mapping[str, Any]) -> set[tuple[str, str]]:
    return {(each["source"], each["target"]) for each in graph["edges"]}


def test_lineage_connects_sources_tables_and_metrics(world: World) -> None:
    everything = {
        ("source:shop", "table:shop.orders"),
        ("source:shop", "table:shop.payroll"),
        ("table:shop.orders", "metric:revenue"),
        ("table:shop.payroll", "metric:wages"),
    }
    assert edges(world.ask("GET", "/api/catalog/lineage")) == everything
    around = world.ask("GET", "/api/catalog/lineage?table=shop.orders")
    assert [each["id"] for each in around["nodes"]] == ["metric:revenue", "source:shop", "table:shop.orders"]
    up = world.ask("GET", "/api/catalog/lineage?metric=revenue&direction=up")
    assert edges(up) == {("source:shop", "table:shop.orders"), ("table:shop.orders", "metric:revenue")}
    near = world.ask("GET", "/api/catalog/lineage?metric=revenue&direction=up&depth=1")
    assert edges(near) == {("table:shop.orders", "metric:revenue")}
    assert edges(world.ask("GET", "/api/catalog/lineage?metric=revenue&direction=down")) == set()
    for query in ("table=shop.orders&metric=revenue", "depth=0", "direction=left"):
        assert world.send("GET", f"/api/catalog/lineage?{query}").status_code == 422


def test_hidden_tables_are_not_in_the_lineage(world: World) -> None:
    ann = viewer(world, "shop.orders")
    answer = world.send("GET", "/api/catalog/lineage", token=ann)
    assert edges(answer.get_json()) == {("source:shop", "table:shop.orders"), ("table:shop.orders", "metric:revenue")}
    assert "payroll" not in answer.text
    assert "wages" not in answer.text
    hidden, absent = (
        world.send("GET", f"/api/catalog/lineage?{query}", token=ann) for query in ("metric=wages", "metric=nothng")
    )
    assert (hidden.status_code, absent.status_code) == (404, 404)
    assert hidden.get_json()["detail"].replace("wages", "") == absent.get_json()["detail"].replace("nothng", "")
    assert world.send("GET", "/api/catalog/lineage?table=shop.payroll", token=ann).status_code == 404


def test_descriptions_appear_in_catalog_and_manifest_and_survive_a_new_extract(world: World, tmp_path: Path) -> None:
    body = {
        "description": "Orders of the shop",
        "tags": ["core"],
        "owners": ["eve@example.com"],
        "tier": "gold",
        "grain": "one order",
        "notes": ["Totals are with VAT"],
        "columns": {"total": {"description": "In EUR", "tags": ["money"]}},
    }
    world.ask("PUT", "/api/admin/tables/shop.orders/description", body)
    (tmp_path / "sources/shop/orders.csv").write_text("id,total\n1,10\n2,20\n")
    world.ask("POST", "/extract/csv", {"source": "shop"})
    listed = world.ask("GET", "/api/catalog/tables?q=Orders+of+the")["tables"]
    assert [(each["description"], each["tags"], each["owners"], each["tier"], each["grain"]) for each in listed] == [
        ("Orders of the shop", ["core"], ["eve@example.com"], "gold", "one order")
    ]
    detail = world.ask("GET", "/api/catalog/tables/shop.orders")
    assert (detail["rows"], detail["notes"]) == (2, ["Totals are with VAT"])
    assert {each["name"]: (each["description"], each["tags"]) for each in detail["columns"]}["total"] == (
        "In EUR",
        ["money"],
    )
    entry = world.ask("GET", "/api/sync/manifest")["tables"]["shop.orders"]
    assert (entry["description"], entry["columns"][1]["description"]) == ("Orders of the shop", "In EUR")
    assert entry["about"] == {name: body[name] for name in ("tags", "owners", "tier", "grain", "notes")}
    assert "about" not in world.ask("GET", "/api/sync/manifest")["tables"]["shop.payroll"]
    before = world.ask("GET", "/api/sync/sources")["sources"]
    world.ask("PUT", "/api/admin/tables/shop.orders/description", {"description": None})
    after = world.ask("GET", "/api/sync/sources")["sources"]
    assert before != after
    assert world.ask("GET", "/api/catalog/tables/shop.orders")["description"] is None


def test_declared_foreign_keys_are_checked_and_hide_hidden_tables(world: World) -> None:
    ann = viewer(world, "shop.orders")
    key = {"columns": ["id"], "table": "shop.payroll", "references": ["id"]}
    path = "/api/admin/tables/shop.orders/description"
    assert world.ask("PUT", path, {"foreign_keys": [key]})["said"]["foreign_keys"] == [key]
    world.ask("PUT", path, {"foreign_keys": []})
    world.ask("PUT", path, {"foreign_keys": [key]})
    shown = world.send("GET", "/api/tables/shop.orders/description", token=ann)
    assert "payroll" not in shown.text
    for wrong, status in (
        ({**key, "table": "shop.nothing"}, 404),
        ({**key, "columns": ["nothing"]}, 422),
        ({**key, "references": ["nothing"]}, 422),
        ({**key, "columns": ["id", "total"]}, 422),
    ):
        assert world.send("PUT", path, {"foreign_keys": [wrong]}).status_code == status
