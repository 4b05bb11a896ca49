"""An incremental table without a key that is too wide for the memory grows by groups of columns, and comes to the same rows."""

import random
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from analyst import duckdb_files, runs
from analyst.contract import column_groups, merging
from analyst.contract.extraction import Extraction
from analyst.names import quote_text
from analyst.store import Store
from tests.bucket_contents import ask
from tests.doubles.toy_source import Toy, ToyTable
from tests.examples import partly

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
COLUMNS = column_groups.WIDE
WIDE = "".join(f", n * {number} as c{number}" for number in range(COLUMNS))
VALUES = ["NULL", "'nan'::double", "-0.0::double", "0.0::double", "1.5", "2"]


def grown(store: Store, *increments: str) -> list[tuple[object, ...]]:
    """Publish increments of a table without a key, and return its rows, without those columns that only make it wide."""
    for number, rows in enumerate(increments):
        table = ToyTable(f"select *{WIDE} from ({rows})", str(number), cursor_column="n")
        ended = Extraction(store, "toy", runs.new_run_id(), lambda: NOW, memory_limit="100MB").run(
            lambda table=table: Toy({"t": table})  # type: ignore[misc]
        )
        assert ended.record.status == "ok", ended.record
    names = [row[0] for row in ask(store, "extracts/toy/extract.duckdb", "describe from t") if row[0][1:] not in _MADE]
    return ask(store, "extracts/toy/extract.duckdb", f"select {', '.join(names)} from t order by all")


_MADE = {str(number) for number in range(COLUMNS)}


def test_rows_are_added_and_columns_change_their_types(store: Store) -> None:
    found = grown(
        store, "select 1 as n, 'a' as t, 1::smallint as k", "select 2 as n, 'b' as t, 70000 as k, true as more"
    )
    assert found == [(1, "a", 1, None), (2, "b", 70000, True)]


@pytest.mark.parametrize("wide", ["", WIDE])
@pytest.mark.parametrize("name", ["left", "right", "row", "class", "matches", "nth", "others", "kept"])
def test_a_column_may_have_any_name(tmp_path: Path, name: str, wide: str) -> None:
    with duckdb_files.lent() as con:
        old, new = (tmp_path / f"{letter}.parquet" for letter in "ab")
        for path, rows in ((old, f'n, n * 10 as "{name}"'), (new, f"n, n * 10 as \"{name}\", 'x' as more")):
            con.execute(f"copy (select {rows}{wide} from range(1, 4) t(n)) to {quote_text(str(path))}")
        stay, more = merging.appended(con, [old], [new], tmp_path / "more")
        assert stay == []
        found = con.execute(f'select n, "{name}", more from {merging.scan(more)} order by n').fetchall()
        assert found == [(1, 10, "x"), (2, 20, "x"), (3, 30, "x")]
        stay, more = merging.appended(con, [new], [old], tmp_path / "none")
        assert (stay, con.execute(f"select count(*) from {merging.scan(more)}").fetchall()) == ([new], [(0,)])


@pytest.mark.parametrize("columns", [1, COLUMNS + 1])
def test_rows_without_a_common_column_are_different_rows(tmp_path: Path, columns: int) -> None:
    with duckdb_files.lent() as con:
        old, new = (tmp_path / f"{letter}.parquet" for letter in "ab")
        for path in (old, new):
            listed = ", ".join(f"1 as {path.stem}{number}" for number in range(columns))
            con.execute(f"copy (select {listed}) to {quote_text(str(path))}")
        assert merging.appended(con, [old], [new], tmp_path) == ([old], [new])


@pytest.mark.parametrize("seed", partly(range(6), 2))
def test_a_row_is_kept_as_often_as_in_the_version_that_has_more_of_it(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)

    def written(name: str, more: str = "") -> tuple[Path, Counter[str]]:
        rows = [(chance.randrange(3), chance.choice(VALUES)) for _ in range(chance.randrange(1, 40))]
        listed = ", ".join(f"({n}, {x}::double)" for n, x in rows)
        path = tmp_path / f"{name}.parquet"
        with duckdb_files.lent() as con:
            con.execute(f"copy (select *{WIDE}{more} from (values {listed}) v(n, x)) to {quote_text(str(path))}")
        return path, Counter(f"{n} {x.removeprefix('-')}" for n, x in rows)

    (old, before), (new, now) = written("old"), written("new", chance.choice(["", ", null::varchar as later"]))
    (tmp_path / "into").mkdir()
    with duckdb_files.lent() as con:
        stay, more = merging.appended(con, [old], [new], tmp_path / "into")
        paths = [*stay, *more]
        found = con.execute(f"select n, x::varchar from {merging.scan(paths)}").fetchall()
    shown = {None: "NULL", "nan": "'nan'::double", "0.0": "0.0::double", "-0.0": "0.0::double", "2.0": "2"}
    assert Counter(f"{n} {shown.get(x, x)}" for n, x in found) == before | now


@pytest.mark.slow
def test_a_table_too_wide_for_the_memory_can_grow(tmp_path: Path) -> None:
    paths = list[Path]()
    for begin in (0, 100):
        listed = ["i as n", *(f"(i * {number})::varchar as c{number}" for number in range(700))]
        (tmp_path / str(begin)).mkdir()
        with duckdb_files.lent() as con:
            groups = [listed[at : at + column_groups.GROUP] for at in range(0, len(listed), column_groups.GROUP)]
            queries = [f"select {', '.join(group)} from range({begin}, {begin + 300}) t(i)" for group in groups]
            paths += column_groups.write(con, queries, tmp_path / str(begin))
    (tmp_path / "into").mkdir()
    with duckdb_files.lent(memory_limit="60MB") as con:
        stay, more = merging.appended(con, paths[:1], paths[1:], tmp_path / "into")
        assert stay == paths[:1]
        query = f"select count(*), min(n), max(n), count(*) filter (c699::bigint = n * 699) from {merging.scan(more)}"
        assert con.execute(query).fetchall() == [(100, 300, 399, 100)]
