"""The start of one function of the read path, beside a function that does nothing."""

import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from tests.bench.buckets import analyst_with_half_granted, extract, file_store, rebuild, tables
from tests.bench.measurement import BIN, ROOT, Row, at_most
from tests.processes import Host, free_port

TIMES = 5
_BARE = "def hello(request):\n    return 'hello'\n"


def measure() -> list[Row]:
    """Start the manifest function until its first answer, and weigh its processes after that."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        store = file_store(home / "bucket")
        extract(store, "shop", tables("shop", 20))
        rebuild(store)
        token = analyst_with_half_granted(store, {"shop": tables("shop", 20)})
        (home / "hello.py").write_text(_BARE)
        bare = {"FUNCTION_SOURCE": str(home / "hello.py"), "FUNCTION_TARGET": "hello"}
        ours = {
            "FUNCTION_SOURCE": str(ROOT / "functions/api/manifest.py"),
            "FUNCTION_TARGET": "manifest",
            "DATA_URL": (home / "bucket").as_uri(),
        }
        nothing, nothing_mb = _medians(bare, "/", token)
        taken, taken_mb = _medians(ours, "/api/sync/manifest", token)
    return [
        at_most(
            "start of a read-path function to its first answer", taken, "s", 0.75, f"bare function: {nothing:.2f} s"
        ),
        at_most("memory (PSS) of all its processes then", taken_mb, "MB", 75, f"bare function: {nothing_mb:.0f} MB"),
    ]


def _medians(environ: Mapping[str, str], path: str, token: str) -> tuple[float, float]:
    figures = [_start(environ, path, token) for _ in range(TIMES)]
    return statistics.median(taken for taken, _ in figures), statistics.median(size for _, size in figures)


def _start(environ: Mapping[str, str], path: str, token: str) -> tuple[float, float]:
    """Return the seconds to the first answer, and the MB after it."""
    port = free_port()
    began = time.perf_counter()
    command: list[str | Path] = [BIN / "functions-framework", "--host", "127.0.0.1", "--port", str(port)]
    child = subprocess.Popen(command, env={**os.environ, **environ}, stdout=subprocess.DEVNULL)
    try:
        server = Host(f"http://127.0.0.1:{port}")
        while child.poll() is None:
            try:
                status, answer = server.ask("GET", path, token=token)
            except OSError:
                time.sleep(0.005)
                continue
            taken = time.perf_counter() - began
            if status != 200:
                raise RuntimeError(f"{status}: {answer}")
            return taken, sum(_pss_mb(pid) for pid in _family(child.pid))
        raise RuntimeError(f"the function ended with {child.returncode}")
    finally:
        child.terminate()
        child.wait(10)


def _family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(member for child in children for member in _family(int(child)))]


def _pss_mb(pid: int) -> float:
    """Read the proportional set size: shared pages count by their share."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in rollup if line.startswith("Pss:")) / 1024
