"""What the options of a CSV source and of its tables change."""

from decimal import Decimal

import pytest

from analyst.errors import SourceError
from tests.unit.files.folder import Folder


@pytest.mark.parametrize("encoding", ["windows-1250", "utf-16-le", "iso8859-2", "utf-8"])
def test_an_encoding_can_be_set(folder: Folder, encoding: str) -> None:
    folder.write("t.csv", 'jm\u00e9no,b\n\u017dlu\u0165,"x\ny"\n'.encode(encoding))
    extracted = folder.extract("t", encoding=encoding)
    assert extracted.columns[0].description == "jm\u00e9no"
    assert folder.rows("t", encoding=encoding) == [("\u017dlu\u0165", "x\ny")]


def test_a_file_marked_as_utf_8_is_read_as_such_whatever_encoding_its_source_has(folder: Folder) -> None:
    folder.write("t.csv", "n\u00e1zev,b\n\u017dlu\u0165,1\n".encode("utf-8-sig"))
    assert folder.extract("t", encoding="windows-1250").columns[0].description == "n\u00e1zev"
    assert folder.rows("t", encoding="windows-1250") == [("\u017dlu\u0165", 1)]


def test_bytes_that_are_not_in_the_encoding_are_reported(folder: Folder) -> None:
    folder.write("t.csv", b"a,b\n1,2\n3,\x81\n")
    with pytest.raises(SourceError, match=r"t\.csv:3: contains the byte 0x81"):
        folder.rows("t", encoding="windows-1250")
    folder.write("u.csv", "a,b\n1,2\n".encode("utf-16") + b"\x00\xd8\x00\x00\x0a\x00")
    with pytest.raises(SourceError, match=r"u\.csv:3: "):
        folder.rows("u")


def test_nullstr_means_what_it_means_to_duckdb(folder: Folder) -> None:
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
    with pytest.raises(SourceError, match=r"t\.csv:6: column 'total_sum': '9\.5' is not a valid INTEGER"):
        folder.rows("t", types={"Total Sum": "integer"})
    extracted = folder.extract("t", types={"Total Sum": "integer"}, on_error="collect")
    assert (extracted.rejected, extracted.rejects) == (
        1,
        ("t.csv:6: column 'total_sum': '9.5' is not a valid INTEGER",),
    )
    assert folder.rows("t", types={"total_sum": "integer"}, on_error="collect") == [(7, "a\nb"), (8, "c")]


def test_a_type_for_a_missing_column_is_reported(folder: Folder) -> None:
    folder.write("t.csv", "a,b\n1,2\n")
    assert folder.types("t", types={"zip": "varchar"}) == {"a": "BIGINT", "b": "BIGINT"}
    folder.tables["t"] = {"types": {"zip": "varchar"}}
    with pytest.raises(SourceError, match=r"t\.csv: the option types names zip, but the columns are a, b"):
        folder.rows("t")


def test_options_of_a_table_override_those_of_the_source(folder: Folder) -> None:
    folder.options = {"delimiter": ";", "types": {"a": "varchar", "b": "varchar"}}
    folder.tables["t"] = {"delimiter": "|", "types": {"b": "bigint"}}
    folder.write("t.csv", "a|b\n1|2\n")
    folder.write("u.csv", "a;b\n1;2\n")
    assert folder.rows("t") == [("1", 2)]
    assert folder.rows("u") == [("1", "2")]
