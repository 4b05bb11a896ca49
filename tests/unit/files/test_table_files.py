"""Which files make which tables."""

from typing import Any

import pytest

from analyst.connectors.files.options import CsvSource, CsvTableOptions
from analyst.connectors.files.places.local import SourceFile
from analyst.connectors.files.table_files import Planned, Wanted, plan, skipped, source_table
from analyst.state.registry import NewTable


def planned(
    *names: str,
    tables: dict[str, Any] | None = None,
    excluded: str = "",
    sources: dict[str, str] | None = None,
    **options: Any,
) -> dict[str, Planned]:
    source = CsvSource.model_validate({"path": "/x", **options})
    registered = {name: CsvTableOptions.model_validate(own) for name, own in (tables or {}).items()}
    files = [SourceFile(name, f"/x/{name}", "1") for name in sorted(names)]
    return {
        table.name: table
        for table in plan(Wanted(source, registered, frozenset(excluded.split()), {}, sources or {}), files)
    }


def test_a_file_becomes_a_table_named_without_its_extensions() -> None:
    found = planned(
        "Orders 2024.CSV", "b.tsv", "c.csv.gz", "d.jsonl.zst", "e.ndjson", "f.json", "g.parquet", "h.v1.csv"
    )
    assert {name: (table.files[0].format, table.files[0].compression) for name, table in found.items()} == {
        "orders_2024": ("csv", "none"),
        "b": ("tsv", "none"),
        "c": ("csv", "gzip"),
        "d": ("json", "zstd"),
        "e": ("json", "none"),
        "f": ("json", "none"),
        "g": ("parquet", "none"),
        "h_v1": ("csv", "none"),
    }


def test_other_files_are_left_alone() -> None:
    assert planned("README.md", "a.csv.bak", "a.csv.tmp", "notes.txt", "csv", ".csv", "a.xlsx") == {}


def test_hidden_files_are_tables_only_if_they_are_named() -> None:
    aside = ("_manifest.json", ".hidden.csv", "_delta_log/0.json", "orders/_temporary/1.csv", "orders/.x.csv")
    found = planned(*aside, "orders/1.csv", "a_b.csv")
    assert {name: [item.name for item in table.files] for name, table in found.items()} == {
        "a_b": ["a_b.csv"],
        "orders": ["orders/1.csv"],
    }
    assert [item.name for item in planned(*aside, tables={"m": {"files": "_*.json"}})["m"].files] == ["_manifest.json"]
    assert set(planned("_a.csv", path="/x/_a.csv")) == {"_a"}


def test_a_sub_folder_becomes_one_table_of_its_files_in_order_of_name() -> None:
    found = planned("orders/2.csv", "orders/10.csv.gz", "orders/b/1.csv", "other.csv")
    assert [item.name for item in found["orders"].files] == ["orders/10.csv.gz", "orders/2.csv", "orders/b/1.csv"]
    assert found["orders"].original == "orders"
    assert set(found) == {"orders", "other"}


def test_files_that_would_become_the_same_table_are_both_named() -> None:
    found = planned("Ab.csv", "ab.csv.gz", "c.csv", "c/1.csv", "d.csv")
    assert "'Ab.csv' and 'ab.csv.gz' would both become the table 'ab'" in str(found["ab"].problem)
    assert "'c.csv' and 'c/' would both become the table 'c'" in str(found["c"].problem)
    assert found["d"].problem is None


def test_a_folder_of_mixed_formats_is_not_a_table() -> None:
    found = planned("a/1.csv", "a/2.parquet", "b/1.csv", "b/2.tsv.gz")
    assert "different formats, 'a/1.csv' and 'a/2.parquet'" in str(found["a"].problem)
    assert found["b"].problem is None


def test_a_table_can_be_made_of_the_files_of_a_glob() -> None:
    found = planned("o-1.csv", "o-2.csv", "p.csv", "sub/o-3.csv", tables={"orders": {"files": "o-*.csv"}})
    assert [item.name for item in found["orders"].files] == ["o-1.csv", "o-2.csv"]
    assert set(found) == {"orders", "p", "sub"}


def test_excluded_files_are_ignored() -> None:
    assert set(planned("a.csv", "b.csv", excluded="a")) == {"b"}
    assert set(planned("a.csv", "b.csv", tables={"a": {}}, discover=False)) == {"a"}
    assert set(planned("a.csv", "b.csv", tables={"a": {}}, excluded="a b")) == {"a"}


def test_a_file_name_in_any_script_becomes_a_table_name() -> None:
    names = ["\u0417\u0430\u043a\u0430\u0437\u044b.csv", "\u65e5\u672c.csv", "\u65e5\u672c\u8a9e.csv", "#.csv"]
    assert set(planned(*names)) == {"zakazy", "table_cf2abf", "table_77710a", "number"}


def test_a_file_whose_name_cannot_be_converted_keeps_it() -> None:
    assert set(planned(" .csv", "a.csv")) == {"a", " .csv"}


def test_a_table_keeps_a_name_from_which_letters_were_dropped() -> None:
    before = {"groe": "Gr\u00f6\u00dfe.csv", "other": "other.csv"}
    assert set(planned("Gr\u00f6\u00dfe.csv", sources=before, tables={"groe": {}})) == {"groe"}
    assert set(planned("Gr\u00f6\u00dfe.csv", sources={"groe": "gro-e.csv"}, tables={"groe": {}})) == {"grosse"}


def test_files_without_a_table_are_listed() -> None:
    files = ["a.csv", "report.xlsx", "old/b.XLS", "_aside.txt", ".hidden", "x/", "csv"]
    assert skipped([SourceFile(name, name, "1") for name in files]) == ["report.xlsx", "old/b.XLS", "csv"]


@pytest.mark.parametrize("original", ["x" * 255 + ".csv", "a\nb\x1b[31m.csv", " a.csv ", "\U0001f600" * 60, "q\"'.csv"])
def test_any_file_name_can_be_the_source_of_a_registered_table(original: str) -> None:
    table = NewTable(id="s.t", source_table=source_table(original))
    assert table.source_table == source_table(original)


def test_an_incremental_table_needs_a_key_or_a_cursor() -> None:
    assert "no primary_key and no cursor_column" in str(planned("a.csv", sync_strategy="incremental")["a"].problem)
    assert planned("a.csv", sync_strategy="incremental", primary_key="id")["a"].problem is None


def test_the_fingerprint_follows_files_and_options() -> None:
    first = planned("a/1.csv")["a"].fingerprint
    assert planned("a/1.csv")["a"].fingerprint == first
    assert planned("a/1.csv", "b.csv")["a"].fingerprint == first
    changed = [
        planned("a/1.csv", "a/2.csv"),
        planned("a/2.csv"),
        planned("a/1.csv", nullstr="NA"),
        planned("a/1.csv", tables={"a": {"types": {"x": "bigint"}}}),
    ]
    assert len({first, *(table["a"].fingerprint for table in changed)}) == 5


def test_json_in_a_folder_that_once_changed_its_values_is_read_again() -> None:
    rules = {name: planned(f"a/{name}")["a"].reading for name in ("1.json", "id=7/1.json", "id=7/1.csv", "id=7.json")}
    assert rules["1.json"] == rules["id=7/1.csv"] == rules["id=7.json"] != rules["id=7/1.json"]


def test_a_new_file_does_not_take_the_name_of_a_registered_table() -> None:
    found = planned(
        "a-b.csv", "a_b.csv", "c.csv", "c/1.csv", tables={"a_b": {}, "c": {}}, sources={"a_b": "a-b.csv", "c": "c"}
    )
    assert {name: [item.name for item in table.files] for name, table in found.items() if not table.problem} == {
        "a_b": ["a-b.csv"],
        "c": ["c/1.csv"],
    }
    assert "'a-b.csv' and 'a_b.csv' would both become the table 'a_b'" in str(found["a_b.csv"].problem)
    assert "'c/' and 'c.csv' would both become the table 'c'" in str(found["c.csv"].problem)
