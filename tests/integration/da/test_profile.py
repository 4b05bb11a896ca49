"""`da profile`: the statistics of local files without a server, as text, as JSON and as a page."""

import json
import re
from pathlib import Path

import duckdb
import pytest

from tests.integration.da.conftest import Da

ORDERS = "id,Email,note,total,at\n1,ann@example.com,hello,1.5,2024-01-01\n2,bob@example.com,<b>hi</b>,2.5,2024-03-01\n3,,third,,\n"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a CSV file, in which commands run."""
    (tmp_path / "orders.csv").write_text(ORDERS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_file_is_profiled_without_a_server(da: Da) -> None:
    ran = da("profile", "orders.csv")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("orders: 3 rows, 5 columns")
    assert re.search(r"Email +VARCHAR +66.67 % +2 +sensitive", ran.out)
    assert re.search(r"total +DOUBLE +66.67 % +2 +1.5 +2 +2.5", ran.out)
    assert "example.com" not in ran.out


def test_json_is_one_document_or_a_list(da: Da, here: Path) -> None:
    document = json.loads(da("profile", "orders.csv", "--json").out)
    assert (document["table"], document["tableProfile"]["rowCount"]) == ("orders", 3)
    duckdb.sql("select 1 as a").write_parquet(str(here / "a.parquet"))
    two = json.loads(da("profile", "orders.csv", "a.parquet", "--json").out)
    assert [each["table"] for each in two] == ["orders", "a"]
    assert da("profile", "orders.csv", "-o", "p.json").code == 0
    assert json.loads((here / "p.json").read_text())["columnProfile"] == document["columnProfile"]


def test_the_page_is_self_contained_and_escaped(da: Da, here: Path) -> None:
    assert da("profile", "orders.csv", "--html").out == "Wrote profile.html; open it in a browser.\n"
    page = (here / "profile.html").read_text()
    assert "&lt;b&gt;hi&lt;/b&gt;" in page
    assert "<b>hi</b>" not in page
    assert not re.search(r"<script|<link|src=|href=\"(?!#)|url\(|@import|example\.com", page)


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.csv.gz", "t.json", "t.jsonl", "t.parquet"])
def test_files_of_every_format_are_profiled(da: Da, here: Path, name: str) -> None:
    options = {
        "csv": "csv, header",
        "tsv": "csv, header, delimiter '\t'",
        "gz": "csv, header",
        "json": "json, array true",
    }
    options |= {"jsonl": "json", "parquet": "parquet"}
    kind = options[name.rpartition(".")[2]]
    duckdb.sql(f"copy (select i as id, 'x' || i as name from range(5) r(i)) to '{here / name}' (format {kind})")
    found = json.loads(da("profile", name, "--json").out)
    assert [(each["name"], each["distinctCount"]) for each in found["columnProfile"]] == [("id", 5), ("name", 5)]


def test_a_folder_is_one_table(da: Da, here: Path) -> None:
    for year in (2024, 2025):
        (here / f"sales/year={year}").mkdir(parents=True)
        duckdb.sql(f"copy (select i as id from range(5) r(i)) to '{here}/sales/year={year}/0.parquet' (format parquet)")
    found = json.loads(da("profile", "sales", "--json").out)
    assert (found["table"], found["tableProfile"]["rowCount"]) == ("sales", 10)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nothing.csv"], 1, "there is no file or folder 'nothing.csv'"),
        (["notes.md"], 1, "its name does not end like a data file"),
        (["empty"], 1, "the folder has no data files"),
        (["broken.parquet"], 1, "can't profile 'broken.parquet': "),
        (["orders.csv", "shop.orders"], 2, "there is no file or folder 'shop.orders'; name tables or files, not both"),
        (["orders.csv", "--key", "nope"], 1, "it has no column 'nope'; its columns are id, Email"),
        (["orders.csv", "--refresh"], 2, "--refresh is for tables"),
        (["shop.orders", "--key", "id"], 2, "--key is for files"),
        (["orders"], 1, "there is no table 'orders' in the last sync"),
    ],
)
def test_wrong_input_is_explained(da: Da, here: Path, arguments: list[str], code: int, message: str) -> None:
    (here / "empty").mkdir()
    (here / "notes.md").write_text("x")
    (here / "broken.parquet").write_text("not parquet")
    ran = da("profile", *arguments)
    assert (ran.code, ran.out) == (code, "")
    assert message in ran.err


def test_the_key_of_a_file_can_be_given(da: Da, here: Path) -> None:
    (here / "k.csv").write_text("a,b\n1,1\n1,2\n1,1\n")
    assert json.loads(da("profile", "k.csv", "--key", "a,b", "--json").out)["duplicateCount"] == 1
