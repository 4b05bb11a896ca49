"""Search through the API: hidden tables are not found, and nothing about them shows."""

from pathlib import Path

import pytest

from tests.integration.world import Begun, World


@pytest.fixture
def world(begun: Begun, tmp_path: Path, at_once: None) -> World:  # noqa: ARG001
    made = begun.world(tmp_path)
    (tmp_path / "sources/open.csv").write_text("id,colour\n1,red\n")
    (tmp_path / "sources/payroll.csv").write_text("id,salary\n1,1000\n")
    made.ask("POST", "/api/admin/sources/shop", {"type": "csv", "config": {"path": str(tmp_path / "sources")}})
    made.ask("POST", "/extract/csv", {"source": "shop"})
    made.ask(
        "PUT",
        "/api/admin/metrics/pay_total",
        {"definition": {"table": "payroll", "expression": "sum(salary)", "synonyms": ["wages"]}},
    )
    made.ask(
        "PUT", "/api/admin/tables/shop.payroll/description", {"description": "Who earns what", "tags": ["confidential"]}
    )
    return made


def test_a_search_finds_only_readable_tables(world: World) -> None:
    world.ask("POST", "/api/users", {"email": "ann@example.com", "role": "viewer"})
    world.ask("POST", "/api/admin/permissions", {"user": "ann@example.com", "table": "shop.open"})
    ann = world.ask("POST", "/auth/tokens", {"name": "x", "user": "ann@example.com"})["token"]
    for text, wanted in {
        "colour": ["shop.open"],
        "salary": ["shop.payroll"],
        "wages": ["pay_total"],
        "earns": ["shop.payroll"],
    }.items():
        assert [each["id"] for each in world.ask("GET", f"/api/catalog/search?q={text}")["hits"]] == wanted
        answer = world.send("GET", f"/api/catalog/search?q={text}", token=ann)
        visible = [each for each in wanted if each == "shop.open"]
        assert [each["id"] for each in answer.get_json()["hits"]] == visible
        assert "payroll" not in answer.text
    assert world.send("GET", "/api/catalog/search?q=").status_code == 422
