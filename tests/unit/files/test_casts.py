"""Which texts become which type, and that nothing is lost on the way."""

import duckdb
import pytest

from analyst.connectors.files.columns import casts
from analyst.connectors.files.columns.casts import Cast
from analyst.errors import InvalidInputError
from tests.bucket_contents import connected


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
