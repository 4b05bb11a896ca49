"""`da sync` when the mirror is damaged or moved, and when the server answers what it should not."""

import ast
import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

import da.output
from da.mirror.download import HOPELESS, THREADS
from da.mirror.sync import Report
from da.mirror.workspace import Workspace
from da.mirror_warehouse import MirrorWarehouse
from tests.doubles.functions_api import TOKEN, Fault, FunctionsApi
from tests.full_disk import limited_files
from tests.integration.da.conftest import Da, parquet

SOURCES = Path(da.output.__file__).parent
HOSTILE = "\x1b\x07\x9b\x7f\u202e"
"""Escape, bell, the one-character form of an escape sequence, delete, and text that runs backwards."""

Rows = Callable[[str], list[tuple[Any, ...]]]


def test_a_mirror_that_lost_a_file_is_repaired(shop: FunctionsApi, logged_in: Da, workspace: Workspace) -> None:
    logged_in("sync")
    shop.forget()
    parquet(workspace)[1].unlink()
    assert logged_in("sync").code == 0
    assert shop.count("/files/") == 1


def test_a_mirror_that_lost_its_database_is_repaired(
    shop: FunctionsApi, logged_in: Da, rows: Rows, workspace: Workspace
) -> None:
    logged_in("sync")
    shop.forget()
    workspace.duckdb.unlink()
    assert logged_in("sync").code == 0
    assert shop.count("/files/") == 0
    assert rows("select count(*) from orders") == [(1000,)]


@pytest.mark.parametrize("damage", ["{ damaged", "[" * 100_000])
def test_a_mirror_that_lost_its_state_is_recognized_by_its_files(
    shop: FunctionsApi, logged_in: Da, workspace: Workspace, damage: str
) -> None:
    logged_in("sync")
    shop.forget()
    (workspace.root / ".da" / "state.json").write_text(damage)
    assert logged_in("sync").code == 0
    assert shop.count("/files/") == 0


def test_the_views_of_a_moved_workspace_are_rebuilt(
    shop: FunctionsApi, logged_in: Da, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged_in("sync")
    shop.forget()
    moved = workspace.root.rename(workspace.root.with_name("it's [1] *moved"))
    monkeypatch.setenv("DA_LOCAL_DIR", str(moved))
    ran = logged_in("query", "from orders")
    assert (ran.code, ran.err.splitlines()[-1]) == (
        1,
        f"The mirror was moved here from '{workspace.root}'; run da sync.",
    )
    assert logged_in("sync").code == 0
    assert shop.count("/files/") == 0
    assert "1000" in logged_in("query", "select count(*) from orders").out


@pytest.mark.parametrize("name", ["total=7", "it's 100% #1", "[a]*", "données"])
def test_the_name_of_a_folder_does_not_change_what_is_in_a_table(
    name: str, shop: FunctionsApi, logged_in: Da, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DA_LOCAL_DIR", str(tmp_path / name))
    assert logged_in("sync").code == 0
    assert shop.tables
    with duckdb.connect(Workspace(tmp_path / name).duckdb, read_only=True) as connection:
        assert connection.execute("select count(distinct total), count(columns(*)) from orders").fetchall() == [
            (1000, 1000, 1000)
        ]
        assert connection.execute("from customers order by id").fetchall() == [(1, "Ann"), (2, "Bob")]


def test_a_folder_in_which_duckdb_finds_no_log_is_refused(
    shop: FunctionsApi, logged_in: Da, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DA_LOCAL_DIR", str(tmp_path / "why?"))
    ran = logged_in("sync")
    assert (ran.code, shop.count("/files/")) == (1, 0)
    assert "DuckDB can't write to a folder whose path contains '?'; choose another" in ran.err


def test_a_file_system_without_locks_is_named(
    shop: FunctionsApi, logged_in: Da, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl")

    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    ran = logged_in("sync")
    assert (ran.code, shop.count("/files/")) == (1, 0)
    lock = workspace.root / ".da" / "lock"
    assert ran.err == f"da: can't lock '{lock}': no locks available; choose another folder with DA_LOCAL_DIR\n"


def test_a_disk_that_is_full_before_anything_is_fetched_is_named(
    shop: FunctionsApi, logged_in: Da, workspace: Workspace
) -> None:
    assert logged_in("sync").code == 0
    shop.put("shop.orders", "select 1 as id")
    with limited_files(100):
        ran = logged_in("sync")
    assert ran.code == 1
    assert ran.err == f"da: can't use '{workspace.root / '.da' / 'state.json'}': file too large; free some space\n"


def test_on_a_full_disk_agents_use_the_catalog_that_is_not_kept(
    shop: FunctionsApi, logged_in: Da, workspace: Workspace
) -> None:
    assert logged_in("sync").code == 0
    metric = {"name": "orders", "tables": ["shop.orders"], "description": "All orders. " * 20}
    shop.answers["GET", "/api/agents/catalog"] = [(200, {"tables": {}, "metrics": [metric]})]
    with limited_files(100):
        assert MirrorWarehouse(workspace).metric("orders") == metric


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (Fault(status=403), "told to fail"),
        (Fault(flip=True), "a file arrived damaged; try again"),
    ],
)
def test_an_earlier_file_that_is_not_received_is_not_kept(
    fault: Fault, says: str, shop: FunctionsApi, logged_in: Da, workspace: Workspace
) -> None:
    assert logged_in("sync").code == 0
    earlier = json.loads(shop.manifest())
    shop.put("shop.orders", "select 7 as id, 7.5 as total")
    assert logged_in("sync").code == 0
    shop.answers["GET", "/api/sync/manifest"] = [(200, earlier)]
    shop.faults.append(fault)
    ran = logged_in("diff", "orders", "--since", "1")
    assert (ran.code, says in ran.err) == (1, True), ran.err
    assert list((workspace.root / ".da" / "earlier").iterdir()) == []


def test_verify_finds_a_damaged_file(shop: FunctionsApi, logged_in: Da, workspace: Workspace) -> None:
    logged_in("sync")
    shop.forget()
    damaged = next(iter(workspace.folder("shop.orders").iterdir()))
    content = damaged.read_bytes()
    damaged.write_bytes(content[:-1] + b"x")
    assert logged_in("sync").out.startswith("Already up to date")
    assert "Updated shop.orders: 1 file" in logged_in("sync", "--verify").out
    assert damaged.read_bytes() == content


def test_a_failed_manifest_deletes_nothing(shop: FunctionsApi, logged_in: Da, workspace: Workspace, rows: Rows) -> None:
    logged_in("sync")
    before = parquet(workspace)
    shop.api_faults.append(Fault(status=404))
    ran = logged_in("sync")
    assert (ran.code, ran.out, ran.err) == (1, "", "da: told to fail\n")
    assert parquet(workspace) == before
    assert rows("select count(*) from orders") == [(1000,)]


@pytest.mark.parametrize("answer", [[], {"tables": {}}, {"snapshot": 1, "tables": []}, {"snapshot": "1", "tables": {}}])
def test_an_invalid_manifest_deletes_nothing(
    shop: FunctionsApi, logged_in: Da, workspace: Workspace, answer: Any
) -> None:
    logged_in("sync")
    before = parquet(workspace)
    shop.answers["GET", "/api/sync/manifest"] = [(200, answer)]
    ran = logged_in("sync")
    assert ran.code == 1
    assert "manifest is invalid" in ran.err
    assert parquet(workspace) == before


def test_with_an_expired_token_da_asks_to_log_in_again(shop: FunctionsApi, logged_in: Da) -> None:
    shop.tokens.clear()
    ran = logged_in("sync")
    assert ran.code == 1
    assert (
        ran.err
        == f"da: the token is not known, or has expired; to log in again, run: da login --server {shop.address}\n"
    )


def test_a_second_simultaneous_sync_in_a_workspace_does_nothing(
    shop: FunctionsApi, logged_in: Da, workspace: Workspace
) -> None:
    with workspace.locked():
        ran = logged_in("sync")
    assert ran.code == 1
    assert ran.err == f"da: can't sync '{workspace.root}': another da sync is running there; wait until it ends\n"
    assert shop.requests == []


def test_a_change_of_the_server_of_a_workspace_is_reported(
    shop: FunctionsApi, logged_in: Da, workspace: Workspace
) -> None:
    logged_in("sync")
    state = json.loads((workspace.root / ".da" / "state.json").read_text())
    (workspace.root / ".da" / "state.json").write_text(json.dumps({**state, "server": "https://elsewhere"}))
    shop.forget()
    assert "this workspace was a mirror of https://elsewhere" in logged_in("sync").err
    assert shop.count("/files/") == 0


def test_foreign_files_in_the_mirror_are_left_alone(shop: FunctionsApi, logged_in: Da, workspace: Workspace) -> None:
    logged_in("sync")
    foreign = workspace.folder("shop.orders") / "notes.txt"
    foreign.write_text("mine")
    outside = workspace.root / "outside"
    outside.mkdir()
    (outside / f"{'0' * 32}.parquet").write_text("mine too")
    (workspace.parquet / "link").symlink_to(outside.parent)
    (workspace.parquet / "shop" / "link").symlink_to(outside)
    shop.withdraw("shop.orders")
    logged_in("sync")
    assert foreign.exists()
    assert (outside / f"{'0' * 32}.parquet").exists()


def test_a_moved_mirror_is_reported(
    shop: FunctionsApi, logged_in: Da, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged_in("sync")
    moved = workspace.root.rename(workspace.root.with_name("moved"))
    monkeypatch.setenv("DA_LOCAL_DIR", str(moved))
    shop.forget()
    ran = logged_in("status")
    assert ran.code == 3
    assert f"moved: moved from {workspace.root}; its views still refer to files there" in ran.out
    assert f"moved from {workspace.root}" in logged_in("diagnose").out
    logged_in("sync")
    assert logged_in("status").code == 0


def test_a_copied_mirror_is_reported(
    shop: FunctionsApi, logged_in: Da, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shop.tables
    logged_in("sync")
    copy = shutil.copytree(workspace.root, workspace.root.with_name("copy"))
    monkeypatch.setenv("DA_LOCAL_DIR", str(copy))
    assert f"moved: copied from {workspace.root}" in logged_in("status").out
    assert json.loads(logged_in("status", "--json").out)["state"] == "moved"


def test_a_cause_is_reported_once_however_many_tables_it_affects(api: FunctionsApi, logged_in: Da) -> None:
    urls = {}
    for number in range(30):
        (file,) = api.put(f"shop.t{number:02}", f"select {number} as id")["files"]
        urls[file["path"]] = "http://127.0.0.1:1/away"
    api.answers["POST", "/api/data/urls"] = [(200, {"urls": urls, "expires_in": 900})]
    ran = logged_in("sync")
    assert ran.code == 1
    (line,) = ran.err.splitlines()
    assert line.startswith("30 tables (shop.t")
    assert " and 25 more): can't reach '127.0.0.1:1'" in line


def test_files_are_not_tried_one_by_one_if_the_store_is_unavailable(
    api: FunctionsApi, sync: Callable[..., Report]
) -> None:
    urls, tried = {}, []
    page = Fault(status=200, headers={"Content-Type": "text/html"}, before=lambda: tried.append(1))
    for number in range(100):
        (file,) = api.put(f"shop.t{number:02}", f"select {number} as id")["files"]
        urls[file["path"]] = f"{api.address}/files/{file['path']}?signature=0"
        api.faults += [page] * 4
    report = sync()
    assert len(report.failed) == 100
    assert len(tried) <= 4 * (HOPELESS + 2 * THREADS)
    assert all(
        "answered with a web page. If this network requires a sign-in" in error for error in report.failed.values()
    )


def test_no_escape_sequence_of_a_server_reaches_the_terminal(api: FunctionsApi, logged_in: Da) -> None:
    api.tokens[TOKEN] |= {"name": HOSTILE, "groups": [HOSTILE], "email": f"a{HOSTILE}@example.com"}
    api.put("shop.orders", "select 1 as id", description=HOSTILE)
    api.declare(f"shop.{HOSTILE}", view="strange")
    api.declare("shop.broken", view=HOSTILE)
    commands = [("sync",), ("auth", "whoami"), ("tables",), ("tables", "orders"), ("status",), ("diagnose",)]
    commands += [(*command, "--json") for command in commands]
    for command in commands:
        ran = logged_in(*command)
        assert not set(ran.out + ran.err) & set(HOSTILE), command
    name = json.loads(logged_in("auth", "whoami", "--json").out)["name"]
    assert name == HOSTILE


def test_everything_printed_passes_through_one_function() -> None:
    """Only `output` prints; beside it `query`, which writes rows exactly as they are where no terminal is, and `mcp`, whose
    lines are JSON in ASCII.
    """
    printing = {
        str(path.relative_to(SOURCES))
        for path in SOURCES.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and (
            (isinstance(node.func, ast.Name) and node.func.id == "print")
            or ast.unparse(node.func) in {"typer.echo", "typer.secho", "sys.stdout.write", "sys.stderr.write"}
        )
    }
    assert printing == {"output.py", "commands/query.py", "commands/mcp.py"}
