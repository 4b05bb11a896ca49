"""The processes that read BigQuery end with the one that started them, and their death is an error of one table."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from analyst.connectors.bigquery.reading import Order, Readers
from analyst.errors import UnavailableError
from tests.doubles.bigquery.project import Fault, Project, column
from tests.doubles.bigquery.serving import Served, serving
from tests.running import ROOT

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


def test_a_process_that_dies_fails_one_read(tmp_path: Path) -> None:
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


def test_the_functions_load_neither_pyarrow_nor_googles_clients() -> None:
    done = subprocess.run([sys.executable, "-c", _LOADED], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
