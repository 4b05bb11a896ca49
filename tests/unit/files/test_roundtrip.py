"""Whatever is written as CSV comes back: as it was, or as a number or time that is equal to it."""

import csv
import io
import re
import tempfile
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyst.connectors.files.formats.csv_records import Grammar
from analyst.errors import SourceError
from tests.examples import examples
from tests.unit.files.folder import Folder, rows_of

pytestmark = pytest.mark.slow

Table = list[list[str | None]]

_looks_typed = st.one_of(
    st.integers().map(str),
    st.integers(min_value=2**52, max_value=2**54).map(str),
    st.floats().map(str),
    st.decimals(allow_nan=False, allow_infinity=False, places=3).map(str),
    st.from_regex(r"[-+]?0{0,2}[0-9]{1,20}(\.[0-9]{0,18})?([eE][-+]?[0-9]{1,3})?", fullmatch=True),
    st.dates().map(str),
    st.datetimes().map(str),
    st.datetimes().map(lambda at: at.isoformat() + "Z"),
    st.from_regex(
        r"20[0-9]{2}-[01][0-9]-[0-3][0-9][ T][0-2][0-9]:[0-6][0-9](:[0-6][0-9](\.[0-9]{1,9})?)?(Z|[+-][0-2][0-9]:?[0-5][0-9])?",
        fullmatch=True,
    ),
    st.booleans().map(str),
    st.sampled_from(
        ["true", "false", "NaN", "inf", "-0", "00", "", "null", "NA", " 1", "1 ", "1_000", "infinity", "epoch"]
    ),
)
_anything = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_text = st.one_of(_looks_typed, _anything, st.sampled_from(['"', '""', ",", "\n", "\r\n", "\r", ";", "\t", "'", "\\"]))


@st.composite
def tables(draw: st.DrawFn) -> Table:
    """Rows of a few columns; each column draws from one kind of value, or from all."""
    kinds = draw(
        st.lists(st.sampled_from([_looks_typed, _anything, _text, st.integers().map(str)]), min_size=1, max_size=4)
    )
    rows = draw(st.integers(min_value=0, max_value=8))
    return [[draw(st.one_of(st.none(), kind)) for kind in kinds] for _ in range(rows)]


def written(rows: Table, width: int, delimiter: str, end: str) -> str:
    """Write CSV by hand: missing values are empty, all others stand in quotes."""
    header = delimiter.join(f"c{index}" for index in range(width)) + end
    lines = (
        delimiter.join("" if value is None else '"' + value.replace('"', '""') + '"' for value in row) for row in rows
    )
    return header + "".join(line + end for line in lines)


def read_back(content: str) -> list[tuple[Any, ...]]:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Folder(Path(temporary) / "files", Path(temporary) / "work")
        folder.write("t.csv", content)
        return rows_of(folder.extract("t", delimiter=","))


def is_kept(text: str | None, value: object) -> bool:
    """Return whether a value is the text, or stands for it."""
    if text is None or value is None:
        return value is None and text in (None, "")
    if isinstance(value, str):
        return value == text
    if isinstance(value, bool):
        return text.lower() == str(value).lower()
    if isinstance(value, datetime):
        parsed = datetime.fromisoformat(re.sub(r"(\.[0-9]{6})0*", r"\1", text).replace("/", "-"))
        return parsed == value if value.tzinfo is None else parsed.astimezone(UTC) == value
    if isinstance(value, date):
        return text.replace("/", "-") == str(value)
    return is_same_number(text, value)


def is_same_number(text: str, value: object) -> bool:
    if isinstance(value, float) and text.lstrip("-").lower() in ("nan", "inf"):
        return str(value) == text.lower()
    try:
        parsed = Decimal(text)
    except InvalidOperation:
        return False
    if isinstance(value, float):  # the text can be had back by printing the number, in short or with as many digits
        printed = (repr(value), *(f"{value:.{digits}e}" for digits in range(17)))
        return float(text) == value and any(parsed == Decimal(one) for one in printed)
    return parsed == Decimal(str(value))


@settings(max_examples=examples(20), deadline=None)
@given(tables(), st.sampled_from(["\n", "\r\n"]))
def test_any_table_of_texts_comes_back_in_its_order(rows: Table, end: str) -> None:
    width = len(rows[0]) if rows else 2
    got = read_back(written(rows, width, ",", end))
    assert len(got) == len(rows)
    for expected, found in zip(rows, got, strict=True):
        assert all(is_kept(text, value) for text, value in zip(expected, found, strict=True)), (expected, found)


@settings(max_examples=examples(15), deadline=None)
@given(st.lists(st.lists(_text, min_size=2, max_size=2), max_size=6))
def test_csv_of_pythons_writer_round_trips(rows: list[list[str]]) -> None:
    buffer = io.StringIO()
    csv.writer(buffer).writerows([["a", "b"], *rows])
    got = read_back(buffer.getvalue())
    # an empty text is not quoted by this writer, and so is NULL
    wanted = [[value or None for value in row] for row in rows]
    assert len(got) == len(wanted)
    for expected, found in zip(wanted, got, strict=True):
        assert all(is_kept(text, value) for text, value in zip(expected, found, strict=True)), (expected, found)


_scraps = st.lists(
    st.sampled_from(["a", "1", ",", ",", '"', '""', "\n", "\n", "\r\n", "\r", " ", "x y", "\u010d"]), max_size=25
).map("".join)


@settings(max_examples=examples(25), deadline=None)
@given(_scraps, st.sampled_from(["\n", "\r\n", "\r"]), st.booleans())
def test_fragments_are_read_like_the_strict_reader_or_refused(scraps: str, end: str, collect: bool) -> None:
    content = f"h0,h1{end}{scraps}"
    records = [record for record in Grammar().records(io.StringIO(content, newline="")) if record.text][1:]
    sound = [r.values for r in records if not r.problem and len(r.values) == 2]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Folder(Path(temporary) / "files", Path(temporary) / "work")
        folder.options = {"delimiter": ",", "types": {"h0": "varchar", "h1": "varchar"}}
        folder.write("t.csv", content)
        try:
            extracted = folder.extract("t", on_error="collect" if collect else "fail")
        except SourceError:
            assert not collect
            assert len(sound) < len(records)
            return
        got = [tuple(value or "" for value in row) for row in rows_of(extracted)]
    assert got == sound
    assert extracted.rejected == len(records) - len(sound)
    assert collect or not extracted.rejected
