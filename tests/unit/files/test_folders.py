"""A folder is read file by file: what has not changed is not read, and the table is what reading all of it makes."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from analyst.contract.extract_edit import edit_extract
from tests.doubles.memory_store import MemoryStore
from tests.examples import examples
from tests.unit.files.folder import Folder
from tests.unit.files.published import NOW, SOURCE, Published

pytestmark = pytest.mark.slow

MONTHS = {"t/2024-01.csv": "id,v\n1,a\n2,b\n", "t/2024-02.csv": "id,v\n11,c\n12,d\n", "t/2024-03.csv": "id,v\n21,e\n"}
KEYED = {"sync_strategy": "incremental", "primary_key": ["id"]}
APPENDED = {"sync_strategy": "incremental", "cursor_column": "id"}
STRATEGIES = [{}, KEYED, {**KEYED, "cursor_column": "id"}, APPENDED]


def published(folder: Folder, files: Mapping[str, str | bytes] = MONTHS, **options: Any) -> Published:
    """Publish files."""
    made = Published(MemoryStore(), folder, options)
    for name, content in files.items():
        made.write(name, content)
    made.sync()
    return made


def spoil(folder: Folder, *names: str) -> None:
    """Make files unreadable behind their marks: whoever reads them fails."""
    for name in names:
        path = folder.path / name
        before = path.stat()
        with path.open("r+b") as file:
            file.write(b"\xff" * before.st_size)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def paths(made: Published) -> list[str]:
    return [file.path for file in made.files()]


def whole(made: Published, home: Path) -> Published:
    """Read the folder as it is now into an empty bucket."""
    read = Published(MemoryStore(), Folder(made.folder.path, home), made.options)
    read.sync()
    return read


def table(made: Published) -> tuple[dict[str, str], list[tuple[Any, ...]], list[str]]:
    """Return the columns with their types, the rows in order, and the files' hashes."""
    rows = made.ask("select cast(columns(*) as varchar) from t")
    return made.types(), rows, [file.sha256 for file in made.files()]


@pytest.mark.parametrize("options", STRATEGIES)
def test_a_new_file_is_the_only_one_that_is_read(folder: Folder, options: dict[str, Any]) -> None:
    made = published(folder, **options)
    before = paths(made)
    spoil(folder, *MONTHS)
    made.write("t/2024-04.csv", "id,v\n31,f\n")
    made.sync()
    if "primary_key" not in options:  # a merge by key adds rows to small files
        assert set(before) < set(paths(made))
        assert len(paths(made)) == len(before) + 1
    assert [row[0] for row in made.ask("select id from t order by id")] == [1, 2, 11, 12, 21, 31]


@pytest.mark.parametrize("options", [{}, KEYED])
def test_a_changed_file_is_the_only_one_that_is_read(folder: Folder, options: dict[str, Any]) -> None:
    made = published(folder, **options)
    before = paths(made)
    spoil(folder, "t/2024-01.csv", "t/2024-03.csv")
    made.write("t/2024-02.csv", "id,v\n11,C\n12,d\n13,g\n")
    made.sync()
    assert made.ask("from t order by id") == [(1, "a"), (2, "b"), (11, "C"), (12, "d"), (13, "g"), (21, "e")]
    if not options:
        assert [one == other for one, other in zip(before, paths(made), strict=True)] == [True, False, True]


@pytest.mark.parametrize("options", STRATEGIES)
def test_nothing_is_read_again_when_a_file_is_deleted(folder: Folder, options: dict[str, Any]) -> None:
    made = published(folder, **options)
    before = paths(made)
    spoil(folder, "t/2024-01.csv", "t/2024-03.csv")
    made.remove("t/2024-02.csv")
    made.sync()
    assert set(paths(made)) == (set(before) if options else {before[0], before[2]})


@pytest.mark.parametrize(
    ("files", "left", "is_believed"), [(2, 1, True), (10, 8, True), (10, 7, False), (70, 59, False)]
)
def test_the_deletion_of_many_files_at_once_is_not_believed(
    folder: Folder, files: int, left: int, *, is_believed: bool
) -> None:
    made = published(folder, {f"t/{number:02}.csv": f"id\n{number}\n" for number in range(files)})
    for number in range(left, files):
        made.remove(f"t/{number:02}.csv")
    if is_believed:
        made.sync()
    else:
        (failed,) = made.run().tables
        assert f"{files - left} of the {files} files" in str(failed.error)
        assert len(made.ask("from t")) == files
        assert made.sync(allow_fewer=True).rows == left
    assert len(made.ask("from t")) == left


def test_the_replacement_of_all_files_is_believed(folder: Folder) -> None:
    made = published(folder, {f"t/{number:02}.csv": f"id\n{number}\n" for number in range(10)})
    for number in range(10):
        made.remove(f"t/{number:02}.csv")
        made.write(f"t/{number + 10}.csv", f"id\n{number}\n")
    assert made.sync().rows == 10


def test_files_of_an_incremental_table_may_be_deleted_because_their_rows_stay(folder: Folder) -> None:
    files = {f"t/{number:02}.csv": f"id,v\n{number},a\n" for number in range(10)}
    made = published(folder, files, **KEYED)
    for number in range(9):
        made.remove(f"t/{number:02}.csv")
    made.sync()
    assert len(made.ask("from t")) == 10


def test_all_files_are_read_again_if_a_new_file_widens_a_type(folder: Folder) -> None:
    made = published(folder, {"t/a.csv": "id,v\n1,007\n", "t/b.csv": "id,v\n2,1\n"})
    made.write("t/c.csv", "id,v\n003,2\n")
    made.sync()
    assert made.types() == {"id": "VARCHAR", "v": "VARCHAR"}
    assert made.ask("from t") == [("1", "007"), ("2", "1"), ("003", "2")]


def test_a_type_narrows_when_the_file_that_widened_it_is_gone(folder: Folder, tmp_path: Path) -> None:
    made = published(folder, {"t/a.csv": "id\n1\n", "t/b.csv": "id\nx\n"})
    assert made.types() == {"id": "VARCHAR"}
    made.remove("t/b.csv")
    made.sync()
    assert made.types() == {"id": "BIGINT"}
    assert table(made) == table(whole(made, tmp_path / "whole"))


def test_a_file_with_more_columns_leaves_the_others_as_they_are(folder: Folder) -> None:
    made = published(folder)
    before = paths(made)
    spoil(folder, *MONTHS)
    made.write("t/2024-04.csv", "more,id\ntrue,31\n")
    made.sync()
    assert paths(made)[:3] == before
    assert made.types() == {"id": "BIGINT", "v": "VARCHAR", "more": "BOOLEAN"}
    assert made.ask("from t where id > 20") == [(21, "e", None), (31, None, True)]


def test_rejected_rows_of_each_file_are_still_reported(folder: Folder) -> None:
    options = {"on_error": "collect", "types": {"id": "BIGINT"}}
    made = published(folder, {"t/a.csv": "id,v\n1,a\nx,b\n", "t/b.csv": "id,v\n2\n3,c\n"}, **options)
    spoil(folder, "t/a.csv", "t/b.csv")
    made.write("t/c.csv", "id,v\ny,c\n4,d\n")
    result = made.sync()
    assert result.rejected == 3
    assert [reject.partition(": ")[0] for reject in result.rejects] == ["t/a.csv:3", "t/b.csv:2", "t/c.csv:2"]
    assert made.ask("select id from t") == [(1,), (3,), (4,)]


def test_columns_that_clash_with_those_of_an_unread_file_fail_the_table(folder: Folder) -> None:
    made = published(folder, {"t/a.csv": "Größe\n1\n"})
    spoil(folder, "t/a.csv")
    made.write("t/b.csv", "Grosse\n2\n")
    (result,) = made.run().tables
    assert result.status == "failed"
    assert "'Grosse'" in str(result.error)


def test_a_file_that_does_not_belong_to_the_table_is_reported(folder: Folder) -> None:
    made = published(folder)
    spoil(folder, *MONTHS)
    made.write("t/other.csv", "name\nx\n")
    (note,) = made.sync().notes
    assert note.startswith("t/other.csv has no column in common with t/2024-01.csv, but both are files of one table")


def test_changed_options_cause_all_files_to_be_read_again(folder: Folder) -> None:
    made = published(folder)
    made.options = {"types": {"id": "VARCHAR"}}
    made.sync()
    assert made.types() == {"id": "VARCHAR", "v": "VARCHAR"}


def test_many_small_files_share_parts_and_few_are_read_again(folder: Folder, tmp_path: Path) -> None:
    made = published(folder, {f"t/{number:04}.csv": f"id\n{number}\n" for number in range(200)})
    before = paths(made)
    assert 1 < len(before) < 40
    made.write("t/0100b.csv", "id\n1000\n")
    made.sync()
    assert len(set(before) - set(paths(made))) == 1
    assert table(made) == table(whole(made, tmp_path / "whole"))


def test_files_of_equal_content_keep_their_own(folder: Folder) -> None:
    made = published(folder, {"t/a.csv": "id\n1\n", "t/b.csv": "id\n1\n"})
    made.remove("t/a.csv")
    made.sync()
    assert made.ask("from t") == [(1,)]


CELLS = ["", '""', "1", "2.5", "007", "x", "nan", "true", "2024-01-01", "2024-01-01 10:00:00", "9007199254740993"]
FILES = ["a", "b", "c"]
Content = tuple[list[str], list[list[str]]]
CONTENT = st.tuples(
    st.permutations(["k", "v", "w"]).flatmap(lambda order: st.integers(1, 3).map(lambda n: order[:n])),
    st.lists(st.lists(st.sampled_from(CELLS), min_size=3, max_size=3), max_size=3),
)


def histories(content: st.SearchStrategy[Any]) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Return histories of a folder: at each step, files that get a new content, or vanish."""
    changes = st.dictionaries(st.sampled_from(FILES), st.none() | content, min_size=1, max_size=2)
    return st.lists(changes, min_size=2, max_size=5)


def csv(content: Content) -> str:
    columns, rows = content
    return "".join(f"{','.join(line[: len(columns)])}\n" for line in [columns, *rows])


def json(content: Content) -> str:
    columns, rows = content
    texts = (", ".join(f'"{name}": {value}' for name, value in zip(columns, row, strict=False)) for row in rows)
    return "".join(f"{{{text}}}\n" for text in texts) or "{}\n"


def apply(made: Published, changes: Mapping[str, Any], write: Any, ending: str) -> None:
    for name, content in changes.items():
        if content is None:
            (made.folder.path / f"t/{name}.{ending}").unlink(missing_ok=True)
        else:
            made.write(f"t/{name}.{ending}", write(content))


@given(histories(CONTENT))
@example([{"a": (["k"], [["nan"]])}, {"b": (["k"], [["2.5"]])}, {"b": None}])
@example([{"a": (["k"], [["1"]]), "b": (["k"], [["2024-01-01"]])}, {"b": None}, {"c": (["k"], [['""']])}])
@settings(max_examples=examples(2))
def test_after_any_history_of_files_a_table_equals_one_whole_read(history: list[dict[str, Any]]) -> None:
    with TemporaryDirectory() as folder:
        home = Path(folder)
        made = published(Folder(home / "files", home / "work"), {"t/z.csv": "k\n"}, allow_fewer=True)
        for changes in history:
            apply(made, changes, csv, "csv")
            made.sync()
        assert table(made) == table(whole(made, home / "whole"))


VALUES = ["null", "1", "-2", "2.5", '"x"', '"2024-01-01"', "true", "[]", "[1]", '["x"]', "{}", '{"a": 1}', '{"a": {"b": null}}', '{"a": "x"}',
          "12345678901234567890", "0.12345678901234567890"]  # fmt: skip
OBJECTS = st.tuples(
    st.permutations(["k", "v"]), st.lists(st.lists(st.sampled_from(VALUES), min_size=2, max_size=2), max_size=3)
)


@given(histories(OBJECTS))
@example([{"a": (["k"], [['"x"']]), "b": (["k"], [["1"]])}, {"a": None}])
@example([{"a": (["k"], [['"x"']]), "b": (["k"], [["true"]])}, {"a": None}])
@example([{"a": (["k"], [["1"]])}, {"b": (["k"], [["[1]"]])}, {"a": (["k"], [["{}"]])}, {"b": None}])
@settings(max_examples=examples(2))
def test_after_any_history_a_table_of_json_equals_one_whole_read(history: list[dict[str, Any]]) -> None:
    with TemporaryDirectory() as folder:
        home = Path(folder)
        made = published(Folder(home / "files", home / "work"), {"t/z.jsonl": '{"k": null}\n'}, allow_fewer=True)
        for changes in history:
            apply(made, changes, json, "jsonl")
            made.sync()
        assert table(made) == table(whole(made, home / "whole"))


ROWS = st.lists(
    st.tuples(
        st.sampled_from(["1", "2", "3", "30"]), st.sampled_from(["4", "5", "6", ""]), st.sampled_from(["a", "b"])
    ),
    max_size=3,
)


def keyed(rows: Sequence[tuple[str, str, str]]) -> str:
    return "id,at,v\n" + "".join(f"{','.join(row)}\n" for row in rows)


def forget(made: Published) -> None:
    """Forget which files were read, so that all of them are read again."""
    with TemporaryDirectory() as home:
        edit_extract(
            made.store,
            SOURCE,
            lambda con, _extract, _home: con.execute("delete from extract.main._parts"),
            now=lambda: NOW,
            folder=Path(home),
        )


@pytest.mark.parametrize(("key", "cursor"), [(["id"], None), (["id"], "at"), ([], "at")])
@given(histories(ROWS))
@settings(max_examples=examples(2))
def test_an_increment_equals_that_of_reading_all_files(
    key: list[str], cursor: str | None, history: list[dict[str, Any]]
) -> None:
    options = {"sync_strategy": "incremental", "primary_key": key, "cursor_column": cursor, "types": {"at": "BIGINT"}}
    with TemporaryDirectory() as folder:
        home = Path(folder)
        made = published(Folder(home / "files", home / "work"), {"t/z.csv": "id,at,v\n"}, **options)
        other = published(Folder(home / "others", home / "work2"), {"t/z.csv": "id,at,v\n"}, **options)
        for changes in history:
            for one in (made, other):
                apply(one, changes, keyed, "csv")
            forget(other)
            made.sync()
            other.sync()
            assert made.rows() == other.rows()


@pytest.mark.parametrize(
    ("name", "content", "note"),
    [
        ("t/year=2024/month=1/a.csv", "id\n1\n", "names of folders, such as 'year=2024', are not read as columns"),
        ("t/Year=2024/month=1/a.csv", "id,year\n1,2024\n", "such as 'month=1'"),
        ("t/year=2024/a.jsonl", '{"id": 1, "YEAR": 2024}\n', ""),
        ("t/year=/a.csv", "id\n1\n", ""),
        ("t/a=1.csv", "id\n1\n", ""),
    ],
)
def test_values_in_the_names_of_folders_are_reported(folder: Folder, name: str, content: str, note: str) -> None:
    made = Published(MemoryStore(), folder, {})
    made.write(name, content)
    notes = made.sync().notes
    assert note in "".join(notes)
    assert bool(notes) == bool(note)
