"""How every type of DuckDB is written to Parquet and read again."""

from pathlib import Path

import pytest

from analyst.contract import parquet
from analyst.errors import SourceError
from analyst.types import checked_type
from tests.bucket_contents import connected


def written(query: str, into: Path) -> tuple[str, list[object]]:
    """Write a query's column `x`; return its type, and its values as DuckDB reads them again."""
    with connected() as con:
        (path,) = parquet.write(con, query, into)
        (column,) = parquet.inspect(con, path).columns
        return column.type, [
            row[0] for row in con.execute("select x::varchar from read_parquet(?)", [str(path)]).fetchall()
        ]


NINES = "9" * 38
UUID = "eeccb8c5-9943-b2bb-bb5e-222f4e14b687"

KEPT = {
    "boolean": ("true", "BOOLEAN", "true"),
    "tinyint": ("(-128)::tinyint", "TINYINT", "-128"),
    "bigint": ("9223372036854775807", "BIGINT", "9223372036854775807"),
    "utinyint": ("255::utinyint", "SMALLINT", "255"),
    "usmallint": ("65535::usmallint", "INTEGER", "65535"),
    "uinteger": ("4294967295::uinteger", "BIGINT", "4294967295"),
    "ubigint": ("18446744073709551615::ubigint", "DECIMAL(20,0)", "18446744073709551615"),
    "hugeint": (f"{NINES}::hugeint", "DECIMAL(38,0)", NINES),
    "negative hugeint": (f"-{NINES}::hugeint", "DECIMAL(38,0)", f"-{NINES}"),
    "uhugeint": (f"{NINES}::uhugeint", "DECIMAL(38,0)", NINES),
    "bignum": ("repeat('9', 80)::bignum", "VARCHAR", "9" * 80),
    "decimal": ("1.2300000001::decimal(38,10)", "DECIMAL(38,10)", "1.2300000001"),
    "float": ("'nan'::float", "FLOAT", "nan"),
    "double": ("'-inf'::double", "DOUBLE", "-inf"),
    "text with NUL": ("'a' || chr(0) || 'ž'", "VARCHAR", "a\x00ž"),
    "blob": (r"'\xAA\x00'::blob", "BLOB", r"\xAA\x00"),
    "bit": ("'10101'::bit", "VARCHAR", "10101"),
    "uuid": (f"'{UUID}'::uuid", "VARCHAR", UUID),
    "json": ("""'{"a": 1.10}'::json""", "VARCHAR", '{"a": 1.10}'),
    "enum": ("'it''s, (UUID)'::enum('it''s, (UUID)', 'b')", "VARCHAR", "it's, (UUID)"),
    "date": ("date '0044-03-15 (BC)'", "DATE", "0044-03-15 (BC)"),
    "infinite date": ("date '-infinity'", "DATE", "-infinity"),
    "time": ("time '12:34:56.123456'", "VARCHAR", "12:34:56.123456"),
    "time_ns": ("'12:34:56.123456789'::time_ns", "VARCHAR", "12:34:56.123456789"),
    "timetz": ("'12:34:56+02:30'::timetz", "VARCHAR", "12:34:56+02:30"),
    "interval": ("interval '1 month 2 days 3.5 seconds'", "VARCHAR", "1 month 2 days 00:00:03.5"),
    "timestamp": ("timestamp '294247-01-10 04:00:54.775806'", "TIMESTAMP", "294247-01-10 04:00:54.775806"),
    "infinite timestamp": ("timestamp 'infinity'", "TIMESTAMP", "infinity"),
    "timestamp_s": ("'2020-01-01 00:00:01'::timestamp_s", "TIMESTAMP", "2020-01-01 00:00:01"),
    "timestamp_ms": ("'2020-01-01 00:00:01.123'::timestamp_ms", "TIMESTAMP", "2020-01-01 00:00:01.123"),
    "infinite timestamp_s": ("'-infinity'::timestamp_s", "TIMESTAMP", "-infinity"),
    "whole timestamp_ns": ("'2020-01-01 00:00:01.123456'::timestamp_ns", "TIMESTAMP", "2020-01-01 00:00:01.123456"),
    "infinite timestamp_ns": ("'infinity'::timestamp_ns", "TIMESTAMP", "infinity"),
    "instant": (
        "timestamptz '2020-01-01 00:00:00+02'",
        "TIMESTAMP WITH TIME ZONE",
        "2019-12-31 22:00:00+00",
    ),
    "null": ("null", "INTEGER", None),
    "variant": ("{'a': [1, null]}::variant", "VARCHAR", '{"a":[1,null]}'),
    "geometry": (
        "'POINT(1 2)'::geometry",
        "BLOB",
        r"\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\xF0?" + r"\x00" * 7 + "@",
    ),
    "array": ("array_value(1::ubigint, null)", "DECIMAL(20,0)[]", "[1, NULL]"),
    "list of enums": ("['UUID'::enum('UUID', 'b'), null]", "VARCHAR[]", "[UUID, NULL]"),
    "list of lists of times": ("[['12:00:00+02'::timetz], null]", "VARCHAR[][]", "[['12:00:00+02'], NULL]"),
    "list of wholes": ("['2020-01-01 00:00:01'::timestamp_ns]", "TIMESTAMP[]", "['2020-01-01 00:00:01']"),
    "struct named like types": (
        f"{{'UUID': '{UUID}'::uuid, 'TIME': 1::utinyint, 'a \"b': {{'x': 5::uinteger}}}}",
        'STRUCT(UUID VARCHAR, "TIME" SMALLINT, "a ""b" STRUCT(x BIGINT))',
        f"{{'UUID': {UUID}, 'TIME': 1, 'a \"b': {{'x': 5}}}}",
    ),
    "row without names": ("row(1, 'a')", "STRUCT(_1 INTEGER, _2 VARCHAR)", "{'_1': 1, '_2': a}"),
    "map": ("map {'a': 1::utinyint, 'b': null}", "MAP(VARCHAR, SMALLINT)", "{a=1, b=NULL}"),
    "map of times": ("map {time '12:00:00': [uuid()][2:]}", "MAP(VARCHAR, VARCHAR[])", "{'12:00:00'=[]}"),
    "union": (
        "'x'::union(num utinyint, \"order by\" varchar)",
        'STRUCT(tag VARCHAR, num SMALLINT, "order by" VARCHAR)',
        "{'tag': order by, 'num': NULL, 'order by': x}",
    ),
    "union with a tag of its own": (
        "union_value(tag := 1)",
        "STRUCT(tag_ VARCHAR, tag INTEGER)",
        "{'tag_': tag, 'tag': 1}",
    ),
}


@pytest.mark.parametrize("kind", KEPT)
def test_a_value_is_stored_unchanged_in_a_portable_type(kind: str, tmp_path: Path) -> None:
    value, expected_type, text = KEPT[kind]
    assert written(f"select {value} as x", tmp_path) == (checked_type(expected_type), [text])


@pytest.mark.parametrize("kind", KEPT)
def test_a_null_stays_null(kind: str, tmp_path: Path) -> None:
    value, expected_type, text = KEPT[kind]
    query = f"select x from range(2) t(n) left join (select 1 as n, {value} as x) using (n) order by n"
    assert written(query, tmp_path) == (checked_type(expected_type), [None, text])


LOST = {
    "170141183460469231731687303715884105727::hugeint": "DECIMAL(38,0)",
    "340282366920938463463374607431768211455::uhugeint": "DECIMAL(38,0)",
    "'2020-01-01 00:00:00.123456789'::timestamp_ns": "TIMESTAMP",
}


@pytest.mark.parametrize("inside", ["{}", "[null, {}]", "{{'a': {}}}", "map {{'k': {}}}", "array_value({})"])
@pytest.mark.parametrize("value", LOST)
def test_a_value_that_would_lose_data_is_an_error_with_its_column_and_value(
    value: str, inside: str, tmp_path: Path
) -> None:
    text = value.split("::", maxsplit=1)[0].strip("'")
    with pytest.raises(SourceError) as failure:
        written(f'select {inside.format(value)} as "it\'s x"', tmp_path)
    assert str(failure.value) == (
        f"column it's x: {text} does not fit {LOST[value]}; "
        "round or correct it at the source, or read the column as text with the option types (VARCHAR)"
    )
