"""Increments, and files that change while they are read."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from analyst.errors import SourceError
from functions.extract.csv.connector import ATTEMPTS, CsvConnector
from functions.extract.csv.places import LocalPlace, SourceFile
from tests.unit.csv.folder import Folder, rows_of

BY_CURSOR: dict[str, Any] = {"sync_strategy": "incremental", "cursor_column": "At"}
BY_BOTH = {**BY_CURSOR, "primary_key": ["Id"]}


def test_the_first_run_reads_everything_and_tells_how_far_it_reached(folder: Folder) -> None:
    folder.write("t.csv", "Id,At\n1,2024-01-02\n2,2024-01-10\n3,\n")
    extracted = folder.extract("t", **BY_BOTH)
    assert extracted.cursor == "2024-01-10"
    assert len(rows_of(extracted)) == 3


def test_later_runs_read_what_came_after(folder: Folder) -> None:
    folder.write("t.csv", "Id,At\n1,9\n2,10\n3,11\n4,\n")
    assert folder.rows("t", since="10", **BY_CURSOR) == [(3, 11)]
    assert folder.extract("t", since="10", **BY_CURSOR).cursor == "11"


def test_with_a_key_the_rows_on_the_boundary_are_read_again(folder: Folder) -> None:
    folder.write("t.csv", "Id,At\n1,9\n2,10\n3,11\n4,\n")
    assert folder.rows("t", since="10", **BY_BOTH) == [(2, 10), (3, 11), (4, None)]


def test_without_news_the_cursor_stays(folder: Folder) -> None:
    folder.write("t.csv", "Id,At\n1,2024-01-01 10:00:00\n")
    extracted = folder.extract("t", since="2024-01-01 10:00:00", **BY_CURSOR)
    assert (rows_of(extracted), extracted.cursor) == ([], "2024-01-01 10:00:00")


def test_a_key_alone_reads_everything(folder: Folder) -> None:
    folder.write("t.csv", "id,x\n1,a\n2,b\n")
    extracted = folder.extract("t", sync_strategy="incremental", primary_key="id")
    assert (rows_of(extracted), extracted.cursor) == ([(1, "a"), (2, "b")], None)


def test_types_do_not_depend_on_which_rows_are_new(folder: Folder) -> None:
    old = "".join(f"{n},1.5\n" if n == 25_000 else f"{n},1\n" for n in range(30_000))
    folder.write("t.csv", f"at,x\n{old}30000,2\n")
    options: dict[str, Any] = {"sync_strategy": "incremental", "cursor_column": "at"}
    assert folder.rows("t", since="29999", **options) == [(30_000, 2.0)]
    assert folder.extract("t", since="29999", **options).columns[1].type == "DOUBLE"


def test_an_empty_file_is_no_news(folder: Folder) -> None:
    folder.write("t.csv", "Id,At\n")
    extracted = folder.extract("t", since="5", **BY_CURSOR)
    assert (rows_of(extracted), extracted.cursor) == ([], "5")


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("id,b\n1,2\n", BY_CURSOR, "t.csv has no column 'at', which is its key or cursor; it has id, b"),
        ("at,b\n1,2\n", BY_BOTH, "t.csv has no column 'id'"),
        ("id,at\n1,9\n2,x\n", BY_CURSOR, "the cursor column 'at' holds text"),
    ],
)
def test_a_key_or_cursor_that_can_not_be_one_is_told(
    folder: Folder, content: str, options: dict[str, Any], message: str
) -> None:
    folder.write("t.csv", content)
    with pytest.raises(SourceError) as failure:
        folder.rows("t", **options)
    assert message in str(failure.value)


def test_a_text_cursor_can_be_asked_for(folder: Folder) -> None:
    folder.write("t.csv", "id,at\n1,a\n2,b\n")
    assert folder.rows("t", since="a", types={"at": "varchar"}, **BY_CURSOR) == [(2, "b")]


def test_a_cursor_that_no_longer_fits_its_column_is_told(folder: Folder) -> None:
    folder.write("t.csv", "id,at\n1,2024-01-01\n")
    with pytest.raises(SourceError, match=r"'at'.*'17'"):
        folder.rows("t", since="17", **BY_CURSOR)


def test_the_original_columns_of_keys_are_normalised(folder: Folder) -> None:
    folder.write("t.csv", "Order Id,Paid At\n1,2024-01-01\n")
    table = folder.listed(sync_strategy="incremental", primary_key="Order Id", cursor_column="Paid At")["t"]
    assert (table.primary_key, table.cursor_column, table.sync_strategy) == (("order_id",), "paid_at", "incremental")


class Restless:
    """A place whose file is replaced after each of the first few readings."""

    def __init__(self, place: LocalPlace, target: Path, contents: list[str]) -> None:
        self._place, self._target, self._contents = place, target, contents

    def files(self) -> list[SourceFile]:
        return self._place.files()

    def mark(self, file: SourceFile) -> str:
        return self._place.mark(file)

    def local(self, _file: SourceFile, scratch: Path) -> Path:
        copy = scratch / "read"
        copy.write_bytes(self._target.read_bytes())
        if self._contents:
            self._target.write_text(self._contents.pop(0))
        return copy


def restless(folder: Folder, *contents: str) -> tuple[CsvConnector, Path]:
    target = folder.write("t.csv", "a\n1\n")
    place = Restless(LocalPlace(folder.path, None, (folder.path,)), target, list(contents))
    return replace(folder.connector(), place=lambda _path, _roots: place), folder.into()


def test_a_file_that_was_replaced_while_it_was_read_is_read_again(folder: Folder) -> None:
    connector, into = restless(folder, "a\n22\n")
    (table,) = connector.tables()
    assert rows_of(connector.extract(table, None, into)) == [(22,)]


def test_a_file_that_was_malformed_only_while_it_was_written_is_read_again(folder: Folder) -> None:
    connector, into = restless(folder, "a\n22\n")
    folder.write("t.csv", 'a\n"1')
    (table,) = connector.tables()
    assert rows_of(connector.extract(table, None, into)) == [(22,)]


def test_a_file_that_never_rests_is_told(folder: Folder) -> None:
    connector, into = restless(folder, *(f"a\n{'2' * (n + 2)}\n" for n in range(ATTEMPTS)))
    (table,) = connector.tables()
    with pytest.raises(SourceError, match=r"t\.csv changed while it was read"):
        connector.extract(table, None, into)


def test_a_file_that_is_gone_is_told(folder: Folder) -> None:
    path = folder.write("t.csv", "a\n1\n")
    connector = folder.connector()
    (table,) = connector.tables()
    path.unlink()
    with pytest.raises(SourceError, match=r"t\.csv can't be read"):
        connector.extract(table, None, folder.into())
