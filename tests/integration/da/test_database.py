"""The user's database: our views in it, with all of the user's own objects left as they are."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pytest

from da.errors import DaError
from da.mirror.database import Draft, publish
from da.mirror.manifest import Table
from da.mirror.opening import fresh_of
from da.mirror.sync import Report
from da.mirror.views import Mirrored
from da.mirror.workspace import Workspace
from tests.doubles.functions_api import FunctionsApi
from tests.full_disk import limited_files

pytestmark = pytest.mark.duckdb

SyncRun = Callable[..., Report]
Rows = Callable[[str], list[tuple[Any, ...]]]


@pytest.fixture
def synced(api: FunctionsApi, sync: SyncRun) -> FunctionsApi:
    api.put("shop.orders", "select 1 as id")
    api.put("shop.customers", "select 1 as id")
    assert sync().exit_code == 0
    return api


def user_runs(workspace: Workspace, sql: str) -> None:
    """Do what a user does with their database."""
    with duckdb.connect(workspace.duckdb) as connection:
        connection.execute(sql)


@contextmanager
def opened_elsewhere(path: Path, *, read_only: bool, last: str = "") -> Iterator[int]:
    """Have another process hold a database open; return its process id. `last` is its way out."""
    code = f"""
import duckdb, os, sys
c = duckdb.connect({str(path)!r}, read_only={read_only})
print(c.execute('select count(*) from orders').fetchone(), flush=True)
sys.stdin.readline()
print(c.execute('select count(*) from orders').fetchone(), flush=True)
{last}
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        assert process.stdout.readline() == "(1,)\n"
        yield process.pid
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "(1,)\n"


def test_objects_of_the_user_are_kept(synced: FunctionsApi, sync: SyncRun, rows: Rows, workspace: Workspace) -> None:
    user_runs(
        workspace,
        """
        create table mine as select 42 as answer;
        create view my_view as select * from orders;
        create schema lab; create table lab.notes as select 'x' as note;
        create macro twice(x) as 2 * x;
        create sequence numbers;
        """,
    )
    synced.put("shop.orders", "select 7 as id")
    assert sync().exit_code == 0
    assert rows("select answer, twice(answer), (select id from my_view), (select note from lab.notes) from mine") == [
        (42, 84, 7, "x")
    ]


def test_a_table_of_the_user_keeps_its_name(
    synced: FunctionsApi, sync: SyncRun, rows: Rows, workspace: Workspace
) -> None:
    user_runs(workspace, 'create table "Refunds" as select 42 as answer')
    synced.put("shop.refunds", "select 1 as id")
    report = sync()
    assert report.exit_code == 0
    assert report.notes == [
        "shop.refunds has no view 'refunds': the name is used by a table or view of yours; query it as shop.refunds, or rename yours and sync again"
    ]
    assert rows("select answer from refunds") == [(42,)]


@pytest.mark.parametrize(
    "sql",
    [
        "create or replace view orders as select 42 as answer",
        "drop view orders; create table orders as select 42 as answer",
        "drop view orders; create view orders as select 42 as answer; comment on view orders is 'mine'",
    ],
)
def test_an_object_that_replaced_a_view_belongs_to_the_user(
    synced: FunctionsApi, sync: SyncRun, rows: Rows, workspace: Workspace, sql: str
) -> None:
    user_runs(workspace, sql)
    synced.put("shop.orders", "select 7 as id")
    for _ in range(2):
        report = sync(verify=True)
        assert report.notes == [
            "shop.orders has no view 'orders': the name is used by a table or view of yours; query it as shop.orders, or rename yours and sync again"
        ]
        assert rows("select answer from orders") == [(42,)]
    synced.withdraw("shop.orders")
    sync()
    assert rows("select answer from orders") == [(42,)]


def test_a_view_is_restored_when_its_name_is_free_again(
    synced: FunctionsApi, sync: SyncRun, rows: Rows, workspace: Workspace
) -> None:
    user_runs(workspace, "drop view orders; create table orders as select 42 as answer")
    synced.put("shop.orders", "select 7 as id")
    sync()
    user_runs(workspace, "drop table orders")
    synced.put("shop.customers", "select 2 as id")
    assert sync().notes == []
    assert rows("select id from orders") == [(7,)]


def test_a_renamed_view_leaves_no_old_one_behind(synced: FunctionsApi, sync: SyncRun, rows: Rows) -> None:
    synced.tables["shop.orders"]["view"] = "shop_orders"
    sync()
    assert rows("select view_name from duckdb_views() where schema_name = 'main' and not internal order by 1") == [
        ("customers",),
        ("shop_orders",),
    ]


def test_two_views_can_swap_names(synced: FunctionsApi, sync: SyncRun, rows: Rows) -> None:
    synced.put("shop.orders", "select 'orders' as name")
    synced.put("shop.customers", "select 'customers' as name")
    synced.tables["shop.orders"]["view"], synced.tables["shop.customers"]["view"] = "customers", "orders"
    assert sync().exit_code == 0
    assert rows("select (select name from orders), (select name from customers)") == [("customers", "orders")]


def test_the_mirror_describes_itself_in_sql(synced: FunctionsApi, rows: Rows) -> None:  # noqa: ARG001
    assert rows("select id, view, rows from _da.tables order by id") == [
        ("shop.customers", "customers", 1),
        ("shop.orders", "orders", 1),
    ]


def test_readers_of_the_database_are_not_disturbed(
    synced: FunctionsApi, sync: SyncRun, rows: Rows, workspace: Workspace
) -> None:
    with opened_elsewhere(workspace.duckdb, read_only=True):
        synced.put("shop.orders", "select 1 as id", "select 2 as id")
        assert sync().exit_code == 0
        assert rows("select count(*) from orders") == [(2,)]


def test_a_process_that_writes_to_the_database_is_named(
    synced: FunctionsApi, sync: SyncRun, workspace: Workspace
) -> None:
    with opened_elsewhere(workspace.duckdb, read_only=False) as pid:
        synced.put("shop.orders", "select 1 as id", "select 2 as id")
        with pytest.raises(DaError, match=f"process {pid} has it open for writing; close it and run da sync again"):
            sync()
        assert len(list(workspace.folder("shop.orders").iterdir())) == 2
    synced.forget()
    assert sync().exit_code == 0
    assert synced.count("/files/") == 0


def test_writes_of_a_program_that_died_are_kept(
    synced: FunctionsApi, sync: SyncRun, rows: Rows, workspace: Workspace
) -> None:
    last = """
c.execute("set checkpoint_threshold='1TB'")
c.execute("create table mine as select 42 as answer")
os._exit(0)
"""
    with opened_elsewhere(workspace.duckdb, read_only=False, last=last):
        pass
    assert Path(f"{workspace.duckdb}.wal").exists()
    synced.put("shop.orders", "select 7 as id")
    assert sync().exit_code == 0
    assert rows("select answer, id from mine, orders") == [(42, 7)]
    assert [path.name for path in workspace.duckdb.parent.iterdir()] == ["analytics.duckdb"]


LOGGED = """
c.execute("set checkpoint_threshold='1TB'")
c.execute("create table mine as select hash(i) as number from range(20000) t(i)")
os._exit(0)
"""
"""Leaves 160 kB in the log of a database, which is smaller itself."""


def test_a_sound_database_stays_in_place_if_the_disk_is_too_full_for_its_copy(
    synced: FunctionsApi, sync: SyncRun, rows: Rows, workspace: Workspace
) -> None:
    with opened_elsewhere(workspace.duckdb, read_only=False, last=LOGGED):
        pass
    names = sorted(path.name for path in workspace.duckdb.parent.iterdir())
    log = Path(f"{workspace.duckdb}.wal").stat().st_size
    with opened_elsewhere(workspace.duckdb, read_only=True):
        synced.put("shop.orders", "select 7 as id")
        for limit in (log // 2, log + 1000):  # no room for the copy, and none to merge its log
            with limited_files(limit), pytest.raises(DaError, match=r"can't update .*[Ff]ile too large"):
                sync()
            assert sorted(path.name for path in workspace.duckdb.parent.iterdir()) == names
    assert sync().exit_code == 0
    assert rows("select count(number), min(id) from mine, orders") == [(20000, 7)]


def test_a_copy_whose_views_are_not_on_the_disk_does_not_replace_the_database(
    synced: FunctionsApi, sync: SyncRun, rows: Rows, workspace: Workspace
) -> None:
    user_runs(workspace, "create table mine as select hash(i) as number from range(40000) t(i)")
    assert sync().exit_code == 0
    size = workspace.duckdb.stat().st_size
    with opened_elsewhere(workspace.duckdb, read_only=True):
        synced.put("shop.orders", "select 7 as id", description="x" * 150_000)
        with limited_files(size), pytest.raises(DaError, match="can't update"):
            sync()
        assert rows("select count(number), min(id) from mine, orders") == [(40000, 1)]
    assert sync().exit_code == 0
    assert rows("select count(number), min(id) from mine, orders") == [(40000, 7)]


def test_the_log_of_a_database_that_is_not_replaced_stays_with_it(
    synced: FunctionsApi,  # noqa: ARG001
    rows: Rows,
    workspace: Workspace,
) -> None:
    with opened_elsewhere(workspace.duckdb, read_only=False, last=LOGGED):
        pass
    draft = Draft(workspace.duckdb)
    fresh_of(workspace.duckdb).unlink()
    with pytest.raises(DaError, match=r"can't update .*no such file"):
        publish(workspace.duckdb, [], begun=draft)
    assert rows("select count(number) from mine") == [(20000,)]


def test_a_damaged_database_is_moved_aside(
    synced: FunctionsApi, sync: SyncRun, rows: Rows, workspace: Workspace
) -> None:
    workspace.duckdb.write_bytes(b"this is no database" * 1000)
    synced.put("shop.orders", "select 7 as id")
    report = sync()
    assert "was damaged (" in report.notes[0]
    assert "renamed to analytics.broken-" in report.notes[0]
    assert rows("select id from orders") == [(7,)]
    assert len(list(workspace.duckdb.parent.glob("analytics.broken-*.duckdb"))) == 1


def test_a_database_that_is_a_link_stays_a_link(
    synced: FunctionsApi, sync: SyncRun, rows: Rows, workspace: Workspace, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere.duckdb"
    shutil.move(workspace.duckdb, elsewhere)
    workspace.duckdb.symlink_to(elsewhere)
    synced.put("shop.orders", "select 7 as id")
    assert sync().exit_code == 0
    assert workspace.duckdb.is_symlink()
    assert rows("select id from orders") == [(7,)]


def test_leftovers_of_an_interrupted_sync_are_cleaned_up(
    synced: FunctionsApi, sync: SyncRun, workspace: Workspace
) -> None:
    (workspace.duckdb.parent / ".analytics.duckdb.new").write_bytes(b"half")
    (workspace.duckdb.parent / ".analytics.duckdb.new.wal").write_bytes(b"half")
    synced.put("shop.orders", "select 7 as id")
    assert sync().exit_code == 0
    assert [path.name for path in workspace.duckdb.parent.iterdir()] == ["analytics.duckdb"]


def test_a_view_that_cannot_be_created_does_not_affect_the_others(tmp_path: Path) -> None:
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"no parquet")
    columns = ({"name": "id", "type": "INTEGER"},)
    entries = {name: Table.from_json(f"shop.{name}", {"view": name, "columns": list(columns)}) for name in "abc"}
    path = tmp_path / "analytics.duckdb"
    published = publish(
        path, [Mirrored(entries["a"], ()), Mirrored(entries["b"], (broken,)), Mirrored(entries["c"], ())]
    )
    assert list(published.failed) == ["shop.b"]
    with duckdb.connect(path, read_only=True) as connection:
        views = connection.execute(
            "select view_name from duckdb_views() where schema_name = 'main' and not internal order by 1"
        ).fetchall()
    assert views == [("a",), ("c",)]


def flipped(path: Path, *places: int) -> None:
    content = bytearray(path.read_bytes())
    for place in places:
        content[place] ^= 0xFF
    path.write_bytes(content)


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


def newer(path: Path) -> None:
    """Make a database claim a storage format of the future."""
    content = bytearray(path.read_bytes())
    content[12:20] = (10**9).to_bytes(8, "little")
    content[52:84] = b"v9.1.0".ljust(32, b"\0")
    path.write_bytes(content)


def without_views(path: Path) -> None:
    with duckdb.connect(path) as connection:
        connection.execute("drop view orders")


Damage = tuple[Callable[[Path], object], str]


@pytest.mark.parametrize(
    "damage",
    [
        (lambda path: path.write_bytes(b""), "was damaged"),
        (lambda path: path.write_bytes(b"no database" * 1000), "was damaged"),
        (lambda path: cut(path, 100), "was damaged"),
        (lambda path: flipped(path, 4096 + 20, 8192 + 20), "was damaged"),
        (newer, "was written by DuckDB v9.1.0, which is newer than the installed DuckDB"),
        (without_views, ""),
        (lambda path: path.unlink(), ""),
    ],
)
def test_a_sync_without_changes_notices_a_damaged_database(
    synced: FunctionsApi, sync: SyncRun, rows: Rows, workspace: Workspace, damage: Damage
) -> None:
    inflict, note = damage
    inflict(workspace.duckdb)
    report = sync()
    assert report.exit_code == 0
    assert rows("select count(*) from orders") == [(1,)]
    assert len(report.notes) == bool(note)
    if note:
        assert note in report.notes[0]
        assert "delete" not in report.notes[0]
        assert "copy TABLE to 'TABLE.parquet'" in report.notes[0]
        assert len(list(workspace.duckdb.parent.glob("analytics.*-*.duckdb"))) == 1
    synced.forget()
    assert sync().notes == []


def test_the_log_of_a_damaged_database_is_moved_aside_with_it(
    synced: FunctionsApi, sync: SyncRun, workspace: Workspace
) -> None:
    assert synced.tables
    workspace.duckdb.write_bytes(b"no database" * 1000)
    Path(f"{workspace.duckdb}.wal").write_bytes(b"what a program had written")
    sync()
    (log,) = workspace.duckdb.parent.glob("*.wal")
    assert log.name.startswith("analytics.broken-")
    assert log.read_bytes() == b"what a program had written"


def test_a_database_that_the_user_changed_is_checked_once(
    synced: FunctionsApi, sync: SyncRun, workspace: Workspace
) -> None:
    user_runs(workspace, "create table mine as select 42 as answer")
    synced.forget()
    assert workspace.state().database != workspace.database_stamp()
    sync()
    assert workspace.state().database == workspace.database_stamp()
    assert synced.count("/api/data/urls") == 0


def test_the_files_of_an_older_state_stay_until_its_readers_end(
    synced: FunctionsApi, sync: SyncRun, workspace: Workspace
) -> None:
    with opened_elsewhere(workspace.duckdb, read_only=True):  # which queries once more at its end
        for number in range(4):
            synced.put("shop.orders", f"select {number} as id", "select 1 as id")
            assert sync().exit_code == 0
        assert len(list(workspace.folder("shop.orders").iterdir())) > 2
    assert sync().exit_code == 0
    assert len(list(workspace.folder("shop.orders").iterdir())) == 2
    assert sorted(path.name for path in (workspace.root / ".da").iterdir()) == ["lock", "state.json"]


def test_revoked_files_are_deleted_even_while_they_are_read(
    synced: FunctionsApi, sync: SyncRun, workspace: Workspace
) -> None:
    code = f"import duckdb, sys; c = duckdb.connect({str(workspace.duckdb)!r}, read_only=True); print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as reader:
        assert reader.stdout is not None
        reader.stdout.readline()
        synced.withdraw("shop.orders")
        assert sync().removed == ["shop.orders"]
        assert not workspace.folder("shop.orders").exists()
        assert workspace.folder("shop.customers").exists()
        reader.communicate(b"")


@pytest.mark.parametrize("content", [b"root:x:0:0:root", b""])
def test_a_link_to_a_foreign_file_is_not_followed(
    synced: FunctionsApi, sync: SyncRun, workspace: Workspace, tmp_path: Path, content: bytes
) -> None:
    other = tmp_path / "other"
    other.write_bytes(content)
    workspace.duckdb.unlink()
    workspace.duckdb.symlink_to(other)
    synced.put("shop.orders", "select 7 as id")
    with pytest.raises(DaError, match=r"is a link to .*other', which is not a DuckDB database; remove the link"):
        sync()
    assert other.read_bytes() == content
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("other")] == ["other"]


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_an_entry_that_is_not_a_file_is_named(
    synced: FunctionsApi, sync: SyncRun, workspace: Workspace, make: Callable[[Path], object]
) -> None:
    assert synced.tables
    workspace.duckdb.unlink()
    make(workspace.duckdb)
    with pytest.raises(DaError, match="is not a regular file; move it away"):
        sync()


def test_a_macro_of_the_user_does_not_shadow_what_views_read(
    synced: FunctionsApi, sync: SyncRun, rows: Rows, workspace: Workspace
) -> None:
    user_runs(workspace, "create macro read_parquet(x, union_by_name := true) as table select 42 as answer")
    synced.put("shop.orders", "select 7 as id")
    assert sync().failed == {}
    assert rows("select id from orders") == [(7,)]
