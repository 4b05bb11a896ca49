"""A source of the type keboola on a project that is served on loopback."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.keboola.project import Project
from tests.doubles.keboola.server import Served, serving
from tests.integration.projects import ProjectSource, opening
from tests.integration.world import Begun


class Keboola(ProjectSource[Project, Served]):
    """The functions, and the project that they read as the source `kbc`."""

    name = "kbc"
    type = "keboola"

    def register(self, id_: str, name: str | None = None, **more: Any) -> None:
        """Register a table by its id at Keboola."""
        table = f"kbc.{name or id_.rpartition('.')[2].lower()}"
        self.world.ask("POST", f"/api/admin/tables/{table}", {"source_table": id_, **more})


Opened = Callable[..., Keboola]


@pytest.fixture
def opened(begun: Begun, tmp_path: Path) -> Iterator[Opened]:
    """Serve a project, and the functions with a source for it."""
    with opening(Keboola, serving, begun, tmp_path) as open_:
        yield open_
