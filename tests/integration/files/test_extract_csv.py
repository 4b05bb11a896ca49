"""The extract function, as deployed: files in a folder, tables in the registry and in a snapshot."""

from pathlib import Path
from typing import Any

import pytest

from tests.clouds import listed
from tests.integration.world import SERVICE_TOKEN, Begun, World


@pytest.fixture
def world(begun: Begun, tmp_path: Path, at_once: None) -> World:  # noqa: ARG001
    """All functions on an empty bucket."""
    return begun.world(tmp_path)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """The folder that sources may lie under."""
    return tmp_path / "sources"


def configure(world: World, path: Path, **config: Any) -> None:
    world.ask("POST", "/api/admin/sources/shop", {"type": "csv", "config": {"path": str(path), **config}})


def extract(world: World, *tables: str, status: int = 200) -> dict[str, Any]:
    body = {"source": "shop"} | ({"tables": list(tables)} if tables else {})
    answer = world.send("POST", "/extract/csv", body)
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.get_json()
    return found


def outcomes(answer: dict[str, Any]) -> dict[str, str]:
    return {table["table"]: table["status"] for table in answer["tables"]}


def registered(world: World) -> dict[str, Any]:
    return {table["name"]: table for table in world.ask("GET", "/api/admin/tables?source=shop")["tables"]}


def edits(world: World) -> int:
    with world.process.state.read() as db:
        row = db.execute("select count(*) from _edits").fetchone()
    assert row is not None
    return int(row[0])


def test_a_folder_becomes_tables_of_the_registry_and_of_a_snapshot(world: World, files: Path) -> None:
    (files / "Orders 2024.csv").write_text("Id,Paid At\n1,2024-01-01\n")
    (files / "items").mkdir()
    (files / "items/1.csv").write_text("a\n1\n")
    configure(world, files)
    answer = extract(world)
    assert (answer["status"], outcomes(answer)) == ("ok", {"items": "ok", "orders_2024": "ok"})
    assert answer["rebuild"]["snapshot"] == 1
    assert registered(world)["orders_2024"]["source_table"] == "Orders 2024.csv"
    table = world.ask("GET", "/api/catalog/tables/shop.orders_2024")
    assert [(column["name"], column["type"], column["description"]) for column in table["columns"]] == [
        ("id", "BIGINT", "Id"),
        ("paid_at", "DATE", "Paid At"),
    ]


def test_unchanged_files_are_not_read_and_nothing_is_written(world: World, files: Path) -> None:
    (files / "a.csv").write_text("x\n1\n")
    configure(world, files)
    extract(world)
    before, edited = listed(world.cloud), edits(world)
    (files / "a.csv").chmod(0)  # it could not be read by anybody but root, who runs some of our tests
    answer = extract(world)
    assert (answer["status"], outcomes(answer), answer["rebuild"]) == ("unchanged", {"a": "unchanged"}, None)
    assert (listed(world.cloud), edits(world)) == (before, edited)


def test_a_table_whose_file_is_gone_is_reported_in_answer_run_catalog_and_manifest(world: World, files: Path) -> None:
    (files / "a.csv").write_text("x\n1\n")
    (files / "b.csv").write_text("x\n1\n")
    configure(world, files)
    extract(world)
    assert "notice" not in world.ask("GET", "/api/sync/manifest")["tables"]["shop.a"]
    (files / "a.csv").unlink()
    answer = extract(world)
    assert (answer["status"], outcomes(answer)) == ("unchanged", {"a": "vanished", "b": "unchanged"})
    note = answer["tables"][0]["note"]
    assert note.startswith("its files are no longer in the source (last seen 20")
    (run,) = world.ask("GET", f"/api/sync/status?run={answer['run_id']}")["runs"]
    assert run["tables"][0]["note"] == note
    assert world.ask("GET", "/api/catalog/tables/shop.a")["notice"] == note
    assert world.ask("GET", "/api/sync/manifest")["tables"]["shop.a"]["notice"] == note
    assert outcomes(extract(world)) == {"a": "vanished", "b": "unchanged"}
    assert "its files are no longer in the source" in extract(world, "a", status=422)["tables"][0]["error"]


def test_new_tables_are_registered_in_one_edit(world: World, files: Path) -> None:
    configure(world, files)
    before = edits(world)
    for number in range(5):
        (files / f"t{number}.csv").write_text("x\n1\n")
    extract(world)
    assert edits(world) == before + 1
    assert set(registered(world)) == {f"t{number}" for number in range(5)}


def test_a_broken_file_blocks_no_other_and_keeps_its_last_version(world: World, files: Path) -> None:
    (files / "a.csv").write_text("x\n1\n")
    (files / "b.csv").write_text("x\n1\n")
    configure(world, files)
    extract(world)
    (files / "a.csv").write_text("x,y\n1\n")
    (files / "b.csv").write_text("x\n1\n2\n")
    (files / "c.csv").write_text("x\n")
    (files / "d.csv").write_text("")
    answer = extract(world, status=207)
    assert (answer["status"], outcomes(answer)) == ("partial", {"a": "failed", "b": "ok", "c": "ok", "d": "failed"})
    errors = {table["table"]: table["error"] for table in answer["tables"] if table["error"]}
    assert errors["a"].startswith("a.csv:2: has 1 value where the header has 2; correct the file, or set on_error")
    assert errors["d"].startswith("d.csv is empty")
    tables = {table["id"]: table["rows"] for table in world.ask("GET", "/api/catalog/tables")["tables"]}
    assert tables == {"shop.a": 1, "shop.b": 2, "shop.c": 0}
    assert outcomes(extract(world, "a", "nothing", status=422)) == {"a": "failed", "nothing": "missing"}


def test_files_that_clash_or_have_no_name_are_reported_and_not_registered(world: World, files: Path) -> None:
    for name in ("A.csv", "a.csv.gz", " .csv", "good.csv"):
        (files / name).write_text("x\n1\n")
    configure(world, files)
    answer = extract(world, status=207)
    errors = {table["table"]: table["error"] for table in answer["tables"]}
    assert "'A.csv' and 'a.csv.gz' would both become the table 'a'" in errors["a"]
    assert "' .csv'" in errors[" .csv"]
    assert set(registered(world)) == {"good"}


def test_a_deregistered_table_is_not_extracted_until_it_is_registered_again(world: World, files: Path) -> None:
    (files / "a.csv").write_text("x\n1\n")
    (files / "b.csv").write_text("x\n1\n")
    configure(world, files)
    extract(world)
    world.ask("DELETE", "/api/admin/tables/shop.a")
    assert outcomes(extract(world)) == {"b": "unchanged"}
    world.ask("POST", "/api/admin/tables/shop.a", {"options": {"types": {"x": "varchar"}}})
    assert outcomes(extract(world)) == {"a": "ok", "b": "unchanged"}
    while world.ask("POST", "/rebuild", {}, token=SERVICE_TOKEN)["status"] != "unchanged":
        pass  # the deletion has one run after its answer, which may be running still and see to this
    assert world.ask("GET", "/api/catalog/tables/shop.a")["columns"][0]["type"] == "VARCHAR"


def test_without_discovery_only_registered_tables_are_read(world: World, files: Path) -> None:
    (files / "a.csv").write_text("x\n1\n")
    (files / "b.csv").write_text("x\n1\n")
    configure(world, files, discover=False)
    world.ask("POST", "/api/admin/tables/shop.a", {})
    assert outcomes(extract(world)) == {"a": "ok"}
    assert set(registered(world)) == {"a"}


def test_an_incremental_table_is_merged_by_its_key(world: World, files: Path) -> None:
    configure(world, files)
    settings = {"sync_strategy": "incremental", "primary_key": ["id"], "cursor_column": "at"}
    world.ask("POST", "/api/admin/tables/shop.t", settings)
    (files / "t.csv").write_text("Id,At,x\n1,2024-01-01,a\n2,2024-01-02,b\n")
    extract(world)
    (files / "t.csv").write_text("Id,At,x\n2,2024-01-02,B\n3,2024-01-03,c\n")
    extract(world)
    assert world.ask("GET", "/api/catalog/tables/shop.t")["rows"] == 3


def test_types_of_an_incremental_table_widen_with_its_file(world: World, files: Path) -> None:
    configure(world, files)
    world.ask("POST", "/api/admin/tables/shop.t", {"sync_strategy": "incremental", "primary_key": ["id"]})
    (files / "t.csv").write_text("id,x,y\n1,1,2024-01-01\n2,2,2024-01-01\n")
    extract(world)
    (files / "t.csv").write_text("id,x,y,z\n2,2.5,2024-01-01 10:00,n\n3,1,2024-01-01,\n")
    answer = extract(world)
    assert answer["status"] == "ok", answer
    table = world.ask("GET", "/api/catalog/tables/shop.t")
    types = {column["name"]: column["type"] for column in table["columns"]}
    assert (table["rows"], types) == (3, {"id": "BIGINT", "x": "DOUBLE", "y": "TIMESTAMP", "z": "VARCHAR"})


def test_rows_that_were_set_aside_are_counted_in_the_answer(world: World, files: Path) -> None:
    (files / "a.csv").write_text("x,y\n1,2\n3\n")
    configure(world, files, on_error="collect")
    (table,) = extract(world)["tables"]
    assert (table["rows"], table["rejected"]) == (1, 1)
    assert table["rejects"] == ["a.csv:3: has 1 value where the header has 2"]


@pytest.mark.parametrize(
    ("path", "message"),
    [("../secret", "SOURCE_ROOTS"), ("nothing", "no such file or folder")],
)
def test_a_source_that_cannot_be_listed_fails_with_the_reason(
    world: World, files: Path, path: str, message: str
) -> None:
    configure(world, files / path)
    answer = extract(world, status=422)
    assert answer["status"] == "failed"
    assert message in answer["error"]


def test_a_source_of_another_type_or_an_unknown_one_fails_with_the_reason(world: World) -> None:
    assert "no source 'shop'" in extract(world, status=404)["detail"]
    world.ask("POST", "/api/admin/sources/shop", {"type": "external", "config": {}})
    assert "is of type 'external'" in extract(world, status=422)["error"]


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"path": "/x", "delimeter": ";"},
        {"path": "/x", "delimiter": "\n"},
        {"path": "/x", "types": {"a": "struct"}},
        {"path": "/x", "encoding": "klingon"},
        {"path": "/x", "on_error": "ignore"},
    ],
)
def test_an_invalid_config_is_refused_when_it_is_saved(world: World, config: dict[str, Any]) -> None:
    answer = world.send("POST", "/api/admin/sources/shop", {"type": "csv", "config": config})
    assert answer.status_code == 422, answer.text
