"""Parquet of an older system arrives in parts, is published like any extract, and is replaced by one."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.bucket_contents import query
from tests.integration.world import Begun, World
from tests.unit.files.foreign_parquet import foreign

RUN = "01JQ0000000000000000000000"
REGISTERED = {"id": "orders", "name": "Orders", "source_type": "csv", "is_public": "false"}
Made = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def moved(begun: Begun, tmp_path_factory: pytest.TempPathFactory) -> Begun:
    """The registry of an older system: one table of one source."""
    folder = tmp_path_factory.mktemp("moved")
    world = begun.world(folder)
    world.ask("POST", "/api/admin/import", {"rows": {"table_registry": [REGISTERED]}})
    return Begun(world.cloud, world.admin, folder)


@pytest.fixture
def world(moved: Begun, tmp_path: Path, at_once: None) -> World:  # noqa: ARG001
    """All functions, on that registry."""
    return moved.world(tmp_path)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def parts_of(data: bytes, size: int = 100) -> dict[str, bytes]:
    return {sha256(data[at : at + size]): data[at : at + size] for at in range(0, len(data), size)}


@pytest.fixture
def parquet(tmp_path: Path) -> Callable[[str], bytes]:
    def make(query: str) -> bytes:
        path = tmp_path / "made.parquet"
        duckdb.execute(f"copy ({query}) to '{path}' (format parquet)")
        return path.read_bytes()

    return make


def put(world: World, sha256: str, data: bytes, **more: Any) -> int:
    headers = {"Authorization": f"Bearer {world.admin}", "Content-Type": "application/octet-stream"}
    path = f"/api/admin/import/parts/{sha256}"
    return world.client.put(path, data=data, headers=headers, buffered=True, **more).status_code


def wanted(*files: bytes, name: str = "orders", **more: Any) -> dict[str, Any]:
    listed = [
        {"path": f"{number}.parquet", "sha256": sha256(data), "parts": list(parts_of(data))}
        for number, data in enumerate(files)
    ]
    return {"source": "csv", "tables": [{"name": name, "files": listed, **more}]}


def send(world: World, *files: bytes) -> None:
    for data in files:
        for name, part in parts_of(data).items():
            assert put(world, name, part) == 204


def publish(world: World, request: dict[str, Any], status: int = 200) -> dict[str, Any]:
    answer = world.send("POST", "/extract/imported", {**request, "run_id": RUN})
    assert answer.status_code == status, answer.text
    return dict(answer.get_json())


def rows(world: World) -> list[Any]:
    world.ask("POST", "/rebuild", {})
    return query(world.process.store, "from orders")


def test_a_part_is_kept_once_and_only_whole(world: World) -> None:
    assert put(world, sha256(b"one"), b"one") == 204
    assert put(world, sha256(b"one"), b"one") == 204
    assert put(world, sha256(b"one"), b"on") == 422
    assert put(world, sha256(b"two"), b"") == 422
    assert [entry.size for entry in world.process.store.list("uploads/import/")] == [3]


@pytest.mark.parametrize("name", ["..", "A" * 64, "a" * 63, "a" * 65])
def test_a_part_has_the_name_of_its_content(world: World, name: str) -> None:
    assert put(world, name, b"one") in {404, 422}


def test_files_are_published_once_all_their_parts_are_here(world: World, parquet: Callable[[str], bytes]) -> None:
    data = parquet("select range as n from range(3)")
    first, *others = parts_of(data)
    request = wanted(data, extracted_at="2025-01-02T03:04:05Z")
    asked = world.ask("POST", "/api/admin/import/tables", request)
    assert asked == {
        "tables": [{"name": "orders", "standing": "wanted"}],
        "missing": [first, *others],
        "run_id": None,
    }
    assert put(world, first, parts_of(data)[first]) == 204
    assert world.ask("POST", "/api/admin/import/tables", request)["missing"] == others
    send(world, data)
    run_id = world.ask("POST", "/api/admin/import/tables", request)["run_id"]
    world.process.background.close()
    (run,) = world.ask("GET", f"/api/sync/status?run={run_id}")["runs"]
    assert [(run["status"], table["table"], table["rows"]) for table in run["tables"]] == [("ok", "orders", 3)]
    again = world.ask("POST", "/api/admin/import/tables", request)
    assert again == {"tables": [{"name": "orders", "standing": "there"}], "missing": [], "run_id": None}
    assert rows(world) == [(0,), (1,), (2,)]
    updated = world.ask("GET", "/api/sync/manifest")["tables"]["csv.orders"]["updated"]
    assert updated.startswith("2025-01-02T03:04:05")


def test_unregistered_tables_are_not_published(world: World) -> None:
    answer = world.send("POST", "/api/admin/import/tables", wanted(b"x", name="other"))
    assert (answer.status_code, answer.get_json(force=True)["detail"]) == (
        404,
        "the table 'csv.other' is not registered; import the registry first",
    )


def test_newer_files_replace_the_older_ones(world: World, parquet: Callable[[str], bytes]) -> None:
    old, new = parquet("select 1 as n"), parquet("select 'two' as n")
    for files in ([old], [old, new], [new]):
        send(world, *files)
        publish(world, wanted(*files))
    assert rows(world) == [("two",)]
    assert publish(world, wanted(new))["status"] == "unchanged"


def test_a_table_that_was_extracted_here_is_left_alone(
    world: World, parquet: Callable[[str], bytes], tmp_path: Path
) -> None:
    (tmp_path / "sources/orders.csv").write_text("n\n7\n")
    config = {"config": {"path": str(tmp_path / "sources")}}
    data, newer = parquet("select 1 as n"), parquet("select 2 as n")
    send(world, data, newer)
    publish(world, wanted(data))
    world.ask("PUT", "/api/admin/sources/csv", config)
    world.ask("POST", "/extract/csv", {"source": "csv"})
    assert rows(world) == [(7,)]
    asked = world.ask("POST", "/api/admin/import/tables", wanted(newer))
    assert asked == {"tables": [{"name": "orders", "standing": "extracted"}], "missing": [], "run_id": None}
    assert publish(world, wanted(newer))["tables"] == []
    assert rows(world) == [(7,)]


def test_a_broken_table_does_not_hold_up_the_others(world: World, parquet: Callable[[str], bytes]) -> None:
    world.ask("POST", "/api/admin/import", {"rows": {"table_registry": [{**REGISTERED, "id": "b", "name": "b"}]}})
    good, bad = parquet("select 1 as n"), b"no parquet at all"
    send(world, good, bad)
    request = wanted(good)
    request["tables"] += wanted(bad, name="b")["tables"]
    found = {table["table"]: table for table in publish(world, request, status=207)["tables"]}
    assert (found["orders"]["status"], found["b"]["status"]) == ("ok", "failed")
    assert found["b"]["error"].startswith("0.parquet can't be read as parquet")
    assert rows(world) == [(1,)]


def test_a_missing_part_is_reported(world: World, parquet: Callable[[str], bytes]) -> None:
    data = parquet("select 1 as n")
    send(world, data)
    world.ask("DELETE", "/api/admin/import/parts")
    assert list(world.process.store.list("uploads/")) == []
    (table,) = publish(world, wanted(data), status=422)["tables"]
    assert table["error"].endswith("is no longer there; repeat the import")


def test_parts_that_make_another_file_are_refused(world: World) -> None:
    send(world, b"one", b"two")
    request = wanted(b"one")
    request["tables"][0]["files"][0]["parts"] = [sha256(b"two")]
    (table,) = publish(world, request, status=422)["tables"]
    assert "do not add up to the file" in table["error"]


@pytest.mark.parametrize("path", ["", "/a", "a//b", "a\\b", "a/", "a\x00", "..", "a/../b", "x" * 256])
def test_a_path_must_be_relative_and_valid(world: World, path: str) -> None:
    request = wanted(b"x")
    request["tables"][0]["files"][0]["path"] = path
    assert world.send("POST", "/api/admin/import/tables", request).status_code in {400, 422}


def test_a_path_never_leads_out_of_the_import(world: World, parquet: Callable[[str], bytes], tmp_path: Path) -> None:
    data = parquet("select 1 as n")
    send(world, data)
    request = wanted(data)
    request["tables"][0]["files"][0]["path"] = "month=../a=x/a.parquet"
    assert publish(world, request)["tables"][0]["status"] == "ok"
    assert rows(world) == [(1, "x", "..")]
    assert not list(tmp_path.rglob("a.parquet"))


def test_values_that_duckdb_would_read_lossily_are_read_exactly_or_refused_by_name(world: World) -> None:
    registered = [{**REGISTERED, "id": name, "name": name} for name in ("lossy", "wide", "damaged")]
    world.ask("POST", "/api/admin/import", {"rows": {"table_registry": registered}})
    whole = foreign("checksums")
    at = whole.index(b"\x02\x00\x00\x00v1") + 5
    damaged = whole[:at] + b"9" + whole[at + 1 :]
    files = {"orders": foreign("int96"), "lossy": foreign("int96_nanoseconds"), "wide": foreign("long_decimals")}
    files["damaged"] = damaged
    send(world, *files.values())
    request = {"source": "csv", "tables": [wanted(data, name=name)["tables"][0] for name, data in files.items()]}
    found = {table["table"]: table["error"] for table in publish(world, request, status=207)["tables"]}
    assert found["orders"] is None
    assert "the column 't' holds 2023-11-14 22:13:20.123456789" in found["lossy"]
    assert "the column 'd' is DECIMAL(40,2)" in found["wide"]
    assert "a page of the column 's' is damaged: it differs from its checksum" in found["damaged"]
    assert [str(row[0]) for row in rows(world)] == [
        "1970-01-01 00:00:00", "2023-11-14 22:13:20.123456", "None", "1969-12-31 23:59:59.999999",
    ]  # fmt: skip


def test_imported_tables_are_previewed_as_they_are_published(world: World, parquet: Callable[[str], bytes]) -> None:
    file = parquet("select 1 as id, 'x' as note")
    send(world, file)
    publish(world, wanted(file))
    world.ask("POST", "/rebuild", {})
    found = world.ask("POST", "/api/admin/sources/csv/preview", {})
    (table,) = found["tables"]
    assert (table["name"], table["rows"], table["is_registered"]) == ("orders", 1, True)
    assert [column["name"] for column in table["columns"]] == ["id", "note"]
    (check,) = found["checks"]
    assert (check["ok"], "da admin sources update csv --path FOLDER" in check["message"]) == (False, True)


def test_an_empty_source_never_replaces_imported_rows(
    world: World, parquet: Callable[[str], bytes], tmp_path: Path
) -> None:
    (tmp_path / "sources/orders.csv").write_text("n\n")
    data = parquet("select 1 as n")
    send(world, data)
    publish(world, wanted(data))
    world.ask("PUT", "/api/admin/sources/csv", {"config": {"path": str(tmp_path / "sources")}})
    (table,) = world.ask("POST", "/extract/csv", {"source": "csv"})["tables"]
    assert (table["status"], table["rows"]) == ("unchanged", 1)
    assert "the source has no rows, so the 1 imported rows stay" in table["note"]
    assert rows(world) == [(1,)]
    (tmp_path / "sources/orders.csv").unlink()
    world.ask("POST", "/extract/csv", {"source": "csv"})
    assert rows(world) == [(1,)]
    (tmp_path / "sources/orders.csv").write_text("n\n7\n")
    assert world.ask("POST", "/extract/csv", {"source": "csv"})["tables"][0]["status"] == "ok"
    assert rows(world) == [(7,)]


def test_imported_tables_have_to_meet_their_expectations(world: World, parquet: Callable[[str], bytes]) -> None:
    old, new = parquet("select 1 as n"), parquet("select 1 as n union all select null")
    send(world, old, new)
    publish(world, wanted(old))
    rows(world)
    expected = {"kind": "not_null", "columns": ["n"], "severity": "block"}
    world.ask("PUT", "/api/admin/tables/csv.orders/expectations", {"expectations": [expected]})
    failed = publish(world, wanted(new), status=422)
    assert "not_null n: 1 of 2 rows fail; the last version stays" in failed["tables"][0]["error"]
    assert rows(world) == [(1,)]
    expected["severity"] = "warn"
    world.ask("PUT", "/api/admin/tables/csv.orders/expectations", {"expectations": [expected]})
    send(world, new)
    assert "not_null n: 1 of 2 rows fail" in publish(world, wanted(new))["tables"][0]["note"]
    assert len(rows(world)) == 2
    notice = world.ask("GET", "/api/sync/manifest")["tables"]["csv.orders"]["notice"]
    assert notice == "expectations are not met: not_null n: 1 of 2 rows fail"
