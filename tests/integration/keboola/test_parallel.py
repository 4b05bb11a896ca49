"""Many tables: exported in parallel up to the project's limit, and by a task each where tasks run elsewhere."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from analyst.context import Process
from tests.doubles.keboola.project import Column, Project
from tests.doubles.keboola.server import serving
from tests.integration.keboola.conftest import Keboola, Opened
from tests.integration.world import SERVICE_TOKEN, Begun
from tests.processes import free_port, served


def many(project: Project, count: int) -> list[str]:
    names = [f"table_{number}" for number in range(count)]
    for name in names:
        project.table(f"in.c-many.{name}", ["id"], [("1",)])
    return names


def test_exports_run_in_parallel_up_to_the_limit_of_the_project(opened: Opened) -> None:
    project = Project(job_limit=3, polls=2)
    names = many(project, 8)
    keboola = opened(project)
    keboola.world.ask("POST", "/api/admin/discover-tables", {})
    assert set(keboola.sync()) == set(names)
    assert 2 <= project.most_running <= 3


@pytest.mark.slow
def test_many_tables_are_extracted_by_a_task_each(begun: Begun, tmp_path: Path) -> None:
    project = Project(job_limit=4)
    names = many(project, 12)
    project.job_error = lambda table: {"message": "no", "code": "x"} if table.name == "table_3" else None
    port = free_port()
    with serving(project) as there:

        class Serving(Process):
            def __init__(self, environ: Mapping[str, str], **more: Any) -> None:
                tasks = {"TASKS_URL": there.url.replace(there.url.rpartition(":")[2], str(port))}
                super().__init__({**environ, **there.settings, **tasks}, **more)

        world = begun.world(tmp_path, process=Serving)
        keboola = Keboola(world, project, there)
        with served(world.app, port) as host:
            source = {"type": "keboola", "config": {**there.config, "discover": True}}
            world.ask("POST", "/api/admin/sources/kbc", source)
            status, answer = host.ask("POST", "/extract/keboola", {"source": "kbc"}, token=SERVICE_TOKEN)
    assert status == 207
    assert {table["table"]: table["status"] for table in answer["tables"]} == {
        name: "failed" if name == "table_3" else "ok" for name in names
    }
    assert answer["rebuild"]["status"] == "published"
    assert len(keboola.rows("select view_name from duckdb_views() where schema_name = 'kbc'")) == 11
    assert project.most_running <= 4


def test_branches_and_aliases_are_read(opened: Opened) -> None:
    project = Project(branch="77")
    table = project.table("in.c-a.t", [Column("id", "INTEGER"), Column("v", "VARCHAR")], [("1", "x")], typed=True)
    project.alias("out.c-b.alias", table)
    keboola = opened(project, branch="77")
    keboola.register("in.c-a.t")
    keboola.register("out.c-b.alias", "alias")
    assert {name: result["rows"] for name, result in keboola.sync().items()} == {"t": 1, "alias": 1}
    assert keboola.rows("from kbc.alias") == keboola.rows("from kbc.t")
    assert keboola.served.asked("/v2/storage/branch/77/tables")
    assert {result["status"] for result in keboola.sync().values()} == {"unchanged"}
