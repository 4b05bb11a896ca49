"""Increments as they are published: which rows are there once, which are skipped, and what is reported of vanished tables."""

import json
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from analyst.contract.extraction import Extraction
from tests.doubles.memory_store import MemoryStore
from tests.doubles.toy_source import Toy, ToyTable
from tests.examples import examples
from tests.unit.files.folder import Folder
from tests.unit.files.published import NOW, SOURCE, Published

pytestmark = pytest.mark.slow

BY_CURSOR: dict[str, Any] = {"sync_strategy": "incremental", "cursor_column": "at"}
BY_KEY: dict[str, Any] = {"sync_strategy": "incremental", "primary_key": ["id"]}


@pytest.fixture
def published(folder: Folder) -> Published:
    return Published(MemoryStore(), folder, BY_CURSOR)


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.parquet"])
def test_rows_in_files_of_any_format_are_added_once(published: Published, name: str) -> None:
    def write(rows: list[tuple[int, Any]]) -> None:
        if name.endswith("csv"):
            published.write(name, "id,at\n" + "".join(f"{id_},{'' if at is None else at}\n" for id_, at in rows))
        elif name.endswith("jsonl"):
            published.write(name, "".join(json.dumps({"id": id_, "at": at}) + "\n" for id_, at in rows))
        else:
            values = ", ".join(f"({id_}, {'null' if at is None else at})" for id_, at in rows)
            path = published.folder.path / name
            query = f'select id, stamp::double as "at" from (values {values}) v(id, stamp)'
            duckdb.sql(query).write_parquet(str(path))

    rows: list[tuple[int, Any]] = [(1, 1.5), (2, None)]
    for more in ([(3, 1.5), (4, None)], [(5, 2.5)], [(2, None), (5, 2.5)], []):
        write(rows)
        published.sync()
        assert published.ask('select id::int, "at"::double from t order by all') == sorted(
            rows, key=lambda row: (row[0], row[1] or 0)
        )
        rows = [*rows, *more]
    assert published.state().cursor == "2.5"


def test_late_rows_are_read_within_the_lag_and_counted_beyond_it(published: Published) -> None:
    published.options = {**BY_CURSOR, "cursor_lag": "1d"}
    published.write("t.csv", "id,at\n1,2024-01-01\n2,2024-01-10\n")
    published.sync()
    published.write("t.csv", "id,at\n1,2024-01-01\n2,2024-01-10\n3,2024-01-09\n4,2024-01-08\n5,2024-01-11\n")
    result = published.sync()
    assert published.rows() == [("1", "2024-01-01"), ("2", "2024-01-10"), ("3", "2024-01-09"), ("5", "2024-01-11")]
    assert (result.status, result.passed_over) == ("ok", 2)
    assert "at least 1 rows arrived late" in (result.note or "")
    assert published.state().cursor == "2024-01-11"


def test_a_key_that_widens_to_text_causes_its_rows_to_be_read_again(published: Published) -> None:
    published.options = BY_KEY
    published.write("t.csv", "id,v\n1,a\n2.5,b\n")
    published.sync()
    assert published.types() == {"id": "DOUBLE", "v": "VARCHAR"}
    published.write("t.csv", "id,v\n1,A\n2.5,B\nx,c\n")
    published.sync()
    assert published.rows() == [("1", "A"), ("2.5", "B"), ("x", "c")]


@pytest.mark.parametrize("options", [BY_KEY, {**BY_KEY, **BY_CURSOR}, BY_CURSOR])
def test_cells_of_a_widened_column_equal_those_of_the_source(published: Published, options: dict[str, Any]) -> None:
    published.options = options
    published.write("t.csv", "id,at,v\n1,1,1.50\n2,2,1\n3,2,\n")
    published.sync()
    published.write("t.csv", "id,at,v\n1,1,1.50\n2,2,1\n3,2,\n4,3,x\n")
    published.sync()
    assert published.rows() == [("1", "1", "1.50"), ("2", "2", "1"), ("3", "2", None), ("4", "3", "x")]
    published.write("t.csv", "id,at,v\n4,3,x\n5,4,007\n6,5,1.0\n")
    published.sync()
    assert published.rows()[-3:] == [("4", "3", "x"), ("5", "4", "007"), ("6", "5", "1.0")]


@pytest.mark.parametrize("options", [BY_KEY, BY_CURSOR])
@pytest.mark.parametrize(
    ("gone", "kept"), [("12", "12"), ("1.50", None), ("true", None), ("2024/01/01", None), ("", None)]
)
def test_rows_that_the_source_no_longer_has_stay_if_their_text_is_certain(
    published: Published, options: dict[str, Any], gone: str, kept: str | None
) -> None:
    published.options = options
    published.write("t.csv", f"id,at,v\n1,1,{gone}\n")
    published.sync()
    before = published.files()
    published.write("t.csv", "id,at,v\n2,2,x\n")
    if gone in ("12", ""):
        published.sync()
        assert published.rows() == [("1", "1", kept), ("2", "2", "x")]
        return
    (result,) = published.run().tables
    assert "is unknown; put their files back" in (result.error or "")
    assert published.files() == before


def test_a_number_that_fits_no_type_of_the_others_turns_its_column_into_text(published: Published) -> None:
    published.options = BY_KEY
    published.write("t.csv", "id,v\n1,9007199254740993\n")
    published.sync()
    published.write("t.csv", "id,v\n2,1.50\n")
    published.sync()
    assert published.rows() == [("1", "9007199254740993"), ("2", "1.50")]


@pytest.mark.parametrize("options", [BY_KEY, {**BY_KEY, "cursor_column": "id"}, {**BY_CURSOR, "cursor_column": "id"}])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("timestamp '2024-01-01 10:00:00'", "timestamptz '2024-01-01 10:00:00+02'"),
        ("{'m': timestamp '2024-01-01 10:00:00'}", "{'m': timestamptz '2024-01-01 10:00:00+02'}"),
        ("'\\xFF'", "'a'::blob"),
        ("'[1]'", "[2]"),
    ],
)
def test_published_values_do_not_change_their_meaning(
    published: Published, options: dict[str, Any], before: str, after: str
) -> None:
    published.options = {**options, "allow_fewer": True}
    path = published.folder.path / "t.parquet"
    duckdb.sql(f"select 1 as id, {before} as v").write_parquet(str(path))
    published.sync()
    rows = published.rows()
    duckdb.sql(f"select 2 as id, {after} as v").write_parquet(str(path))
    (result,) = published.run().tables
    assert "the column 'v' was" in (result.error or "")
    assert published.rows() == rows


@pytest.mark.parametrize("options", [BY_KEY, {**BY_KEY, "cursor_column": "id"}, {**BY_CURSOR, "cursor_column": "id"}])
@pytest.mark.parametrize(
    ("before", "after", "texts"),
    [("[]", "7", ["[]", "7"]), ("[1]", '"x"', ["[1]", '"x"']), ('{"a": 1}', "[]", ['{"a":1}', "[]"])],
)
def test_nested_values_become_texts_of_json_if_all_of_their_rows_are_read_again(
    published: Published, options: dict[str, Any], before: str, after: str, texts: list[str]
) -> None:
    published.options = options
    lines = [f'{{"id": {number}, "v": {value}}}\n' for number, value in enumerate((before, after))]
    published.write("t.jsonl", lines[0])
    published.sync()
    published.write("t.jsonl", "".join(lines))
    published.sync()
    assert published.ask("select v from t order by id") == [(text,) for text in texts]


@pytest.mark.parametrize("options", [BY_KEY, {**BY_CURSOR, "cursor_column": "id"}])
def test_times_get_a_zone_if_all_of_their_rows_are_read_again(published: Published, options: dict[str, Any]) -> None:
    published.options = options
    path = published.folder.path / "t.parquet"
    duckdb.sql("select 1 as id, timestamp '2024-01-01 10:00:00' as v").write_parquet(str(path))
    published.sync()
    zoned = "unnest([timestamptz '2024-01-01 10:00:00+00', timestamptz '2024-01-01 10:00:00+02'])"
    duckdb.sql(f"select unnest([1, 2]) as id, {zoned} as v").write_parquet(str(path))
    published.sync()
    assert published.rows() == [("1", "2024-01-01 10:00:00+00"), ("2", "2024-01-01 08:00:00+00")]


def test_many_columns_whose_numbers_no_longer_fit_are_read_as_text_together(published: Published) -> None:
    published.options = BY_KEY
    names, count = ",".join(f"c{number}" for number in range(250)), 250
    published.write("t.csv", f"id,{names}\n1{',9007199254740993' * count}\n")
    published.sync()
    published.write("t.csv", f"id,{names}\n2{',1.50' * count}\n")
    published.sync()
    assert published.rows() == [("1", *["9007199254740993"] * count), ("2", *["1.50"] * count)]


@pytest.mark.parametrize(
    ("key", "before", "after", "kept"),
    [
        (["id"], "id,v\n1,a\n7,b\n", "id,v\n007,x\n", [("1", "a"), ("7", "b"), ("007", "x")]),
        (
            ["id"],
            "id,v\n7,b\n",
            "id,v\n+7,x\n7.0,y\n7 ,z\nx,\n",
            [("7", "b"), ("+7", "x"), ("7.0", "y"), ("7 ", "z"), ("x", None)],
        ),
        (["id"], "id,v\n7,b\n-3,c\n", "id,v\n7,B\n-3,C\nx,\n", [("7", "B"), ("-3", "C"), ("x", None)]),
        (["id"], f"id,v\n{9**20},b\n", f"id,v\n0{9**20},x\n{9**20},B\n", [(f"{9**20}", "B"), (f"0{9**20}", "x")]),
        (
            ["k", "id"],
            "k,id,v\n1,x,1\n1,y,2\n",
            "k,id,v\n1,x,3\n01,y,4\n",
            [("1", "x", "3"), ("1", "y", "2"), ("01", "y", "4")],
        ),
        ([], "at,v\n1,7\n", "at,v\n1,007\n", [("1", "7"), ("1", "007")]),
    ],
)
def test_a_text_equals_a_published_whole_number_only_in_its_canonical_form(
    published: Published, key: list[str], before: str, after: str, kept: list[tuple[str | None, ...]]
) -> None:
    published.options = {"sync_strategy": "incremental", "primary_key": key} if key else BY_CURSOR
    published.write("t.csv", before)
    published.sync()
    published.write("t.csv", after)
    published.sync()
    assert published.rows() == sorted(kept, key=str)


def test_a_padded_number_does_not_equal_a_published_double(published: Published) -> None:
    published.options = BY_KEY
    published.write("t.csv", "id,v\n7,a\n2.5,b\n")
    published.sync()
    published.write("t.csv", "id,v\n007,x\n2.5,b\n")
    (result,) = published.run().tables
    assert "is unknown; put their files back" in (result.error or "")


@pytest.mark.parametrize(("name", "late"), [("t/a.csv", "at,v\n1,a\n3,late\n5,b\n"), ("t/late.csv", "at,v\n3,late\n")])
def test_late_rows_are_counted_even_without_new_rows(published: Published, name: str, late: str) -> None:
    published.write("t/a.csv", "at,v\n1,a\n5,b\n")
    published.sync()
    published.write(name, late)
    result = published.sync()
    assert "at least 1 rows arrived late" in (result.note or "")
    assert "set cursor_lag" in (result.note or "")
    assert "empty" not in (result.note or "")


def test_an_increment_of_late_rows_alone_is_not_reported_as_empty(published: Published) -> None:
    published.write("t.csv", "at,v\n1,a\n5,b\n")
    published.sync()
    published.write("t.csv", "at,v\n3,late\n")
    assert "1 rows are before the cursor 5 and were skipped" in (published.sync().note or "")


@pytest.mark.parametrize("cursor", [None, "at"])
def test_duplicate_keys_are_counted(published: Published, cursor: str | None) -> None:
    published.options = {**BY_KEY, "cursor_column": cursor}
    published.write("t/a.csv", "id,at,v\n1,1,a\n2,1,b\n")
    published.write("t/b.csv", "id,at,v\n1,1,B\n")
    published.sync()
    published.write("t/a.csv", "id,at,v\n1,1,NEW\n2,1,b\n")
    result = published.sync()
    assert published.rows() == [("1", "1", "B"), ("2", "1", "b")]
    assert any("1 values of the key id occur in several rows" in note and "last row" in note for note in result.notes)
    assert "nothing new" not in (result.note or "")


@pytest.mark.parametrize("none", ["", "nan", "inf"])
def test_any_row_with_a_cursor_replaces_a_published_one_without(published: Published, none: str) -> None:
    published.options = {**BY_KEY, **BY_CURSOR}
    published.write("t.csv", f"id,at,v\n1,1.5,a\n2,{none},B\n")
    published.sync()
    published.write("t.csv", "id,at,v\n1,1.5,a\n2,0.5,BB\n")
    published.sync()
    assert published.rows() == [("1", "1.5", "a"), ("2", "0.5", "BB")]
    published.write("t.csv", "id,at,v\n1,1.5,a\n2,0.7,late\n")
    assert published.sync().passed_over == 1


def test_a_column_without_values_has_no_type_yet(published: Published) -> None:
    published.write("t.csv", "id,at\n")
    published.sync()
    published.write("t.csv", "id,at\n1,\n")
    published.sync()
    published.write("t.csv", "id,at\n1,\n2,5\n")
    published.sync()
    assert (published.rows(), published.types()) == ([("1", None), ("2", "5")], {"id": "BIGINT", "at": "BIGINT"})


def test_a_row_without_a_cursor_does_not_win_over_one_that_has_one(published: Published) -> None:
    published.options = {**BY_KEY, **BY_CURSOR}
    published.write("t.csv", "id,at,v\n1,nan,a\n2,5.5,b\n3,,c\n")
    published.sync()
    published.write("t.csv", "id,at,v\n1,6.5,A\n2,5.5,b\n3,,C\n")
    published.sync()
    assert published.rows() == [("1", "6.5", "A"), ("2", "5.5", "b"), ("3", None, "C")]


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [
        ({"primary_key": ["id"], "cursor_column": "at"}, {"primary_key": ["id"], "cursor_column": "rev"}, 3),
        ({"primary_key": ["id"], "cursor_column": "rev"}, {"primary_key": ["id", "at"], "cursor_column": "rev"}, 4),
        ({"primary_key": ["id"], "cursor_column": "rev"}, {"cursor_column": "rev"}, 4),
        ({"cursor_column": "at"}, {"cursor_column": "rev"}, 4),
        ({"cursor_column": "at"}, {"primary_key": ["id"], "cursor_column": "rev"}, 3),
    ],
)
def test_a_cursor_that_was_reached_by_another_key_or_column_does_not_hide_rows(
    published: Published, before: dict[str, Any], after: dict[str, Any], kept: int
) -> None:
    published.options = {"sync_strategy": "incremental", **before}
    published.write("t.csv", "id,at,rev\n1,100,1\n2,200,1\n1,150,2\n")
    published.sync()
    published.options = {"sync_strategy": "incremental", **after}
    published.write("t.csv", "id,at,rev\n1,100,1\n2,200,1\n1,150,2\n3,50,3\n")
    assert published.sync().rows == kept
    assert published.state().cursor == "3"
    published.write("t.csv", "id,at,rev\n1,100,1\n2,200,1\n1,150,2\n3,50,3\n4,60,3\n")
    assert published.sync().passed_over == 3


def test_rows_with_a_key_are_read_again_when_they_are_read_in_another_way(published: Published) -> None:
    published.options = {**BY_KEY, "cursor_column": "at"}
    published.write("t.csv", "id,at,v\n1,1,NA\n2,2,x\n")
    published.sync()
    assert published.sync(nullstr="NA").rows == 2
    assert published.rows() == [("1", "1", None), ("2", "2", "x")]


def test_a_cursor_that_was_reached_in_another_place_does_not_hide_rows(published: Published) -> None:
    published.options = BY_CURSOR
    published.write("old/t.csv", "id,at\n1,5\n")
    published.write("new/t.csv", "id,at\n1,5\n2,3\n")
    for name, rows in (("old", 1), ("new", 2)):
        assert published.sync(path=str(published.folder.path / name)).rows == rows


@pytest.mark.parametrize("key", [[], ["id"]])
@pytest.mark.parametrize("name", ["t.jsonl", "t/{}.jsonl"])
def test_texts_of_json_keep_the_form_in_which_they_were_published(
    published: Published, name: str, key: list[str]
) -> None:
    published.options = {**BY_CURSOR, "primary_key": key}
    rows, steps = (
        list[str](),
        [['"w"', '"1"'], ["1", "12.50", '{"z": 1}'], ['"y"'], ['{"z": 2}'], ["0.1234567890123456789"]],
    )
    for number, values in enumerate(steps):
        rows += [f'{{"id": {len(rows) + n}, "at": {len(rows) + n}, "a": {value}}}' for n, value in enumerate(values)]
        content = "\n".join(rows) if name == "t.jsonl" else "\n".join(rows[-len(values) :])
        published.write(name.format(number), content + "\n")
        published.sync()
    texts = ["w", "1", "1", "12.5", '{"z":1}', "y", '{"z":2}', "0.1234567890123456789"]
    assert published.ask("select a from t order by id") == [(text,) for text in texts]


@pytest.mark.parametrize("name", ["t.jsonl", "t/{}.jsonl"])
def test_texts_of_json_stay_in_quotes_when_only_texts_are_left(published: Published, name: str) -> None:
    for number, values in enumerate([['"w"', "1"], ['"x"'], ['{"z": 1}']]):
        at = number * 10
        rows = [f'{{"at": {at + n}, "a": {value}}}' for n, value in enumerate(values)]
        published.write(name.format(number), "\n".join(rows) + "\n")
        published.sync()
        if number and name != "t.jsonl":
            published.remove(name.format(number - 1))
    assert published.ask('select a from t order by "at"') == [('"w"',), ("1",), ('"x"',), ('{"z":1}',)]


def test_a_table_that_becomes_incremental_adds_only_what_it_lacks(published: Published) -> None:
    published.write("t.csv", "id,at\n1,1\n2,2\n")
    published.sync(sync_strategy="full_refresh")
    published.write("t.csv", "id,at\n1,1\n2,2\n3,3\n")
    published.sync()
    assert published.rows() == [("1", "1"), ("2", "2"), ("3", "3")]


def test_a_table_whose_files_are_gone_is_reported_until_they_are_back(published: Published) -> None:
    published.options = {}
    published.write("t.csv", "id\n1\n")
    published.write("other.csv", "id\n1\n")
    published.sync()
    assert [table.notice for table in published.catalog().tables] == [None, None]
    path = published.folder.path / "t.csv"
    path.rename(published.folder.work / "t.csv")
    results = [published.sync(at=NOW + timedelta(days=day)) for day in (1, 2)]
    for result in results:
        assert (result.status, result.rows) == ("vanished", 1)
        assert result.note == (
            "its files are no longer in the source (last seen 2026-01-02 03:04 UTC); the published rows stay readable; "
            f"put the files back, or remove the table: da admin tables remove {SOURCE}.t"
        )
    assert [table.notice for table in published.catalog().tables] == [None, results[0].note]
    assert published.rows() == [("1",)]
    (published.folder.work / "t.csv").rename(path)
    assert published.sync().note is None
    assert [table.notice for table in published.catalog().tables] == [None, None]


@pytest.mark.parametrize(
    ("options", "before", "after"),
    [
        ({"allow_fewer": True}, "id,at\n1,1\n", "id,at\n"),
        (BY_CURSOR, "id,at\n1,1\n", "id,at\n1,1\n\n"),
        (BY_CURSOR, "id,at\n1,1\n", "id,at\n"),
        (BY_KEY, "id,at\n1,1\n", "at,id\n1,1\n"),
        (BY_KEY, "id,at\n1,1\n", "id,at\n"),
    ],
)
def test_a_table_without_new_rows_is_reported_until_it_has_some(
    published: Published, options: dict[str, Any], before: str, after: str
) -> None:
    published.options = options
    published.write("t.csv", before)
    assert published.sync().note is None
    published.write("t.csv", after)
    first = published.sync(at=NOW + timedelta(days=1))
    published.write("t.csv", f"{after}\n")
    again = published.sync(at=NOW + timedelta(days=2))
    unchanged = published.sync(at=NOW + timedelta(days=3))
    assert "last seen 2026-01-02 03:04 UTC" in (first.note or "")
    assert first.note == again.note == unchanged.note
    assert [table.notice for table in published.catalog().tables] == [first.note]
    published.write("t.csv", "id,at\n1,1\n2,2\n")
    assert published.sync().note is None
    assert [table.notice for table in published.catalog().tables] == [None]


def test_a_file_that_lost_most_rows_keeps_them_unless_it_is_read_with_other_options(published: Published) -> None:
    published.options = {}
    rows = [f"{number},{'a' if number < 3 else 'b'}" for number in range(40)]
    published.write("t.csv", "\n".join(["id,kind", *rows]))
    assert published.sync().rows == 40
    for left in ([], rows[:5]):
        published.write("t.csv", "\n".join(["id,kind", *left]) + "\n")
        (failed,) = published.run().tables
        assert f"{40 - len(left)} of the 40 published rows would be gone" in str(failed.error)
        assert sum(file.rows for file in published.files()) == 40
    assert published.sync(comment="3").rows == 4  # so the row of this number is a comment
    published.write("t.csv", "id,kind\n")
    assert published.sync(allow_fewer=True).rows == 0


@pytest.mark.parametrize("lag", [None, "10"])
def test_rows_that_are_read_again_with_a_new_column_are_not_added_twice(published: Published, lag: str | None) -> None:
    published.options = {**BY_CURSOR, "cursor_lag": lag}
    published.write("t.csv", "at,v\n1,a\n2,b\n2,b\n,c\n")
    published.sync()
    first = "1,a,p" if lag else "1,a,"
    for more in ("", "3,d,t\n", "4,e,\n"):
        published.write("t.csv", f"at,v,n\n{first}\n2,b,q\n2,b,r\n,c,s\n{more}")
        published.sync()
    rows = [("1", "a", "p" if lag else None), ("2", "b", "q"), ("2", "b", "r"), ("4", "e", None), (None, "c", "s")]
    assert published.rows() == sorted([*rows, ("3", "d", "t")], key=str)
    assert published.delta() == sorted(file.path for file in published.files())


def test_rows_that_are_read_again_without_a_column_are_not_added_twice(published: Published) -> None:
    published.options = {**BY_CURSOR, "cursor_lag": "10"}
    published.write("t.csv", "at,v,n\n1,a,p\n2,b,q\n,c,r\n")
    published.sync()
    for more in ("", "3,d\n"):
        published.write("t.csv", f"at,v\n1,a\n2,b\n,c\n{more}")
        published.sync()
    assert published.rows() == [("1", "a", "p"), ("2", "b", "q"), ("3", "d", None), (None, "c", "r")]


COLUMNS = st.lists(st.sets(st.sampled_from("nm")), min_size=2, max_size=5)
STEPS = st.lists(st.lists(st.tuples(st.integers(0, 2), *[st.sampled_from(["p", "q", ""])] * 2), max_size=2), max_size=5)


@given(COLUMNS, STEPS)
@example([{"n"}, set(), {"n"}], [[(0, "p", "")], [(1, "q", ""), (0, "q", "")]])  # returns
@example([{"n"}, {"m"}], [[(0, "p", "q")], [(1, "", "q")]])  # another comes as it leaves
@example([{"m"}, {"n"}, {"m"}], [[(0, "", ""), (1, "", "p")], [(1, "q", ""), (2, "", "q")]])
@settings(max_examples=examples(2))
def test_rows_without_a_key_are_added_once_whichever_columns_leave_and_return(
    columns: list[set[str]], steps: list[list[tuple[int, str, str]]]
) -> None:
    with TemporaryDirectory() as folder:
        published = Published(MemoryStore(), Folder(Path(folder) / "files", Path(folder) / "work"))
        published.options = {**BY_CURSOR, "cursor_lag": "3"}
        source, at, since = [{"at": "1", "v": "a", "n": "", "m": ""}], 1, 1
        known: list[dict[str, str]] = [{}]
        for number, present in enumerate(columns):
            for step, n, m in steps[number] if number < len(steps) else []:
                at += step
                source.append({"at": str(at), "v": "b", "n": n, "m": m})
                known.append({})
            names = ["at", "v", *sorted(present)]
            published.write(
                "t.csv", "\n".join(",".join(row[name] for name in names) for row in [_HEADER, *source]) + "\n"
            )
            published.sync()
            for row, seen in zip(source, known, strict=True):
                if int(row["at"]) >= since - 3:
                    seen.update({name: row[name] for name in present})
            since = at
        terms = ", ".join(name if name in published.types() else "null" for name in "nm")
        rows = [
            (int(row["at"]), row["v"], *(seen.get(name) or None for name in "nm"))
            for row, seen in zip(source, known, strict=True)
        ]
        assert sorted(map(str, published.ask(f'select "at", v, {terms} from t'))) == sorted(map(str, rows))
        assert published.delta() == sorted(file.path for file in published.files())


_HEADER = {name: name for name in ("at", "v", "n", "m")}


def test_rows_of_one_file_without_a_column_are_not_added_twice(published: Published) -> None:
    published.options = {**BY_CURSOR, "cursor_lag": "10"}
    published.write("t/a.csv", "at,v,n\n1,a,p\n2,b,\n")
    published.write("t/b.csv", "at,v,n\n2,b,q\n")
    published.sync()
    published.write("t/a.csv", "at,v,n\n1,a,p\n2,b,\n3,c,r\n")
    published.write("t/b.csv", "at,v,m\n2,b,s\n3,d,t\n")
    published.sync()
    assert [name for name, *_ in published.ask("describe t")] == ["at", "v", "n", "m"]
    rows = [("1", "a", "p", None), ("2", "b", None, None), ("2", "b", "q", "s"), ("3", "c", "r", None)]
    assert published.rows() == sorted([*rows, ("3", "d", None, "t")], key=str)


def test_a_row_of_another_file_with_a_new_column_is_another_row(published: Published) -> None:
    published.options = BY_CURSOR
    published.write("t/a.csv", "at,v\n1,a\n2,b\n")
    published.sync()
    published.write("t/b.csv", "at,v,n\n2,b,q\n3,c,r\n")
    published.sync()
    assert published.rows() == [("1", "a", None), ("2", "b", "q"), ("2", "b", None), ("3", "c", "r")]


def test_a_new_column_leaves_the_files_whose_rows_are_not_read_again(published: Published) -> None:
    published.options = BY_CURSOR
    published.write("t/a.csv", "at,v\n1,a\n2,b\n")
    published.sync()
    before = published.files("t")
    published.write("t/b.csv", "at,v,n\n3,c,r\n")
    published.sync()
    assert published.files("t")[:1] == before


def test_a_full_refresh_that_loses_all_rows_reports_that_there_are_none(published: Published) -> None:
    published.options = {"allow_fewer": True}
    published.write("t.csv", "id,at\n1,1\n")
    published.sync()
    published.write("t.csv", "id,at\n")
    assert (published.sync().note or "").startswith("its files contain no rows, rows were last seen")


def test_without_a_cursor_no_rows_are_counted_as_late(published: Published) -> None:
    published.options = BY_KEY
    published.write("t/a.csv", "id,at\n1,1\n")
    published.write("t/b.csv", "id,at\n2,2\n")
    published.sync()
    published.write("t/b.csv", "id,at\n2,2\n\n")
    result = published.sync()
    assert result.passed_over == 0
    assert "its increment was empty: its files changed, but no row is new or changed" in (result.note or "")


def test_a_connector_that_lists_part_of_a_source_leaves_the_other_tables_alone() -> None:
    store = MemoryStore()
    for name in "ab":
        extraction = Extraction(store, "s", f"01J0000000000000000000000{name.upper()}", lambda: NOW, is_partial=True)
        toy = Toy({name: ToyTable("select 1 as x")})
        record = extraction.run(lambda toy=toy: toy).record  # type: ignore[misc]
        assert [(table.table, table.status) for table in record.tables] == [(name, "ok")]


def test_a_table_with_a_key_is_sorted_by_it_or_by_the_columns_that_the_registry_names(published: Published) -> None:
    published.options = BY_KEY
    published.write("t.csv", "id,day\n3,2024-01-01\n1,2024-02-02\n2,2024-01-01\n")
    published.sync()
    assert published.ask("select id from t") == [(1,), (2,), (3,)]
    published.options = {**BY_KEY, "cluster_by": ["Day"]}
    published.sync()
    assert published.ask("select id from t") == [(2,), (3,), (1,)]
    published.write("t.csv", "id,day\n3,2024-03-03\n")
    published.sync()
    assert published.ask("select id from t") == [(2,), (1,), (3,)]


def test_columns_to_sort_by_must_exist_and_need_a_key(published: Published) -> None:
    published.write("t.csv", "id,day\n3,2024-01-01\n")
    assert "unless it is incremental and has a primary_key" in (published.run(cluster_by="day").tables[0].error or "")
    (result,) = published.run(**BY_KEY, cluster_by="week", cursor_column=None).tables
    assert result.error == "the clustering column 'week' is not in the table; its columns are id, day"
