"""CSV files through the connector: what comes back, and what is said of those that can't be read."""

import gzip
import time
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pytest
from backports import zstd

from analyst.errors import SourceError
from tests.unit.csv.folder import Folder


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
def test_what_is_well_formed_is_read(folder: Folder, content: bytes, rows: list[tuple[Any, ...]] | None) -> None:
    folder.write("t.csv", content)
    if rows is None:
        with pytest.raises(SourceError, match=r"t\.csv:2: has 3 values where the header has 2"):
            folder.rows("t")
    else:
        assert folder.rows("t") == rows


def test_a_header_alone_is_an_empty_table_of_texts(folder: Folder) -> None:
    folder.write("t.csv", "a,b\n")
    assert folder.types("t") == {"a": "VARCHAR", "b": "VARCHAR"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "t.csv is empty"),
        (b"id,Id\n1,2\n", "t.csv:1: the columns 'id' and 'Id' would both be called 'id'"),
        (b"a,b\n1,2\n3\n", "t.csv:3: has 1 value where the header has 2"),
        (b"a,b\n1,2\n3,4,5\n", "t.csv:3: has 3 values where the header has 2"),
        (b'a,b\n1,"2\n\n3"\n4\n', "t.csv:5: has 1 value where the header has 2"),
        (b'a,b\n1,2\n3,"4\n5,6\n', "t.csv:3: opens a quote that is never closed"),
        (b'a,b\n1,2\n3,"4"x\n', "t.csv:3: has text after a closing quote"),
        (b"a,b\n1,2\n3,\xff\n", "t.csv:3: holds the byte 0xff, which is not in the encoding"),
        (b"a,b\r\n1,2\n3\r\n", "t.csv:3: has 1 value where the header has 2"),
        (b"\n\na,b\n1\n", "t.csv:4: has 1 value where the header has 2"),
        (b"PAR1 and so on PAR1", "t.csv is not what its name says: it holds parquet"),
        (gzip.compress(b"a,b\n1,2\n", mtime=0), "t.csv is not what its name says: it holds gzip data"),
        (zstd.compress(b"a,b\n1,2\n"), "t.csv is not what its name says: it holds zstd data"),
    ],
)
def test_what_is_malformed_is_told_by_file_line_and_reason(folder: Folder, content: bytes, message: str) -> None:
    folder.write("t.csv", content)
    folder.write("other.csv", "a\n1\n")
    with pytest.raises(SourceError) as failure:
        folder.rows("t")
    assert message in str(failure.value)
    assert folder.rows("other") == [(1,)]


def test_a_malformed_row_far_beyond_the_sample_has_its_own_line(folder: Folder) -> None:
    folder.write("t.csv", "a,b\n" + '1,"x\ny"\n' * 50_000 + "3\n")
    with pytest.raises(SourceError, match=r"t\.csv:100002: has 1 value"):
        folder.rows("t")


def test_malformed_rows_are_set_aside_and_counted(folder: Folder) -> None:
    bad = [b"3", b"4,5,6", b'7,"8"x', b"9,\xff", b'"un,12']
    good = [b"1,2", b"10,11", b'12,"x\ny"', b"13,14"]
    folder.write("t.csv", b"\n".join([b"a,b", good[0], *bad[:4], good[1], good[2], bad[4], good[3], b""]))
    extracted = folder.extract("t", on_error="collect")
    assert extracted.rejected == 5
    assert extracted.rejects == (
        "t.csv:3: has 1 value where the header has 2",
        "t.csv:4: has 3 values where the header has 2",
        "t.csv:5: has text after a closing quote",
        "t.csv:6: holds the byte 0xff, which is not in the encoding",
        "t.csv:10: opens a quote that is never closed",
    )
    assert folder.rows("t", on_error="collect") == [(1, "2"), (10, "11"), (12, "x\ny"), (13, "14")]


def test_nothing_is_set_aside_of_a_sound_file(folder: Folder) -> None:
    folder.write("t.csv", "a,b\n1,2\n")
    assert folder.extract("t", on_error="collect").rejected == 0


def test_a_very_long_line_is_refused_in_little_memory(folder: Folder) -> None:
    folder.write("t.csv", b"a,b\n1,2\n" + b"x" * 100_000_000 + b",3\n4,5\n")
    with pytest.raises(SourceError, match=r"t\.csv:3: is longer than 8 MiB"):
        folder.rows("t")
    folder.write("u.csv", b"x" * 100_000_000)
    with pytest.raises(SourceError, match=r"u\.csv:1: is longer than 8 MiB"):
        folder.rows("u")


def test_a_long_line_that_is_allowed_is_read(folder: Folder) -> None:
    folder.write("t.csv", b"a,b\n1,2\n" + b"x" * 7_000_000 + b",3\n4,5\n" + b"y" * 7_000_000 + b",6\n")
    assert [len(str(row[0])) for row in folder.rows("t")] == [1, 7_000_000, 1, 7_000_000]


@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_a_compressed_file_is_read_and_a_broken_one_is_told(folder: Folder, suffix: str) -> None:
    rows = "".join(f"{number},x{number}\n" for number in range(50_000))
    compress = gzip.compress if suffix == "gz" else zstd.compress
    whole = compress(f"a,b\n{rows}".encode())
    folder.write(f"t.csv.{suffix}", whole)
    assert len(folder.rows("t")) == 50_000
    for cut in (1, 8, len(whole) // 2):
        folder.write(f"t.csv.{suffix}", whole[:-cut])
        with pytest.raises(SourceError, match=r"t\.csv\.\w+ is cut off"):
            folder.rows("t", on_error="collect")
    folder.write(f"t.csv.{suffix}", b"a,b\n1,2\n")
    with pytest.raises(SourceError, match=r"is not what its name says"):
        folder.rows("t")


def test_damage_within_a_compressed_file_is_told(folder: Folder) -> None:
    whole = bytearray(gzip.compress(b"a,b\n" + b"1,2\n" * 1000))
    whole[-6] ^= 1
    folder.write("t.csv.gz", bytes(whole))
    with pytest.raises(SourceError, match=r"t\.csv\.gz is broken"):
        folder.rows("t")


@pytest.mark.parametrize("encoding", ["windows-1250", "utf-16-le", "iso8859-2", "utf-8"])
def test_an_encoding_can_be_set(folder: Folder, encoding: str) -> None:
    folder.write("t.csv", 'jm\u00e9no,b\n\u017dlu\u0165,"x\ny"\n'.encode(encoding))
    extracted = folder.extract("t", encoding=encoding)
    assert extracted.columns[0].description == "jm\u00e9no"
    assert folder.rows("t", encoding=encoding) == [("\u017dlu\u0165", "x\ny")]


def test_bytes_that_are_not_in_the_encoding_are_told(folder: Folder) -> None:
    folder.write("t.csv", b"a,b\n1,2\n3,\x81\n")
    with pytest.raises(SourceError, match=r"t\.csv:3: holds the byte 0x81"):
        folder.rows("t", encoding="windows-1250")
    folder.write("u.csv", "a,b\n1,2\n".encode("utf-16") + b"\x00\xd8\x00\x00\x0a\x00")
    with pytest.raises(SourceError, match=r"u\.csv:3: "):
        folder.rows("u")


def test_an_empty_value_is_null_and_an_empty_text_is_a_text(folder: Folder) -> None:
    folder.write("t.csv", 'a,b,c\n,"",""\n1,x,2\n')
    assert folder.rows("t") == [(None, "", None), (1, "x", 2)]


def test_nullstr_is_duckdbs(folder: Folder) -> None:
    folder.write("t.csv", 'a,b,c\nNA,"NA",\n1,x,y\n')
    assert folder.rows("t", nullstr="NA") == [(None, None, ""), (1, "x", "y")]
    assert folder.rows("t", nullstr=["NA", ""]) == [(None, None, None), (1, "x", "y")]
    assert folder.rows("t") == [("NA", "NA", None), ("1", "x", "y")]


def test_decimal_commas_are_text_unless_they_are_configured(folder: Folder) -> None:
    folder.write("t.csv", "a;b\n1,5;x\n2,25;y\n")
    assert folder.types("t")["a"] == "VARCHAR"
    assert folder.rows("t", decimal_separator=",") == [(1.5, "x"), (2.25, "y")]
    assert folder.rows("t", decimal_separator=",", types={"a": "decimal(9,2)"}) == [
        (Decimal("1.50"), "x"),
        (Decimal("2.25"), "y"),
    ]


def test_configured_types_are_enforced(folder: Folder) -> None:
    folder.write("t.csv", 'Total Sum,note\n007,"a\nb"\n8,c\n\n9.5,d\n')
    assert folder.rows("t", types={"total_sum": "double"})[0] == (7.0, "a\nb")
    with pytest.raises(SourceError, match=r"t\.csv:6: column 'total_sum': '9\.5' is no INTEGER"):
        folder.rows("t", types={"Total Sum": "integer"})
    extracted = folder.extract("t", types={"Total Sum": "integer"}, on_error="collect")
    assert (extracted.rejected, extracted.rejects) == (1, ("t.csv:6: column 'total_sum': '9.5' is no INTEGER",))
    assert folder.rows("t", types={"total_sum": "integer"}, on_error="collect") == [(7, "a\nb"), (8, "c")]


def test_a_type_for_a_column_that_is_not_there_is_told(folder: Folder) -> None:
    folder.write("t.csv", "a,b\n1,2\n")
    assert folder.types("t", types={"zip": "varchar"}) == {"a": "BIGINT", "b": "BIGINT"}
    folder.tables["t"] = {"types": {"zip": "varchar"}}
    with pytest.raises(SourceError, match=r"t\.csv: a type is set for zip, but the columns are a, b"):
        folder.rows("t")


def test_options_of_a_table_go_before_those_of_the_source(folder: Folder) -> None:
    folder.options = {"delimiter": ";", "types": {"a": "varchar", "b": "varchar"}}
    folder.tables["t"] = {"delimiter": "|", "types": {"b": "bigint"}}
    folder.write("t.csv", "a|b\n1|2\n")
    folder.write("u.csv", "a;b\n1;2\n")
    assert folder.rows("t") == [("1", 2)]
    assert folder.rows("u") == [("1", "2")]


def test_names_that_would_be_sql_are_only_names(folder: Folder) -> None:
    folder.write('x"; drop table "y\'.csv', '"a""; drop","b\'c"\n1,2\n')
    extracted = folder.extract("x_drop_table_y")
    assert [(column.name, column.description) for column in extracted.columns] == [
        ("a_drop", 'a"; drop'),
        ("b_c", "b'c"),
    ]
    assert folder.rows("x_drop_table_y") == [(1, 2)]


def test_names_that_would_be_globs_are_only_names(folder: Folder) -> None:
    for name in ("a[1].csv", "a1.csv", "a*.csv", "b?.csv"):
        folder.write(name, f"name\n{name}\n")
    connector = folder.connector()
    tables = {table.original: table for table in connector.tables()}
    assert set(tables) == {"a1.csv", "a[1].csv", "a*.csv", "b?.csv"}
    assert folder.rows("a") == [("a*.csv",)]
    assert folder.rows("a_1") == [("a[1].csv",)]
    assert folder.rows("a1") == [("a1.csv",)]
    assert folder.rows("b") == [("b?.csv",)]


def test_many_columns_are_no_matter(folder: Folder) -> None:
    width = 1000
    folder.write(
        "t.csv", ",".join(f"c{n}" for n in range(width)) + "\n" + ",".join(str(n) for n in range(width)) + "\n"
    )
    began = time.process_time()
    assert folder.rows("t") == [tuple(range(width))]
    assert time.process_time() - began < 30  # about one second; it were minutes if columns had terms of their own
