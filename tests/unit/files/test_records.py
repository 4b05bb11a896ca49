"""The strict reader of CSV records: what it accepts, and its messages about the rest."""

import io

import pytest

from analyst.connectors.files.formats.csv_records import SET_ENCODING, TOO_LONG, TWO_READINGS, Grammar, Record


def read(content: bytes, grammar: Grammar | None = None) -> list[Record]:
    text = io.TextIOWrapper(io.BytesIO(content), "utf-8-sig", errors="surrogateescape", newline="")
    return list((grammar or Grammar()).records(text))


def parsed(content: bytes, grammar: Grammar | None = None) -> list[tuple[int, tuple[str, ...] | str]]:
    """Line and values of each record, or what is wrong with it."""
    return [(record.line, record.problem or record.values) for record in read(content, grammar)]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", []),
        (b"a,b\n1,2\n", [(1, ("a", "b")), (2, ("1", "2"))]),
        (b"a,b\r\n1,2", [(1, ("a", "b")), (2, ("1", "2"))]),
        (b"a,b\r1,2\r", [(1, ("a", "b")), (2, ("1", "2"))]),
        (b"a\r\nb\nc\r\n", [(1, ("a",)), (2, ("b",)), (3, ("c",))]),
        (b"\xef\xbb\xbfa\n", [(1, ("a",))]),
        (b"a\n\nb\n", [(1, ("a",)), (2, ("",)), (3, ("b",))]),
        (b"1,\n,2\n,\n", [(1, ("1", "")), (2, ("", "2")), (3, ("", ""))]),
        (b'"a ""q""",b\n"",\n,""\n', [(1, ('a "q"', "b")), (2, ("", "")), (3, ("", ""))]),
        (b'1,"x\r\n\r\ny"\r\n3,4\r\n', [(1, ("1", "x\r\n\r\ny")), (4, ("3", "4"))]),
        (b'1,"a,b"\n', [(1, ("1", "a,b"))]),
        (b'1,x"y"z\n', [(1, ("1", 'x"y"z'))]),
        (b'1,12" nails\n', [(1, ("1", '12" nails'))]),
        (b'12" x 3",2\n', [(1, ('12" x 3"', "2"))]),
        (b'12",2\n', [(1, ('12"', "2"))]),
        (b'12" x,"a, b",c\n', [(1, ('12" x', "a, b", "c"))]),
        (b' 1 , "x" ,y\n', [(1, (" 1 ", "x", "y"))]),
        (b'"p\rq"\n2\n', [(1, ("p\rq",)), (2, ("2",))]),
        (b"a\x00b\n", [(1, ("a\x00b",))]),
    ],
)
def test_records_are_read_as_rfc_4180_defines_them(content: bytes, expected: list[tuple[int, tuple[str, ...]]]) -> None:
    assert parsed(content) == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'1,"2\n3,4\n', [(1, "opens a quote that is never closed"), (2, ("3", "4"))]),
        (b'1,$64"Linen, Slim",x\n3,4\n', [(1, TWO_READINGS), (2, ("3", "4"))]),
        (b'1,12",3"\n3,4\n', [(1, TWO_READINGS), (2, ("3", "4"))]),
        (b'1,"2"x\n3,4\n', [(1, "has text after a closing quote"), (2, ("3", "4"))]),
        (b'"1\n2"x\n3\n', [(1, "has text after a closing quote"), (2, ('2"x',)), (3, ("3",))]),
        (
            b"1,\xff\n3,4\n",
            [(1, f"contains the byte 0xff, which is not valid in the encoding; {SET_ENCODING}"), (2, ("3", "4"))],
        ),
        (
            b'1,"a\n\xfe"\n3,4\n',
            [(1, f"contains the byte 0xfe, which is not valid in the encoding; {SET_ENCODING}"), (3, ("3", "4"))],
        ),
    ],
)
def test_a_malformed_record_loses_only_the_line_on_which_it_begins(
    content: bytes, expected: list[tuple[int, object]]
) -> None:
    assert parsed(content) == expected


def test_the_text_of_a_record_is_kept_unchanged() -> None:
    assert [record.text for record in read(b'"a""b", "c" \r\n"x\r\ny",1\n')] == ['"a""b", "c" ', '"x\r\ny",1']


def test_the_escape_and_the_quote_can_be_changed_or_disabled() -> None:
    assert parsed(b'"a\\"b","c\\\\"\n', Grammar(escape="\\")) == [(1, ('a"b', "c\\"))]
    assert parsed(b'"a,b"\n', Grammar(quote="")) == [(1, ('"a', 'b"'))]


def test_options_decide_about_ambiguous_records() -> None:
    assert parsed(b'1,$64"Linen, Slim",x\n', Grammar(literal=True)) == [(1, ("1", '$64"Linen', ' Slim"', "x"))]


def test_lines_that_are_not_data_are_skipped_and_counted() -> None:
    content = b'a title\n"open\n#c\n1,2\n# "x\n3,"#4\n#5"\n'
    assert parsed(content, Grammar(skip=2, comment="#")) == [(4, ("1", "2")), (6, ("3", "#4\n#5"))]


def test_a_delimiter_may_be_of_several_characters() -> None:
    assert parsed(b'a, "b, c", d,e\n', Grammar(", ")) == [(1, ("a", "b, c", "d,e"))]


def test_a_record_that_is_too_long_is_skipped() -> None:
    content = b"a\n" + b"x" * 1000 + b"\nb\n" + "\u010d".encode() * 60 + b"\n" + b'"' + b"y\n" * 100 + b"c\n"
    found = parsed(content, Grammar(limit=100))
    assert found[:5] == [
        (1, ("a",)),
        (2, TOO_LONG),
        (3, ("b",)),
        (4, TOO_LONG),
        (5, "opens a quote that is never closed"),
    ]
    assert found[-1] == (105, ("c",))
