from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from analyst import runs
from analyst.contract.connector import Cursor, Extracted, SourceTable
from analyst.contract.extraction import Ended, Extraction
from analyst.store import Store
from tests.bucket_contents import ask
from tests.doubles.toy_source import Toy, ToyTable
from tests.examples import partly

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def extract(store: Store, content: Mapping[str, ToyTable], only: frozenset[str] | None = None) -> Ended:
    return Extraction(store, "toy", runs.new_run_id(), lambda: NOW).run(lambda: Toy(content), only)


def rows(store: Store, view: str) -> list[Any]:
    """Read a view of the published extract with a DuckDB of its own, as anybody would."""
    return ask(store, "extracts/toy/extract.duckdb", f"from {view}")


def test_a_table_can_be_read_by_any_duckdb_once_it_is_extracted(store: Store) -> None:
    ended = extract(store, {"numbers": ToyTable("select range as n from range(3)")})
    assert ended.record.status == "ok"
    assert rows(store, "numbers") == [(0,), (1,), (2,)]


def test_unchanged_tables_are_neither_read_nor_published_again(store: Store) -> None:
    first = extract(store, {"a": ToyTable("select 1 as x")})
    toy = Toy({"a": ToyTable("select 2 as x")})
    again = Extraction(store, "toy", runs.new_run_id(), lambda: NOW).run(lambda: toy)
    assert (again.record.status, toy.read, again.version) == ("unchanged", [], first.version)


def test_equal_content_keeps_its_file(store: Store) -> None:
    extract(store, {"a": ToyTable("select 1 as x", "1")})
    before = rows(store, "_files")
    extract(store, {"a": ToyTable("select 1 as x", "2")})
    assert rows(store, "_files") == before
    assert len([entry for entry in store.list("extracts/toy/data/a/") if entry.key.endswith(".parquet")]) == 1


def test_a_failed_table_keeps_its_last_good_version_and_the_others_continue(store: Store) -> None:
    extract(store, {"a": ToyTable("select 1 as x"), "b": ToyTable("select 1 as x")})
    ended = extract(store, {"a": ToyTable("broken", "2"), "b": ToyTable("select 2 as x", "2")})
    assert ended.record.status == "partial"
    assert [(t.table, t.status, t.error) for t in ended.record.tables] == [
        ("a", "failed", "a is broken"),
        ("b", "ok", None),
    ]
    assert (rows(store, "a"), rows(store, "b")) == ([(1,)], [(2,)])


def test_only_the_named_tables_are_extracted_and_the_others_stay(store: Store) -> None:
    extract(store, {"a": ToyTable("select 1 as x"), "b": ToyTable("select 1 as x")})
    ended = extract(
        store, {"a": ToyTable("select 2 as x", "2"), "b": ToyTable("select 2 as x", "2")}, frozenset({"a", "gone"})
    )
    assert [(t.table, t.status) for t in ended.record.tables] == [("a", "ok"), ("gone", "missing")]
    assert (rows(store, "a"), rows(store, "b")) == ([(2,)], [(1,)])


def test_an_incremental_table_is_merged_by_key_and_the_last_row_of_each_key_wins(store: Store) -> None:
    def table(values: str, fingerprint: str) -> dict[str, ToyTable]:
        return {"t": ToyTable(f"select * from (values {values}) v(id, name)", fingerprint, primary_key=("id",))}

    extract(store, table("(2, 'b'), (1, 'a')", "1"))
    extract(store, table("(3, 'c'), (2, 'B'), (2, 'BB')", "2"))
    assert rows(store, "t") == [(1, "a"), (2, "BB"), (3, "c")]


def test_an_incremental_table_without_a_key_grows_by_the_rows_beyond_its_cursor(store: Store) -> None:
    for top in (3, 5, 5):
        extract(store, {"t": ToyTable(f"select range as n from range({top})", f"{top}", cursor_column="n")})
    assert rows(store, "t") == [(0,), (1,), (2,), (3,), (4,)]
    assert len(rows(store, "_files")) == 2


@pytest.mark.parametrize(
    ("before", "now", "is_believed"),
    [(1, 0, False), (1000, 0, False), (10, 1, True), (11, 1, True), (12, 1, False), (100, 50, True), (100, 49, False)],
)
def test_a_table_that_loses_implausibly_many_rows_keeps_them(
    store: Store, before: int, now: int, *, is_believed: bool
) -> None:
    def table(rows: int, fingerprint: str, *, allow_fewer: bool = False) -> dict[str, ToyTable]:
        return {"t": ToyTable(f"select range as n from range({rows})", fingerprint, allow_fewer=allow_fewer)}

    extract(store, table(before, "1"))
    ended = extract(store, table(now, "2"))
    assert ended.record.status == ("ok" if is_believed else "failed")
    assert len(rows(store, "t")) == (now if is_believed else before)
    if not is_believed:
        assert f"{before - now:,} of the {before:,} published rows would be gone" in str(ended.record.tables[0].error)
        assert "allow_fewer" in str(ended.record.tables[0].error)
        assert len([key for key in store.list("extracts/toy/data/t/") if key.key.endswith(".parquet")]) == 1
    extract(store, table(now, "2", allow_fewer=True))
    assert len(rows(store, "t")) == now


def test_rows_may_disappear_when_the_selection_changes_but_never_all(store: Store) -> None:
    def table(rows: int, fingerprint: str, basis: str) -> dict[str, ToyTable]:
        return {"t": ToyTable(f"select range as n from range({rows})", fingerprint, basis=basis)}

    extract(store, table(100, "1", ""))
    assert extract(store, table(100, "1", "a")).record.status == "unchanged"
    assert extract(store, table(10, "2", "a")).record.status == "failed"
    extract(store, table(100, "3", "a"))
    assert extract(store, table(10, "4", "a")).record.status == "failed"
    assert extract(store, table(0, "5", "b")).record.status == "failed"
    assert extract(store, table(20, "5", "b")).record.status == "ok"
    assert extract(store, table(20, "5", "b")).record.status == "unchanged"
    assert len(rows(store, "t")) == 20


VALUES = (
    "true",
    "n::tinyint",
    "n::hugeint",
    "n::decimal(38, 10)",
    "n::double",
    "date '2024-01-01' + n::integer",
    "timestamptz '2024-01-01' + to_days(n::integer)",
    "time '10:00' + to_minutes(n)",
    "uuid()",
    "('' || n)::blob",
    "case when n % 2 > 0 then 'a' else 'b' end::enum('a', 'b')",
    "{'a': n, 'select': {'at, b': [n]}, 'a\"b': 'x' || n}",
    "[{'price': n::decimal(10, 2), 'day': date '2024-01-01'}]",
    "map {'k' || n: {'v': n}}",
    "[[n, null]]",
    "null::struct(a integer)",
)


@pytest.mark.parametrize("value", partly(VALUES, 5))
def test_an_increment_leaves_the_published_files_as_they_are_whatever_its_types(store: Store, value: str) -> None:
    for top in (3, 6, 9):
        query = f"select n, {value} as v from range({top}) r(n)"
        assert extract(store, {"t": ToyTable(query, f"{top}", cursor_column="n")}).record.status == "ok"
    assert [found[0] for found in rows(store, "(select rows from _files)")] == [3, 3, 3]


def test_a_new_column_of_an_incremental_table_is_matched_by_name(store: Store) -> None:
    extract(store, {"t": ToyTable("select 1 as id, 'x' as a", "1", primary_key=("id",))})
    extract(store, {"t": ToyTable("select 2 as id, 'y' as b", "2", primary_key=("id",))})
    assert rows(store, "t") == [(1, "x", None), (2, None, "y")]


def test_the_same_rows_give_the_same_bytes_whenever_they_are_written(new_store: Callable[[], Store]) -> None:
    stores = [new_store(), new_store()]
    for store in stores:
        extract(store, {"t": ToyTable("select range as n, md5(range::varchar) as t from range(250_000)")})
    hashes = [[row[5] for row in rows(store, "_files")] for store in stores]
    assert hashes[0] == hashes[1]


def test_a_source_that_cannot_be_opened_leaves_a_record_and_its_extract(store: Store) -> None:
    extract(store, {"a": ToyTable("select 1 as x")})

    def broken() -> Toy:
        from analyst.errors import SourceError

        raise SourceError("the folder is gone")

    ended = Extraction(store, "toy", runs.new_run_id(), lambda: NOW).run(broken)
    assert (ended.record.status, ended.record.error) == ("failed", "the folder is gone")
    run_id = ended.record.run_id
    assert runs.read(store, run_id, today=runs.began(run_id).date()) == ended.record
    assert rows(store, "a") == [(1,)]


def test_a_run_that_takes_too_long_publishes_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    extract(store, {"a": ToyTable("select 1 as x", "1")})
    before = rows(store, "_files")
    monkeypatch.setattr("analyst.contract.extraction.LONGEST", -1.0)
    record = extract(store, {"a": ToyTable("select 2 as x", "2")}).record
    assert (record.status, rows(store, "_files")) == ("failed", before)


@pytest.mark.parametrize("kind", [{}, {"primary_key": ("id",)}, {"cursor_column": "id"}])
def test_the_first_extract_of_a_table_that_was_imported_replaces_it(store: Store, kind: dict[str, Any]) -> None:
    extract(store, {"t": ToyTable("select 'x' as id, 'old' as name", "import:1")})
    extract(store, {"t": ToyTable("select 1 as id, 'a' as name", "1", **kind)})
    assert rows(store, "t") == [(1, "a")]
    extract(store, {"t": ToyTable("select range as id, 'b' as name from range(1, 3)", "2", **kind)})
    assert rows(store, "t") == ([(1, "a"), (2, "b")] if "cursor_column" in kind else [(1, "b"), (2, "b")])


def test_a_table_has_the_time_of_reading_that_its_source_reports(store: Store) -> None:
    extract(store, {"t": ToyTable("select 1 as x", "import:1", read_at=NOW - timedelta(days=3))})
    assert [row[4] for row in rows(store, "_meta")] == [datetime(2025, 12, 30, 3, 4, 5)]  # noqa: DTZ001


def test_an_import_gives_way_to_an_extract_published_in_the_meantime(store: Store) -> None:
    class Late(Toy):
        def extract(self, table: SourceTable, since: Cursor, into: Path) -> Extracted:
            extract(store, {"t": ToyTable("select 'of the source' as x", "1")})
            return super().extract(table, since, into)

    late = Late({"t": ToyTable("select 'imported' as x", "import:1", read_at=NOW - timedelta(days=3))})
    ended = Extraction(store, "toy", runs.new_run_id(), lambda: NOW).run(lambda: late)
    assert [table.status for table in ended.record.tables] == ["superseded"]
    assert rows(store, "t") == [("of the source",)]


class Repeating(Toy):
    """A source that gives rows again, whatever of it is to be read."""

    def extract(self, table: SourceTable, since: Cursor, into: Path) -> Extracted:  # noqa: ARG002
        return replace(super().extract(table, None, into), may_repeat=True)


def test_a_table_whose_rows_contradict_each_other_in_each_attempt_fails_with_the_reason(store: Store) -> None:
    extract(store, {"a": ToyTable("select 1 as x", "1", cursor_column="x")})
    toy = Repeating({"a": ToyTable("select 1 as x", "2", cursor_column="x")})
    (result,) = Extraction(store, "toy", runs.new_run_id(), lambda: NOW).run(lambda: toy).record.tables
    assert result.error == "a gave rows that contradict each other in 4 attempts; sync it again"
    assert rows(store, "a") == [(1,)]
