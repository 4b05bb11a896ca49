"""The processes that read BigQuery end with the one that started them, and their death is an error of one table."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest

from analyst.catalog import Column, Table
from analyst.connectors.bigquery.access import Access
from analyst.connectors.bigquery.api import BigQueryApi
from analyst.connectors.bigquery.connector import BigQueryConnector, Limits, WantedTable
from analyst.connectors.bigquery.reader_processes import Order, Readers, ReadLimit
from analyst.errors import SourceError, UnavailableError
from analyst.query.live_rows import Needed, Patience, Wanted
from tests.doubles.bigquery.project import Fault, Project, column
from tests.doubles.bigquery.server import Served, serving
from tests.processes import ROOT

pytestmark = pytest.mark.slow

_LOADED = """
import sys
from pathlib import Path
from importlib import import_module
for path in sorted(Path("functions").rglob("*.py")):
    import_module(".".join(path.with_suffix("").parts))
print([name for name in ("pyarrow", "grpc", "google.cloud.bigquery", "pandas") if name in sys.modules])
"""


def order(served: Served, into: Path) -> Order:
    project = served.project
    table = f"projects/{project.id}/datasets/d/tables/t"
    return Order(label="d.t", billing=project.id, api=served.url, storage=served.storage, table=table, into=str(into))


def test_a_process_that_dies_fails_only_its_own_read(tmp_path: Path) -> None:
    project = Project()
    project.table("d.t", [column("id", "INTEGER")], [{"id": 1}])
    with serving(project) as served, Readers(most=1) as readers:
        asked = order(served, tmp_path).model_copy(update={"table": "projects/x/datasets/d/tables/t"})

        def kill() -> None:
            os.kill(readers.pids[0], signal.SIGKILL)

        project.faults.append(Fault("CreateReadSession", then=kill))
        with pytest.raises(UnavailableError, match=r"the process that reads 'd\.t' died"):
            readers.read(asked)
        assert readers.read(asked).values == ()
        pids = readers.pids
    assert all(not Path(f"/proc/{pid}").exists() for pid in pids)


def test_remote_rows_are_read_with_columns_and_conditions_pushed_down(tmp_path: Path) -> None:
    project = Project()
    rows = [{"id": number, "name": f"n{number}", "more": "x"} for number in range(9)]
    project.table("d.t", [column("id", "INTEGER"), column("name"), column("more")], rows)
    project.view("d.v", f"SELECT id, name FROM `{project.id}.d.t`")
    columns = (Column(name="id", type="BIGINT"), Column(name="name", type="VARCHAR"))
    table = Table(source="bq", name="t", view="t", hash="", columns=columns)
    needed = Wanted(table, ("name",), ((Needed("id", ">=", (7,)),),))
    limit, patience = ReadLimit(rows=100, bytes=10_000), Patience(time.monotonic() + 60)
    with serving(project) as served, Readers(most=1) as readers:
        api = BigQueryApi(project.id, Access(served.url, served.storage))
        connector = BigQueryConnector(api, (), readers, Limits(project.id, cap=1 << 20))
        for name in ("t", "v"):
            into = tmp_path / name
            into.mkdir()
            found = connector.remote_rows(WantedTable(name, "d", name), needed, into, limit, patience)
            paths = [path for piece in found.pieces for path in piece.files]
            shown = duckdb.sql("from read_parquet(?) order by 1", params=[paths]).fetchall()
            assert (found.rows, shown) == (2, [("n7",), ("n8",)])
        assert (project.sessions[0].selected, project.sessions[0].restriction) == (("name",), "`id` >= 7")
        gone = Wanted(table, ("nothing",))
        with pytest.raises(SourceError, match="no longer has the column 'nothing'; sync its source 'bq' again"):
            connector.remote_rows(WantedTable("t", "d", "t"), gone, tmp_path, limit, patience)


def test_the_functions_load_neither_pyarrow_nor_googles_clients() -> None:
    done = subprocess.run([sys.executable, "-c", _LOADED], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
