"""A source of the type keboola on a project that is served on loopback."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import TestResponse

from analyst.context import Process
from analyst.store import Store
from tests.doubles.keboola.project import Project
from tests.doubles.keboola.serving import Served, serving
from tests.integration.world import SERVICE_TOKEN, Begun, World
from tests.reading import ask, query


@dataclass
class Keboola:
    """The functions, and the project that they read as the source `kbc`."""

    world: World
    project: Project
    served: Served

    @property
    def store(self) -> Store:
        return self.world.process.store

    def register(self, id_: str, name: str | None = None, **more: Any) -> None:
        """Register a table by its id at Keboola."""
        table = f"kbc.{name or id_.rpartition('.')[2].lower()}"
        self.world.ask("POST", f"/api/admin/tables/{table}", {"source_table": id_, **more})

    def change(self, name: str, **more: Any) -> None:
        """Change the registration of a table."""
        self.world.ask("PUT", f"/api/admin/tables/kbc.{name}", more)

    def send(self, *tables: str) -> TestResponse:
        """Extract the source, or some tables."""
        body = {"source": "kbc", **({"tables": tables} if tables else {})}
        return self.world.send("POST", "/extract/keboola", body, token=SERVICE_TOKEN)

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
        return ask(self.store, "extracts/kbc/extract.duckdb", sql)


Opened = Callable[..., Keboola]


@pytest.fixture
def opened(begun: Begun, tmp_path: Path) -> Iterator[Opened]:
    """Serve a project, and the functions with a source for it."""
    with ExitStack() as stack:

        def open_(project: Project, *, base_url: str = "http://localhost", **config: Any) -> Keboola:
            served = stack.enter_context(serving(project))

            class Serving(Process):
                def __init__(self, environ: Mapping[str, str], **more: Any) -> None:
                    super().__init__({**environ, **served.settings}, **more)

            world = begun.world(tmp_path, process=Serving, base_url=base_url)
            made = {"type": "keboola", "config": {**served.config, **config}}
            world.ask("POST", "/api/admin/sources/kbc", made)
            return Keboola(world, project, served)

        yield open_
