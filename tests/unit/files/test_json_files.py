"""JSON lines through the connector."""

import gzip
import json
import time
from datetime import date
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from analyst.errors import SourceError
from tests.examples import partly, size
from tests.unit.files.folder import Folder
from tests.unit.files.test_polluted_csv import extracted_by_a_child


def test_members_are_columns_with_the_types_of_json(folder: Folder) -> None:
    folder.write(
        "t.jsonl",
        '{"Id": 1, "zip": "007", "ok": true, "x": 1, "day": "2024-01-01", "tags": ["a"], "who": {"name": "n", "age": 1}}\n'
        '{"Id": 2, "zip": "1", "ok": null, "x": 2.5, "day": "2024-01-02", "who": {"name": null, "left": false}}\n',
    )
    assert folder.types("t") == {
        "id": "BIGINT",
        "zip": "VARCHAR",
        "ok": "BOOLEAN",
        "x": "DOUBLE",
        "day": "DATE",
        "tags": "VARCHAR[]",
        "who": 'STRUCT("name" VARCHAR, age BIGINT, "left" BOOLEAN)',
    }
    assert folder.rows("t") == [
        (1, "007", True, 1.0, date(2024, 1, 1), ["a"], {"name": "n", "age": 1, "left": None}),
        (2, "1", None, 2.5, date(2024, 1, 2), None, {"name": None, "age": None, "left": False}),
    ]


@pytest.mark.parametrize(
    ("values", "type_name", "expected"),
    [
        (["1", "12345678901234567890123"], "DECIMAL(38,0)", [Decimal(1), Decimal(12345678901234567890123)]),
        (["1", '"1"'], "VARCHAR", ["1", '"1"']),
        (["true", "0"], "VARCHAR", ["true", "0"]),
        (['"2024-01-01"', '""'], "VARCHAR", ["2024-01-01", ""]),
        (['"1"', '"2"'], "VARCHAR", ["1", "2"]),
        (['{"a": 1}', '{"a": "x"}'], "VARCHAR", ['{"a":1}', '{"a":"x"}']),
        (['{"a": 1}', "[1]"], "VARCHAR", ['{"a":1}', "[1]"]),
        (['{"a": 12345678901234567890}'], "VARCHAR", ['{"a":12345678901234567890}']),
        (['{"a": 1, "A": 2}'], "VARCHAR", ['{"a":1,"A":2}']),
        (["{}", '{"a": {}}'], "VARCHAR", ["{}", '{"a":{}}']),
        (["null", "null"], "VARCHAR", [None, None]),
        (
            ["1234567890123456.78", "0.12345678901234567890123", "1.5"],
            "VARCHAR",
            ["1234567890123456.78", "0.12345678901234567890123", "1.5"],
        ),
        (["1e-400", "0.1", "1.7976931348623157e308"], "VARCHAR", ["1e-400", "0.1", "1.7976931348623157e308"]),
        (["0.1000000000000000055511151231257827", "-1"], "VARCHAR", ["0.1000000000000000055511151231257827", "-1"]),
        (["[0.1234567890123456789]"], "VARCHAR", ["[0.1234567890123456789]"]),
        (['{"a": 0.1234567890123456789, "b": "0.1"}'], "VARCHAR", ['{"a":0.1234567890123456789,"b":"0.1"}']),
        (["0.30000000000000004", "2"], "DOUBLE", [0.30000000000000004, 2.0]),
        (
            ['"x: 0.1234567890123456789"', '"y\\"0.1234567890123456789"'],
            "VARCHAR",
            ["x: 0.1234567890123456789", 'y"0.1234567890123456789'],
        ),
        (["[]", "[1]"], "BIGINT[]", [[], [1]]),
        (["{}", '{"x": 1}', "null", "{}"], "STRUCT(x BIGINT)", [{"x": None}, {"x": 1}, None, {"x": None}]),
        (["{}", "{}"], "VARCHAR", ["{}", "{}"]),
        (["{}", "[1]"], "VARCHAR", ["{}", "[1]"]),
        (["1e400", "1"], "VARCHAR", ["1e400", "1"]),
        (['"x\\u0000y"', '"\\u010d"'], "VARCHAR", ["x\x00y", "\u010d"]),
    ],
)
@pytest.mark.parametrize("is_one_file", [True, False], ids=["in one file", "in a file each"])
def test_no_value_is_altered(
    folder: Folder, values: list[str], type_name: str, expected: list[object], *, is_one_file: bool
) -> None:
    lines = [f'{{"a": {value}}}\n' for value in values]
    if is_one_file:
        folder.write("t.jsonl", "".join(lines))
    else:
        for number, line in enumerate(lines):
            folder.write(f"t/{number}.jsonl", line)
    assert folder.types("t") == {"a": type_name}
    assert [row[0] for row in folder.rows("t")] == expected


def test_a_long_decimal_fits_a_configured_type_exactly(folder: Folder) -> None:
    folder.write("t.json", '[{"a": 1234567890123456.78},\n{"a": 1.5}]')
    assert folder.rows("t", types={"a": "decimal(38,2)"}) == [(Decimal("1234567890123456.78"),), (Decimal("1.50"),)]


def test_numbers_and_texts_are_distinguished_wherever_a_block_of_the_file_ends(folder: Folder) -> None:
    line = '{"a": 1234567890123456.78, "b": "' + "x, 1234567890123456.78" * 1_000 + '\\\\"}\n'
    folder.write("t.jsonl", line * 200)
    assert set(folder.rows("t")) == {("1234567890123456.78", "x, 1234567890123456.78" * 1_000 + "\\")}


def test_a_member_that_appears_late_becomes_a_column(folder: Folder) -> None:
    folder.write("t.jsonl", '{"a": 1}\n' * 30_000 + '{"a": "x", "b": 1}\n')
    assert folder.types("t") == {"a": "VARCHAR", "b": "BIGINT"}
    assert folder.rows("t")[-1] == ('"x"', 1)


def test_an_array_and_other_layouts_are_read(folder: Folder) -> None:
    folder.write("a.json", '\ufeff [{"a": 1},\n {"a": 2}]')
    folder.write("b.ndjson", '\ufeff{"a": 1}\r\n\r\n{"a": 2}')
    folder.write("c.jsonl.gz", gzip.compress(b'{"a": 1}\n{"a": 2}\n'))
    folder.write("d.json", "[]")
    folder.write("e.jsonl", "{}\n")
    assert folder.rows("a") == folder.rows("b") == folder.rows("c") == [(1,), (2,)]
    assert folder.rows("d") == []
    assert folder.rows("e") == [(None,)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "t.jsonl is empty"),
        ('{"a": 1}\n{"a": 2\n', "t.jsonl:2: is not JSON: expecting ',' delimiter"),
        ('{"a": 1}\n\n[2]\n', "t.jsonl:3: is not a JSON object"),
        ('{"a": 1} {"a": 2}\n', "t.jsonl:1: is not JSON: extra data"),
        ('{"a": 1,\n"b": 2}\n', "t.jsonl:1: is not a JSON value"),
        (b'{"a": 1}\n{"a": "\xff"}\n', "t.jsonl:2: contains the byte 0xff"),
        ('{"a": 1}\n{"a": 1, "a": 2}\n', "t.jsonl:2: can't be read: an object has the member 'a' twice"),
        ('{"a": {"b": 1}}\n{"a": {"b": 1, "b": 2}}\n', "t.jsonl:2: can't be read: an object has the member 'b' twice"),
        ('{"a": [{"b": {"c": 1, "c": 1}}]}\n', "t.jsonl:1: can't be read: an object has the member 'c' twice"),
        ('{"a": "\\ud800"}\n', "t.jsonl:1: contains an unpaired surrogate"),
        ('{"a": 1, "A": 2}\n', "the columns 'a' and 'A' would both be called 'a'"),
        ('{"": 1}\n', "an empty key"),
        ('{"a": "' + "x" * 20_000_000 + '"}\n', "t.jsonl:1: is longer than 8 MiB"),
    ],
    ids=range(13),  # one content is too long for a name
)
def test_malformed_records_are_reported_by_file_line_and_reason(
    folder: Folder, content: str | bytes, message: str
) -> None:
    folder.write("t.jsonl", content)
    with pytest.raises(SourceError) as failure:
        folder.rows("t")
    assert message in str(failure.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[[1, 2], [3, 4]]", "t.json:1: element 1 of the array is not a JSON object"),
        ('[{"a": 1},\n\n5]', "t.json:3: element 2 of the array is not a JSON object"),
        ('[{"a": 1},\n]', "t.json:2: is not JSON: expecting value, found ']'"),
        ('[{"a": 1}, // first\n{"a": 2}]', "t.json:1: is not JSON: expecting value, found '// first'"),
        ('[{"a": 1}\n{"a": 2}]', "t.json:2: is not JSON: expecting a comma, found '{\"a\": 2}]'"),
        ('[\n{\n"a":\n}]', "t.json:4: is not JSON: expecting value, found '}]'"),
        ('[{"a": 1},\n{"a": 2}\n', "t.json:3: the array is never closed"),
        ('[{"a": 1}, {"a": 2', "t.json:1: is not JSON: expecting ',' delimiter"),
        ('[{"a": 1}]\n[{"a": 2}]\n', "t.json:2: the array ends, but text follows"),
        ('[{"a": {"b": 1, "b": 2}}]', "t.json:1: can't be read: an object has the member 'b' twice"),
        ('[{"a": "\\ud800"}]', "t.json:1: contains an unpaired surrogate"),
        (b'[{"a": "\xff"}]', "t.json:1: contains the byte 0xff"),
        ('[{"a": 1}]'.encode("utf-16"), "t.json looks like UTF-16 or UTF-32, and JSON is read as UTF-8"),
        ('{"a": 1}\n'.encode("utf-16-be"), "t.json looks like UTF-16"),
        ('[{"a\\u0000": 1}]', "t.json: the name of the column 'a\\x00' contains a NUL"),
    ],
)
def test_malformed_records_of_an_array_are_reported_by_line_and_reason(
    folder: Folder, content: str | bytes, message: str
) -> None:
    folder.write("t.json", content)
    with pytest.raises(SourceError) as failure:
        folder.rows("t")
    assert message in str(failure.value)


@pytest.mark.parametrize("size", [0, 1 << 20, (1 << 20) + 9])
def test_an_array_is_checked_wherever_one_of_its_blocks_ends(folder: Folder, size: int) -> None:
    start = "[" + " " * max(size - 20, 0) + '{"a": "'
    folder.write("t.json", f'{start}{"x" * 40}"}},\n {{"a": "\\n"}},\n7]')
    with pytest.raises(SourceError, match=r"t\.json:3: element 3 of the array is not a JSON object"):
        folder.rows("t")


def test_names_with_a_nul_within_objects_are_kept_as_text(folder: Folder) -> None:
    folder.write("t.jsonl", '{"a": {"b\\u0000": 1}}\n')
    assert folder.rows("t") == [('{"b\\u0000":1}',)]


def test_malformed_lines_are_set_aside_and_counted(folder: Folder) -> None:
    folder.write("t.jsonl", '{"a": 1}\n{"a": \n3\n{"a": 4}\n')
    extracted = folder.extract("t", on_error="collect")
    assert extracted.rejected == 2
    assert extracted.rejects[1] == "t.jsonl:3: is not a JSON object"
    assert folder.rows("t", on_error="collect") == [(1,), (4,)]


def test_configured_types_are_enforced(folder: Folder) -> None:
    folder.write("t.jsonl", '{"a": "5", "b": 1}\n\n{"a": 6, "b": 2}\n{"a": "x", "b": 3}\n')
    with pytest.raises(SourceError, match=r"t\.jsonl:4: column 'a': 'x' is not a valid BIGINT"):
        folder.rows("t", types={"a": "bigint"})
    assert folder.rows("t", types={"a": "bigint"}, on_error="collect") == [(5, 1), (6, 2)]
    assert folder.types("t", types={"b": "varchar"}) == {"a": "VARCHAR", "b": "VARCHAR"}


def test_columns_of_the_files_of_a_folder_are_matched_by_name_and_rows_keep_their_order(folder: Folder) -> None:
    folder.write("t/2.jsonl", '{"a": 3, "c": 1}\n')
    folder.write("t/1.jsonl.gz", gzip.compress(b'{"b": 1, "a": 1}\n{"a": 2}\n'))
    folder.write("t/3.json", '[{"a": 4}]')
    assert folder.rows("t") == [(1, 1, None), (None, 2, None), (None, 3, 1), (None, 4, None)]


@pytest.mark.parametrize("depth", [40, 100, 2_000, 20_000, 200_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_deeply_nested_values_become_text(folder: Folder, depth: int, opening: str, closing: str) -> None:
    nested = opening * depth + "1" + closing * depth
    folder.write("t.jsonl", f'{{"a": {nested}}}\n')
    assert (folder.types("t")["a"] == "VARCHAR") == (depth > 50)
    if depth > 50:
        assert folder.rows("t") == [(nested,)]


def test_a_long_line_with_a_duplicate_member_is_set_aside_as_fast_as_it_is_read(folder: Folder) -> None:
    members = ",".join(f'"k{number}":1' for number in range(300_000))
    folder.write("t.jsonl", f'{{"a": 1}}\nnonsense\n{{{members},"k299999":2}}\n')
    began = time.process_time()
    rejects = folder.extract("t", on_error="collect").rejects
    assert rejects[1] == "t.jsonl:3: can't be read: an object has the member 'k299999' twice"
    assert time.process_time() - began < 20


def test_a_line_with_a_duplicate_nested_member_is_set_aside(folder: Folder) -> None:
    folder.write("t.jsonl", '{"a": {"b": 1, "b": 2}}\n{"a": {"b": 3}}\n')
    assert folder.rows("t", on_error="collect") == [({"b": 3},)]


def test_hundreds_of_members_are_columns(folder: Folder) -> None:
    row = {f"k{index}": (index, index + 0.5, "x", {"a": [index]})[index % 4] for index in range(320)}
    folder.write("t/1.jsonl", json.dumps(row) + "\n")
    folder.write("t/2.json", json.dumps([{"k0": 7, "late": True}]))
    first, second = folder.rows("t")
    assert first == (*row.values(), None)
    assert second == (7, *[None] * 319, True)
    wanted = folder.rows("t", types={"k0": "bigint", "k2": "bigint"}, on_error="collect")
    assert wanted == [second]


def test_more_members_than_a_table_may_have_columns_are_reported(folder: Folder) -> None:
    folder.write(
        "t.jsonl", "".join(json.dumps({f"id{row}-{index}": 1 for index in range(101)}) + "\n" for row in range(100))
    )
    with pytest.raises(
        SourceError, match=r"t\.jsonl: the objects have 10100 different keys, such as 'id0-0' .* 10000 columns; "
    ):
        folder.rows("t")


ROWS = size(100, many=300)


def wide(path: Path, *, is_sparse: bool) -> None:
    values, each = ("x", 1.5, 7, {"a": 1, "b": [1]}), 3_000 // ROWS
    with path.open("w") as file:
        for row in range(ROWS):
            members = range(row * each, (row + 1) * each) if is_sparse else range(3_000)
            file.write(json.dumps({f"k{index}": values[index % 4] for index in members}) + "\n")


@pytest.mark.many
@pytest.mark.slow
@pytest.mark.parametrize("is_sparse", partly([True, False], 1))
def test_three_thousand_members_take_no_more_than_500_mb(tmp_path: Path, *, is_sparse: bool) -> None:
    path = tmp_path / "files" / "t.jsonl"
    path.parent.mkdir()
    wide(path, is_sparse=is_sparse)
    files, peak = extracted_by_a_child(path.parent, tmp_path / "into")
    assert peak < 500
    with duckdb.connect() as con:
        found = con.execute(
            "select count(*), sum(k2), sum(k2997), max(k2999.b[1]) from read_parquet(?)", [files]
        ).fetchall()
    assert found == [(ROWS, 7, 1.5, 1) if is_sparse else (ROWS, 7 * ROWS, 1.5 * ROWS, 1)]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", "id,name\n1,x\n2,y\n"),
        ("t.jsonl", '{"id": 1, "name": "x"}\n{"id": 2, "name": "y"}\n'),
        ("t.json", '[{"id": 1, "name": "x"}, {"id": 2, "name": "y"}]'),
    ],
)
def test_a_folder_that_is_named_like_a_partition_changes_no_value(tmp_path: Path, name: str, content: str) -> None:
    folder = Folder(tmp_path / "id=7" / "region=eu", tmp_path / "work")
    folder.write(name, content)
    assert folder.types("t") == {"id": "BIGINT", "name": "VARCHAR"}
    assert folder.rows("t") == [(1, "x"), (2, "y")]
