"""Parquet of an older system is read as one table: nothing is bent, and columns of its paths are kept."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from analyst import duckdb_files
from analyst.connectors.imported import Reading
from analyst.contract.connector import Extracted
from analyst.errors import SourceError

Read = Callable[[dict[str, str]], Extracted]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Read files that queries make, by the paths that they had; the folder has odd names in it."""
    folder, into = tmp_path / "odd=1" / "[a]*", tmp_path / "into"
    folder.mkdir(parents=True)
    into.mkdir()

    def run(files: dict[str, str]) -> Extracted:
        with duckdb_files.connect(threads=1) as con:
            reading = Reading(con, "t", folder)
            for original, query in files.items():
                path = reading.new_path()
                con.execute(f"copy ({query}) to '{path}' (format parquet)")
                reading.add(path, original)
            return reading.write(into)

    return run


def rows(extracted: Extracted) -> list[Any]:
    return duckdb.execute("from read_parquet(?)", [[str(path) for path in extracted.files]]).fetchall()


def types(extracted: Extracted) -> dict[str, str]:
    return {column.name: column.type for column in extracted.columns}


def test_rows_come_in_the_order_of_the_files(read: Read) -> None:
    found = read({f"{number}.parquet": f"select {9 - number} as n, 'x' as t from range(2)" for number in range(3)})
    assert rows(found) == [(9, "x"), (9, "x"), (8, "x"), (8, "x"), (7, "x"), (7, "x")]


def test_columns_are_matched_by_name_and_get_names_that_all_readers_accept(read: Read) -> None:
    found = read({"a": 'select 1 as "Order ID", \'x\' as "Čas"', "b": 'select 2 as "order id", true as "is-new"'})
    assert rows(found) == [(1, "x", None), (2, None, True)]
    assert {column.name: column.description for column in found.columns} == {
        "order_id": "Order ID",
        "cas": "Čas",
        "is_new": "is-new",
    }


def test_types_become_portable(read: Read) -> None:
    found = read({"a": "select 1::utinyint as a, uuid() as b, timestamp_ns '2025-01-01 00:00:00.5' as c, 1.5 as d"})
    assert types(found) == {"a": "SMALLINT", "b": "VARCHAR", "c": "TIMESTAMP", "d": "DECIMAL(2,1)"}


def test_a_folder_that_names_a_column_becomes_one(read: Read) -> None:
    found = read({"month=2025-01/data.parquet": "select 1 as n", "month=007%20x/data.parquet": "select 2 as n"})
    assert rows(found) == [(1, "2025-01"), (2, "007 x")]


def test_a_column_of_the_file_overrides_one_of_its_path(read: Read) -> None:
    found = read(
        {"Day=1/a": "select date '2025-01-01' as day, 1 as n", "Day=2/b": "select date '2025-01-02' as day, 2 as n"}
    )
    assert types(found) == {"day": "DATE", "n": "INTEGER"}


def test_a_column_of_several_types_gets_a_type_that_fits_all(read: Read) -> None:
    found = read({"a": "select 1::bigint as n", "b": "select 1.5::double as n", "c": "select 2::bigint as n"})
    assert rows(found) == [(1.0,), (1.5,), (2.0,)]


REFUSED = {
    "the column 'n' can't be read: it is BIGINT in 'c', and 9007199254740993 does not fit DOUBLE": {
        "a": "select 1::bigint as n",
        "b": "select 1.5::double as n",
        "c": "select 9007199254740993 as n",
    },
    "would both be called 'a_b'": {"a": 'select 1 as "a b", 2 as "a-b"'},
    "2025-01-01 00:00:00 does not fit TIMESTAMP WITH TIME ZONE": {
        "a": "select timestamp '2025-01-01' as n",
        "b": "select timestamptz '2025-01-01 00:00:00+02' as n",
    },
    "does not fit STRUCT": {"a": "select 1 as n", "b": "select {'a': 1} as n"},
    "Hive partition mismatch": {"month=1/a": "select 1 as n", "b": "select 2 as n"},
}


@pytest.mark.parametrize("reason", REFUSED)
def test_files_that_do_not_form_one_table_are_refused(read: Read, reason: str) -> None:
    with pytest.raises(SourceError, match=reason.replace("(", r"\(")) as raised:
        read(REFUSED[reason])
    assert "odd=1" not in str(raised.value)


def test_a_file_that_is_not_parquet_is_named(tmp_path: Path) -> None:
    with duckdb_files.connect() as con:
        reading = Reading(con, "t", tmp_path)
        path = reading.new_path()
        path.write_bytes(b"PAR1 but no more")
        with pytest.raises(SourceError, match=r"^2025/a.parquet is truncated: it does not end with PAR1") as raised:
            reading.add(path, "2025/a.parquet")
    assert str(tmp_path) not in str(raised.value)
