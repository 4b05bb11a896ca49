"""A run that dies while Keboola exports a table leaves the export to the next one."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from analyst.connectors.keboola.api import StorageApi
from analyst.connectors.keboola.connector import KeboolaConnector, WantedTable
from analyst.connectors.keboola.http import Connection, Patience
from analyst.connectors.keboola.options import KeboolaTableOptions
from analyst.connectors.keboola.slices import Room
from analyst.contract.extraction import Extraction
from analyst.contract.source_jobs import SourceJobs
from analyst.http_client import HttpClient
from analyst.runs import RunRecord, new_run_id
from analyst.store import Store
from tests.bucket_contents import ask
from tests.clouds import FileCloud
from tests.doubles.keboola.project import TOKEN, Fault, Project
from tests.doubles.keboola.server import Served, serving

MANIFEST = "manifest"


class KilledError(BaseException):
    """Stands for the end of the process."""


def killed(_: float) -> None:
    raise KilledError


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving(Project()) as found:
        yield found


@pytest.fixture
def project(served: Served) -> Project:
    served.project.__dict__.update(Project(polls=1).__dict__)
    served.project.table("in.c-a.t", ["id"], [("1",), ("2",), ("3",)])
    return served.project


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return FileCloud(tmp_path / "bucket").open()


def sync(
    served: Served,
    store: Store,
    *,
    sleep: Callable[[float], None] = lambda _: None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    room: Room | None = None,
) -> RunRecord:
    """Extract the table as the function does."""
    http = HttpClient()
    api = StorageApi(Connection(served.url, SecretStr(TOKEN), client=http, patience=Patience(sleep=sleep)))
    wanted = [WantedTable("t", "in.c-a.t", KeboolaTableOptions())]
    jobs = SourceJobs(store, "kbc", clock)
    connector = KeboolaConnector(api, wanted, http, endpoint=served.url, jobs=jobs, room=room or Room())
    return Extraction(store, "kbc", new_run_id(), lambda: datetime.now(UTC)).run(lambda: connector).record


def test_the_export_of_a_killed_run_is_resumed(served: Served, project: Project, store: Store) -> None:
    with pytest.raises(KilledError):
        sync(served, store, sleep=killed)
    record = sync(served, store)
    assert (record.status, record.tables[0].rows) == ("ok", 3)
    assert "an earlier run started" in record.tables[0].notes[0]
    assert len(project.exports) == 1
    assert sync(served, store).status == "unchanged"


def test_published_rows_are_dated_by_their_export(served: Served, project: Project, store: Store) -> None:
    project.tick()
    began = datetime.now(UTC) - timedelta(hours=5)
    with pytest.raises(KilledError):
        sync(served, store, sleep=killed, clock=lambda: began)
    assert sync(served, store).status == "ok"
    assert len(project.exports) == 1
    ((extracted_at,),) = ask(store, "extracts/kbc/extract.duckdb", "select extracted_at from _meta")
    assert extracted_at.replace(tzinfo=UTC) == began


def change(project: Project) -> None:
    project.tick()
    project.insert(project.tables["in.c-a.t"], [("4",)])


def fail(project: Project) -> None:
    for job in project.jobs.values():
        job.error = {"message": "The warehouse was suspended", "code": "x"}


def delete_files(project: Project) -> None:
    project.files.clear()
    project.cache.clear()


@pytest.mark.parametrize("happens", [change, fail, delete_files, lambda project: project.jobs.clear()])
def test_an_export_that_cannot_be_used_is_started_again(
    served: Served, project: Project, store: Store, happens: Callable[[Project], None]
) -> None:
    with pytest.raises(KilledError):
        sync(served, store, sleep=killed)
    happens(project)
    record = sync(served, store)
    assert (record.status, record.tables[0].rows) == ("ok", len(project.tables["in.c-a.t"].rows))
    assert len(project.exports) == 2


def test_an_old_export_is_started_again(served: Served, project: Project, store: Store) -> None:
    with pytest.raises(KilledError):
        sync(served, store, sleep=killed, clock=lambda: datetime.now(UTC) - timedelta(hours=13))
    assert sync(served, store).status == "ok"
    assert len(project.exports) == 2


def test_an_export_that_cannot_be_read_twice_is_started_again(served: Served, project: Project, store: Store) -> None:
    project.faults.append(Fault(MANIFEST, status=500, times=10))
    exports = []
    for _ in range(3):
        record = sync(served, store)
        exports.append((record.status, len(project.exports)))
    assert exports == [("failed", 1), ("failed", 1), ("ok", 2)]


def test_an_export_with_too_few_rows_is_not_resumed(served: Served, project: Project, store: Store) -> None:
    table = project.tables["in.c-a.t"]
    table.count = 5
    assert "3 rows, but the table has 5" in str(sync(served, store).tables[0].error)
    table.count = None
    project.cache.clear()
    assert sync(served, store).status == "ok"
    assert len(project.exports) == 2


def test_an_export_larger_than_the_disk_is_not_downloaded(served: Served, project: Project, store: Store) -> None:
    error = str(sync(served, store, room=Room(free=lambda _: 100)).tables[0].error)
    assert "the export of 'in.c-a.t' needs about" in error
    assert "free space in SCRATCH_DIR" in error
    assert served.asked(r"/o/.*part") == []
    record = sync(served, store)
    assert record.status == "ok"
    assert len(project.exports) == 1
    assert ask(store, "extracts/kbc/extract.duckdb", "select count(*) from t") == [(3,)]
