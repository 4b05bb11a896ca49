"""The mirror of a laptop at 1,000 and 10,000 tables: the first sync, one changed source, and nothing changed."""

import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import duckdb

from tests.bench.buckets import COLUMNS, extract, file_store, put_extract, rebuild, tables
from tests.bench.measurement import BIN, Cost, Row, at_most, cost
from tests.processes import Host, host

ROWS = 100
TIMES = 3
EACH = 100
"""Tables of a source."""


def measure() -> list[Row]:
    """Mirror 10 and 100 sources of 100 tables of a hundred rows, again, and with other rows in one source."""
    few, many = _mirrored(sources=10), _mirrored(sources=100)
    return [
        _row("first mirror of 1,000 small tables", few.first, 3),
        _row("mirror of 1,000 tables, nothing changed", few.unchanged, 0.15),
        _row("first mirror of 10,000 tables", many.first, 20),
        _row("mirror of 10,000 tables, one source of 100 changed", many.one_changed, 0.6),
        _row("mirror of 10,000 tables, nothing changed", many.unchanged, 0.15),
    ]


def _row(what: str, taken: Cost, bound: float) -> Row:
    return at_most(what, taken.wall, "s", bound, f"{taken.cpu:.2f} s CPU, {taken.peak_mb:.0f} MB")


@dataclass(frozen=True, slots=True)
class _Costs:
    """What the process of `da sync` costs, by what there is to do: medians."""

    first: Cost
    one_changed: Cost
    unchanged: Cost


def _mirrored(*, sources: int) -> _Costs:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        names = [f"source_{number:03}" for number in range(sources)]
        contents = [_content(home / "content.parquet", number) for number in range(2)]
        store = file_store(home / "bucket")
        with ThreadPoolExecutor() as pool:
            made = [*pool.map(lambda name: extract(store, name, tables(name, EACH), contents[0]), names)]
        rebuild(store)
        states = [extract(store, names[0], tables(names[0], EACH), content) for content in reversed(contents)]
        put_extract(store, names[0], made[0])
        with host(home) as server:
            token = server.bootstrap()
            first = [_da(server, token, home / f"mirror_{number}") for number in range(TIMES)]
            unchanged = [_da(server, token, home / "mirror_0") for _ in range(TIMES)]
            one = []
            for number in range(TIMES):
                put_extract(store, names[0], states[number % 2])
                rebuild(store)
                one.append(_da(server, token, home / "mirror_0"))
        return _Costs(_median(first), _median(one), _median(unchanged))


def _content(path: Path, number: int) -> bytes:
    columns = ", ".join(
        f'cast(i + {number} as {column.type}) as "{column.name}"' for column in COLUMNS if column.name != "created_at"
    )
    duckdb.execute(
        f"copy (select {columns}, make_timestamp(i) as created_at from range({ROWS}) t(i)) to '{path}' (format parquet)"
    )
    return path.read_bytes()


def _da(server: Host, token: str, workspace: Path) -> Cost:
    workspace.mkdir(exist_ok=True)
    # As installed, with compiled modules: to compile those of a checkout would take 35 ms each time.
    compiled = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(workspace.parent / "compiled")}
    environ = {"DA_SERVER": server.url, "DA_TOKEN": token, "DA_LOCAL_DIR": str(workspace), **compiled}
    return cost([BIN / "da", "sync", "--quiet"], {**environ, "DA_CONFIG_DIR": str(workspace / ".config")})


def _median(costs: Iterable[Cost]) -> Cost:
    by_wall = sorted(costs, key=lambda each: each.wall)
    return by_wall[len(by_wall) // 2]
