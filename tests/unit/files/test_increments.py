"""Increments, and files that change while they are read."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest
from pydantic import ValidationError

from analyst.connectors.files.connector import ATTEMPTS, CsvConnector
from analyst.connectors.files.places.local import LocalPlace, SourceFile
from analyst.errors import SourceError
from tests.bucket_contents import connected
from tests.unit.files.folder import Folder, rows_of

BY_CURSOR: dict[str, Any] = {"sync_strategy": "incremental", "cursor_column": "At"}
BY_BOTH = {**BY_CURSOR, "primary_key": ["Id"]}


def test_the_first_run_reads_everything_and_reports_its_cursor(folder: Folder) -> None:
    folder.write("t.csv", "Id,At\n1,2024-01-02\n2,2024-01-10\n3,\n")
    extracted = folder.extract("t", **BY_BOTH)
    assert extracted.cursor == "2024-01-10"
    assert len(rows_of(extracted)) == 3


@pytest.mark.parametrize("options", [BY_CURSOR, BY_BOTH])
def test_later_runs_read_rows_from_the_cursor_on_and_count_the_rest(folder: Folder, options: dict[str, Any]) -> None:
    folder.write("t.csv", "Id,At\n1,8\n1,9\n2,10\n3,11\n4,\n")
    extracted = folder.extract("t", since="10", **options)
    assert rows_of(extracted) == [(2, 10), (3, 11), (4, None)]
    assert (extracted.cursor, extracted.passed_over, extracted.is_whole) == ("11", 2, False)
    assert folder.extract("t", **options).passed_over == 0


AT = 'select * from (values (1, {}), (2, {}), (3, {}), (4, null)) t(id, "at")'


@pytest.mark.parametrize(
    ("kind", "values", "since", "lag", "expected"),
    [
        ("bigint", ["10", "11", "12"], "10.5", None, [1, 2, 3, 4]),
        ("bigint", ["9", "11", "12"], "10.5", None, [2, 3, 4]),
        ("tinyint", ["9", "10", "11"], "1000", None, [4]),
        ("tinyint", ["9", "10", "11"], "-1000", None, [1, 2, 3, 4]),
        ("decimal(10,1)", ["10.3", "10.4", "10.5"], "10.44", None, [2, 3, 4]),
        ("double", ["'nan'", "'-inf'", "2.5"], "2.5", None, [1, 2, 3, 4]),
        ("double", ["0.1", "0.2", "0.3"], "0.3", None, [3, 4]),
        ("float", ["0.1", "0.2", "0.7"], "0.7", None, [3, 4]),
        ("double", ["1", "2", "3"], "3", "1", [2, 3, 4]),
        ("bigint", ["9223372036854775806", "9223372036854775807", "1"], "9223372036854775807", None, [2, 4]),
        ("date", ["'2024-01-01'", "'2024-01-02'", "'2024-01-05'"], "2024-01-01 10:00:00", None, [2, 3, 4]),
        ("date", ["'2024-01-01'", "'2024-01-09'", "'2024-01-10'"], "2024-01-10", "1d", [2, 3, 4]),
        ("timestamp", ["'2024-01-01 09:00'", "'2024-01-01 10:00'", "'2024-01-02'"], "2024-01-02", "14h", [2, 3, 4]),
        ("timestamptz", ["'2024-01-01 09:00:00+00'", "'2024-01-01 11:00:00+00'", "'2024-01-03 00:00:00+00'"], "2024-01-01 10:00:00+00", None, [2, 3, 4]),
        ("timestamptz", ["'2024-01-01 09:00:00+00'", "'2024-01-01 11:00:00+00'", "'2024-01-01 08:45:00+00'"], "2024-01-01 10:00:00+00", "90m", [1, 2, 3, 4]),
    ],
)  # fmt: skip
def test_a_cursor_of_any_type_of_parquet_is_compared_without_rounding(  # noqa: PLR0917
    folder: Folder, kind: str, values: list[str], since: str, lag: str | None, expected: list[int]
) -> None:
    with connected() as con:
        typed = AT.format(*(f"cast({value} as {kind})" for value in values))
        con.execute(f"copy ({typed}) to '{folder.path / 't.parquet'}' (format parquet)")
    extracted = folder.extract("t", since=since, cursor_lag=lag, **BY_CURSOR)
    ids = duckdb.sql(f"select id from read_parquet('{extracted.files[0]}')").fetchall()
    assert [id_ for (id_,) in ids] == expected


@pytest.mark.parametrize(
    ("content", "reached"),
    [
        ("1,nan\n2,5\n", "5.0"),
        ("1,inf\n2,5.5\n3,-inf\n", "5.5"),
        ("1,nan\n", None),
        ("1,2024-01-01\n", "2024-01-01"),
    ],
)
def test_values_without_a_place_in_the_order_do_not_become_the_cursor(
    folder: Folder, content: str, reached: str | None
) -> None:
    folder.write("t.csv", f"id,at\n{content}")
    options: dict[str, Any] = {"types": {"at": "double"}} if "nan" in content else {}
    assert folder.extract("t", **BY_CURSOR, **options).cursor == reached


def test_json_lines_can_be_incremental(folder: Folder) -> None:
    folder.write("t.jsonl", '{"id": 1, "at": 1}\n{"id": 2, "at": 2.5}\n{"id": 3, "at": null}\n')
    extracted = folder.extract("t", since="2", **BY_CURSOR)
    assert (rows_of(extracted), extracted.cursor) == ([(2, 2.5), (3, None)], "2.5")


@pytest.mark.parametrize(
    ("lag", "message"),
    [
        ("5 apples", "is not a valid lag"),
        ("-1", "is not a valid lag"),
        ("1e9", "is not a valid lag"),
        (True, "valid string"),
    ],
)
def test_a_lag_is_a_number_or_a_time(folder: Folder, lag: object, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        folder.connector(cursor_lag=lag)


@pytest.mark.parametrize(("lag", "at"), [("3d", "5"), ("3", "2024-01-01")])
def test_a_lag_that_does_not_fit_the_cursor_is_reported(folder: Folder, lag: str, at: str) -> None:
    folder.write("t.csv", f"id,at\n1,{at}\n")
    with pytest.raises(SourceError, match=f"cursor_lag is '{lag}'"):
        folder.rows("t", cursor_lag=lag, **BY_CURSOR)


def test_without_new_rows_the_cursor_stays(folder: Folder) -> None:
    folder.write("t.csv", "Id,At\n1,2024-01-01 10:00:00\n")
    extracted = folder.extract("t", since="2024-01-01 10:00:00", **BY_CURSOR)
    assert (len(rows_of(extracted)), extracted.cursor) == (1, "2024-01-01 10:00:00")


def test_a_key_alone_reads_everything(folder: Folder) -> None:
    folder.write("t.csv", "id,x\n1,a\n2,b\n")
    extracted = folder.extract("t", sync_strategy="incremental", primary_key="id")
    assert (rows_of(extracted), extracted.cursor) == ([(1, "a"), (2, "b")], None)


def test_types_do_not_depend_on_which_rows_are_new(folder: Folder) -> None:
    old = "".join(f"{n},1.5\n" if n == 25_000 else f"{n},1\n" for n in range(30_000))
    folder.write("t.csv", f"at,x\n{old}30000,2\n")
    options: dict[str, Any] = {"sync_strategy": "incremental", "cursor_column": "at"}
    assert folder.rows("t", since="30000", **options) == [(30_000, 2.0)]
    assert folder.extract("t", since="29999", **options).columns[1].type == "DOUBLE"


def test_an_empty_file_does_not_move_the_cursor(folder: Folder) -> None:
    folder.write("t.csv", "Id,At\n")
    extracted = folder.extract("t", since="5", **BY_CURSOR)
    assert (rows_of(extracted), extracted.cursor) == ([], "5")


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (
            "id,b\n1,2\n",
            BY_CURSOR,
            "t.csv has no column 'at', which is configured as its key or cursor; its columns are id, b",
        ),
        ("at,b\n1,2\n", BY_BOTH, "t.csv has no column 'id'"),
        ("id,at\n1,9\n2,x\n", BY_CURSOR, "the cursor column 'at' contains text"),
    ],
)
def test_an_impossible_key_or_cursor_is_reported(
    folder: Folder, content: str, options: dict[str, Any], message: str
) -> None:
    folder.write("t.csv", content)
    with pytest.raises(SourceError) as failure:
        folder.rows("t", **options)
    assert message in str(failure.value)


def test_a_text_cursor_can_be_requested(folder: Folder) -> None:
    folder.write("t.csv", "id,at\n1,a\n2,b\n")
    assert folder.rows("t", since="b", types={"at": "varchar"}, **BY_CURSOR) == [(2, "b")]


@pytest.mark.parametrize(("at", "since"), [("2024-01-01", "17"), ("17", "2024-01-01"), ("17", "x"), ("17", "nan")])
def test_a_cursor_that_can_no_longer_be_compared_causes_a_full_read(folder: Folder, at: str, since: str) -> None:
    folder.write("t.csv", f"id,at\n1,{at}\n")
    extracted = folder.extract("t", since=since, **BY_CURSOR)
    assert (len(rows_of(extracted)), extracted.cursor, extracted.is_whole) == (1, at, True)


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


def test_a_file_that_keeps_changing_is_reported(folder: Folder) -> None:
    connector, into = restless(folder, *(f"a\n{'2' * (n + 2)}\n" for n in range(ATTEMPTS)))
    (table,) = connector.tables()
    with pytest.raises(SourceError, match=r"changed during each of 3 attempts"):
        connector.extract(table, None, into)


def test_a_missing_file_is_reported(folder: Folder) -> None:
    path = folder.write("t.csv", "a\n1\n")
    connector = folder.connector()
    (table,) = connector.tables()
    path.unlink()
    with pytest.raises(SourceError, match=r"'t\.csv' can't be read"):
        connector.extract(table, None, folder.into())
