"""A mirror of many tables: what a change reads and writes, and what is left if it is killed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest

from da.mirror.database import Draft, InPlace, publish
from da.mirror.manifest import Column, Table
from da.mirror.state import State
from da.mirror.views import Mirrored
from da.mirror.workspace import Workspace
from da.query.results import opened
from tests.doubles.functions_api import FunctionsApi
from tests.integration.da.conftest import Da
from tests.processes import run_da

pytestmark = pytest.mark.duckdb

Rows = Callable[[str], list[tuple[Any, ...]]]


@pytest.fixture
def many(api: FunctionsApi) -> FunctionsApi:
    """A server of 20 sources with 12 tables each, one of which has rows."""
    api.lists_sources = True
    for source in range(20):
        for table in range(11):
            api.declare(f"s{source:02}.t{source:02}_{table:02}", columns=[{"name": "n", "type": "INTEGER"}])
        api.put(f"s{source:02}.rows_{source:02}", "select 1 as n")
    return api


def parts(workspace: Workspace) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (workspace.root / ".da/tables").iterdir()}


def test_a_change_writes_only_the_part_of_its_source(
    many: FunctionsApi, logged_in: Da, workspace: Workspace, rows: Rows
) -> None:
    assert logged_in("sync").code == 0
    before = parts(workspace)
    many.put("s07.rows_07", "select 2 as n")
    ran = logged_in("sync")
    assert ran.out.startswith("Updated s07.rows_07: 1 file, ")
    assert "; 239 tables unchanged. Snapshot 241." in ran.out
    after = parts(workspace)
    assert len(after.items() - before.items()) == 1
    assert rows("select n from rows_07 union all select n from s06.rows_06") == [(2,), (1,)]
    state = workspace.state()
    assert (len(state.tables), list(state.tables) == sorted(many.tables)) == (240, True)
    assert state.tables["s07.rows_07"].files[0].sha256 == many.tables["s07.rows_07"]["files"][0]["sha256"]
    many.forget()
    assert logged_in("sync").out == "Already up to date; 240 tables unchanged. Snapshot 241.\n"
    assert many.counts() == {"GET /api/sync/sources": 1}
    assert len(list(workspace.folder("s07.rows_07").iterdir())) == 1, "the file before is deleted one sync later"


def test_only_an_added_and_a_removed_source_change(
    many: FunctionsApi, logged_in: Da, workspace: Workspace, rows: Rows
) -> None:
    assert logged_in("sync").code == 0
    for table_id in [each for each in many.tables if each.startswith("s03.")]:
        many.withdraw(table_id)
    many.put("new.new_rows", "select 5 as n")
    assert logged_in("sync").out.startswith("Updated new.new_rows: 1 file, ")
    assert not workspace.folder("s03.rows_03").exists()
    assert len(workspace.state().tables) == 229
    assert rows("select n from new.new_rows") == [(5,)]
    schemas = {name for (name,) in rows("select schema_name from duckdb_schemas() where not internal")}
    assert schemas == {"_da", "new", *(f"s{n:02}" for n in range(20) if n != 3)}


def test_the_single_state_file_of_an_older_version_is_read(
    many: FunctionsApi, logged_in: Da, workspace: Workspace, rows: Rows
) -> None:
    assert logged_in("sync").code == 0
    path = workspace.root / ".da/state.json"
    document = json.loads(path.read_text())
    for name in ("parts", "superseded_in"):
        del document[name]
    tables = {table_id: table.to_json() for table_id, table in workspace.state().tables.items()}
    path.write_text(json.dumps({**document, "version": 1, "tables": tables}))
    many.forget()
    assert logged_in("sync").out.startswith("Already up to date; 240 tables unchanged.")
    many.put("s07.rows_07", "select 2 as n")
    assert logged_in("sync").out.startswith("Updated s07.rows_07: 1 file, ")
    assert many.counts()["GET /api/sync/manifest"] == 1
    assert rows("select n from rows_07") == [(2,)]
    assert json.loads(path.read_text())["version"] == 2


def test_without_a_part_the_next_sync_compares_everything(
    many: FunctionsApi, logged_in: Da, workspace: Workspace
) -> None:
    assert logged_in("sync").code == 0
    damages: list[Callable[[Path], object]] = [
        Path.unlink,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_text("[]\n"),
    ]
    for damage in damages:
        damage(next((workspace.root / ".da/tables").iterdir()))
        assert workspace.state() == State()
        many.forget()
        assert logged_in("sync").code == 0
        assert many.count("/files/") == 0
        assert len(workspace.state().tables) == 240


@pytest.mark.parametrize(
    "damage",
    [
        {"count": "many"},
        {"count": 3000, "sources": ["s07"]},
        {"count": 3000, "parts": [7]},
        {"count": 3000, "parts": 7},
    ],
)
def test_a_damaged_state_is_compared_as_a_whole(
    many: FunctionsApi, logged_in: Da, workspace: Workspace, rows: Rows, damage: dict[str, Any]
) -> None:
    assert logged_in("sync").code == 0
    path = workspace.root / ".da/state.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **damage}))
    many.put("s07.rows_07", "select 2 as n")
    assert logged_in("sync").code == 0
    assert rows("select n from rows_07 union all select n from s06.rows_06") == [(2,), (1,)]
    assert len(workspace.state().tables) == 240


def test_a_part_with_damaged_content_is_removed(many: FunctionsApi, logged_in: Da, workspace: Workspace) -> None:
    assert logged_in("sync").code == 0
    path = next((workspace.root / ".da/tables").iterdir())
    path.write_bytes(path.read_bytes()[:-20] + b"x" * 20)
    ran = logged_in("tables")
    assert (ran.code, "was damaged and has been removed; run da sync again" in ran.err) == (1, True)
    assert logged_in("sync").code == 0
    assert logged_in("tables").code == 0
    assert many.tables


def test_a_small_change_is_made_in_place_unless_somebody_reads(
    many: FunctionsApi, logged_in: Da, workspace: Workspace, rows: Rows
) -> None:
    assert logged_in("sync").code == 0
    inode = workspace.duckdb.stat().st_ino
    many.put("s07.rows_07", "select 2 as n")
    assert logged_in("sync").code == 0
    assert workspace.duckdb.stat().st_ino == inode
    assert not Path(f"{workspace.duckdb}.wal").exists()
    with read_elsewhere(workspace.duckdb):
        many.put("s07.rows_07", "select 3 as n")
        assert logged_in("sync").code == 0
    assert workspace.duckdb.stat().st_ino != inode
    assert rows("select n from rows_07") == [(3,)]


@contextmanager
def read_elsewhere(path: Path) -> Iterator[None]:
    """Have another process read a database."""
    code = f"import duckdb, sys; c = duckdb.connect({str(path)!r}, read_only=True); print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as reader:
        assert reader.stdout is not None
        reader.stdout.readline()
        yield
        reader.communicate(b"")


def test_a_query_waits_for_a_sync_that_is_changing_the_database(
    many: FunctionsApi, logged_in: Da, workspace: Workspace
) -> None:
    assert many.tables
    assert logged_in("sync").code == 0
    code = f"import duckdb, sys; c = duckdb.connect({str(workspace.duckdb)!r}); print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdin is not None
        assert writer.stdout is not None
        writer.stdout.readline()
        leaving = threading.Timer(0.1, writer.stdin.close)
        leaving.start()
        assert logged_in("query", "select n from rows_07").code == 0
        leaving.join()


def test_a_sync_killed_at_any_point_leaves_the_old_or_the_new_state(
    api: FunctionsApi, logged_in: Da, workspace: Workspace, rows: Rows
) -> None:
    api.lists_sources = True
    for name in ("crm", "shop"):
        api.put(f"{name}.{name}_rows", "select 0 as n", "select 0 as n")
    assert logged_in("sync").code == 0
    with duckdb.connect(workspace.duckdb) as connection:
        connection.execute("create table mine as select 42 as answer")
    point, generation, is_killed = 0, 0, True
    while is_killed:
        generation += 1
        for name in ("crm", "shop"):
            api.put(f"{name}.{name}_rows", f"select {generation} as n", f"select {generation} as n, {generation} as m")
        dies = (point, workspace.root)
        code = run_da("sync", "--quiet", environ=os.environ, cwd=workspace.root, dies=dies).returncode
        is_killed = code == -signal.SIGKILL
        assert is_killed or code == 0
        found = rows("select distinct n from crm_rows union select distinct n from shop.shop_rows")
        assert found in ([(generation,)], [(generation - 1,)]), point
        assert rows("select answer from mine") == [(42,)]
        assert logged_in("sync").code == 0
        assert rows("select distinct n from crm_rows union select distinct n from shop.shop_rows") == [(generation,)]
        point += 5
    assert point > 20, "the steps of the sync are seen"


@pytest.fixture
def thousands(api: FunctionsApi, logged_in: Da) -> FunctionsApi:
    """A server of 25 sources with 100 tables each, one of which has rows, and a mirror of it."""
    api.lists_sources = True
    for source in range(25):
        for table in range(99):
            api.declare(f"s{source:02}.t{source:02}_{table:02}", columns=[{"name": "n", "type": "INTEGER"}])
        api.put(f"s{source:02}.rows_{source:02}", "select 1 as n")
    assert logged_in("sync").code == 0
    return api


_PROBE = """
import fcntl, struct, sys
for line in sys.stdin:
    with open(sys.argv[1], "r+b") as file:
        found = fcntl.fcntl(file, fcntl.F_GETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0))
    print("free" if struct.unpack("hhqqi4x", found)[0] == fcntl.F_UNLCK else "held", flush=True)
"""
"""Says whether another process has a file locked, without a lock of its own."""


@pytest.mark.skipif(sys.platform != "linux", reason="the layout of a lock is that of Linux")
def test_a_large_database_is_opened_while_its_changes_are_requested_and_soon_closed(
    thousands: FunctionsApi, logged_in: Da, workspace: Workspace, rows: Rows
) -> None:
    command, seen = [sys.executable, "-S", "-c", _PROBE, str(workspace.duckdb)], list[str]()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as probe:

        def wait_for(state: str) -> None:
            assert probe.stdin is not None
            assert probe.stdout is not None
            until = time.monotonic() + 60
            while not seen or (seen[-1] != state and time.monotonic() < until):
                print(file=probe.stdin, flush=True)
                seen.append(probe.stdout.readline().strip())

        def delay() -> None:
            wait_for("held")
            wait_for("free")

        thousands.before_changes = delay
        thousands.put("s07.rows_07", "select 2 as n")
        assert logged_in("sync").out.startswith("Updated s07.rows_07: 1 file, ")
        probe.communicate()
    assert ("held" in seen, seen[-1]) == (True, "free")
    assert rows("select n from rows_07 union all select n from s06.rows_06") == [(2,), (1,)]
    assert workspace.state().database == workspace.database_stamp()
    thousands.before_changes = lambda: None
    thousands.put("s07.rows_07", "select 3 as n")
    assert logged_in("sync").out.startswith("Updated s07.rows_07: 1 file, ")
    assert rows("select n from rows_07") == [(3,)]
    assert workspace.state().database == workspace.database_stamp()
    thousands.tables["s07.rows_07"]["description"] = "changed, without any file to fetch"
    assert logged_in("sync").out.startswith("Already up to date")
    assert rows("select comment from duckdb_views() where view_name = 'rows_07' and schema_name = 's07'") == [
        ("changed, without any file to fetch (s07.rows_07)",)
    ]
    thousands.put("s07.rows_07", "select 4 as n")
    thousands.withheld.add("s07.rows_07")
    assert logged_in("sync").code == 1
    assert rows("select n from rows_07") == [(3,)]
    thousands.withheld.clear()
    assert logged_in("sync").code == 0
    assert rows("select n from rows_07") == [(4,)]


_CATALOG = """
select schema_name, view_name, sql, comment, column_count, null, null from duckdb_views() where not internal
union all
select schema_name, table_name, column_name, comment, column_index, data_type, null from duckdb_columns()
where not internal and schema_name != '_da' order by all
"""


def test_views_that_were_created_in_memory_are_like_all_others(
    thousands: FunctionsApi, logged_in: Da, workspace: Workspace, rows: Rows
) -> None:
    thousands.put("s07.rows_07", "select 2 as n, 'x' as word")
    described = [{"name": "n", "type": "INTEGER", "description": "it's a number"}, {"name": "word", "type": "VARCHAR"}]
    thousands.tables["s07.rows_07"] |= {"description": "changed", "columns": described}
    thousands.declare("s07.added", columns=described)
    thousands.withdraw("s07.t07_03")
    assert logged_in("sync").code == 0
    assert Path(f"{workspace.duckdb}.wal").exists()
    copied = rows(_CATALOG)
    assert {("main", "rows_07", "n", "it's a number", 1, "INTEGER", None)} < {*copied}
    for path in (workspace.duckdb, Path(f"{workspace.duckdb}.wal")):
        path.unlink()
    assert logged_in("sync").code == 0
    assert rows(_CATALOG) == copied


def test_what_cannot_be_created_in_memory_changes_nothing_else(
    thousands: FunctionsApi, logged_in: Da, workspace: Workspace, rows: Rows
) -> None:
    with duckdb.connect(workspace.duckdb) as connection:
        connection.execute("drop view rows_07; create view rows_07 as select 42 as answer")
        connection.execute("create schema added; create table added.mine as select 43 as answer")
    thousands.put("s07.rows_07", "select 2 as n")
    assert "has no view 'rows_07'" in logged_in("sync").err
    asked = "select n, (select answer from rows_07) from s07.rows_07"
    assert rows(asked) == [(2, 42)]
    thousands.put("s07.rows_07", "select 6 as n")
    assert logged_in("sync").code == 0
    assert rows(asked) == [(6, 42)]
    assert Path(f"{workspace.duckdb}.wal").exists(), "the database has not been copied"
    thousands.put("s07.rows_07", "select 3 as n")
    thousands.put("s07.good", "select 4 as n")
    thousands.put_bytes("s07.bad", b"no parquet at all")
    ran = logged_in("sync")
    assert (ran.code, "s07.bad: can't read its files as a table" in ran.err) == (1, True)
    assert rows(asked) == [(3, 42)]
    assert rows("select n, (select answer from added.mine) from good") == [(4, 43)]
    del thousands.tables["s07.bad"]
    thousands.put("s07.rows_07", "select 5 as n")
    with read_elsewhere(workspace.duckdb):
        assert logged_in("sync").code == 0
    assert rows(asked) == [(5, 42)]


def test_a_mirror_that_only_looks_intact_is_compared_as_a_whole(
    thousands: FunctionsApi, logged_in: Da, workspace: Workspace, rows: Rows
) -> None:
    for path in workspace.folder("s06.rows_06").iterdir():
        path.unlink()
    thousands.put("s07.rows_07", "select 2 as n")
    thousands.forget()
    assert logged_in("sync").code == 0
    assert (thousands.counts()["GET /api/sync/sources"], thousands.count("/files/")) == (1, 2)
    assert rows("select n from rows_07 union all select n from s06.rows_06") == [(2,), (1,)]


def test_a_sync_that_fails_while_a_large_database_is_opened_closes_it(
    thousands: FunctionsApi, logged_in: Da, workspace: Workspace
) -> None:
    """A process that ends while a thread is in the code of DuckDB is aborted."""
    thousands.put("s07.rows_07", "select 2 as n")
    thousands.answers["GET", "/api/sync/manifest"] = [(403, {"detail": "no"})]
    assert logged_in("sync").code != 0
    assert not [thread.name for thread in threading.enumerate() if "_open" in thread.name]
    assert _asked(workspace.duckdb, "select count(*) > 2000 from _da.tables") == [(True,)]


def test_definitions_that_an_older_version_recorded_are_read(
    many: FunctionsApi, logged_in: Da, workspace: Workspace, rows: Rows
) -> None:
    assert logged_in("sync").code == 0
    with duckdb.connect(workspace.duckdb) as connection:
        texts = "update _da.{} set definition = 'create or replace view ' || view"
        connection.execute(texts.format("tables"))
        connection.execute(texts.format("qualified"))
    many.put("s07.rows_07", "select 2 as n")
    assert logged_in("sync").code == 0
    assert rows("select n from rows_07 union all select n from s06.rows_06") == [(2,), (1,)]
    recorded = "select distinct length(definition) from (select definition from _da.tables union all from (select definition from _da.qualified))"
    assert rows(recorded) == [(32,)]


COLUMNS = (Column("n", "INTEGER"),)


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A database of 4,200 views, two per table, which none of their tables' files are read for."""
    path = tmp_path / "analytics.duckdb"
    publish(path, [_empty(f"s{n % 10}.t{n}") for n in range(2100)])
    return path


def _empty(table_id: str, *columns: Column) -> Mirrored:
    return Mirrored(Table(table_id, table_id.partition(".")[2], "", columns=columns or COLUMNS), ())


def _asked(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(path, read_only=True) as connection:
        return connection.execute(sql).fetchall()


_COLUMNS_OF = "select column_name from duckdb_columns() where table_name = 't5' and schema_name = 'main' order by 1"


def test_changes_of_a_large_database_stay_in_its_log_until_it_is_copied(large: Path) -> None:
    log, size = Path(f"{large}.wal"), large.stat().st_size
    theirs = [_empty(f"s5.t{n}", *COLUMNS, Column("new", "DATE")) for n in range(5, 2100, 10)]
    assert publish(large, theirs, None, {"s5"}).failed == {}
    assert (log.exists(), large.stat().st_size) == (True, size)
    assert _asked(large, _COLUMNS_OF) == [("n",), ("new",)]
    with read_elsewhere(large):
        theirs = [_empty(f"s5.t{n}", Column("newest", "DATE")) for n in range(5, 2100, 10)]
        assert publish(large, theirs, large.parent / "readers" / "1.duckdb", {"s5"}).failed == {}
    assert not log.exists()
    assert _asked(large, _COLUMNS_OF) == [("newest",)]
    assert _asked(large, "select count(*) from _da.tables") == [(2100,)]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lists locks in a file")
def test_a_query_that_opens_a_database_that_is_being_replaced_sees_all_of_it(large: Path, tmp_path: Path) -> None:
    """DuckDB reads the file first, and its log, which is gone then, after a tenth of a second."""
    code = f"""
import duckdb, os
c = duckdb.connect({str(large)!r})
c.execute("pragma disable_checkpoint_on_shutdown; create table mine as select 42 as answer")
os._exit(0)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    fresh, log = tmp_path / "fresh.duckdb", Path(f"{large}.wal")
    shutil.copy(large, fresh)
    shutil.copy(log, f"{fresh}.wal")
    with duckdb.connect(fresh) as connection:
        connection.execute("checkpoint")
    seen: list[Any] = []

    def query() -> None:
        with opened(large) as connection:
            seen.extend(connection.execute("select answer from mine").fetchall())

    inode = large.stat().st_ino
    reader = threading.Thread(target=query)
    reader.start()
    while f":{inode} " not in Path("/proc/locks").read_text(encoding="utf-8") and reader.is_alive():
        pass
    log.unlink()
    fresh.replace(large)
    reader.join()
    assert seen == [(42,)]


def test_a_log_moved_aside_before_a_crash_is_restored(tmp_path: Path) -> None:
    path = tmp_path / "analytics.duckdb"
    publish(path, [_empty("shop.orders")])
    code = f"""
import duckdb, os
c = duckdb.connect({str(path)!r})
c.execute("pragma disable_checkpoint_on_shutdown; create table mine as select 42 as answer")
os._exit(0)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    found = path.stat()
    for name in (f"{found.st_size}-{found.st_mtime_ns}", "1-1"):  # that of this database, and that of a replaced one
        (tmp_path / f".analytics.duckdb.{name}.wal").write_bytes(Path(f"{path}.wal").read_bytes())
    Path(f"{path}.wal").unlink()
    publish(path, [_empty("shop.orders")], None, {"shop"})
    assert _asked(path, "select answer from mine") == [(42,)]
    assert [each.name for each in tmp_path.iterdir()] == ["analytics.duckdb"]


def test_writes_of_the_user_during_a_copy_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "analytics.duckdb"
    publish(path, [_empty("shop.orders")])
    draft = Draft(path)
    draft.add([_empty("shop.items")])
    with duckdb.connect(path) as connection:
        connection.execute("create table mine as select 42 as answer")
    publish(path, [_empty("shop.orders"), _empty("shop.items")], begun=draft)
    assert _asked(path, "select answer, (select count(*) from shop.items) from mine") == [(42, 0)]


def test_a_view_of_ours_is_dropped_when_its_table_has_a_new_name(tmp_path: Path) -> None:
    path = tmp_path / "analytics.duckdb"
    orders = _empty("shop.orders")
    publish(path, [replace(orders, table=replace(orders.table, view="shop_orders")), _empty("crm.people")])
    draft = Draft(path)
    draft.add([orders])
    publish(path, [orders, _empty("crm.people")], begun=draft)
    assert _asked(
        path, "select view_name from duckdb_views() where not internal and schema_name = 'main' order by 1"
    ) == [
        ("orders",),
        ("people",),
    ]
    assert _asked(path, "select id, view from _da.tables order by 1") == [
        ("crm.people", "people"),
        ("shop.orders", "orders"),
    ]


def test_a_new_database_gets_the_views_of_all_sources(tmp_path: Path) -> None:
    path = tmp_path / "analytics.duckdb"
    publish(path, [_empty("shop.orders")], None, {"shop"}, lambda: [_empty("crm.people")])
    assert _asked(path, "select id from _da.tables order by 1") == [("crm.people",), ("shop.orders",)]


@pytest.mark.parametrize("content", [None, b"", b"no database at all"])
def test_a_missing_or_invalid_database_is_not_opened_in_place(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "analytics.duckdb"
    if content is not None:
        path.write_bytes(content)
    assert InPlace.of(path) is None
    assert (path.read_bytes() if path.exists() else None) == content
