"""Detecting the dialect of a file."""

from typing import Any

import pytest

from analyst.connectors.files.formats.dialect import Dialect, detect
from analyst.connectors.files.options import CsvOptions
from analyst.errors import SourceError


def detected(content: bytes, file_format: str = "csv", *, whole: bool = True, **options: Any) -> Dialect:
    made = CsvOptions.model_validate(options)
    return detect(content, whole=whole, file_format=file_format, name="f.csv", options=made)


@pytest.mark.parametrize(
    ("content", "file_format", "delimiter"),
    [
        (b"a,b\n1,2\n", "csv", ","),
        (b"a;b\n1,5;2,5\n", "csv", ";"),
        (b"a\tb\n1\t2\n", "csv", "\t"),
        (b"a|b\n1|2\n", "csv", "|"),
        (b"a\tb\n1,5\t2\n", "tsv", "\t"),
        (b"a,b\n1,2\n", "tsv", ","),
        (b'"a;b",c\n"1;2",3\n', "csv", ","),
        (b"a,b,c\n1,2,3\n1,2\n4,5,6\n", "csv", ","),
        (b'a,b\n"x;y;z",1\n"u;v;w",2\n', "csv", ","),
        (b"a;b;c\n", "csv", ";"),
        (b"word\nhello\n", "csv", "\x1f"),
        (b"word\nhello, world\n", "csv", ","),
    ],
)
def test_the_delimiter_is_the_one_that_fits_most_rows(content: bytes, file_format: str, delimiter: str) -> None:
    assert detected(content, file_format).delimiter == delimiter


def test_a_row_that_the_sample_cuts_off_is_ignored() -> None:
    assert detected(b"a;b\n1;2\n3", whole=False).delimiter == ";"


def test_options_override_what_is_detected() -> None:
    found = detected(b"a;b|c\n1;2|3\n", delimiter="|", quote="'", escape="\\")
    assert (found.grammar.delimiter, found.grammar.quote, found.grammar.escape) == ("|", "'", "\\")
    assert found.columns == (("a_b", "a;b"), ("c", "c"))


@pytest.mark.parametrize("spelled", ["\t", "\\t", "tab"])
def test_a_tab_can_be_spelled(spelled: str) -> None:
    assert CsvOptions(delimiter=spelled).delimiter == "\t"


def test_columns_are_normalised_and_remember_their_originals() -> None:
    content = " Order Date (UTC),\u010cas,2013,\u0414\u0430\u0442\u0430,,a\n".encode()
    assert detected(content).columns == (
        ("order_date_utc", "Order Date (UTC)"),
        ("cas", "\u010cas"),
        ("_2013", "2013"),
        ("data", "\u0414\u0430\u0442\u0430"),
        ("column4", ""),
        ("a", "a"),
    )


def test_a_file_without_a_header_has_numbered_or_given_columns() -> None:
    assert detected(b"1,2\n", header=False).names == ("column0", "column1")
    assert detected(b"1,2\n", header=False, names=["A", "b c"]).columns == (("a", "A"), ("b_c", "b c"))
    with pytest.raises(SourceError, match="there are 2 values, but the option names has 1 names"):
        detected(b"1,2\n", header=False, names=["a"])


def test_empty_lines_before_the_header_are_skipped() -> None:
    assert detected(b"\r\n\r\na,b\r\n").start == 3


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (b"a\n", "utf-8-sig"),
        ("\ufeffa\n".encode(), "utf-8-sig"),
        ("a,b\n1,2\n".encode("utf-16"), "utf-16"),
        (b"\xfe\xff" + "a,b\n".encode("utf-16-be"), "utf-16"),
    ],
)
def test_utf_16_is_recognized_by_its_byte_order_mark(content: bytes, encoding: str) -> None:
    assert detected(content).encoding == encoding
    assert detected(content).names[0] == "a"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "f.csv is empty: it has no header"),
        (b"\n\r\n", "f.csv is empty: it has no header"),
        (b"id,name,ID\n", "f.csv:1: the columns 'id' and 'ID' would both be called 'id'"),
        (b"id,id\n", "f.csv:1: the columns 'id' and 'id' would both be called 'id'"),
        (b'\n"a,b\n', "f.csv:2: the header opens a quote that is never closed"),
        (b"a\xff,b\n", "f.csv:1: the header contains the byte 0xff"),
        ("a,b\n".encode("utf-16-le"), "set encoding to utf-16"),
    ],
)
def test_problems_of_a_header_are_reported(content: bytes, message: str) -> None:
    with pytest.raises(SourceError) as failure:
        detected(content)
    assert message in str(failure.value)
