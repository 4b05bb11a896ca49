"""Which texts become which type, and that nothing is lost on the way."""

import json
import math
import re
from datetime import datetime
from itertools import product

import duckdb
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from analyst.connectors.files.columns import casts
from analyst.connectors.files.columns.casts import Cast
from analyst.errors import InvalidInputError
from tests.bucket_contents import connected
from tests.examples import examples


def guessed(text: str, decimal_separator: str = ".") -> tuple[str, str]:
    """The first type that holds a text, and what it becomes."""
    with connected() as con:
        for cast in casts.candidates(decimal_separator):
            row = con.execute(
                f"select bool_and({cast.fits_of('c')}) and bool_or({cast.some_of('c')}), cast(max({cast.value_of('c')}) as varchar) from (select ?::varchar as c)",
                [text],
            ).fetchone()
            assert row is not None
            if row[0]:
                return cast.type, row[1]
    raise AssertionError("VARCHAR takes everything")


@pytest.mark.parametrize(
    ("text", "type_name", "value"),
    [
        ("true", "BOOLEAN", "true"),
        ("False", "BOOLEAN", "false"),
        ("0", "BIGINT", "0"),
        ("-12", "BIGINT", "-12"),
        ("9223372036854775807", "BIGINT", "9223372036854775807"),
        ("9223372036854775808", "DECIMAL(38,0)", "9223372036854775808"),
        ("-99999999999999999999999999999999999999", "DECIMAL(38,0)", "-99999999999999999999999999999999999999"),
        ("5.7", "DOUBLE", "5.7"),
        ("1.50", "DOUBLE", "1.5"),
        (".5", "DOUBLE", "0.5"),
        ("-0", "DOUBLE", "-0.0"),
        ("1e3", "DOUBLE", "1000.0"),
        ("1.5E-05", "DOUBLE", "1.5e-05"),
        ("45.927778000000004", "DOUBLE", "45.927778"),
        ("10.357019999999999", "DOUBLE", "10.357019999999999"),
        ("5e-324", "DOUBLE", "5e-324"),
        ("2013-02-28", "DATE", "2013-02-28"),
        ("2013/02/28", "DATE", "2013-02-28"),
        ("2013-02-28 10:00:00", "TIMESTAMP", "2013-02-28 10:00:00"),
        ("2013-02-28T10:00", "TIMESTAMP", "2013-02-28 10:00:00"),
        ("2013-02-28 10:00:00.1234560", "TIMESTAMP", "2013-02-28 10:00:00.123456"),
        ("2013-02-28T10:00:00Z", "TIMESTAMP WITH TIME ZONE", "2013-02-28 10:00:00+00"),
        ("2013-02-28 10:00:00.5+02:00", "TIMESTAMP WITH TIME ZONE", "2013-02-28 08:00:00.5+00"),
        ("2013-02-28T10:00:00-0530", "TIMESTAMP WITH TIME ZONE", "2013-02-28 15:30:00+00"),
    ],
)
def test_a_text_becomes_the_narrowest_type_that_represents_it(text: str, type_name: str, value: str) -> None:
    assert guessed(text) == (type_name, value)


@pytest.mark.parametrize(
    "text",
    [
        "007",  # an id
        "00.5",
        "+5",  # a telephone number may begin so
        " 5",
        "5 ",
        "1_000",
        "1,000",
        "0x1f",
        "12e4",  # an id in hexadecimal digits may look so; nothing prints numbers that way
        "100000000000000000000000000000000000000",  # 39 digits
        "0.1234567890123456789",
        "12345678901234567.5",
        "1e400",
        "1e-400",
        "nan",  # a name, unless numbers stand beside it
        "Infinity",
        "t",
        "yes",
        "2013-02-30",
        "2013-2-1",
        "01.02.2013",
        "infinity",
        "epoch",
        "0000-01-01",
        "0044-03-15 (BC)",
        "12013-02-01",
        "2013-02-28 24:00:00",
        "2013-02-28 23:59:60",
        "2013-02-28 10:00:00.1234567",
        "2013-02-28T10:00:00 Europe/Prague",
        "10:00:00",
        "\u0663",
        "5\x00",
    ],
)
def test_a_text_that_a_cast_would_change_stays_text(text: str) -> None:
    assert guessed(text) == ("VARCHAR", text)


@pytest.mark.parametrize(
    ("text", "type_name"), [("1,5", "DOUBLE"), ("1.5", "VARCHAR"), ("1.234,5", "VARCHAR"), ("7", "BIGINT")]
)
def test_decimal_commas_are_numbers_where_they_are_configured(text: str, type_name: str) -> None:
    assert guessed(text, ",")[0] == type_name


def configured(type_name: str, text: str, decimal_separator: str = ".") -> str | None:
    cast = casts.configured(type_name, decimal_separator)
    with connected() as con:
        row = con.execute(
            f"select cast({cast.checked('c', 'misfit')} as varchar) from (select ?::varchar as c)", [text]
        ).fetchone()
    assert row is not None
    value: str | None = row[0]
    return value


@pytest.mark.parametrize(
    ("type_name", "text", "value"),
    [
        ("integer", "007", "7"),
        ("BIGINT", " +5.00 ", "5"),
        ("HUGEINT", "12345678901234567890", "12345678901234567890"),
        ("decimal(10, 2)", "1.50", "1.50"),
        ("DECIMAL(10,2)", "1.5000", "1.50"),
        ("double", "1e3", "1000.0"),
        ("DOUBLE", "NaN", "nan"),
        ("float", "1.5", "1.5"),
        ("boolean", "yes", "true"),
        ("date", "2013-2-1", "2013-02-01"),
        ("date", "2013-02-01 00:00:00", "2013-02-01"),
        ("timestamp", "2013-02-01", "2013-02-01 00:00:00"),
        ("timestamptz", "2013-02-01 10:00", "2013-02-01 10:00:00+00"),
        ("timestamp with time zone", "2013-02-01 10:00:00+02", "2013-02-01 08:00:00+00"),
        ("varchar", "007", "007"),
        ("text", "", ""),
        ("bigint", "", None),
    ],
)
def test_a_configured_type_takes_every_spelling_of_its_values(type_name: str, text: str, value: str | None) -> None:
    assert configured(type_name, text) == value


@pytest.mark.parametrize(
    ("type_name", "text"),
    [
        ("date", "12/11/10"),
        ("date", "1/2/24"),
        ("date", "01/02/2024"),
        ("timestamp", "12/11/10 10:00"),
        ("timestamptz", "24-1-2 10:00Z"),
        ("float", "16777217"),
        ("float", "0.30000000000000004"),
        ("float", "1e39"),
        ("float", "1.23456e-45"),
        ("double", "9007199254740993"),
        ("double", "0.1234567890123456789"),
        ("double", "1e-400"),
        ("bigint", "5.7"),
        ("bigint", "abc"),
        ("tinyint", "300"),
        ("bigint", "1e3"),
        ("decimal(10,2)", "1.555"),
        ("decimal(4,2)", "123.4"),
        ("double", "1_000"),
        ("double", "1e400"),
        ("boolean", "maybe"),
        ("date", "2013-02-30"),
        ("date", "2013-02-01 10:00:00"),
        ("date", "infinity"),
        ("timestamp", "2013-02-01 10:00:00+02"),
        ("timestamp", "2013-02-01 10:00:00.1234567"),
        ("timestamptz", "tomorrow"),
        ("timestamptz", "294247-01-10 04:00:54.775806"),
        ("bigint", "- "),
        ("decimal(10,2)", " +"),
        ("decimal(10,2)", "- "),
    ],
)
def test_a_configured_type_refuses_what_it_would_change(type_name: str, text: str) -> None:
    with pytest.raises(duckdb.Error, match="misfit"):
        configured(type_name, text)


@pytest.mark.parametrize(
    "text", ["uuid", "time", "struct(a int)", "decimal(50,2)", "decimal(2,3)", "bigint); drop table x; --", ""]
)
def test_only_known_types_can_be_configured(text: str) -> None:
    with pytest.raises(InvalidInputError, match="is not a column type"):
        casts.configured(text)


def test_a_null_fits_every_type_and_stays_null() -> None:
    for cast in casts.candidates():
        with connected() as con:
            assert con.execute(f"select {cast.checked('c', 'x')} from (select null::varchar as c)").fetchone() == (
                None,
            )


def test_an_empty_text_does_not_fit_a_type_without_blanks() -> None:
    cast = next(cast for cast in casts.candidates() if cast.type == "DATE").without_blanks()
    with connected() as con:
        assert con.execute(f"select {cast.fits_of('c')} from (select '' as c)").fetchone() == (False,)


def test_a_cast_quotes_the_name_of_its_column() -> None:
    name = 'a"b; drop table x'
    cast: Cast = casts.candidates()[1]
    with connected() as con:
        assert con.execute(
            f'select {cast.checked(name, "x")} from (select \'5\' as "a""b; drop table x")'
        ).fetchone() == (5,)


_WHOLE = re.compile(r"0|-?[1-9][0-9]*")
_PLAIN = re.compile(r"-?(0|[1-9][0-9]{0,14})?(\.[0-9]*)?")
_SCIENTIFIC = re.compile(r"-?[0-9](\.[0-9]*)?[eE][+-]?([0-9]{1,2}|[12][0-9]{2})")
_MOMENT = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{4}/[0-9]{2}/[0-9]{2})([ T]([0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6}0*)?)?))?"
)


def expected(text: str) -> set[str]:
    """The types whose values stand for exactly this text, by Python's own conversions."""
    found = {"VARCHAR"}
    if text in {"true", "false", "True", "False", "TRUE", "FALSE"}:
        found.add("BOOLEAN")
    if _WHOLE.fullmatch(text):
        found |= {"BIGINT"} if -(2**63) <= int(text) < 2**63 else set()
        found |= {"DECIMAL(38,0)"} if len(text.lstrip("-")) <= 38 else set()
    if text in {"nan", "NaN", "inf", "-inf", "Inf", "-Inf"} or _is_recovered(text):
        found.add("DOUBLE")
    moment = _MOMENT.fullmatch(text)
    if moment and _exists(moment[1].replace("/", "-"), moment[3] or "00:00"):
        found |= {"TIMESTAMP"} if moment[2] else {"DATE", "TIMESTAMP"}
    return found


def _digits(number: str) -> str:
    return re.sub(r"[eE].*$|[^0-9]", "", number).strip("0")


def _is_recovered(text: str) -> bool:
    try:
        value = float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        return False
    if not math.isfinite(value):
        return False
    printed = [repr(value), f"{value:.16e}", f"{value:.15e}"]
    is_number = bool(_PLAIN.fullmatch(text) or _SCIENTIFIC.fullmatch(text))
    own = _digits(text)
    with connected() as con:  # how DuckDB prints a number of any size, such as 1e+20
        (shortest,) = con.execute("select cast(?::double as varchar)", [value]).fetchall()[0]
    is_printed = text in {shortest, shortest.removesuffix(".0"), json.dumps(value)}
    return is_printed or (is_number and (len(own) <= 15 or own in map(_digits, printed)))


def _exists(day: str, time: str) -> bool:
    try:
        datetime.fromisoformat(f"{day} {time.partition('.')[0]}")
    except ValueError:
        return False
    return True


def check_types(texts: list[str]) -> None:
    kinds = [cast for cast in casts.candidates() if cast.type != "TIMESTAMP WITH TIME ZONE"]
    terms = ", ".join(f"{cast.fits_of('c')}" for cast in kinds)
    with connected() as con:
        rows = con.execute(f"select c, {terms} from (select unnest(?::varchar[]) as c)", [texts]).fetchall()
    for text, *fits in rows:
        found = {cast.type for cast, holds in zip(kinds, fits, strict=True) if holds}
        assert found == (expected(text) if text else {cast.type for cast in kinds}), text


_SEEDS = [
    "1e3",
    "0x1F",
    "1_000",
    "+1",
    "-0",
    "00",
    "1.0",
    ".5",
    "5.",
    "1e-2",
    "inf",
    "nan",
    "null",
    "1234.50",
    "142857.14285714287",
    "1e22",
    "1e+20",
    "5e-324",
    "1e400",
    "0.1",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775809",
    "9007199254740993",
    "45.927778000000004",
    "true",
    "False",
    "tRUE",
    "2024-01-01",
    "2024/01/02",
    "2024-1-011",
    "10000-01-01",
    "0000-01-01",
    "0001-01-01",
    "2023-02-29",
    "2024-01-01T10:00:00Z",
    "24:00:00",
]
_MOMENTS = ("2024-01-01 10:00:00", "2024-01-01 10:00:00.1234567", "2024-01-01 10:00:00.50", "0044-03-15 (BC)")


@st.composite
def altered(draw: st.DrawFn) -> str:
    """A text that looks like a value, with a few characters replaced, added or removed."""
    text = draw(st.sampled_from([*_SEEDS, *_MOMENTS]))
    for _ in range(draw(st.integers(0, 2))):
        place, kept = draw(st.integers(0, len(text))), draw(st.integers(0, 1))
        text = text[:place] + draw(st.sampled_from([*"0159-+.eE_ :/TZ", "", "\u00a0", "\u0663"])) + text[place + kept :]
    return text


@given(st.lists(st.one_of(altered(), st.floats().map(repr), st.integers().map(str)), max_size=40))
@example(["1e2", "100", "1.e3", "1000", "2024-01-1x", "2024-01-1 ", " 2024-01-1", "1234.50", "1234.5", "-0", "5\u00a0"])
@settings(max_examples=examples(40))
def test_a_type_holds_exactly_the_texts_that_its_values_stand_for(texts: list[str]) -> None:
    check_types(texts)


@pytest.mark.parametrize("alphabet", ["01e.", "0-+E1", "_ 1"])
def test_a_type_holds_no_other_short_text(alphabet: str) -> None:
    check_types(["".join(letters) for size in range(1, 5) for letters in product(alphabet, repeat=size)])


def test_a_check_is_no_join_which_would_examine_all_rows_and_take_memory_for_each_column() -> None:
    kinds = [*casts.candidates(), *map(casts.configured, ["BOOLEAN", "BIGINT", "FLOAT", "DATE", "TIMESTAMPTZ"])]
    with connected() as con:
        for cast in kinds:
            query = f"select {cast.checked('c', 'misfit')} from (select unnest(range(9))::varchar as c)"
            assert "JOIN" not in con.execute(f"explain {query}").fetchall()[0][1], cast.type
