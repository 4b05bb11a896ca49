"""A preview reports what a source of files contains, changes nothing, and shows what another config would do."""

import gzip
from pathlib import Path
from typing import Any

import pytest

from tests.clouds import Cloud, listed
from tests.integration.world import World


@pytest.fixture
def world(tmp_path: Path, cloud: Cloud) -> World:
    return World(tmp_path, cloud)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "sources" / "shop"
    folder.mkdir(parents=True)
    return folder


def preview(world: World, status: int = 200, **body: Any) -> dict[str, Any]:
    answer = world.send("POST", "/api/admin/sources/shop/preview", body)
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.get_json()
    return found


def published(cloud: Cloud) -> dict[str, str]:
    """List what extracts and rebuilds write."""
    return {key: version for key, version in listed(cloud).items() if not key.startswith("state/")}


def columns(found: dict[str, Any]) -> dict[str, Any]:
    return {
        table["name"]: table["columns"] and [(one["name"], one["type"]) for one in table["columns"]]
        for table in found["tables"]
    }


def test_a_preview_shows_tables_types_and_problems_and_changes_nothing(world: World, files: Path, cloud: Cloud) -> None:
    (files / "Orders.csv").write_text("Id,Paid At\n1,2024-01-01\n")
    (files / "events").mkdir()
    (files / "events/1.jsonl").write_text('{"id": 1, "ok": true}\n')
    (files / "events/2.jsonl").write_text('{"id": 2}\n')
    (files / "broken.csv").write_text("a,b\n1,2,3\n")
    (files / "empty.csv").touch()
    before = published(cloud)
    found = preview(world, type="csv", config={"path": str(files)})
    assert columns(found) == {
        "broken": None,
        "empty": None,
        "events": [("id", "BIGINT"), ("ok", "BOOLEAN")],
        "orders": [("id", "BIGINT"), ("paid_at", "DATE")],
    }
    tables = {table["name"]: table for table in found["tables"]}
    assert (tables["events"]["files"], tables["events"]["rows"], tables["events"]["is_registered"]) == (2, 2, False)
    assert tables["broken"]["problem"].startswith("broken.csv:2: has 3 values where the header has 2; correct")
    assert [check["ok"] for check in found["checks"]] == [True, False]
    assert published(cloud) == before
    assert world.ask("GET", "/api/admin/sources")["sources"] == []


@pytest.mark.parametrize("ending", [".csv", ".csv.gz"])
def test_a_large_file_is_sampled_even_where_the_cut_goes_through_a_quoted_value(
    world: World, files: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("analyst.connectors.preview._SAMPLED_FROM", 10_000)
    monkeypatch.setattr("analyst.connectors.preview._SAMPLE", 5_000)
    text = "id,note\n" + "".join(f'{number},"a\nb {number * 7919 % 10007}"\n' for number in range(20_000))
    data = text.encode()
    (files / f"large{ending}").write_bytes(gzip.compress(data) if ending.endswith("gz") else data)
    found = preview(world, type="csv", config={"path": str(files)})
    (table,) = found["tables"]
    assert columns(found) == {"large": [("id", "BIGINT"), ("note", "VARCHAR")]}
    assert (table["is_sampled"], table["rows"], table["problem"]) == (True, None, None)


def test_only_the_columns_of_named_tables_are_read(world: World, files: Path) -> None:
    for name in ("a", "b"):
        (files / f"{name}.csv").write_text("x\n1\n")
    found = preview(world, type="csv", config={"path": str(files)}, tables=["b"])
    assert columns(found) == {"a": None, "b": [("x", "BIGINT")]}
    assert columns(preview(world, type="csv", config={"path": str(files)}, columns=False)) == {"a": None, "b": None}


def test_another_config_shows_what_would_no_longer_be_read(world: World, files: Path) -> None:
    for name in ("a", "b"):
        (files / f"{name}.csv").write_text("x\n1\n")
    world.ask("POST", "/api/admin/sources/shop", {"type": "csv", "config": {"path": str(files)}})
    world.send("POST", "/extract/csv", {"source": "shop"})
    assert preview(world)["no_longer_read"] == []
    assert preview(world, config={"path": f"{files}/a*.csv"})["no_longer_read"] == ["shop.b"]
    gone = preview(world, config={"path": f"{files}/gone"})
    assert ("there is no such file or folder" in gone["problem"], gone["no_longer_read"]) == (True, [])
    world.ask("DELETE", "/api/admin/tables/shop.a")
    assert [one["name"] for one in preview(world)["ignored"]] == ["a.csv"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"type": "csv", "config": {}}, "the option 'path' is missing"),
        (
            {"type": "csv", "config": {"path": "/x", "delimitr": ";"}},
            "there is no option 'delimitr'; did you mean 'delimiter'?",
        ),
        ({"type": "csv", "config": {"path": "/x", "quote": "ab"}}, "the option 'quote' must be one ASCII character"),
        ({"type": "csv", "config": {"path": "/x", "types": {"a": "int5"}}}, "'int5' is not a column type; available: "),
        ({"type": "salesforce", "config": {}}, "this version has no connector for sources of type 'salesforce'"),
        ({"type": "jira", "config": {"jql": "a order by b"}}, "the option 'jql'"),
    ],
)
def test_an_unusable_config_is_refused_with_an_explanation(world: World, body: dict[str, Any], message: str) -> None:
    detail = preview(world, 422, **body)["detail"]
    assert message in detail
    assert not any(word in detail for word in ("Input should", "function-after", "^["))
    if body["type"] != "csv" or "path" in body["config"]:
        assert world.send("POST", "/api/admin/sources/shop", body).status_code == 422


def test_a_source_that_does_not_exist_is_not_found(world: World, files: Path) -> None:
    world.ask("POST", "/api/admin/sources/shops", {"type": "csv", "config": {"path": str(files)}})
    assert "did you mean 'shops'?" in preview(world, 404)["detail"]
    for action in ("test", "remove"):
        assert world.send("POST", f"/api/admin/sources/shop/{action}", {}).status_code == 404


def test_a_test_checks_path_and_tables(world: World, files: Path) -> None:
    world.ask("POST", "/api/admin/sources/shop", {"type": "csv", "config": {"path": str(files)}})
    empty = world.ask("POST", "/api/admin/sources/shop/test", {})
    assert (empty["ok"], "has no files" in empty["checks"][0]["message"]) == (False, True)
    (files / "a.csv").write_text("x\n1\n")
    assert world.ask("POST", "/api/admin/sources/shop/test", {})["ok"] is True
    (files / "b.csv").write_text('x\n"1\n')
    broken = world.ask("POST", "/api/admin/sources/shop/test", {})
    assert (broken["ok"], "1 of 2 can't be read: b: b.csv:2" in broken["checks"][1]["message"]) == (False, True)


def test_removing_a_source_removes_its_tables_and_grants(world: World, files: Path) -> None:
    (files / "a.csv").write_text("x\n1\n")
    world.ask("POST", "/api/admin/sources/shop", {"type": "csv", "config": {"path": str(files)}})
    world.send("POST", "/extract/csv", {"source": "shop"})
    ann = world.ask("POST", "/api/users", {"email": "ann@example.com"})
    world.ask("POST", "/api/admin/permissions", {"user": ann["id"], "source": "shop"})
    would = world.ask("POST", "/api/admin/sources/shop/remove", {"dry_run": True})
    assert (would["tables"], would["grants"], would["dry_run"]) == (["shop.a"], 1, True)
    assert len(world.ask("GET", "/api/admin/tables")["tables"]) == 1
    done = world.ask("POST", "/api/admin/sources/shop/remove", {})
    assert done == {**would, "dry_run": False}
    assert world.ask("GET", "/api/admin/sources")["sources"] == []
    world.ask("POST", "/rebuild", {})
    assert world.ask("GET", "/api/catalog/tables")["tables"] == []
    assert (files / "a.csv").exists()


def test_an_external_extract_is_previewed_as_it_is_published(world: World) -> None:
    found = preview(world, type="external", config={})
    assert (found["tables"], found["checks"][0]["ok"]) == ([], False)
    assert found["checks"][0]["message"] == "'extracts/shop/extract.duckdb' does not exist; write it to the bucket"
