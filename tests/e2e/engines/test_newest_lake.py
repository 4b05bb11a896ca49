"""The frozen DuckLake read by the newest DuckDB, for which there is no extension yet: as the plain database that it is.

So the file is one that the newest DuckDB opens, and what the extension would do with it gives the rows of DuckDB 1.5: the
files that the catalog lists, without those that statistics exclude.
"""

import json
import subprocess
from pathlib import Path
from typing import Any

import duckdb
import pytest

from analyst import runs
from analyst.contract.extraction import Extraction
from analyst.store.folder.store import FileStore
from tests.doubles.toy_source import Toy, ToyTable
from tests.processes import ROOT
from tests.unit.rebuild.lake import NOW
from tests.unit.rebuild.test_frozen_lakes import EVERY_TYPE, attached, published, rows

PYTHON = ROOT / ".venv-da/bin/python"
SCRIPT = """
import duckdb, json, sys
lake, home, bound = sys.argv[1:]
with duckdb.connect() as con:
    con.execute("set TimeZone = 'UTC'")
    con.execute(f"attach '{lake}' as lake (read_only)")
    con.execute("use lake")
    files = con.execute('''
        select path, record_count, min_value::bigint <= ?::bigint and max_value::bigint >= ?::bigint
        from ducklake_data_file join ducklake_file_column_stats using (data_file_id, table_id)
        join ducklake_column using (column_id, table_id) where column_name = 'id' order by path
    ''', [bound, bound]).fetchall()
    paths = [f"{home}/{path}" for path, _rows, _may in files]
    kept = [f"{home}/{path}" for path, _rows, may in files if may]
    every = con.execute("select t::varchar from read_parquet(?) t order by all", [paths]).fetchall()
    some = con.execute("select t::varchar from read_parquet(?) t where id = ?::bigint order by all", [kept, bound]).fetchall()
print(json.dumps({"version": duckdb.__version__, "every": every, "some": some, "files": len(paths), "kept": len(kept),
                  "counted": sum(each[1] for each in files)}))
"""


def test_the_newest_duckdb_finds_the_rows_and_can_skip_files(tmp_path: Path) -> None:
    if not PYTHON.exists():
        pytest.skip("needs .venv-da, which make test creates")
    (tmp_path / "bucket").mkdir()
    store = FileStore(tmp_path / "bucket", lambda: b"k" * 32)
    for parts in (1, 2, 3):  # each sync appends a file
        many = EVERY_TYPE.replace("range(40)", f"range({parts * 40})")
        toy = Toy({"orders": ToyTable(many, str(parts), cursor_column="id")})
        assert Extraction(store, "shop", runs.new_run_id(), lambda: NOW).run(lambda: toy).record.status == "ok"  # noqa: B023
    key = published(store)
    with attached(store, key) as con:
        expected = {"every": rows(con, "lake.shop.orders"), "some": rows(con, "lake.shop.orders", "id = 50")}
    ran = subprocess.run(
        [str(PYTHON), "-c", SCRIPT, str(store.local_path(key)), str(tmp_path / "bucket"), "50"],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-2000:]
    found: dict[str, Any] = json.loads(ran.stdout)
    assert found["version"] > duckdb.__version__
    assert {name: [list(row) for row in each] for name, each in expected.items()} == {
        name: found[name] for name in expected
    }
    assert (found["files"], found["kept"], found["counted"]) == (3, 1, 120)
