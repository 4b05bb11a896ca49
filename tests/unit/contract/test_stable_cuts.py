"""Full refreshes of almost equal data share most of their files."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyst import duckdb_files
from analyst.contract import parquet, stable_cuts
from tests.examples import examples

ROWS = "select i as id, md5(i::varchar) as v, i % 7 as w from range(12000) r(i)"
SIZE = 20_000


def written(query: str, home: Path, size: int = SIZE) -> list[str]:
    """Write rows in files that end by content; return the hashes of these files."""
    home.mkdir()
    for name in ("in", "out"):
        (home / name).mkdir()
    with duckdb_files.connect(threads=1) as con:
        files = [parquet.inspect(con, path) for path in parquet.write(con, query, home / "in", file_bytes=size * 7)]
        paths = stable_cuts.cut(con, files, home / "out", file_bytes=size)
        made = [parquet.inspect(con, path) for path in paths]
        listed = [str(path) for path in paths]
        md5 = "select md5(string_agg(t::varchar, '|')) from ({}) t".format
        assert con.execute(md5(f"from read_parquet({listed})")).fetchall() == con.execute(md5(query)).fetchall()
    return [file.sha256 for file in made]


@pytest.mark.parametrize(
    ("change", "new"),
    [
        (ROWS, 0),
        (f"{ROWS} union all select 12000, 'new', 1", 1),
        (
            f"select * from ({ROWS}) where id < 6000 union all select -1, 'new', 1 union all from ({ROWS}) where id >= 6000",
            2,
        ),
        (f"select * from ({ROWS}) where id > 10", 2),
        (f"select * replace (case when id between 9000 and 9040 then 'x' else v end as v) from ({ROWS})", 2),
    ],
)
def test_a_small_change_leaves_the_other_files_as_they_are(tmp_path: Path, change: str, new: int) -> None:
    before, after = written(ROWS, tmp_path / "a"), written(change, tmp_path / "b")
    assert len(before) > 10
    assert len([one for one in after if one not in before]) <= new


def test_files_of_several_row_groups_do_not_depend_on_the_rows_before_them(tmp_path: Path) -> None:
    rows = "select i as id, (hash(i) % 100)::bigint as v from range(700000) r(i)"
    before = written(rows, tmp_path / "a", 600_000)
    after = written(
        f"from (select -1::bigint as id, 0::bigint as v union all from ({rows})) order by id", tmp_path / "b", 600_000
    )
    assert 2 < len(before) < 6
    assert len([one for one in after if one not in before]) == 1


def test_equal_rows_are_cut_at_the_largest_size(tmp_path: Path) -> None:
    assert len(written("select 1 as n from range(40000)", tmp_path / "a", 50)) > 1


def test_a_table_without_rows_keeps_its_columns(tmp_path: Path) -> None:
    assert len(written("select 1 as n where false", tmp_path / "a")) == 1


@given(st.lists(st.integers(1, 500), unique=True), st.integers(1, 500), st.sampled_from([1, 8, 64]))
@settings(max_examples=examples(60))
def test_files_have_no_more_rows_than_allowed(candidates: list[int], rows: int, usual: int) -> None:
    ends = list(stable_cuts._ends(sorted(n for n in candidates if n <= rows), rows, usual))
    sizes = [end - start for start, end in zip([0, *ends], ends, strict=False)]
    assert ends[-1] == rows
    assert all(0 < size <= 4 * usual for size in sizes)
    assert all(size >= usual // 4 for size in sizes[:-1])
