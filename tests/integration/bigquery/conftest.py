"""A source of the type bigquery on a project that is served on loopback."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import TestResponse

from analyst.context import Process
from analyst.store import Store
from tests.doubles.bigquery.project import Project
from tests.doubles.bigquery.serving import Served, serving
from tests.integration.world import SERVICE_TOKEN, Begun, World
from tests.reading import ask, query


@dataclass
class BigQuery:
    """The functions, and the project that they read as the source `bq`."""

    world: World
    project: Project
    served: Served

    @property
    def store(self) -> Store:
        return self.world.process.store

    def register(self, id_: str, name: str | None = None, **more: Any) -> None:
        """Register a table by its dataset and name at BigQuery."""
        dataset, _, table = id_.rpartition(".")
        body = {"source_table": table, "bucket": dataset or None, **more}
        self.world.ask("POST", f"/api/admin/tables/bq.{name or table.lower()}", body)

    def change(self, name: str, **more: Any) -> None:
        """Change the registration of a table."""
        self.world.ask("PUT", f"/api/admin/tables/bq.{name}", more)

    def send(self, *tables: str) -> TestResponse:
        """Extract the source, or some tables."""
        body = {"source": "bq", **({"tables": tables} if tables else {})}
        return self.world.send("POST", "/extract/bigquery", body, token=SERVICE_TOKEN)

    def sync(self, *tables: str) -> Mapping[str, Any]:
        """Extract what must succeed; give the results of the tables by name."""
        answer = self.send(*tables)
        assert answer.status_code == 200, answer.text
        return {table["table"]: table for table in answer.get_json()["tables"]}

    def rows(self, sql: str) -> list[Any]:
        """Ask the newest snapshot."""
        return query(self.store, sql)

    def extract(self, sql: str) -> list[Any]:
        """Ask the published extract."""
        return ask(self.store, "extracts/bq/extract.duckdb", sql)


Opened = Callable[..., BigQuery]


@pytest.fixture
def opened(begun: Begun, tmp_path: Path) -> Iterator[Opened]:
    """Serve a project, and the functions with a source for it."""
    with ExitStack() as stack:

        def open_(project: Project, *, base_url: str = "http://localhost", **config: Any) -> BigQuery:
            served = stack.enter_context(serving(project))

            class Serving(Process):
                def __init__(self, environ: Mapping[str, str], **more: Any) -> None:
                    super().__init__({**environ, **served.settings}, **more)

            world = begun.world(tmp_path, process=Serving, base_url=base_url)
            world.ask("POST", "/api/admin/sources/bq", {"type": "bigquery", "config": {**served.config, **config}})
            return BigQuery(world, project, served)

        yield open_
