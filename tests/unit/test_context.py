import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from analyst.context import Process
from analyst.errors import SettingsError
from analyst.store import ABSENT
from tests.clouds import cloud
from tests.doubles.memory_store import MemoryStore

HEAVY = ["duckdb", "fsspec", "httpx", "authlib", "cryptography", "rich", "urllib3", "google.cloud.storage"]
READ_PATH = [
    "analyst.http",
    "analyst.access",
    "analyst.catalog",
    "analyst.snapshots",
    "analyst.store",
    "analyst.context",
]


def test_settings_are_read_on_first_use() -> None:
    process = Process({})
    with pytest.raises(SettingsError, match="DATA_URL"):
        _ = process.settings


def test_the_instance_file_is_read_once_and_its_warnings_are_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "instance.yaml"
    file.write_text("instance: {name: Example, nmae: x}")
    process = Process({"DATA_DIR": str(tmp_path)}, default_file=file)
    assert [process.settings.instance_name for _ in range(2)] == ["Example"] * 2
    assert [record.getMessage() for record in caplog.records] == [
        f"{file}:1 instance.nmae: is not a known key and is ignored; did you mean instance.name?"
    ]


def test_the_instance_file_can_be_in_a_bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with cloud("s3", tmp_path) as bucket:
        for name, value in bucket.settings.items():
            monkeypatch.setenv(name, value)
        environ = {**bucket.settings, "CONFIG_FILE": f"{bucket.settings['DATA_URL']}/config/instance.yaml"}
        with pytest.raises(SettingsError, match=r"CONFIG_FILE: 's3://.*/config/instance\.yaml' does not exist"):
            _ = Process(environ).settings
        process = Process(bucket.settings)
        process.store.put("config/instance.yaml", b"instance: {name: Example}", if_version=ABSENT)
        assert Process(environ).settings.instance_name == "Example"


def test_everything_is_made_once_however_many_ask_at_once(tmp_path: Path) -> None:
    process = Process({"DATA_DIR": str(tmp_path)})
    start = threading.Barrier(8)

    def ask(_: int) -> tuple[int, ...]:
        start.wait()
        shared = (process.settings, process.store, process.access, process.snapshots, process.background, process.state)
        return tuple(map(id, shared))

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(ask, range(8)))) == 1
    process.background.close()


def test_settings_that_are_passed_in_are_used() -> None:
    store = MemoryStore()
    assert Process({}, store=store).store is store


def test_the_read_path_imports_nothing_heavy() -> None:
    code = f"""
import importlib, sys
for module in {READ_PATH!r}:
    importlib.import_module(module)
    print(module, *sorted({set(HEAVY)!r} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == READ_PATH
