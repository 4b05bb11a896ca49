"""The names of published columns are kept when the table is read again."""

from dataclasses import replace
from typing import Any

import pytest

from analyst.contract.connector import Extracted
from analyst.errors import SourceError
from tests.unit.files.folder import Folder, rows_of

NAME, SIZE = "\u0418\u043c\u044f", "Gr\u00f6\u00dfe"


def extract_again(folder: Folder, originals: dict[str, str], **options: Any) -> Extracted:
    connector = folder.connector(**options)
    (table,) = connector.tables()
    return connector.extract(replace(table, originals=originals), None, folder.into())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", f"new,{SIZE},{NAME}\n1,2,3\n"),
        ("t.jsonl", f'{{"new":1,"{SIZE}":2,"{NAME}":3}}'),
        ("t/a.tsv", f"new\t{SIZE}\t{NAME}\n1\t2\t3\n"),
    ],
)
def test_columns_keep_the_names_that_they_were_published_with(folder: Folder, name: str, content: str) -> None:
    folder.write(name, content)
    extracted = extract_again(folder, {"column0": NAME, "groe": SIZE})
    assert [(column.name, column.description) for column in extracted.columns] == [
        ("new", None),
        ("groe", SIZE),
        ("column0", NAME),
    ]
    assert extracted.notes == ()


@pytest.mark.parametrize("named", [SIZE, "groe", "grosse"])
def test_options_name_a_column_by_its_original_or_its_name(folder: Folder, named: str) -> None:
    folder.tables = {"t": {"types": {named: "VARCHAR"}}}
    folder.write("t.csv", f"{SIZE}\n2\n")
    assert rows_of(extract_again(folder, {"groe": SIZE}, on_error="collect")) == [("2",)]


def test_an_option_for_an_unknown_column_is_reported(folder: Folder) -> None:
    folder.tables = {"t": {"types": {NAME: "VARCHAR"}}}
    folder.write("t.csv", "a\n2\n")
    with pytest.raises(SourceError, match=r"t\.csv: the option types names imya, but the columns are a"):
        extract_again(folder, {"groe": SIZE})


def test_columns_of_files_without_a_header_are_matched_by_position(folder: Folder) -> None:
    folder.write("t/1.csv", "a,1\n")
    folder.write("t/2.csv", "b,2\n")
    assert rows_of(extract_again(folder, {"column0": NAME}, header=False)) == [("a", 1), ("b", 2)]


def test_headers_that_would_share_a_name_get_different_ones_in_all_files(folder: Folder) -> None:
    folder.write("t/1.csv", "Order Date\n1\n")
    folder.write("t/2.csv", "order_date\n1\n")
    with pytest.raises(
        SourceError, match=r"t/2\.csv: the column 'order_date' would .* 'Order Date' in t/1\.csv; rename"
    ):
        folder.rows("t")
    folder.write("t/2.csv", "ORDER DATE\n2\n")
    assert folder.rows("t") == [(1,), (2,)]
