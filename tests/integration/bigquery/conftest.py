"""A source of the type bigquery on a project that is served on loopback."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.bigquery.project import Project
from tests.doubles.bigquery.server import Served, serving
from tests.integration.projects import ProjectSource, opening
from tests.integration.world import Begun


class BigQuery(ProjectSource[Project, Served]):
    """The functions, and the project that they read as the source `bq`."""

    name = "bq"
    type = "bigquery"

    def register(self, id_: str, name: str | None = None, **more: Any) -> None:
        """Register a table by its dataset and name at BigQuery."""
        dataset, _, table = id_.rpartition(".")
        body = {"source_table": table, "bucket": dataset or None, **more}
        self.world.ask("POST", f"/api/admin/tables/bq.{name or table.lower()}", body)


Opened = Callable[..., BigQuery]


@pytest.fixture
def opened(begun: Begun, tmp_path: Path) -> Iterator[Opened]:
    """Serve a project, and the functions with a source for it."""
    with opening(BigQuery, serving, begun, tmp_path) as open_:
        yield open_
