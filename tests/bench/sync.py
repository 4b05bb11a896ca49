"""`da sync` of half a gigabyte over loopback, beside curl with the same URLs."""

import shutil
import statistics
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from analyst.contract.extraction import Extraction
from analyst.runs import new_run_id
from tests.bench.buckets import file_store, rebuild
from tests.bench.measurement import BIN, Cost, Row, at_least, at_most, cost
from tests.doubles.toy_source import Toy, ToyTable
from tests.processes import Host, host

TABLES = 50
ROWS = 1_375_000
"""Random numbers of 8 bytes, which do not compress: 11 MB."""
TIMES = 5
PARALLEL = 8


def measure() -> list[Row]:
    """Mirror 50 tables of 11 MB, and then once more when nothing has changed.

    The least of several runs counts, of both: what else the machine does can only add to them.
    """
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        size = _fill(home / "bucket")
        with host(home) as server:
            token = server.bootstrap()
            rounds = [_round(server, token, home) for _ in range(TIMES)]
            again = statistics.median(_da(server, token, home / "mirror").wall for _ in range(5))
    curl, da = (min(figures) for figures in zip(*rounds, strict=True))
    beside = f"curl --parallel: {curl:.2f} s, da sync: {da:.2f} s"
    return [
        at_least(f"da sync of {TABLES} tables, {size / 1e6:.0f} MB: speed to curl's", curl / da, "×", 0.7, beside),  # noqa: RUF001
        at_most("da sync when nothing has changed, whole process", again, "s", 0.4),
    ]


def _fill(bucket: Path) -> int:
    store = file_store(bucket)
    content = {f"table_{n:02}": ToyTable(f"select random() as value from range({ROWS})", str(n)) for n in range(TABLES)}
    ended = Extraction(store, "bench", new_run_id(), lambda: datetime.now(UTC)).run(lambda: Toy(content))
    rebuild(store)
    return sum(table.size_bytes or 0 for table in ended.record.tables)


def _round(server: Host, token: str, home: Path) -> tuple[float, float]:
    for name in ("curl", "mirror"):
        shutil.rmtree(home / name, ignore_errors=True)
        (home / name).mkdir()
    return _curl(server, token, home / "curl").wall, _da(server, token, home / "mirror").wall


def _curl(server: Host, token: str, into: Path) -> Cost:
    _, manifest = server.ask("GET", "/api/sync/manifest", token=token)
    wanted = {"files": dict.fromkeys(manifest["tables"])}
    _, signed = server.ask("POST", "/api/data/urls", wanted, token=token)
    lines = [f'url = "{url}"\noutput = "{into / str(n)}"\n' for n, url in enumerate(signed["urls"].values())]
    config = into.with_suffix(".curl")
    config.write_text("".join(lines))
    options = ["--no-progress-meter", "--fail", "--parallel", "--parallel-max", str(PARALLEL)]
    taken = cost(["curl", *options, "--config", config])
    if len(list(into.iterdir())) != TABLES:
        raise RuntimeError("curl has not fetched all")
    return taken


def _da(server: Host, token: str, workspace: Path) -> Cost:
    environ = {"DA_SERVER": server.url, "DA_TOKEN": token, "DA_LOCAL_DIR": str(workspace)}
    return cost([BIN / "da", "sync", "--quiet"], {**environ, "DA_CONFIG_DIR": str(workspace / ".config")})
