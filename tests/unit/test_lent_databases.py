"""A database in memory that is lent again and again is as empty for the next block as a new one."""

import os
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import duckdb
import pytest

from analyst import duckdb_files

OWN = "select database_name from duckdb_databases() where not internal"
SETTINGS = "select current_setting('threads'), current_setting('memory_limit'), current_setting('temp_directory')"
PLANNED = "select current_setting('disabled_optimizers'), current_setting('disabled_compression_methods')"
KEPT = "select current_setting('preserve_insertion_order'), current_setting('enable_external_file_cache')"


def test_a_block_leaves_nothing_for_the_next(tmp_path: Path) -> None:
    path = tmp_path / "a.duckdb"
    for _ in range(3):
        with duckdb_files.lent() as con:
            assert con.execute(OWN).fetchall() == [("memory",)]
            assert con.execute("select getvariable('told')").fetchall() == [(None,)]
            assert con.execute(KEPT).fetchall() == [(True, True)]
            assert con.execute(PLANNED).fetchall() == [("", "")]
            duckdb_files.expect_small_files(con)
            assert con.execute(PLANNED).fetchall() != [("", "")]
            con.execute("create temp table rows as select 1 as n; set variable told = 'yes'")
            con.execute("set preserve_insertion_order = false; set threads = 2; begin")
            path.unlink(missing_ok=True)
            duckdb_files.create(con, path, "file")
            con.execute("commit; create table file.main.rows as from range(3)")
    with duckdb_files.lent() as con:
        duckdb_files.attach(con, path, "file", what="it")
        assert con.execute("select count(*) from file.main.rows").fetchall() == [(3,)]


def test_a_block_gets_the_limits_that_it_requests(tmp_path: Path) -> None:
    for memory_limit in ("100MiB", "200MiB", "50MiB", "50MiB"):
        folder = tmp_path / memory_limit
        with duckdb_files.lent(memory_limit=memory_limit, temp_dir=folder) as con:
            assert con.execute(SETTINGS).fetchall() == [(1, memory_limit.replace("M", ".0 M"), str(folder))]
            con.execute("create temp table much as select hash(range) as h from range(100_000)")
    with duckdb_files.lent() as con:
        assert con.execute(SETTINGS).fetchall()[0][2] == ""


def test_simultaneous_blocks_have_databases_of_their_own() -> None:
    with duckdb_files.lent() as one, duckdb_files.lent() as other, duckdb_files.lent() as third:
        for con in (one, other, third):
            con.execute("attach ':memory:' as same")
            assert len(con.execute(OWN).fetchall()) == 2


def test_files_are_read_again_by_the_next_block(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    for number in range(3):
        with duckdb_files.lent() as con:
            con.execute(f"copy (select {number} as n) to '{path}' (format parquet)")
            assert con.execute(f"select n from read_parquet('{path}')").fetchall() == [(number,)]


def test_after_an_error_the_next_block_gets_another_database() -> None:
    def fail() -> None:
        with duckdb_files.lent() as con:
            con.execute("attach ':memory:' as left_over; create table left_over.main.t (n int)")
            con.execute("select no_such_column")

    with pytest.raises(duckdb.BinderException):
        fail()
    for _ in range(3):
        with duckdb_files.lent() as con:
            assert con.execute(OWN).fetchall() == [("memory",)]


def test_a_confined_block_can_access_its_folder_only(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("the host's own")
    with duckdb_files.lent_confined() as (con, home):
        (home / "link").symlink_to(secret)
        for place in (secret, home / "link", home / ".." / ".." / ".." / str(secret)):
            with pytest.raises(duckdb.PermissionException, match="disabled by configuration"):
                con.execute(f"select content from read_text('{place}')")
        with pytest.raises(duckdb.PermissionException, match="disabled by configuration"):
            con.execute(f"attach '{tmp_path / 'a.duckdb'}' as a")
        for statement in ("reset allowed_directories", "set enable_external_access = true", "set threads = 4"):
            with pytest.raises(duckdb.InvalidInputException, match="locked"):
                con.execute(statement)


def test_a_confined_block_leaves_nothing_for_the_next() -> None:
    before: set[Path] = set()
    for number in range(4):
        with duckdb_files.lent_confined() as (con, home):
            assert not [*home.iterdir()]
            assert not any(folder.exists() for folder in before)
            assert con.execute(OWN).fetchall() == [("memory",)]
            assert con.execute("select getvariable('told')").fetchall() == [(None,)]
            con.execute("create temp table rows as select 1 as n; set variable told = 'yes'")
            duckdb_files.create(con, home / "a.duckdb", "file")
            con.execute(f"create table file.main.rows as select {number} as n")
            duckdb_files.detach(con, "file")
            duckdb_files.attach(con, home / "a.duckdb", "file", what="it")
            assert con.execute("select n from file.main.rows").fetchall() == [(number,)]
            con.execute("attach ':memory:' as other; create macro other.main.told() as 'yes'")
            before.add(home)


def test_a_confined_block_cannot_log_statements_of_the_next() -> None:
    """DuckDB's functions enable its log although the configuration is locked, for all connections of an instance."""
    with duckdb_files.lent_confined() as (con, _):
        con.execute("select * from enable_logging('QueryLog', storage = 'memory')")
    with duckdb_files.lent_confined() as (con, _):
        con.execute("select 'of somebody else'")
        assert con.execute("select message from duckdb_logs").fetchall() == []


def test_after_an_error_the_next_confined_block_gets_another_database() -> None:
    def fail() -> Path:
        with duckdb_files.lent_confined() as (con, home):
            seen.append(home)
            con.execute("attach ':memory:' as left_over; select no_such_column")
        return home

    seen: list[Path] = []
    with pytest.raises(duckdb.BinderException):
        fail()
    assert not seen[0].parent.exists()
    with duckdb_files.lent_confined() as (con, home):
        assert home.parent != seen[0].parent
        assert con.execute(OWN).fetchall() == [("memory",)]


def test_simultaneous_confined_blocks_cannot_read_folders_of_each_other() -> None:
    with duckdb_files.lent_confined() as (_one, home), duckdb_files.lent_confined() as (other, _):
        (home / "a.txt").write_text("a")
        with pytest.raises(duckdb.PermissionException, match="disabled by configuration"):
            other.execute(f"select content from read_text('{home / 'a.txt'}')")


def test_a_file_is_cached_until_somebody_changes_it(tmp_path: Path) -> None:
    path = tmp_path / "a.duckdb"
    with duckdb_files.lent() as con:
        duckdb_files.create(con, path, "file")
    assert path not in duckdb_files.PLAIN
    duckdb_files.PLAIN.add(path)
    copy = tmp_path / "copy.duckdb"
    copy.write_bytes(path.read_bytes())
    assert copy in duckdb_files.PLAIN
    with duckdb.connect(path) as con:
        con.execute("create macro list_transform(a, b) as ['secret']")
    assert path not in duckdb_files.PLAIN


def test_a_folder_in_memory_is_used_while_it_has_room(tmp_path: Path) -> None:
    assert duckdb_files.memory_folder(tmp_path, room=1) == tmp_path
    for folder, room in ((tmp_path, 1 << 60), (tmp_path / "missing", 1)):
        assert duckdb_files.memory_folder(folder, room) == Path(tempfile.gettempdir())


def test_folders_that_killed_processes_left_are_deleted_a_day_later() -> None:
    place, old = duckdb_files.memory_folder(), time.time() - 2 * 86_400
    left, young = (Path(tempfile.mkdtemp(prefix="analyst-confined-", dir=place)) for _ in range(2))
    (left / "extract.duckdb").write_bytes(b"x")
    os.utime(left, (old, old))
    with ExitStack() as stack:
        homes = [stack.enter_context(duckdb_files.lent_confined())[1] for _ in range(3)]  # more than are kept
        assert (left.exists(), young.exists(), all(home.is_dir() for home in homes)) == (False, True, True)
    young.rmdir()
