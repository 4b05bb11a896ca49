"""What holds on Windows and macOS, as far as it can be seen here: names, lengths, code pages, files in use."""

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path, PureWindowsPath
from typing import Any

import pytest

from da.mirror.sync import Report
from da.mirror.workspace import Workspace, is_too_long
from tests.doubles.functions_api import FunctionsApi
from tests.integration.da.conftest import Da

SyncRun = Callable[..., Report]


@pytest.mark.parametrize(
    ("length", "platform", "expected"), [(259, "win32", False), (260, "win32", True), (4000, "linux", False)]
)
def test_windows_limits_the_length_of_a_path(length: int, platform: str, expected: bool) -> None:
    path = PureWindowsPath("C:\\" + "x" * (length - 3))
    assert is_too_long(path, platform) is expected


def test_a_table_whose_path_is_too_long_fails_alone(
    shop: FunctionsApi, sync: SyncRun, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.put(f"shop.{'long' * 15}", "select 1 as id")
    monkeypatch.setattr("da.mirror.workspace._LONGEST_PATH", len(str(workspace.parquet)) + 64)
    monkeypatch.setattr("da.mirror.sync.is_too_long", lambda path: is_too_long(path, "win32"))
    report = sync()
    assert list(report.failed) == [f"shop.{'long' * 15}"]
    assert "is longer than Windows allows; sync to a shorter folder" in report.failed[f"shop.{'long' * 15}"]
    assert report.updated == ["shop.customers", "shop.orders"]


def test_a_database_that_windows_does_not_replace_is_named(
    shop: FunctionsApi, sync: SyncRun, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sync().exit_code == 0
    shop.put("shop.orders", "select 7 as id")
    replace = Path.replace

    def locked(self: Path, target: Any) -> Path:
        if Path(target) == workspace.duckdb:
            raise PermissionError(13, "Access is denied", str(target))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", locked)
    code = "import duckdb, sys; c = duckdb.connect(sys.argv[1], read_only=True); print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(workspace.duckdb)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as reader:
        assert reader.stdout
        reader.stdout.readline()
        with pytest.raises(
            Exception, match=r"can't replace '.*analytics\.duckdb': another program has it open; close it"
        ):
            sync()
        reader.communicate()
    monkeypatch.undo()
    assert sync().updated == ["shop.orders"]


def test_a_file_that_windows_keeps_because_it_is_open_is_deleted_later(
    shop: FunctionsApi, sync: SyncRun, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sync().exit_code == 0
    kept = set(workspace.folder("shop.orders").iterdir())
    unlink = Path.unlink

    def in_use(self: Path, missing_ok: bool = False) -> None:
        if self in kept:
            raise PermissionError(13, "The process cannot access the file", str(self))
        unlink(self, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", in_use)
    for number in range(3):
        shop.put("shop.orders", f"select {number} as id")
        assert sync().exit_code == 0
    assert all(path.exists() for path in kept)
    monkeypatch.undo()
    shop.put("shop.orders", "select 9 as id")
    assert sync().exit_code == 0
    assert not any(path.exists() for path in kept)


def on_cp1252(workspace: Workspace, *arguments: str, stdin: bytes = b"", **environ: str) -> tuple[int, bytes, bytes]:
    """Run `da` as on a Windows console of a western region, or in a pipe there."""
    plain = {**os.environ, "DA_LOCAL_DIR": str(workspace.root), "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", **environ}
    command = [sys.executable, "-X", "utf8=0", "-m", "da", *arguments]
    ran = subprocess.run(command, env=plain, input=stdin, capture_output=True, check=False)
    return ran.returncode, ran.stdout, ran.stderr


@pytest.fixture
def mirror(shop: FunctionsApi, logged_in: Da) -> FunctionsApi:
    shop.put("shop.words", "select 1 as id, 'naïve 東京 😀 €' as word", description="Größe → 東京")
    assert logged_in("sync").code == 0
    return shop


@pytest.mark.parametrize("command", [["--help"], ["help", "sync"], ["tables"], ["tables", "words"], ["status"]])
def test_output_suits_a_console_of_a_code_page(mirror: FunctionsApi, workspace: Workspace, command: list[str]) -> None:
    assert mirror.tables
    code, out, err = on_cp1252(workspace, *command, PYTHONIOENCODING="cp1252")
    assert (code, err) == (0, b"")
    shown = out.decode("cp1252")
    assert "\\u2500" not in shown
    assert "Größe" in shown or command[0] != "tables"


def test_json_stays_json_on_a_console_of_a_code_page(mirror: FunctionsApi, workspace: Workspace) -> None:
    assert mirror.tables
    for command in (["tables", "words", "--json"], ["query", "from words", "--json"]):
        code, out, _ = on_cp1252(workspace, *command, PYTHONIOENCODING="cp1252")
        assert code == 0
        assert "東京" in json.dumps(json.loads(out.decode("cp1252")), ensure_ascii=False)


def test_pipes_get_utf8_whatever_the_code_page(mirror: FunctionsApi, workspace: Workspace) -> None:
    assert mirror.tables
    code, out, _ = on_cp1252(workspace, "query", "from words", "--format", "csv", LC_ALL="C")
    assert code == 0
    assert list(csv.reader(io.StringIO(out.decode())))[1] == ["1", "naïve 東京 😀 €"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_sql_is_read_from_a_pipe_as_utf8(mirror: FunctionsApi, workspace: Workspace, encoding: str) -> None:
    assert mirror.tables
    sql = "select '東京' as word".encode(encoding)
    code, out, _ = on_cp1252(workspace, "query", "--format", "csv", stdin=sql)
    assert (code, out.decode()) == (0, "word\n東京\n")


def test_an_error_in_other_letters_does_not_fail(mirror: FunctionsApi, workspace: Workspace) -> None:
    assert mirror.tables
    code, _, err = on_cp1252(workspace, "tables", "東京", PYTHONIOENCODING="cp1252")
    assert code == 1
    assert b"Traceback" not in err
    assert b"there is no table" in err
