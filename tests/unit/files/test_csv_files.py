"""CSV files through the connector: the rows that it returns."""

import time
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pytest

from analyst.errors import SourceError
from tests.unit.files.folder import Folder


def test_a_file_is_a_table_with_the_types_of_its_values(folder: Folder) -> None:
    folder.write(
        "Orders 2024.csv",
        "Id,Day,Paid At,Amount,Big,Zip,Done,Note\n"
        "1,2024-01-01,2024-01-01 10:00:00,1.5,1,007,true,x\n"
        "2,,,,12345678901234567890,123,,\n",
    )
    extracted = folder.extract("orders_2024")
    assert [(column.name, column.type, column.description) for column in extracted.columns] == [
        ("id", "BIGINT", "Id"),
        ("day", "DATE", "Day"),
        ("paid_at", "TIMESTAMP", "Paid At"),
        ("amount", "DOUBLE", "Amount"),
        ("big", "DECIMAL(38,0)", "Big"),
        ("zip", "VARCHAR", "Zip"),
        ("done", "BOOLEAN", "Done"),
        ("note", "VARCHAR", "Note"),
    ]
    assert folder.rows("orders_2024") == [
        (1, date(2024, 1, 1), datetime(2024, 1, 1, 10), 1.5, Decimal(1), "007", True, "x"),  # noqa: DTZ001
        (2, None, None, None, Decimal(12345678901234567890), "123", None, None),
    ]


def test_a_value_far_beyond_the_sample_widens_its_column(folder: Folder) -> None:
    lines = [f"{number},{number},{number},,2024-01-01" for number in range(30_000)]
    folder.write("t.csv", "\n".join(["a,b,c,d,e", *lines, "x,1.5,99999999999999999999,7,2024-01-01 10:00", ""]))
    assert folder.types("t") == {
        "a": "VARCHAR",
        "b": "DOUBLE",
        "c": "DECIMAL(38,0)",
        "d": "BIGINT",
        "e": "TIMESTAMP",
    }
    rows = folder.rows("t")
    assert len(rows) == 30_001
    assert rows[-1] == ("x", 1.5, Decimal(99999999999999999999), 7, datetime(2024, 1, 1, 10))  # noqa: DTZ001
    assert rows[29_999][0] == "29999"


@pytest.mark.parametrize(
    ("values", "type_name"),
    [
        (["1", "2.5"], "DOUBLE"),
        (["1", "2.5", "007"], "VARCHAR"),
        (["9007199254740993", "0.5"], "VARCHAR"),
        (["9007199254740992", "0.5"], "DOUBLE"),
        (["2024-01-01", "2024-01-01T10:00:00"], "TIMESTAMP"),
        (["2024-01-01T10:00:00", "2024-01-01T10:00:00Z"], "VARCHAR"),
        (["true", "1"], "VARCHAR"),
        (["NaN", "1.5"], "DOUBLE"),
        (["NaN", "inf"], "VARCHAR"),
        (["", ""], "VARCHAR"),
    ],
)
def test_mixed_values_lose_nothing(folder: Folder, values: list[str], type_name: str) -> None:
    folder.write("t.csv", "a,b\n" + "".join(f"{value},x\n" for value in values))
    assert folder.types("t")["a"] == type_name


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        (b"\xef\xbb\xbfa,b\n1,2\n", [(1, 2)]),
        (b"a,b\r\n1,2\r\n", [(1, 2)]),
        (b"a,b\r1,2\r", [(1, 2)]),
        (b"a,b\n1,2", [(1, 2)]),
        (b"\n\r\na,b\n1,2\n\n", [(1, 2)]),
        (b"a,b\r\n1,2\n3,4\r\n5,6\n", [(1, 2), (3, 4), (5, 6)]),
        (b"a;b\n1;2\n", [(1, 2)]),
        (b"a\tb\n1\t2\n", [(1, 2)]),
        (b"a|b\n1|2\n", [(1, 2)]),
        (b"a\n1\n2\n", [(1,), (2,)]),
        (b"a\nx y\n\nz\n", [("x y",), (None,), ("z",)]),
        (b'a,b\n1,"x\r\n\r\ny"\n', [(1, "x\r\n\r\ny")]),
        (b'"a\nx",b\n1,2\n', [(1, 2)]),
        (b"a,b\n1,x\x00y\n", [(1, "x\x00y")]),
        (b"a,b\n1,1,5\n", None),
        (b'a,b\n"1","1,5"\n', [(1, "1,5")]),
        ("a,b\n1,\u010d\n".encode("utf-16"), [(1, "\u010d")]),
        (b"a,b\n", []),
        (b"a,b", []),
    ],
)
def test_well_formed_files_are_read(folder: Folder, content: bytes, rows: list[tuple[Any, ...]] | None) -> None:
    folder.write("t.csv", content)
    if rows is None:
        with pytest.raises(SourceError, match=r"t\.csv:2: has 3 values where the header has 2"):
            folder.rows("t")
    else:
        assert folder.rows("t") == rows


def test_a_header_alone_is_an_empty_table_of_texts(folder: Folder) -> None:
    folder.write("t.csv", "a,b\n")
    assert folder.types("t") == {"a": "VARCHAR", "b": "VARCHAR"}


def test_an_empty_value_is_null_and_an_empty_text_is_a_text(folder: Folder) -> None:
    folder.write("t.csv", 'a,b,c\n,"",""\n1,x,2\n')
    assert folder.rows("t") == [(None, "", None), (1, "x", 2)]


def test_names_that_look_like_sql_are_only_names(folder: Folder) -> None:
    folder.write('x"; drop table "y\'.csv', '"a""; drop","b\'c"\n1,2\n')
    extracted = folder.extract("x_drop_table_y")
    assert [(column.name, column.description) for column in extracted.columns] == [
        ("a_drop", 'a"; drop'),
        ("b_c", "b'c"),
    ]
    assert folder.rows("x_drop_table_y") == [(1, 2)]


def test_names_that_look_like_globs_are_only_names(folder: Folder) -> None:
    for name in ("a[1].csv", "a1.csv", "a*.csv", "b?.csv"):
        folder.write(name, f"name\n{name}\n")
    connector = folder.connector()
    tables = {table.original: table for table in connector.tables()}
    assert set(tables) == {"a1.csv", "a[1].csv", "a*.csv", "b?.csv"}
    assert folder.rows("a") == [("a*.csv",)]
    assert folder.rows("a_1") == [("a[1].csv",)]
    assert folder.rows("a1") == [("a1.csv",)]
    assert folder.rows("b") == [("b?.csv",)]


def test_a_thousand_columns_are_read_quickly(folder: Folder) -> None:
    width = 1000
    folder.write(
        "t.csv", ",".join(f"c{n}" for n in range(width)) + "\n" + ",".join(str(n) for n in range(width)) + "\n"
    )
    began = time.process_time()
    assert folder.rows("t") == [tuple(range(width))]
    assert time.process_time() - began < 30  # about one second; it were minutes if columns had terms of their own
