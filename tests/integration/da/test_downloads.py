"""Downloads over an unreliable network."""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from da.config import Login
from da.mirror import pieces
from da.mirror.download import Downloads, SignedUrls
from da.mirror.manifest import Table
from da.mirror.pieces import Wanted
from da.mirror.sync import Report
from da.mirror.workspace import Workspace
from da.server import Backoff, Server
from da.web import Web
from tests.doubles.functions_api import TOKEN, Fault, FunctionsApi

SyncRun = Callable[..., Report]
Rows = Callable[[str], list[tuple[Any, ...]]]

NUMBERS = "select hash(i) as id from range(50000) t(i)"


def test_a_broken_download_resumes(api: FunctionsApi, sync: SyncRun, rows: Rows) -> None:
    size = api.put("shop.orders", NUMBERS)["size_bytes"]
    api.faults += [Fault(cut=100_000), Fault(cut=50_000)]
    assert sync().exit_code == 0
    first, second = api.ranges[1:]
    assert api.ranges[0] == ""
    assert 0 < int(first[6:].split("-")[0]) < int(second[6:].split("-")[0]) <= 150_000
    assert second.endswith(f"-{size - 1}")
    assert rows("select count(*) from orders") == [(50000,)]


def test_files_of_an_earlier_sync_are_not_fetched_again(api: FunctionsApi, sync: SyncRun, workspace: Workspace) -> None:
    (file,) = api.put("shop.orders", NUMBERS)["files"]
    part = workspace.folder("shop.orders") / f"{file['sha256'][:32]}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes((api.folder / file["path"]).read_bytes()[:100_000])
    assert sync().exit_code == 0
    assert api.ranges == [f"bytes=100000-{file['size_bytes'] - 1}"]
    assert not part.exists()


def test_a_complete_partial_file_is_not_fetched_again(api: FunctionsApi, sync: SyncRun, workspace: Workspace) -> None:
    (file,) = api.put("shop.orders", NUMBERS)["files"]
    part = workspace.folder("shop.orders") / f"{file['sha256'][:32]}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes((api.folder / file["path"]).read_bytes())
    assert sync().exit_code == 0
    assert api.ranges == []


@pytest.mark.parametrize("left", [b"x" * 1000, b"x" * 1_000_000], ids=["little", "much"])
def test_a_damaged_partial_file_is_discarded(
    api: FunctionsApi, sync: SyncRun, workspace: Workspace, rows: Rows, left: bytes
) -> None:
    (file,) = api.put("shop.orders", NUMBERS)["files"]
    part = workspace.folder("shop.orders") / f"{file['sha256'][:32]}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(left)
    assert sync().exit_code == 0
    assert rows("select count(*) from orders") == [(50000,)]


def test_from_a_server_without_ranges_files_are_read_from_the_start(
    api: FunctionsApi, sync: SyncRun, rows: Rows
) -> None:
    api.put("shop.orders", NUMBERS)
    api.ranged = False
    api.faults.append(Fault(cut=100_000))
    assert sync().exit_code == 0
    assert rows("select count(*) from orders") == [(50000,)]


def test_damaged_content_never_appears(api: FunctionsApi, sync: SyncRun, workspace: Workspace) -> None:
    api.put("shop.orders", NUMBERS)
    api.put("shop.customers", "select 1 as id")
    api.faults += [Fault(flip=True)] * 10
    report = sync(only=("shop.orders",))
    assert report.exit_code == 1
    assert "SHA-256 does not match" in report.failed["shop.orders"]
    assert api.count("/files/") == 3
    assert not list(workspace.parquet.rglob("*.parquet"))


def test_content_damaged_in_transit_is_fetched_again(api: FunctionsApi, sync: SyncRun, rows: Rows) -> None:
    api.put("shop.orders", NUMBERS)
    api.faults.append(Fault(flip=True))
    assert sync().exit_code == 0
    assert rows("select count(*) from orders") == [(50000,)]


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_request_to_a_busy_server_is_retried(api: FunctionsApi, sync: SyncRun, status: int) -> None:
    api.put("shop.orders", NUMBERS)
    api.faults += [Fault(status=status, headers={"Retry-After": "0"})] * 3
    assert sync().exit_code == 0
    assert api.count("/files/") == 4


def test_a_server_that_stays_busy_fails_the_table(api: FunctionsApi, sync: SyncRun) -> None:
    api.put("shop.orders", NUMBERS)
    api.faults += [Fault(status=503)] * 4
    report = sync()
    assert report.failed == {"shop.orders": "told to fail"}
    assert api.count("/files/") == 4


def test_a_server_that_asks_for_hours_of_waiting_fails_the_sync(api: FunctionsApi, sync: SyncRun) -> None:
    api.put("shop.orders", NUMBERS)
    api.faults.append(Fault(status=429, headers={"Retry-After": "7200"}))
    assert list(sync().failed) == ["shop.orders"]


def test_requests_for_the_manifest_and_for_urls_are_retried(api: FunctionsApi, sync: SyncRun) -> None:
    api.put("shop.orders", NUMBERS)
    api.api_faults += [Fault(status=503), Fault(cut=0), Fault(status=429, headers={"Retry-After": "0"})]
    assert sync().exit_code == 0


def test_expired_urls_are_requested_again(api: FunctionsApi, sync: SyncRun, rows: Rows) -> None:
    def expire() -> None:
        api.signature += 1

    for name in "abcd":
        api.put(f"shop.{name}", f"select '{name}' as name, hash(i) from range(50000) t(i)")
    api.faults += [Fault(before=expire), Fault(cut=1000, before=expire)]
    assert sync().exit_code == 0
    assert rows("select count(*) from a") == [(50000,)]


def test_a_file_that_is_gone_fails_its_table_only(api: FunctionsApi, sync: SyncRun, rows: Rows) -> None:
    api.put("shop.customers", "select 1 as id")
    api.put("shop.orders", NUMBERS)
    assert sync().exit_code == 0
    (file,) = api.put("shop.orders", "select 1 as id")["files"]
    api.put("shop.customers", "select 2 as id")
    (api.folder / file["path"]).unlink()
    report = sync()
    assert report.exit_code == 1
    assert report.failed == {"shop.orders": "the server has a newer version; run da sync again"}
    assert report.updated == ["shop.customers"]
    assert rows("select id from customers") == [(2,)]
    assert rows("select count(*) from orders") == [(50000,)]


def test_a_failed_table_is_tried_again_by_the_next_sync(api: FunctionsApi, sync: SyncRun, rows: Rows) -> None:
    api.put("shop.orders", NUMBERS)
    api.put("shop.customers", "select 1 as id")
    api.faults += [Fault(status=404)]
    first = sync()
    assert len(first.failed) == len(first.updated) == 1
    second = sync()
    assert second.updated == list(first.failed)
    assert rows("select view_name from duckdb_views() where schema_name = 'main' and not internal order by 1") == [
        ("customers",),
        ("orders",),
    ]


def test_a_table_without_urls_fails_alone(api: FunctionsApi, sync: SyncRun) -> None:
    api.put("shop.orders", NUMBERS)
    api.put("shop.customers", "select 1 as id")
    api.withheld.add("shop.orders")
    report = sync()
    assert (list(report.failed), report.updated) == (["shop.orders"], ["shop.customers"])


def test_files_that_are_not_parquet_fail_only_their_table(api: FunctionsApi, sync: SyncRun, rows: Rows) -> None:
    api.put("shop.customers", "select 1 as id")
    api.put("shop.orders", NUMBERS)
    sync()
    api.put_bytes("shop.orders", b"this is no parquet at all")
    api.put("shop.customers", "select 2 as id")
    report = sync()
    assert list(report.failed) == ["shop.orders"]
    assert "can't read its files as a table" in report.failed["shop.orders"]
    assert rows("select id from customers") == [(2,)]
    assert rows("select count(*) from orders") == [(50000,)]


def test_a_large_file_is_fetched_in_pieces(api: FunctionsApi, sync: SyncRun, rows: Rows, workspace: Workspace) -> None:
    size = api.put("shop.large", "select hash(i) as a, hash(i + 1) as b from range(2300000) t(i)")["size_bytes"]
    assert size > 2 * pieces.PIECE
    api.faults += [Fault(cut=1_000_000), Fault(), Fault(cut=5_000_000)]
    assert sync().exit_code == 0
    starts = {int(asked[6:].split("-")[0]) for asked in api.ranges}
    assert set(range(0, size, pieces.PIECE)) <= starts
    assert rows("select count(distinct a) from large") == [(2300000,)]
    assert [path.suffix for path in workspace.folder("shop.large").iterdir()] == [".parquet"]


def test_pieces_left_by_an_earlier_sync_are_not_fetched_again(
    api: FunctionsApi, sync: SyncRun, workspace: Workspace
) -> None:
    (file,) = api.put_bytes("shop.large", os.urandom(3 * pieces.PIECE))["files"]
    content = (api.folder / file["path"]).read_bytes()
    stem = workspace.folder("shop.large") / file["sha256"][:32]
    stem.parent.mkdir(parents=True)
    stem.with_suffix(".part").write_bytes(content[: pieces.PIECE + 10])
    stem.with_suffix(f".{pieces.PIECE}.part").write_bytes(content[pieces.PIECE : 2 * pieces.PIECE])
    sync()
    assert api.ranges == [f"bytes={2 * pieces.PIECE}-{3 * pieces.PIECE - 1}"]
    assert stem.with_suffix(".parquet").read_bytes() == content


def test_urls_are_requested_in_batches_and_again_before_they_expire(api: FunctionsApi, tmp_path: Path) -> None:
    table = Table.from_json(
        "shop.many", api.put_bytes("shop.many", *(b"file number %d" % number for number in range(7)))
    )
    files = [Wanted("shop.many", file, tmp_path / file.sha256) for file in table.files]
    now = 1000.0
    with Web() as web:
        urls = SignedUrls(Server(Login(api.address, TOKEN), web), files, batch=3, clock=lambda: now)
        for file in reversed(files):
            assert file.file.path in urls.url(file)
        assert [len(body["files"]["shop.many"]) for body in api.bodies] == [3, 3, 1]
        now += 900 - 30
        urls.url(files[0])
    assert len(api.bodies) == 4


def test_urls_of_tables_that_are_all_gone_are_requested_once(api: FunctionsApi, sync: SyncRun) -> None:
    for name in "abcdefgh":
        api.put(f"shop.{name}", "select 1 as id")
        api.withheld.add(f"shop.{name}")
    report = sync()
    assert set(report.failed.values()) == {"the server has a newer version; run da sync again"}
    assert api.count("/api/data/urls") == 1


def test_an_internal_error_ends_the_sync_too(api: FunctionsApi, workspace: Workspace) -> None:
    class Broken:
        def add(self, size: int) -> None:
            raise ZeroDivisionError(size)

    table = Table.from_json("shop.orders", api.put("shop.orders", NUMBERS))
    files = [Wanted("shop.orders", file, workspace.path("shop.orders", file)) for file in table.files]
    with Web() as web:
        urls = SignedUrls(Server(Login(api.address, TOKEN), web), files)
        ((_, error),) = Downloads(web, urls, Broken(), Backoff()).run(files)
    assert str(error).startswith("internal error: ZeroDivisionError")


def test_a_disk_that_cannot_be_written_to_is_reported(api: FunctionsApi, sync: SyncRun, workspace: Workspace) -> None:
    api.put("shop.orders", NUMBERS)
    workspace.parquet.mkdir(parents=True)
    (workspace.parquet / "shop").write_text("in the way")
    assert "can't write '" in sync().failed["shop.orders"]


def test_unneeded_partial_files_are_deleted(api: FunctionsApi, sync: SyncRun, workspace: Workspace) -> None:
    api.put("shop.orders", NUMBERS)
    api.faults += [Fault(cut=1000), Fault(status=404)]
    assert sync().exit_code == 1
    assert [path.suffix for path in workspace.folder("shop.orders").iterdir()] == [".part"]
    api.put("shop.orders", "select 1 as id")
    assert sync().exit_code == 0
    assert [path.suffix for path in workspace.folder("shop.orders").iterdir()] == [".parquet"]


def test_a_stalled_store_does_not_block_a_sync(
    api: FunctionsApi, sync: SyncRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("da.mirror.download.STALLED", 0.3)
    done = threading.Event()
    api.put("shop.orders", NUMBERS)
    api.faults += [Fault(cut=10, midway=done.wait)] * 3
    report = sync()
    done.set()
    assert list(report.failed) == ["shop.orders"]
    assert "nothing arrived for" in report.failed["shop.orders"]


def test_a_folder_in_place_of_a_file_is_named(api: FunctionsApi, sync: SyncRun, workspace: Workspace) -> None:
    api.put("shop.orders", NUMBERS)
    sync()
    (file,) = workspace.folder("shop.orders").iterdir()
    file.unlink()
    file.mkdir()
    assert sync().failed["shop.orders"].endswith(f"'{file}' is a folder; remove it and run da sync again")
