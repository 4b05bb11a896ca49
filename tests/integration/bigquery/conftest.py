"""A source of the type bigquery on a project that is served on loopback."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, ClassVar

import pytest

from analyst.connectors.bigquery.reader_processes import Readers
from analyst.context import Process
from tests.doubles.bigquery.project import Project
from tests.doubles.bigquery.server import Served, serving
from tests.integration.projects import ProjectSource, opening
from tests.integration.world import Begun

READERS = "bigquery readers"


class BigQuery(ProjectSource[Project, Served]):
    """The functions, and the project that they read as the source `bq`."""

    name = "bq"
    type = "bigquery"

    def register(self, id_: str, name: str | None = None, **more: Any) -> None:
        """Register a table by its dataset and name at BigQuery."""
        dataset, _, table = id_.rpartition(".")
        body = {"source_table": table, "bucket": dataset or None, **more}
        self.world.ask("POST", f"/api/admin/tables/bq.{name or table.lower()}", body)


class ProcessOfTests(Process):
    """Reads BigQuery by processes that tests share: to start one takes longer than most of the tests."""

    readers: ClassVar[Readers]

    def kept(self, name: str, make: Callable[[], Any]) -> Any:
        return self.readers if name == READERS else super().kept(name, make)

    def opened(self, name: str, make: Callable[[], AbstractContextManager[Any]]) -> AbstractContextManager[Any]:
        return nullcontext(self.readers) if name == READERS else super().opened(name, make)


@pytest.fixture(scope="session")
def process() -> Iterator[type[ProcessOfTests]]:
    """Start what reads BigQuery when it is needed, until all tests have ended."""
    with Readers() as readers:

        class Sharing(ProcessOfTests):
            pass

        Sharing.readers = readers
        yield Sharing


Opened = Callable[..., BigQuery]


@pytest.fixture
def opened(begun: Begun, tmp_path: Path, process: type[Process]) -> Iterator[Opened]:
    """Serve a project, and the functions with a source for it."""
    with opening(BigQuery, serving, begun, tmp_path, process) as open_:
        yield open_
