"""The signed URLs that the Sharing server returns, read by engines that know nothing of it: equal rows to DuckDB's.

Sail reads no signed URL: it refuses http, and of https it drops what follows the `?`. It reads the same tables by their Delta
logs (test_engines.py).
"""

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.processes import ROOT, Host, host

pytestmark = [pytest.mark.server, pytest.mark.slow]

PYTHON = ROOT / ".venv-engines/bin/python"
TABLES = {
    "everything": """
        select i as id, (i % 300)::smallint as small, (i / 4)::float as single, i * 1024.0625::double as ratio,
               (i * 1.25 - 7)::decimal(9, 2) as cents, case when i % 4 > 0 then 'é😀' || i end as note,
               date '2024-02-28' + i::integer as day, timestamp '2024-01-01 00:00:00.123456' + to_hours(i) as local_time,
               i % 2 = 0 as flag, [i, null] as list, {'a': i, 'b': ['x', null]} as struct
        from range(2000) r(i)
    """,
    "empty": "select 1::bigint as id, 'x' as name where false",
}
SECRET = "select 'hedgehog' as name"


@dataclass(frozen=True, slots=True)
class Shared:
    """A running server, and the token of somebody who may read some tables."""

    server: Host
    token: str

    def urls(self, table: str) -> list[str]:
        path = f"/delta-sharing/shares/data/schemas/shop/tables/{table}/query"
        request = urllib.request.Request(self.server.url + path, b"{}", {"Authorization": f"Bearer {self.token}"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            lines = [json.loads(line) for line in answer]
        return [line["file"]["url"] for line in lines[2:]]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    if not PYTHON.exists():
        pytest.skip("needs .venv-engines, which make e2e creates")
    folder = tmp_path_factory.mktemp("shared")
    for name, query in {**TABLES, "secret": SECRET}.items():
        (folder / "files").mkdir(exist_ok=True)
        duckdb.sql(query).write_parquet(str(folder / f"files/{name}.parquet"))
    with host(folder, PROFILE_AFTER_SYNC="false", SOURCE_ROOTS=str(folder)) as server:
        admin = server.bootstrap()
        source = {"type": "csv", "config": {"path": str(folder / "files")}}
        server.ask("POST", "/api/admin/sources/shop", source, token=admin)
        status, result = server.ask("POST", "/extract/csv", {"source": "shop"}, token=admin)
        assert status == 200, result
        _id, token = server.user(admin, "ann@example.com")
        for table in TABLES:
            server.ask(
                "POST", "/api/admin/permissions", {"user": "ann@example.com", "table": f"shop.{table}"}, token=admin
            )
        yield Shared(server, token)


def by_duckdb(urls: list[str]) -> list[Any]:
    """Read the URLs with DuckDB's own HTTP."""
    spec = find_spec("duckdb_extension_httpfs")
    assert spec is not None
    [extension] = Path((spec.submodule_search_locations or [""])[0]).glob("extensions/*/httpfs.duckdb_extension")
    script = f"""
import json, sys
import duckdb
from tests.e2e.engines.url_reader import rows
con = duckdb.connect()
con.execute("load '{extension}'")
con.execute("set TimeZone = 'UTC'")
print(json.dumps(rows(con.execute("from read_parquet(?)", [json.load(sys.stdin)]).to_arrow_table())))
"""
    return asked([sys.executable, "-c", script], urls)


def asked(command: list[str], urls: list[str]) -> list[Any]:
    ran = subprocess.run(
        command, input=json.dumps(urls), cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    found: list[Any] = json.loads(ran.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("engine", ["polars", "daft"])
@pytest.mark.parametrize("table", TABLES)
def test_engines_read_what_duckdb_reads(shared: Shared, table: str, engine: str) -> None:
    urls = shared.urls(table)
    expected = by_duckdb(urls)
    assert len(expected) == duckdb.sql(f"select count(*) from ({TABLES[table]})").fetchall()[0][0]
    assert asked([str(PYTHON), "-m", "tests.e2e.engines.url_reader", engine], urls) == expected


def test_a_table_that_is_not_granted_has_no_urls(shared: Shared) -> None:
    with pytest.raises(urllib.error.HTTPError, match="404"):
        shared.urls("secret")
