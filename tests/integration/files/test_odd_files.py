"""Odd files, names and headers among good ones, as the extract function sees them."""

import os
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.bucket_contents import query
from tests.integration.world import Begun, World
from tests.unit.files.foreign_parquet import foreign

NAME, CITY = "\u0418\u043c\u044f", "\u0413\u043e\u0440\u043e\u0434"
IVAN, MOSCOW = "\u0418\u0432\u0430\u043d", "\u041c\u043e\u0441\u043a\u0432\u0430"
OLEG, KIEV = "\u041e\u043b\u0435\u0433", "\u041a\u0438\u0435\u0432"


@pytest.fixture
def world(begun: Begun, tmp_path: Path, at_once: None) -> World:  # noqa: ARG001
    """All functions on an empty bucket, and a source of an empty folder."""
    world = begun.world(tmp_path)
    world.ask("POST", "/api/admin/sources/shop", {"type": "csv", "config": {"path": str(tmp_path / "sources")}})
    return world


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """The folder of the source."""
    return tmp_path / "sources"


def extract(world: World) -> dict[str, Any]:
    answer = world.send("POST", "/extract/csv", {"source": "shop"})
    assert answer.status_code in (200, 207, 422), answer.text
    found: dict[str, Any] = answer.get_json()
    return found


def errors(answer: dict[str, Any]) -> dict[str, str]:
    return {table["table"]: table["error"] for table in answer["tables"] if table["error"]}


def test_an_odd_file_affects_only_its_own_table(world: World, files: Path) -> None:
    (files / "good.csv").write_text("x\n1\n")
    for name in (f"{'n' * 250}.csv", "new\nline.csv", 'it\'s "so".csv', "\U0001f600.csv", "\u65e5\u672c.csv"):
        (files / name).write_text("x\n1\n")
    with zipfile.ZipFile(files / "zipped.csv", "w") as archive:
        archive.writestr("a.csv", "x\n1\n")
    (files / "old.csv").write_bytes(bytes.fromhex("d0cf11e0a1b11ae1") + bytes(512))
    (files / "secret.parquet").write_bytes(foreign("encrypted"))
    (files / "decimal.parquet").write_bytes(foreign("long_decimals"))
    (files / "gone.csv").symlink_to(files / "nothing.csv")
    (files / os.fsdecode(b"caf\xe9.csv")).write_text("x\n1\n")
    (files / "deep").mkdir()
    folder = os.open(files / "deep", os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=folder)
        above, folder = folder, os.open("d" * 250, os.O_RDONLY, dir_fd=folder)
        os.close(above)
    os.close(folder)
    answer = extract(world)
    good = {table["table"] for table in answer["tables"] if table["status"] == "ok"}
    assert good == {"good", "n" * 63, "new_line", "it_s_so", "grinning_face", "table_cf2abf"}
    found = errors(answer)
    assert {
        name: error.split(";")[0] for name, error in found.items() if name not in {"deep", "secret", "decimal"}
    } == {
        "zipped": "the content of zipped.csv does not match its name: it is a zip archive",
        "old": "the content of old.csv does not match its name: it is an old Office file, such as an Excel workbook",
        "gone": "'gone.csv' can't be read: it is a link to a file that does not exist",
        "caf_xe9": "'caf\\\\xe9.csv' can't be read: its path is not valid UTF-8",
    }
    assert "File name too long" in found["deep"]
    assert "secret.parquet is encrypted" in found["secret"]
    assert "the column 'd' is DECIMAL(40,2)" in found["decimal"]
    assert extract(world)["status"] == "partial"


def test_files_that_are_not_read_are_listed_in_the_answer_and_in_the_record(world: World, files: Path) -> None:
    for name in ("a.csv", "report.xlsx", "old.xls", ".hidden", "_aside.txt"):
        (files / name).write_text("x\n1\n")
    for expected in ("ok", "unchanged"):
        answer = extract(world)
        assert (answer["status"], answer["notes"]) == (expected, ["skipped 2: old.xls, report.xlsx"])
        (run,) = world.ask("GET", f"/api/sync/status?run={answer['run_id']}")["runs"]
        assert run["notes"] == answer["notes"]


def test_columns_are_matched_by_the_names_in_the_files(world: World, files: Path) -> None:
    (files / "people").mkdir()
    (files / "people/a.csv").write_text(f"{NAME},{CITY}\n{IVAN},{MOSCOW}\n")
    (files / "people/b.csv").write_text(f"{CITY},{NAME}\n{KIEV},{OLEG}\n")
    assert extract(world)["status"] == "ok"
    assert query(world.process.store, "select imya, gorod from people order by all") == [(IVAN, MOSCOW), (OLEG, KIEV)]


def test_files_of_one_table_without_a_common_column_are_noted(world: World, files: Path) -> None:
    for folder, suffix, contents in (
        ("csvs", "csv", ("id,name\n1,Ann\n", "price,qty\n9.5,3\n")),
        ("lines", "jsonl", ('{"id":1}', '{"price":2}')),
    ):
        (files / folder).mkdir()
        for number, content in enumerate(contents):
            (files / folder / f"{number}.{suffix}").write_text(content)
    (files / "related").mkdir()
    (files / "related/a.csv").write_text("id,name\n1,Ann\n")
    (files / "related/b.csv").write_text("price,id\n9.5,3\n")
    notes = {table["table"]: table["notes"] for table in extract(world)["tables"]}
    assert notes["csvs"][0].startswith(
        "csvs/1.csv has no column in common with csvs/0.csv, but both are files of one table"
    )
    assert notes["lines"][0].startswith("lines/1.jsonl has no column in common with lines/0.jsonl")
    assert notes["related"] == []


def test_a_name_stays_with_its_original_across_syncs(world: World, files: Path) -> None:
    settings = {"sync_strategy": "incremental", "primary_key": ["id"]}
    world.ask("POST", "/api/admin/tables/shop.t", settings)
    (files / "t.csv").write_text(f"id,{NAME},a b\n1,x,1\n")
    assert extract(world)["status"] == "ok"
    (files / "t.csv").write_text(f"a b,{CITY},{NAME},id\n2,y,z,2\n")
    assert extract(world)["status"] == "ok"
    table = world.ask("GET", "/api/catalog/tables/shop.t")
    assert {column["name"]: column["description"] for column in table["columns"]} == {
        "id": None, "imya": NAME, "a_b": "a b", "gorod": CITY,
    }  # fmt: skip
    (files / "t.csv").write_text("id,a-b\n3,3\n")
    assert errors(extract(world)) == {
        "t": "t.csv: the column 'a-b' would be called 'a_b', which is 'a b' in the published table; rename one of them"
    }
    assert world.ask("GET", "/api/catalog/tables/shop.t")["rows"] == 2


def test_a_header_that_takes_the_name_of_another_is_noted_where_all_rows_are_new(world: World, files: Path) -> None:
    (files / "t.csv").write_text("a b\n1\n")
    assert extract(world)["status"] == "ok"
    (files / "t.csv").write_text("a-b\n1\n2\n")
    (table,) = extract(world)["tables"]
    assert (table["status"], table["notes"]) == (
        "ok",
        ["the column 'a_b' is now read from 'a-b'; until the last sync it was read from 'a b'"],
    )


def test_a_new_file_that_would_take_the_name_of_a_table_affects_no_other(world: World, files: Path) -> None:
    (files / "a-b.csv").write_text("x\n1\n")
    assert extract(world)["status"] == "ok"
    (files / "a_b.csv").write_text("x\n9\n")
    (files / "a-b.csv").write_text("x\n1\n2\n")
    answer = extract(world)
    assert {table["table"]: table["status"] for table in answer["tables"]} == {"a_b": "ok", "a_b.csv": "failed"}
    assert "'a-b.csv' and 'a_b.csv' would both become the table 'a_b'; rename" in errors(answer)["a_b.csv"]
    assert world.ask("GET", "/api/catalog/tables/shop.a_b")["rows"] == 2
