"""An interrupted sync leaves a usable mirror, and the next one resumes it."""

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import duckdb
import pytest

from da.mirror import sync as syncing
from da.mirror.workspace import Workspace
from tests.doubles.functions_api import Fault, FunctionsApi
from tests.integration.da.conftest import Da

pytestmark = pytest.mark.duckdb

NUMBERS = "select hash(i) as id from range(100000) t(i)"


@contextmanager
def stuck_sync(api: FunctionsApi) -> Iterator[subprocess.Popen[str]]:
    """Run a sync in a process of its own up to the middle of its last file."""
    midway, leave = threading.Event(), threading.Event()

    def wait() -> None:
        midway.set()
        leave.wait(60)

    api.faults += [*(Fault() for _ in range(len(api.tables) - 1)), Fault(cut=300_000, midway=wait)]
    process = subprocess.Popen(
        [sys.executable, "-X", "faulthandler", "-m", "da", "sync"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert midway.wait(60)
            yield process
        finally:
            process.kill()
            leave.set()


def count(workspace: Workspace, view: str) -> Any:
    with duckdb.connect(workspace.duckdb, read_only=True) as connection:
        return connection.execute(f"select count(*) from {view}").fetchone()


def views(workspace: Workspace) -> int:
    with duckdb.connect(workspace.duckdb, read_only=True) as connection:
        return len(connection.execute("from duckdb_views() where schema_name = 'main' and not internal").fetchall())


@pytest.fixture
def shop(api: FunctionsApi) -> FunctionsApi:
    for name in "abc":
        api.put(f"shop.{name}", f"select '{name}' as name, id from ({NUMBERS})")
    return api


def until_arrived(workspace: Workspace, files: int, process: subprocess.Popen[str]) -> None:
    """Wait until so many files are there, and some of the one that is under way."""
    while (
        len(list(workspace.parquet.rglob("*.parquet"))) < files
        or sum(path.stat().st_size for path in workspace.parquet.rglob("*.part")) == 0
    ):
        assert process.poll() is None


def ended(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Wait for a process to end by itself; of one that does not, what it is doing stands on stderr."""
    try:
        return process.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)
        return process.communicate()


def test_after_ctrl_c_downloaded_files_are_kept(shop: FunctionsApi, logged_in: Da, workspace: Workspace) -> None:
    with stuck_sync(shop) as process:
        until_arrived(workspace, 2, process)
        process.send_signal(signal.SIGINT)
        out, err = ended(process)
    assert (process.returncode, err) == (130, "")
    assert out.endswith("Interrupted. Downloaded data is kept; run da sync to resume.\n")
    assert views(workspace) == 2
    shop.forget()
    assert logged_in("sync").code == 0
    assert shop.count("/files/") == 1
    assert shop.ranges[0].startswith("bytes=")
    assert views(workspace) == 3


def test_a_killed_first_sync_is_resumed(shop: FunctionsApi, logged_in: Da, workspace: Workspace) -> None:
    with stuck_sync(shop) as process:
        until_arrived(workspace, 2, process)
        process.kill()
    shop.forget()
    assert logged_in("sync").code == 0
    assert shop.count("/files/") == 1
    assert views(workspace) == 3


def test_a_killed_sync_leaves_the_mirror_unchanged(shop: FunctionsApi, logged_in: Da, workspace: Workspace) -> None:
    assert logged_in("sync").code == 0
    for name in "abc":
        shop.put(f"shop.{name}", f"select '{name}' as name, id + 1::hugeint as id from ({NUMBERS})")
    with stuck_sync(shop) as process:
        until_arrived(workspace, 5, process)
        process.kill()
    assert [count(workspace, name) for name in "abc"] == [(100000,)] * 3
    assert logged_in("query", "select count(*) from a").code == 0
    assert logged_in("status").code == 3
    shop.forget()
    assert logged_in("sync").code == 0
    assert shop.count("/files/") == 1
    assert len(list(workspace.parquet.rglob("*.parquet"))) == 6
    assert logged_in("sync").code == 0
    assert len(list(workspace.parquet.rglob("*.parquet"))) == 3


_PRESSED = """
import signal, sys
def hook(event, arguments):
    if event == "import" and arguments[0] == "_duckdb":
        signal.raise_signal(signal.SIGINT)
sys.addaudithook(hook)
from da.main import execute
sys.exit(execute(["sync"]))
"""


def test_ctrl_c_while_duckdb_is_loaded_ends_the_sync_and_not_the_views(
    shop: FunctionsApi, logged_in: Da, workspace: Workspace
) -> None:
    """DuckDB can't be loaded a second time in a process that has begun to."""
    done = subprocess.run([sys.executable, "-c", _PRESSED], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (130, "")
    assert done.stdout.endswith("Interrupted. Downloaded data is kept; run da sync to resume.\n")
    assert logged_in("sync").code == 0
    assert views(workspace) == len(shop.tables)


def test_tables_that_are_complete_can_be_queried_before_a_long_sync_ends(
    shop: FunctionsApi, logged_in: Da, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(syncing, "CHECKPOINT", 0.0)
    seen: list[int] = []
    shop.faults += [Fault(), Fault(), Fault(cut=300_000, midway=lambda: _until_views(workspace, 2, seen))]
    assert logged_in("sync").code == 0
    assert seen == [2]
    assert views(workspace) == 3


def _until_views(workspace: Workspace, number: int, seen: list[int]) -> None:
    """Wait until another thread has published so many views."""
    found = 0
    while found < number:
        with suppress(duckdb.Error):  # the sync is changing it right now
            found = views(workspace) if workspace.duckdb.exists() else 0
    seen.append(found)


def test_a_sync_without_changes_loads_neither_duckdb_nor_rich_nor_the_parser(shop: FunctionsApi, logged_in: Da) -> None:  # noqa: ARG001
    assert logged_in("sync").code == 0
    code = """
import sys
from da.main import execute
code = execute(["sync"])
heavy = {"duckdb", "_duckdb", "rich", "typer", "httpx", "concurrent.futures", "urllib.request"} & set(sys.modules)
assert (code, heavy) == (0, set()), (code, heavy)
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


class DeadError(BaseException):
    """The process ends here."""


@contextmanager
def dying_in(
    monkeypatch: pytest.MonkeyPatch, place: str, before: Callable[..., object] = lambda *_: None
) -> Iterator[None]:
    """Let the process die when it calls something, after it has done something else."""

    def die(*arguments: object) -> None:
        before(*arguments)
        raise DeadError

    with monkeypatch.context() as dying:
        dying.setattr(place, die)
        with pytest.raises(DeadError):
            yield


def test_after_a_sync_that_died_the_server_may_return_to_its_earlier_tables(
    shop: FunctionsApi, logged_in: Da, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert logged_in("sync").code == 0
    before, checked_at = (shop.snapshot, dict(shop.tables)), workspace.checked_at()
    shop.put("shop.a", "select 'a' as name, 1 as id")
    with dying_in(monkeypatch, "da.mirror.workspace.Workspace.prune"):  # when the database is replaced already
        logged_in("sync")
    assert count(workspace, "a") == (1,)
    assert workspace.checked_at() == checked_at, "it was not up to date then"
    shop.snapshot, shop.tables = before
    assert logged_in("sync").code == 0
    assert count(workspace, "a") == (100_000,)
    assert len(list(workspace.parquet.rglob("*.parquet"))) == 3


def test_leftovers_of_a_sync_that_died_writing_its_state_are_removed_by_the_next(
    shop: FunctionsApi, logged_in: Da, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    half_written = lambda path, *_: path.with_name(f".{path.name}.1").touch()  # noqa: E731
    with dying_in(monkeypatch, "da.mirror.state.write_atomically", half_written):
        logged_in("sync")
    shop.forget()
    assert logged_in("sync").code == 0
    assert shop.count("/files/") == 0
    assert sorted(path.name for path in (workspace.root / ".da").iterdir()) == [
        "broken_metrics.json",
        "lock",
        "state.json",
    ]
