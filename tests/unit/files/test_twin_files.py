"""Files of equal content: the rows of a table are a bag, however the files that hold them are alike."""

from collections import Counter
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyst.contract.model import SCHEMA
from analyst.rebuild import Rebuild
from analyst.snapshots import Snapshots
from analyst.store import ANY, Store
from analyst.sweep import Rule, Sweep
from da.mirror.database import publish
from da.mirror.manifest import File, Table
from da.mirror.views import Mirrored
from da.mirror.workspace import Workspace
from tests.bucket_contents import connected
from tests.doubles.memory_store import MemoryStore
from tests.examples import examples
from tests.unit.files.folder import Folder
from tests.unit.files.published import NOW, Published

A, B, OTHER = "x,y\n1,2\n", "x;y\n3;4\n", "x\ty\n1\t2\n"
"""Written differently, so that each becomes a parquet file of its own; the first and the last have equal rows."""

CONTENTS = st.sampled_from([A, B, OTHER])
FOLDERS = st.dictionaries(st.sampled_from(["a", "b", "c", "d", "e"]), CONTENTS, min_size=1)


@pytest.fixture
def published(folder: Folder) -> Published:
    return Published(MemoryStore(), folder)


def expected(folder: Path) -> Counter[tuple[int, int]]:
    """Read the files with DuckDB alone."""
    found: Counter[tuple[int, int]] = Counter()
    with connected() as con:
        for path in folder.glob("t/*.csv"):
            found.update(con.execute("from read_csv(?)", [str(path)]).fetchall())
    return found


def check(published: Published) -> None:
    files = published.files()
    rows = published.ask("select x::bigint, y::bigint from t")
    assert Counter(rows) == expected(published.folder.path)
    assert published.delta() == sorted(file.path for file in files)
    (table,) = published.catalog().tables
    assert (table.rows, [file.path for file in table.files]) == (len(rows), [file.path for file in files])


@pytest.mark.slow
@given(st.lists(FOLDERS, min_size=1, max_size=4))
@settings(max_examples=examples(4))
def test_any_arrangement_of_equal_files_is_read_as_duckdb_reads_it(folders: list[dict[str, str]]) -> None:
    with TemporaryDirectory() as home:
        files = Path(home) / "files"
        published = Published(MemoryStore(), Folder(files, Path(home) / "work"), {"allow_fewer": True})
        for wanted in folders:
            for path in files.glob("t/*.csv"):
                path.unlink()
            for name, content in wanted.items():
                published.write(f"t/{name}.csv", content)
            published.sync()
            check(published)


def test_equal_files_do_not_fail_the_other_tables_and_keep_their_objects(published: Published) -> None:
    published.write("other.csv", "q\n1\n")
    for name, content in {"a": A, "b": B, "c": A}.items():
        published.write(f"t/{name}.csv", content)
    assert {result.table: result.status for result in published.run().tables} == {"other": "ok", "t": "ok"}
    first, _b, last = before = published.files()
    assert (first.sha256, first.path == last.path) == (last.sha256, False)
    published.write("t/d.csv", B)  # another twin
    published.sync()
    assert published.files()[:3] == before
    published.remove("t/a.csv")
    published.sync()
    assert {file.path for file in published.files()} < {file.path for file in before} | {published.files()[2].path}


def test_an_increment_equal_to_published_rows_is_added(published: Published) -> None:
    published.options = {"sync_strategy": "incremental", "cursor_column": "at"}
    published.write("t/a.csv", "x,at\n1,\n")
    published.sync()
    published.write("t/b.csv", "x;at\n1;\n")
    published.sync()
    assert published.rows() == [("1", None), ("1", None)]
    assert published.delta() == sorted(file.path for file in published.files())


@pytest.mark.slow
def test_compaction_and_a_laptop_keep_every_twin(published: Published, tmp_path: Path) -> None:
    published.options = {"sync_strategy": "incremental", "cursor_column": "at"}  # files of a full refresh stay apart
    one, other, twin = "x,at\n1,\n", "x;at\n3;\n", "x\tat\n1\t\n"
    for number, content in enumerate([one, other, twin, other, one]):
        published.write(f"t/{number}.csv", content)
        published.sync()
    assert len(published.files()) == 5
    counted = "select x, count(*) from t group by x order by x"
    assert mirrored(published, tmp_path / "before", counted) == [(1, 3), (3, 2)]
    swept = Sweep(published.store, timedelta(days=1), rule=Rule(fewest=2)).run()
    assert [(table.files, swept.problems) for table in swept.compacted] == [(5, ())]
    assert len(published.files()) == 1
    assert mirrored(published, tmp_path / "after", counted) == [(1, 3), (3, 2)]
    assert published.delta() == [file.path for file in published.files()]


def mirrored(published: Published, root: Path, query: str) -> list[tuple[Any, ...]]:
    """Mirror the newest snapshot as a laptop does, which names a file by its content alone, and query it."""
    workspace, tables = Workspace(root), list[Mirrored]()
    for table in published.catalog().tables:
        files = tuple(File(file.path, file.sha256, file.size_bytes) for file in table.files)
        paths = tuple(workspace.path(table.id, file) for file in files)
        for file, path in zip(files, paths, strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            published.store.download(file.path, path)
        tables.append(Mirrored(Table(table.id, table.view, table.hash, files=files), paths))
    assert publish(workspace.duckdb, tables).failed == {}
    with duckdb.connect(workspace.duckdb, read_only=True) as con:
        return con.execute(query).fetchall()


def test_a_third_party_connector_may_have_twins_too(quick_store: Store, tmp_path: Path) -> None:
    """Its files are copied to names of ours, each to one of its own, and again when they are known already."""
    for round_ in range(2):
        for name in "ab":
            path = tmp_path / f"{name}.parquet"
            duckdb.sql("select 1 as x").write_parquet(str(path))
            quick_store.put(f"extracts/other/data/t/{name}.parquet", path.read_bytes(), if_version=ANY)
        path = tmp_path / f"extract-{round_}.duckdb"
        with duckdb.connect(path) as con:
            columns = ", ".join(f"{name} {kind}" for name, kind in SCHEMA["_meta"].items())
            con.execute(
                f"create table _meta ({columns}); insert into _meta values ('t', '{round_}', 2, 1, now(), 'local')"
            )
        quick_store.put("extracts/other/extract.duckdb", path.read_bytes(), if_version=ANY)
        answer = Rebuild(quick_store, lambda: NOW, tuple).run()
        assert (answer.status, answer.problems) == ("published", ())
        (table,) = Snapshots(quick_store).current().catalog.tables
        assert (table.rows, len({file.path for file in table.files})) == (2, 2)
