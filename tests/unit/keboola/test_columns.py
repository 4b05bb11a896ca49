"""Types of columns, and the reading of values: nothing is lost, and what does not fit is counted."""

from pathlib import Path
from typing import Any

import duckdb
import pytest

from analyst.connectors.keboola.api import DefinedColumn, Entry, TableInfo
from analyst.connectors.keboola.columns import PlannedColumn, chosen_type, planned_columns
from analyst.connectors.keboola.slices import Conversion
from analyst.connectors.unique_names import column_names
from analyst.errors import InvalidInputError, SourceError


def typed(type_: str, length: str | None = None, basetype: str | None = None, backend: str = "snowflake") -> str:
    info = TableInfo(
        id="in.c-a.t",
        name="t",
        bucket="in.c-a",
        columns=("c",),
        is_typed=True,
        backend=backend,
        definition=(DefinedColumn("c", type_, length, is_nullable=True, basetype=basetype),),
    )
    return planned_columns(info)[0].type


def untyped(*entries: tuple[str, str, str, str], backend: str = "snowflake") -> str:
    """Return the type of a column with metadata: provider, key, value, time."""
    found = tuple(
        Entry(f"KBC.datatype.{key}", value, provider, f"2026-03-0{at}T12:00:00+0100")
        for provider, key, value, at in entries
    )
    info = TableInfo(
        id="in.c-a.t", name="t", bucket="in.c-a", columns=("c",), column_metadata={"c": found}, backend=backend
    )
    return planned_columns(info)[0].type


@pytest.mark.parametrize(
    ("type_", "length", "basetype", "backend", "expected"),
    [
        ("NUMBER", "38,0", "NUMERIC", "snowflake", "DECIMAL(38,0)"),
        ("NUMBER", "12,2", "NUMERIC", "snowflake", "DECIMAL(12,2)"),
        ("NUMBER", None, "NUMERIC", "snowflake", "DECIMAL(38,0)"),
        ("INTEGER", None, "INTEGER", "snowflake", "DECIMAL(38,0)"),
        ("FLOAT", None, "FLOAT", "snowflake", "DOUBLE"),
        ("TIMESTAMP_NTZ", "9", "TIMESTAMP", "snowflake", "TIMESTAMP"),
        ("TIMESTAMP_TZ", "9", "TIMESTAMP", "snowflake", "TIMESTAMP WITH TIME ZONE"),
        ("TIMESTAMP_LTZ", None, "TIMESTAMP", "snowflake", "TIMESTAMP WITH TIME ZONE"),
        ("DATE", None, "DATE", "snowflake", "DATE"),
        ("BOOLEAN", None, "BOOLEAN", "snowflake", "BOOLEAN"),
        ("VARIANT", None, "STRING", "snowflake", "VARCHAR"),
        ("TIME", None, "STRING", "snowflake", "VARCHAR"),
        ("BINARY", None, "STRING", "snowflake", "BLOB"),
        ("INT64", None, "INTEGER", "bigquery", "BIGINT"),
        ("NUMERIC", None, "NUMERIC", "bigquery", "DECIMAL(38,9)"),
        ("BIGNUMERIC", None, "NUMERIC", "bigquery", "VARCHAR"),
        ("TIMESTAMP", None, "TIMESTAMP", "bigquery", "TIMESTAMP WITH TIME ZONE"),
        ("DATETIME", None, "TIMESTAMP", "bigquery", "TIMESTAMP"),
    ],
)
def test_types_of_typed_tables_lose_no_value(
    type_: str, length: str | None, basetype: str, backend: str, expected: str
) -> None:
    assert typed(type_, length, basetype, backend) == expected


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([], "VARCHAR"),
        ([("storage", "basetype", "INTEGER", "1")], "DECIMAL(38,0)"),
        ([("ex-db", "type", "int", "1"), ("ex-db", "length", "11", "1")], "DECIMAL(38,0)"),
        ([("ex-db", "basetype", "NUMERIC", "1"), ("ex-db", "length", "38,9", "1")], "DECIMAL(38,9)"),
        ([("ex-db", "basetype", "NUMERIC", "1"), ("ex-db", "length", "65,30", "1")], "VARCHAR"),
        ([("ex-db", "basetype", "NUMERIC", "1")], "DECIMAL(38,9)"),
        ([("ex-db", "basetype", "STRING", "1"), ("ex-db", "type", "NUMBER", "1")], "VARCHAR"),
        ([("user", "basetype", "DATE", "1"), ("ex-db", "basetype", "STRING", "9")], "DATE"),
        (
            [("ai-metadata-enrichment", "basetype", "DATE", "1"), ("storage", "basetype", "STRING", "9")],
            "DATE",
        ),
        ([("ex-a", "basetype", "DATE", "1"), ("ex-b", "basetype", "BOOLEAN", "2")], "BOOLEAN"),
        ([("ex-a", "nullable", "1", "9"), ("ex-b", "basetype", "BOOLEAN", "2")], "BOOLEAN"),
    ],
)
def test_the_preferred_provider_wins(entries: list[tuple[str, str, str, str]], expected: str) -> None:
    assert untyped(*entries) == expected


def test_names_of_columns_are_unique() -> None:
    assert list(column_names(["Order ID", "order_id", "Čas"]).values())[::2] == ["order_id", "cas"]
    assert len(set(column_names(["a b", "a_b", "A-B"]).values())) == 3


@pytest.mark.parametrize("text", ["", "GEOMETRY", "DECIMAL(39,0)", "DECIMAL(3,5)", "VARCHAR); drop", "DECIMAL"])
def test_types_that_cannot_be_chosen_are_rejected(text: str) -> None:
    with pytest.raises(InvalidInputError, match="is not a type"):
        chosen_type(text)


def converted(folder: Path, kind: str, texts: list[str], *, is_strict: bool = False, source: str = "csv") -> Any:
    """Convert texts to a type; return the values as text, and how many do not fit."""
    column = PlannedColumn("c", "c", kind, is_strict=is_strict)
    path = folder / "source"
    if source == "csv":
        path.write_text("".join(f'"{text.replace(chr(34), chr(34) * 2)}"\n' for text in texts), newline="")
    else:
        with duckdb.connect() as con:
            con.execute("create table t (c varchar)")
            con.executemany("insert into t values (?)", [[text] for text in texts])
            con.execute(f"copy t to '{path}' (format parquet)")
    conversion = Conversion("in.c-a.t", (column,), (), "snowflake", "csv" if source == "csv" else "parquet", "100MB")
    written = conversion.write([path], folder / "written", has_header=False)
    with duckdb.connect() as con:
        con.execute("set TimeZone = 'UTC'")
        rows = con.execute(f"select c::varchar from read_parquet({[str(one) for one in written.files]})").fetchall()
    return [value for (value,) in rows], {name: found.count for name, found in written.misfits.items()}.get("c", 0)


BIG = "99999999999999999999999999999999999999"


@pytest.mark.parametrize("source", ["csv", "parquet"])
@pytest.mark.parametrize(
    ("kind", "texts", "values", "misfits"),
    [
        ("VARCHAR", ["007", "", "null", "a\nb", "😀", '"'], ["007", "", "null", "a\nb", "😀", '"'], 0),
        ("DECIMAL(38,0)", [BIG, f"-{BIG}", "", "007", "1.0", "1e3"], [BIG, f"-{BIG}", None, "7", "1", "1000"], 0),
        ("DECIMAL(38,0)", [f"{BIG}0", "1.5", "1_000", "x", "15e-1", "NaN"], [None] * 6, 6),
        ("DECIMAL(38,9)", ["0.123456789", "0.1234567890", "0.1234567891"], ["0.123456789", "0.123456789", None], 1),
        ("DECIMAL(10,2)", ["1.5", "123456789.00", " 1.50 "], ["1.50", None, "1.50"], 1),
        ("BIGINT", ["9223372036854775807", "9223372036854775808", "1.0"], ["9223372036854775807", None, "1"], 1),
        ("DOUBLE", ["NaN", "inf", "-inf", "1.5", "", "1e400", "x"], ["nan", "inf", "-inf", "1.5", None, None, None], 2),
        ("BOOLEAN", ["true", "FALSE", "1", "0", "", "maybe"], ["true", "false", "true", "false", None, None], 1),
        (
            "DATE",
            ["1900-01-01", "9999-12-31", "2026-02-30", "epoch", ""],
            ["1900-01-01", "9999-12-31", None, None, None],
            2,
        ),
        ("DATE", ["2026-01-01 00:00:00", "2026-01-01 10:00:00"], ["2026-01-01", None], 1),
        ("DATE", ["20204-01-01", "0044-03-15 (BC)", "0001-01-01"], [None, None, "0001-01-01"], 2),
        ("TIMESTAMP", ["20204-01-01 00:00:00", "0044-03-15 (BC) 00:00:00"], [None, None], 2),
        (
            "TIMESTAMP WITH TIME ZONE",
            ["20204-01-01 00:00:00Z", "9999-12-31 23:59:59Z"],
            [None, "9999-12-31 23:59:59+00"],
            1,
        ),
        (
            "TIMESTAMP",
            [
                "1900-01-01 00:00:00",
                "9999-12-31 23:59:59.999999",
                "2026-01-01T10:00:00Z",
                "2026-01-01 10:00:00.123000000",
            ],
            ["1900-01-01 00:00:00", "9999-12-31 23:59:59.999999", "2026-01-01 10:00:00", "2026-01-01 10:00:00.123"],
            0,
        ),
        ("TIMESTAMP", ["2026-01-01 10:00:00.123456789", "2026-01-01 10:00:00+02:00", "soon"], [None] * 3, 3),
        (
            "TIMESTAMP WITH TIME ZONE",
            [
                "2026-01-01 10:00:00 +0200",
                "2026-01-01 10:00:00-05:30",
                "2026-01-01T10:00:00Z",
                "2026-01-01 10:00:00.1234567+00:00",
            ],
            ["2026-01-01 08:00:00+00", "2026-01-01 15:30:00+00", "2026-01-01 10:00:00+00", None],
            1,
        ),
    ],
)
def test_untyped_values_are_converted_exactly_or_counted(  # noqa: PLR0917 - a row of a table
    tmp_path: Path, source: str, kind: str, texts: list[str], values: list[str | None], misfits: int
) -> None:
    assert converted(tmp_path, kind, texts, source=source) == (values, misfits)


def test_a_value_that_does_not_fit_a_typed_table_fails_the_table(tmp_path: Path) -> None:
    with pytest.raises(
        SourceError, match=r"the column 'c' has a value that does not fit TIMESTAMP: 2026.*option types"
    ):
        converted(tmp_path, "TIMESTAMP", ["2026-01-01 10:00:00.123456789"], is_strict=True)


@pytest.mark.parametrize("value", ["date 'infinity'", "timestamp '10000-01-01'", "timestamptz '0044-03-15 (BC)'"])
def test_a_time_of_a_typed_table_that_other_readers_do_not_know_fails_the_table(tmp_path: Path, value: str) -> None:
    path = tmp_path / "source"
    with duckdb.connect() as con:
        con.execute(f"copy (select {value} as c) to '{path}' (format parquet)")
        kind = str(con.sql(f"select {value}").types[0])
    column = PlannedColumn("c", "c", kind, is_strict=True)
    conversion = Conversion("in.c-a.t", (column,), (), "snowflake", "parquet", "100MB")
    with pytest.raises(SourceError, match=f"the column 'c' has a value that does not fit {kind}: "):
        conversion.write([path], tmp_path / "written", has_header=False)


def test_a_line_longer_than_duckdb_expects_is_read(tmp_path: Path) -> None:
    long = "x" * (5 << 20)
    values, misfits = converted(tmp_path, "VARCHAR", [long, "a"])
    assert (values, misfits) == ([long, "a"], 0)


@pytest.mark.parametrize("first", ["\r", "a\rb", "a\r\nb", "\r\n", "a\nb", 'a"\r"b', "a"])
@pytest.mark.parametrize("rest", [[], ["x"], ["y\nz", "y\r\nz", "\r"]])
def test_line_breaks_within_the_first_value_do_not_end_the_line(tmp_path: Path, first: str, rest: list[str]) -> None:
    values, misfits = converted(tmp_path, "VARCHAR", [first, *rest])
    assert (values, misfits) == ([first, *rest], 0)


def test_lines_may_end_like_those_of_windows(tmp_path: Path) -> None:
    columns = (PlannedColumn("a", "a", "VARCHAR", has_nulls=True),)
    path = tmp_path / "source"
    path.write_bytes(b'"x"\r\n"y"\r\n"z"\r\n')
    written = Conversion("in.c-a.t", columns, (), "snowflake", "csv", "100MB").write(
        [path], tmp_path / "into", has_header=False
    )
    with duckdb.connect() as con:
        assert con.execute(f"from '{written.files[0]}'").fetchall() == [("x",), ("y",), ("z",)]


def test_nulls_and_empty_texts_are_distinguished_as_far_as_the_backend_does(tmp_path: Path) -> None:
    columns = (PlannedColumn("a", "a", "VARCHAR", has_nulls=True), PlannedColumn("b", "b", "VARCHAR", has_nulls=False))
    path = tmp_path / "source"
    path.write_text('"",""\n,\n"x","y"\n')
    for backend, expected in (
        ("bigquery", [("", ""), (None, ""), ("x", "y")]),
        ("snowflake", [(None, ""), (None, ""), ("x", "y")]),
    ):
        conversion = Conversion("in.c-a.t", columns, (), backend, "csv", "100MB")
        written = conversion.write([path], tmp_path / backend, has_header=False)
        with duckdb.connect() as con:
            assert con.execute(f"from '{written.files[0]}'").fetchall() == expected
