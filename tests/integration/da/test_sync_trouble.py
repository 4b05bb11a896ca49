"""`da sync` when the mirror is damaged or moved, and when the server answers what it should not."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from da.workspace import Workspace
from tests.doubles.functions_api import Fault, FunctionsApi
from tests.integration.da.conftest import Da, parquet

Rows = Callable[[str], list[tuple[Any, ...]]]


def test_a_mirror_that_lost_a_file_is_made_whole(shop: FunctionsApi, logged_in: Da, workspace: Workspace) -> None:
    logged_in("sync")
    shop.forget()
    parquet(workspace)[1].unlink()
    assert logged_in("sync").code == 0
    assert shop.count("/files/") == 1


def test_a_mirror_that_lost_its_database_is_made_whole(
    shop: FunctionsApi, logged_in: Da, rows: Rows, workspace: Workspace
) -> None:
    logged_in("sync")
    shop.forget()
    workspace.duckdb.unlink()
    assert logged_in("sync").code == 0
    assert shop.count("/files/") == 0
    assert rows("select count(*) from orders") == [(1000,)]


def test_a_mirror_that_lost_its_state_is_found_again(shop: FunctionsApi, logged_in: Da, workspace: Workspace) -> None:
    logged_in("sync")
    shop.forget()
    (workspace.root / ".da" / "state.json").write_text("{ damaged")
    assert logged_in("sync").code == 0
    assert shop.count("/files/") == 0


def test_a_moved_workspace_gets_its_views_anew(
    shop: FunctionsApi, logged_in: Da, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged_in("sync")
    shop.forget()
    moved = workspace.root.rename(workspace.root.with_name("it's [1] *moved"))
    monkeypatch.setenv("DA_LOCAL_DIR", str(moved))
    ran = logged_in("query", "from orders")
    assert (ran.code, ran.err.splitlines()[-1]) == (
        1,
        f"The mirror has moved here from {workspace.root}; run da sync.",
    )
    assert logged_in("sync").code == 0
    assert shop.count("/files/") == 0
    assert "1000" in logged_in("query", "select count(*) from orders").out


def test_verify_finds_a_damaged_file(shop: FunctionsApi, logged_in: Da, workspace: Workspace) -> None:
    logged_in("sync")
    shop.forget()
    damaged = next(iter(workspace.folder("shop.orders").iterdir()))
    content = damaged.read_bytes()
    damaged.write_bytes(content[:-1] + b"x")
    assert logged_in("sync").out.startswith("Nothing has changed")
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
def test_what_is_no_manifest_deletes_nothing(
    shop: FunctionsApi, logged_in: Da, workspace: Workspace, answer: Any
) -> None:
    logged_in("sync")
    before = parquet(workspace)
    shop.answers["GET", "/api/sync/manifest"] = [(200, answer)]
    ran = logged_in("sync")
    assert ran.code == 1
    assert "manifest can't be used" in ran.err
    assert parquet(workspace) == before


def test_an_expired_token_says_to_log_in_again(shop: FunctionsApi, logged_in: Da) -> None:
    shop.tokens.clear()
    ran = logged_in("sync")
    assert ran.code == 1
    assert (
        ran.err == f"da: the token is not known, or has expired; log in again with: da login --server {shop.address}\n"
    )


def test_a_second_sync_in_a_workspace_leaves(shop: FunctionsApi, logged_in: Da, workspace: Workspace) -> None:
    with workspace.locked():
        ran = logged_in("sync")
    assert ran.code == 1
    assert ran.err == f"da: Another da sync is at work in {workspace.root}; wait for it to end\n"
    assert shop.requests == []


def test_a_workspace_that_changes_servers_says_so(shop: FunctionsApi, logged_in: Da, workspace: Workspace) -> None:
    logged_in("sync")
    state = json.loads((workspace.root / ".da" / "state.json").read_text())
    (workspace.root / ".da" / "state.json").write_text(json.dumps({**state, "server": "https://elsewhere"}))
    shop.forget()
    assert "this workspace mirrored https://elsewhere until now" in logged_in("sync").err
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
