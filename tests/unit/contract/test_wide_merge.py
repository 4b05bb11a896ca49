"""A keyed table that is too wide for the memory is merged by groups of columns, and comes to the same rows."""

from itertools import count
from pathlib import Path

import pytest

from analyst import duckdb_files
from analyst.contract import column_groups, merging, wide_merge
from analyst.contract.key_ranges import Order
from analyst.contract.keyed_merge import KeyedMerge
from analyst.contract.merging import Increment
from analyst.contract.model import FileRow
from analyst.errors import MemoryExhaustedError
from analyst.names import quote_text

COLUMNS = 2 * column_groups.GROUP + 10
BASE = ["(1, 'b', 5)", "(2, 'a', 5)", "(3, NULL, 5)", "(4, 'd', NULL)"]
NEW = ["(2, 'A', 4)", "(3, 'C', 6)", "(3, 'c', 6)", "(4, 'D', NULL)", "(9, NULL, 1)", "(0, 'n', 7)"]


def written(folder: Path, rows: list[str], more: str = "", columns: int = COLUMNS) -> Path:
    folder.mkdir(parents=True)
    path = folder / "rows.parquet"
    wide = "".join(f", key * {number} as c{number}" for number in range(columns))
    with duckdb_files.lent() as con:
        con.execute(
            f"copy (select key, name, seen{wide}{more} from (values {', '.join(rows)}) t(key, name, seen)) "
            f"to {quote_text(str(path))}"
        )
    return path


@pytest.mark.parametrize("cursor", [None, "seen"])
@pytest.mark.parametrize(("has_base", "gone"), [(True, ()), (True, (1, 3)), (False, ())])
@pytest.mark.parametrize("clustered_by", [(), ("name",)])
def test_a_merge_in_column_groups_equals_one_of_all_columns_at_once(
    tmp_path: Path, cursor: str | None, clustered_by: tuple[str, ...], gone: tuple[int, ...], *, has_base: bool
) -> None:
    base = [written(tmp_path / "base", BASE)] if has_base else []
    new = [written(tmp_path / "new", NEW, ", 'x' as added")]
    deleted = [written(tmp_path / "gone", [f"({key}, '', 0)" for key in gone])] if gone else []
    increment, found = Increment(new, Order(("key",), clustered_by), cursor, deleted), []
    for name, merge in (("wide", wide_merge.merge_by_key), ("plain", merging.merge_by_key)):
        with duckdb_files.lent() as con:
            (tmp_path / name).mkdir()
            paths = merge(con, base, increment, tmp_path / name)
            scan = merging.scan(paths)
            found.append((con.execute(f"describe from {scan}").fetchall(), con.execute(f"from {scan}").fetchall()))
    assert found[0] == found[1]


def merged(home: Path, memory_limit: str, columns: int) -> tuple[FileRow, ...]:
    """Publish a wide table, and merge an increment with two thirds of its keys and as many others into it."""
    numbers = count()

    def folder() -> Path:
        made = home / f"made{next(numbers)}"
        made.mkdir(parents=True)
        return made

    files: tuple[FileRow, ...] = ()
    for begin, limit in ((0, "1GB"), (100, memory_limit)):
        listed = ["i as key", *(f"(i * {number} + {begin})::varchar as c{number}" for number in range(columns))]
        groups = [listed[at : at + column_groups.GROUP] for at in range(0, len(listed), column_groups.GROUP)]
        queries = [f"select {', '.join(group)} from range({begin}, {begin + 300}) t(i)" for group in groups]
        with duckdb_files.lent() as con:
            new = column_groups.write(con, queries, folder())
        merge = KeyedMerge(files, lambda row: Path(row.path), folder, limit).run(Increment(new, Order(("key",))))
        files = tuple(
            FileRow(str(file.path), None, file.rows, file.size_bytes, file.sha256, getattr(file, "stats", "{}"))
            for file in merge.files
        )
    return files


@pytest.mark.slow
def test_a_table_too_wide_for_the_memory_is_merged(tmp_path: Path) -> None:
    (file,) = merged(tmp_path, "90MB", 700)
    with duckdb_files.lent() as con:
        query = f"select count(*), count(distinct key), count(*) filter (c699::bigint = key * 699 + 100) from {merging.scan([Path(file.path)])}"
        assert con.execute(query).fetchall() == [(400, 400, 300)]


@pytest.mark.slow
def test_a_table_that_is_still_too_wide_is_reported_with_its_columns_and_the_setting(tmp_path: Path) -> None:
    with pytest.raises(MemoryExhaustedError, match=r"701 columns are too many .* within 3MB .*MEMORY_LIMIT"):
        merged(tmp_path, "3MB", 700)
