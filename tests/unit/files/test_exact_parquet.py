"""What DuckDB would read lossily from parquet is read exactly, or refused by name."""

import struct
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from analyst import duckdb_files
from analyst.contract.parquet_footer import Element, read_footer
from analyst.contract.parquet_input import open_parquet
from analyst.errors import SourceError
from tests.bucket_contents import connected
from tests.examples import examples
from tests.unit.files.folder import Folder
from tests.unit.files.foreign_parquet import foreign

MOMENT = datetime(2023, 11, 14, 22, 13, 20, 123456)  # noqa: DTZ001 - without a zone, as INT96 is
EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001
BEFORE = datetime(1969, 12, 31, 23, 59, 59, 999999)  # noqa: DTZ001
MIRRORED = datetime(1916, 2, 18, 1, 46, 39, 876544)  # noqa: DTZ001


def utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC)


def test_a_file_that_causes_an_internal_error_of_duckdb_is_named_and_the_next_is_read(folder: Folder) -> None:
    folder.write("bad.parquet", foreign("two_values"))
    folder.write("good.parquet", foreign("int96"))
    for _ in range(3):
        with pytest.raises(SourceError) as caught:
            folder.extract("bad")
        assert str(caught.value).startswith("bad.parquet: DuckDB met an internal error (see the log)")
        assert len(folder.rows("good")) > 0


def test_int96_is_read_exactly_nested_or_not(folder: Folder) -> None:
    folder.write("t.parquet", foreign("int96"))
    assert folder.types("t") == {"t": "TIMESTAMP", "l": "TIMESTAMP[]", "s": "STRUCT(a TIMESTAMP)"}
    assert folder.rows("t") == [
        (EPOCH, [MOMENT, None], {"a": MOMENT}),
        (MOMENT, [], None),
        (None, None, {"a": None}),
        (BEFORE, [MIRRORED], {"a": EPOCH}),
    ]


def test_instants_in_nanoseconds_are_read_exactly_nested_or_not(folder: Folder) -> None:
    folder.write("t.parquet", foreign("instants"))
    assert folder.types("t") == {"t": "TIMESTAMP WITH TIME ZONE", "m": "MAP(VARCHAR, TIMESTAMP WITH TIME ZONE)"}
    extracted = folder.extract("t")
    with connected() as con:
        found = con.execute("select t::varchar, m::varchar from read_parquet(?)", [str(extracted.files[0])]).fetchall()
    assert found == [
        ("1970-01-01 00:00:00+00", "{k='2023-11-14 22:13:20.123456+00'}"),
        ("2023-11-14 22:13:20.123456+00", None),
        (None, "{}"),
        ("1969-12-31 23:59:59.999999+00", "{x=NULL}"),
    ]


def test_times_of_day_keep_their_nanoseconds(folder: Folder) -> None:
    folder.write("t.parquet", foreign("times"))
    assert folder.rows("t") == [("00:00:00",), (None,), ("12:00:00.5",), ("23:59:59.999999999",)]


@pytest.mark.parametrize(
    ("file", "message", "as_text"),
    [
        (
            "int96_nanoseconds",
            "the column 't' holds 2023-11-14 22:13:20.123456789, and",
            "2023-11-14 22:13:20.123456789",
        ),
        (
            "instant_nanoseconds",
            "the column 't' holds 2023-11-14 22:13:20.123456789+00, and only whole microseconds",
            "2023-11-14 22:13:20.123456789+00",
        ),
        ("far_dates", "the column 'd' holds 10000-01-01, which is outside of the years", "10000-01-01"),
        ("endless", "the column 'd' holds infinity, which is outside of the years 0001 to 9999", "infinity"),
    ],
)
def test_a_value_that_no_column_holds_is_refused_by_name_or_read_as_text(
    folder: Folder, file: str, message: str, as_text: str
) -> None:
    folder.write("a file.parquet", foreign(file))
    with pytest.raises(SourceError) as failure:
        folder.rows("a_file")
    assert str(failure.value).startswith(f"a file.parquet: {message}")
    column = "d" if "column 'd'" in message else "t"
    assert folder.rows("a_file", types={column: "VARCHAR"}) == [(as_text,)]


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("long_decimals", "t.parquet: the column 'd' is DECIMAL(40,2), and at most 38 digits can be read exactly"),
        (
            "far_ms",
            "t.parquet: the column 'd' holds 287396-10-12 08:59:00.992, which is outside of the years 0001 to 9999 that all readers support",
        ),
        ("twins", "t.parquet: the columns 'a' and 'A' have the same name"),
        ("nul", "t.parquet: the name of the column 'a\\x00b' contains a NUL"),
        ("inner_nul", "t.parquet: in the column 'a' the name of the column 'b\\x00' contains a NUL"),
        ("inner_twins", "t.parquet: in the column 's' the columns 'a' and 'a' have the same name"),
        ("encrypted", "t.parquet is encrypted, which is not supported"),
        ("encrypted_column", "t.parquet is encrypted, which is not supported"),
    ],
)
def test_a_file_that_cannot_be_read_exactly_is_refused(folder: Folder, file: str, message: str) -> None:
    folder.write("t.parquet", foreign(file))
    folder.write("good.parquet", foreign("times"))
    with pytest.raises(SourceError) as failure:
        folder.rows("t")
    assert message in str(failure.value)
    assert str(folder.path) not in str(failure.value)
    assert len(folder.rows("good")) == 4


@pytest.mark.parametrize("file", ["checksums", "checksums_v2"])
def test_a_page_that_does_not_match_its_checksum_is_refused(folder: Folder, file: str) -> None:
    whole = foreign(file)
    folder.write("t.parquet", whole)
    assert len(folder.rows("t")) == 40
    payloads = [b"\x02\x00\x00\x00v1", struct.pack("<qq", 7, 8)] if file == "checksums" else [b"\x02\x00\x00\x00v1"]
    for payload in payloads:
        at = whole.index(payload)
        for byte in range(at, at + len(payload)):
            folder.write("t.parquet", whole[:byte] + bytes([whole[byte] ^ 1]) + whole[byte + 1 :])
            with pytest.raises(SourceError, match=r"t\.parquet can't be read: a page of the column '[xs]' is damaged"):
                folder.rows("t")


@pytest.mark.parametrize("file", ["int96", "instants", "times", "checksums", "twins", "encrypted_column"])
def test_a_footer_is_written_as_it_was_read(tmp_path: Path, file: str) -> None:
    (tmp_path / "t.parquet").write_bytes(foreign(file))
    footer = read_footer(tmp_path / "t.parquet", "t.parquet")
    assert footer.with_schema(footer.root) == footer.data


@pytest.mark.slow
@pytest.mark.parametrize("file", ["int96", "instants"])
def test_a_footer_with_any_flipped_bit_is_read_or_refused(tmp_path: Path, file: str) -> None:
    whole, path = foreign(file), tmp_path / "t.parquet"
    for at in range(len(whole) - 8 - int.from_bytes(whole[-8:-4], "little"), len(whole)):
        for bit in range(8):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << bit)]) + whole[at + 1 :])
            try:
                footer = read_footer(path, "t.parquet")
            except SourceError:
                continue
            for element in footer.root.walk():
                assert isinstance(element.name, str)
                assert element.digits is None or all(isinstance(each, int) for each in element.digits)
                assert {element.loses_nanoseconds, element.is_in_milliseconds} <= {True, False}
            assert footer.with_schema(footer.root.raw())


@settings(max_examples=examples(12), deadline=None)
@given(st.data())
def test_a_damaged_file_is_read_or_refused_without_a_crash(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    whole = foreign(data.draw(st.sampled_from(["int96", "instants", "checksums", "inner_twins"])))
    at = data.draw(st.integers(0, len(whole) - 1))
    change = data.draw(st.sampled_from(["cut", "flip", "zero"]))
    broken = {
        "cut": whole[:at],
        "flip": whole[:at] + bytes([whole[at] ^ (1 << data.draw(st.integers(0, 7)))]) + whole[at + 1 :],
        "zero": whole[:at] + bytes(len(whole[at : at + 8])) + whole[at + 8 :],
    }[change]
    folder = tmp_path_factory.mktemp("damaged")
    path = folder / "t.parquet"
    path.write_bytes(broken)
    with duckdb_files.connect(threads=1) as con:
        try:
            opened = open_parquet(con, path, "t.parquet", folder)
            con.execute(opened.scan()).fetchmany(1)
        except (SourceError, duckdb.Error, UnicodeDecodeError):
            return


@settings(max_examples=examples(8), deadline=None)
@given(st.lists(st.none() | st.integers(-(2**63) + 2000, 2**63 - 1), min_size=1, max_size=20), st.booleans())
def test_any_instant_in_nanoseconds_becomes_exact_microseconds_or_is_refused(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[int | None], whole: bool
) -> None:
    nanoseconds = [one // 1000 * 1000 if whole and one is not None else one for one in drawn]
    folder = tmp_path_factory.mktemp("instants")
    path = folder / "t.parquet"
    pl.DataFrame({"t": pl.Series(nanoseconds, dtype=pl.Int64).cast(pl.Datetime("ns", "UTC"))}).write_parquet(path)
    with duckdb_files.connect(threads=1) as con:
        if any(one is not None and one % 1000 for one in nanoseconds):
            with pytest.raises(SourceError, match="only whole microseconds"):
                open_parquet(con, path, "t.parquet", folder)
        else:
            scan = open_parquet(con, path, "t.parquet", folder).scan()
            found = con.execute(f"select epoch_us(t) from ({scan})").fetchall()
            assert found == [(None if one is None else one // 1000,) for one in nanoseconds]


def test_files_are_united_only_where_every_value_survives(folder: Folder) -> None:
    def write(name: str, query: str) -> None:
        (folder.path / "t").mkdir(exist_ok=True)
        duckdb.execute(f"copy ({query}) to '{folder.path / name}' (format parquet)")

    write("t/1.parquet", "select 1.5::double as a")
    write("t/2.parquet", f"select {2**53 + 1} as a")
    with pytest.raises(
        SourceError, match=r"t/2\.parquet: the column 'a' holds 9007199254740993, which does not fit DOUBLE"
    ):
        folder.rows("t")
    write("t/2.parquet", f"select {2**53} as a")
    assert folder.rows("t") == [(1.5,), (2.0**53,)]


@pytest.mark.parametrize("nested", ["{}", "[{}]", "{{'m': {}}}", "map{{'k': {}}}", "[{{'m': map{{'k': {}}}}}]"])
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("timestamp '2024-01-01'", "timestamptz '2024-01-01 00:00:00+00'"),
        ("timestamptz '2024-01-01 00:00:00+00'", "date '2024-01-01'"),
        ("'\\xFF'", "'a'::blob"),
        ("'[1]'", "[1]"),
        ("{'x': 1}", "'{''x'': 1}'"),
    ],
)
def test_files_whose_values_mean_different_things_are_not_united(
    folder: Folder, nested: str, one: str, other: str
) -> None:
    (folder.path / "t").mkdir()
    for number, value in enumerate((one, other)):
        duckdb.execute(f"copy (select {nested.format(value)} as a) to '{folder.path}/t/{number}.parquet'")
    with pytest.raises(
        SourceError, match=r"it is .* in t/0\.parquet and .* in t/1\.parquet, which have no common type"
    ):
        folder.rows("t")


def test_values_that_mean_different_things_can_be_read_as_texts(folder: Folder) -> None:
    (folder.path / "t").mkdir()
    values = ["timestamp '2024-01-01'", "[timestamptz '2024-01-01 00:00:00+00']", "'[1]'"]
    for number, value in enumerate(values):
        duckdb.execute(f"copy (select {value} as a) to '{folder.path}/t/{number}.parquet'")
    folder.options = {"types": {"a": "VARCHAR"}}
    assert folder.types("t") == {"a": "VARCHAR"}
    assert folder.rows("t") == [("2024-01-01 00:00:00",), ("['2024-01-01 00:00:00+00']",), ("[1]",)]


def test_a_member_without_a_name_is_reported(folder: Folder) -> None:
    duckdb.execute(f"copy (select union_value(num := 2) as u) to '{folder.path}/t.parquet'")
    with pytest.raises(SourceError, match=r"t\.parquet: in the column 'u' a member has no name"):
        folder.rows("t")


def test_statistics_that_are_wrong_hide_nothing(folder: Folder) -> None:
    path = folder.path / "t.parquet"
    duckdb.execute(f"copy (select date '10000-01-01' as d) to '{path}' (format parquet)")
    far, near = ((date(year, 1, 1) - date(1970, 1, 1)).days for year in (9999, 2000))
    content, stored = path.read_bytes(), struct.pack("<i", far + 365)
    assert content.count(stored) > 1
    first = content.index(stored) + 4
    path.write_bytes(content[:first] + content[first:].replace(stored, struct.pack("<i", near)))
    with pytest.raises(SourceError, match="the column 'd' holds 10000-01-01"):
        folder.rows("t")


@settings(max_examples=examples(6), deadline=None)
@given(st.lists(st.tuples(st.integers(1_721_426, 5_373_484), st.integers(0, 86_399_999_999)), min_size=1, max_size=20))
def test_any_int96_of_whole_microseconds_is_read_exactly(
    tmp_path_factory: pytest.TempPathFactory, moments: list[tuple[int, int]]
) -> None:
    folder = tmp_path_factory.mktemp("int96")
    path = folder / "t.parquet"
    with duckdb_files.connect(threads=1) as con:
        rows = f"select to_months(i::int) + to_days({MARK}) as t from range({len(moments)}) r(i)"
        con.execute(f"copy ({rows}) to '{path}' (format parquet, compression uncompressed)")
        fill_int96(path, moments)
        found = con.execute(f"select epoch_us(t) from ({open_parquet(con, path, 't', folder).scan()})").fetchall()
    assert found == [((day - 2_440_588) * 86_400_000_000 + micros,) for day, micros in moments]


MARK = 0x5A5B5C5D
"""Stands in intervals, which have twelve bytes, for the values of INT96 that are put in their place."""


def fill_int96(path: Path, moments: list[tuple[int, int]]) -> None:
    footer = read_footer(path, "t.parquet")
    (column,) = footer.columns
    int96 = {number: value for number, value in column.fields.items() if number not in (2, 6, 10)} | {1: (5, 3)}
    changed = footer.with_schema(replace(footer.root, children=(Element(int96),)))
    content = path.read_bytes()[: -8 - len(footer.data)]
    for row, (day, micros) in enumerate(moments):
        content = content.replace(struct.pack("<iii", row, MARK, 0), struct.pack("<qI", micros * 1000, day))
    path.write_bytes(content + changed + struct.pack("<I4s", len(changed), b"PAR1"))


@pytest.mark.parametrize(
    ("value", "text", "why"),
    [
        ("make_timestamp(-9223372036854775806)", "-9223372036854775806 microseconds since 1970", "0001 to 9999"),
        ("make_timestamp(9223372036854775806)", "294247-01-10 04:00:54.775806", "0001 to 9999"),
        ("make_timestamp_ns(-9223372036854775806)", "-9223372036854775806 nanoseconds since 1970", "too early"),
        ("make_timestamp_ns(9223372036854775806)", "2262-04-11 23:47:16.854775806", "does not fit TIMESTAMP"),
        ("make_timestamp_ns(1)", "1970-01-01 00:00:00.000000001", "does not fit TIMESTAMP"),
    ],
)
def test_a_time_that_has_no_column_type_is_named_and_read_as_text(
    folder: Folder, value: str, text: str, why: str
) -> None:
    duckdb.sql(f'select {value} as "when"').write_parquet(str(folder.path / "t.parquet"))
    with pytest.raises(SourceError) as caught:
        folder.extract("t")
    message = str(caught.value)
    assert "t.parquet" in message
    assert "when" in message
    assert text in message
    assert why in message
    assert "read the column as text with the option types" in message
    assert folder.rows("t", types={"when": "VARCHAR"}) == [(text,)]


def test_a_list_whose_first_value_belongs_to_no_row_is_refused(folder: Folder) -> None:
    """DuckDB drops such a value without an error."""
    kind = pa.schema([pa.field("x", pa.list_(pa.field("element", pa.int32(), nullable=False)), nullable=False)])
    table = pa.table({"x": [[0, 1], [2, 3], [4, 5], [6, 7]]}, kind)
    options = {"compression": "none", "use_dictionary": False, "store_schema": False}
    parquet.write_table(table, folder.path / "t.parquet", **options)
    data = (folder.path / "t.parquet").read_bytes()
    assert len(folder.rows("t")) == 4
    assert data.count(b"\xaa") == 1  # the levels 0, 1, 0, 1, …, a bit each
    folder.write("t.parquet", data.replace(b"\xaa", b"\x55"))
    with pytest.raises(
        SourceError, match="the column 'x' has 8 values, of which 7 belong to a row; the file is damaged"
    ):
        folder.extract("t")


NESTED: list[dict[str, Any]] = [
    {"l": [[1], [], None, [2, 3]], "s": {"a": [1, None], "b": "x"}, "m": [("k", [1, 2]), ("l", None)], "e": []},
    {"l": None, "s": None, "m": None, "e": None},
    {"l": [], "s": {"a": None, "b": None}, "m": [], "e": [None]},
]


def test_all_values_of_nested_columns_are_counted_as_the_footer_does(folder: Folder) -> None:
    ints = pa.list_(pa.int64())
    kinds = {"l": pa.list_(ints), "s": pa.struct({"a": ints, "b": pa.string()}), "m": pa.map_(pa.string(), ints)}
    schema = pa.schema({**kinds, "e": pa.list_(pa.struct({"v": pa.int8(), "w": ints}))})
    parquet.write_table(pa.Table.from_pylist(NESTED, schema), folder.path / "t.parquet")
    assert [row[0] for row in folder.rows("t")] == [row["l"] for row in NESTED]


INSTANT_NS, TEXT_H, NUMBER = b"\x48" + (1).to_bytes(8, "little"), b"\x05H", b"\x0c\x22"
OBJECT = b"\x02\x01\x00\x00\x09" + INSTANT_NS


def variants(
    path: Path,
    values: list[dict[str, Any]],
    more: list[tuple[str, Any]],
    within: Callable[[Any], Any] = lambda part: part,
) -> None:
    """Write a column that is declared to be a VARIANT, or has one `within` it."""
    kind = pa.struct([pa.field("metadata", pa.binary(), nullable=False), ("value", pa.binary()), *more])
    rows = [{"v": within({"metadata": b"\x01\x01\x00\x01a", **value})} for value in values]
    parquet.write_table(pa.Table.from_pylist(rows, pa.schema({"v": within(kind)})), path, store_schema=False)
    footer = read_footer(path, "t.parquet")
    changed = footer.with_schema(marked(footer.root))
    data = path.read_bytes()[: -8 - len(footer.data)]
    path.write_bytes(data + changed + len(changed).to_bytes(4, "little") + b"PAR1")


def marked(element: Element) -> Element:
    """Return an element in which groups with metadata are declared to be VARIANTs."""
    if any(child.name == "metadata" for child in element.children):
        return Element({**element.fields, 10: (12, {16: (12, {})})}, element.children)
    return Element(element.fields, tuple(map(marked, element.children)))


def in_struct(part: Any) -> Any:
    return pa.struct({"w": part}) if isinstance(part, pa.DataType) else {"w": part}


def in_list(part: Any) -> Any:
    return pa.list_(part) if isinstance(part, pa.DataType) else [part]


def in_map(part: Any) -> Any:
    return pa.map_(pa.string(), part) if isinstance(part, pa.DataType) else [("k", part)]


@pytest.mark.parametrize(
    ("values", "more", "reason"),
    [
        ([{"value": INSTANT_NS}], [], "holds instants in nanoseconds"),
        ([{"value": OBJECT}], [], "holds instants in nanoseconds"),
        ([{"value": None, "typed_value": 1}], [("typed_value", pa.timestamp("ns", "UTC"))], "holds instants in nanoseconds"),
        ([{"value": NUMBER, "typed_value": "x"}], [("typed_value", pa.string())], "is stored twice"),
        ([{"value": OBJECT, "typed_value": {"a": {"value": NUMBER}}}], [("typed_value", pa.struct({"a": pa.struct({"value": pa.binary()})}))], "is stored twice"),
        ([{"value": None, "typed_value": b"four"}], [("typed_value", pa.binary(4))], "of a type that it can't have"),
    ],
)  # fmt: skip
def test_variants_that_duckdb_would_not_read_exactly_are_refused(
    folder: Folder, values: list[dict[str, Any]], more: list[tuple[str, Any]], reason: str
) -> None:
    variants(folder.path / "t.parquet", values, more)
    with pytest.raises(SourceError, match=reason):
        folder.extract("t")


@pytest.mark.parametrize("within", [in_struct, in_list, in_map, lambda part: in_list(in_struct(in_list(part)))])
def test_nested_variants_are_not_rounded_either(folder: Folder, within: Callable[[Any], Any]) -> None:
    variants(folder.path / "t.parquet", [{"value": NUMBER}, {"value": INSTANT_NS}], [], within)
    with pytest.raises(SourceError, match="holds instants in nanoseconds"):
        folder.extract("t")
    variants(folder.path / "t.parquet", [{"value": NUMBER}, {"value": TEXT_H}], [], within)
    assert "34" in str(folder.rows("t")[0])


def test_other_variants_are_read_as_json(folder: Folder) -> None:
    variants(folder.path / "t.parquet", [{"value": TEXT_H}, {"value": NUMBER}], [])
    assert folder.rows("t") == [('"H"',), ("34",)]
