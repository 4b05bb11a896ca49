"""An export that takes longer than a request is cut between its batches; the next task goes on from those that are kept."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from analyst.connectors.keboola.api import StorageApi
from analyst.connectors.keboola.connector import KeboolaConnector, WantedTable
from analyst.connectors.keboola.http import Connection, Patience
from analyst.connectors.keboola.options import KeboolaTableOptions
from analyst.connectors.keboola.slices import Room
from analyst.contract.checkpoints import Checkpoints
from analyst.contract.source_jobs import SourceJobs
from analyst.extract_run import ExtractAnswer, Extracting, ExtractRequest
from analyst.http_client import HttpClient
from analyst.snapshots import Snapshots
from analyst.store import Store
from tests.bucket_contents import ask
from tests.clouds import FileCloud
from tests.doubles.keboola.project import TOKEN, Fault, Project
from tests.doubles.keboola.server import Served, serving
from tests.doubles.wrapped_store import Around

ROWS = [(str(number), f"name {number}") for number in range(1, 13)]
SLICES = 6
SLICE = r"/o/.*part"


class KilledError(BaseException):
    """Stands for the end of the process."""


@dataclass
class Mortal(Around):
    """A bucket whose user dies before it has uploaded more than some files."""

    uploads: int

    def upload(self, key: str, path: Path) -> str:
        self.uploads -= 1
        if self.uploads < 0:
            raise KilledError
        return super().upload(key, path)


@dataclass
class Syncs:
    """Extracts the table as the function does, in calls that follow each other as tasks do."""

    served: Served
    store: Store
    batch_bytes: int = 1
    options: KeboolaTableOptions = field(default_factory=KeboolaTableOptions)
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    tasks: list[dict[str, Any]] = field(default_factory=list)

    def call(
        self, body: dict[str, Any] | None = None, *, is_time_up: Callable[[], bool], store: Store | None = None
    ) -> ExtractAnswer:
        """Make one call; the next part of the run is a task."""
        store = store or self.store
        http = HttpClient()
        api = StorageApi(Connection(self.served.url, SecretStr(TOKEN), client=http, patience=Patience()))
        connector = KeboolaConnector(
            api,
            [WantedTable("t", "in.c-a.t", self.options)],
            http,
            endpoint=self.served.url,
            jobs=SourceJobs(store, "kbc", self.clock),
            checkpoints=Checkpoints(store, "kbc", self.clock, is_time_up),
            room=Room(batch_bytes=self.batch_bytes),
        )
        running = Extracting(
            store,
            Snapshots(store),
            lambda _path, _body: {"status": "built", "snapshot": 1},
            lambda: None,
            lambda: datetime.now(UTC),
            "300MB",
            is_time_up=is_time_up,
            next_part=self.tasks.append,
        )
        return running.run(ExtractRequest.model_validate(body or {"source": "kbc"}), lambda: connector, dict)

    def to_the_end(self, is_time_up: Callable[[], bool]) -> list[ExtractAnswer]:
        """Make calls until nothing is left."""
        answers = [self.call(is_time_up=is_time_up)]
        while self.tasks:
            answers.append(self.call(self.tasks.pop(0), is_time_up=is_time_up))
            assert len(answers) <= 2 * SLICES
        return answers

    def rows(self) -> list[Any]:
        return ask(self.store, "extracts/kbc/extract.duckdb", "from t order by cast(id as int)")

    def downloads(self) -> int:
        """How many slices were downloaded so far."""
        return len(self.served.asked(SLICE))

    def kept(self) -> list[str]:
        return [entry.key for entry in self.store.list("jobs/kbc/t/pieces/")]


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving(Project()) as found:
        yield found


@pytest.fixture
def project(served: Served) -> Project:
    served.project.__dict__.update(Project(slice_rows=2).__dict__)
    served.project.table("in.c-a.t", ["id", "name"], ROWS)
    return served.project


@pytest.fixture
def syncs(served: Served, project: Project, tmp_path: Path) -> Syncs:  # noqa: ARG001
    return Syncs(served, FileCloud(tmp_path / "bucket").open())


def always() -> bool:
    return True


def never() -> bool:
    return False


def test_a_table_that_is_cut_after_each_batch_is_published_whole(syncs: Syncs, project: Project) -> None:
    answers = syncs.to_the_end(always)
    assert [answer.left for answer in answers] == [("t",)] * (len(answers) - 1) + [()]
    assert SLICES // 2 <= len(answers) <= SLICES + 1
    assert len({answer.run_id for answer in answers}) == 1
    assert (answers[-1].status, answers[-1].tables[0].rows) == ("ok", len(ROWS))
    assert syncs.rows() == ROWS
    assert len(project.exports) == 1
    # the downloads that were under way at a cut are repeated, the batches that are kept are not
    assert len([key for key in syncs.kept() if key.endswith(".json")]) == SLICES
    assert syncs.call(is_time_up=never).status == "unchanged"


def test_a_call_that_is_cut_publishes_nothing_of_the_table(syncs: Syncs) -> None:
    answer = syncs.call(is_time_up=always)
    assert (answer.http_status, answer.left, answer.tables) == (202, ("t",), ())
    assert [*syncs.store.list("extracts/")] == []
    assert [task["tables"] for task in syncs.tasks] == [["t"]]


@pytest.mark.parametrize("uploads", range(1, SLICES))
def test_the_batches_of_a_killed_process_are_used_by_the_next_one(syncs: Syncs, project: Project, uploads: int) -> None:
    with pytest.raises(KilledError):
        syncs.call(is_time_up=never, store=Mortal(syncs.store, uploads))
    kept = len([key for key in syncs.kept() if key.endswith(".json")])
    assert uploads - 1 <= kept <= uploads
    before = syncs.downloads()
    answer = syncs.call(is_time_up=never)
    assert (answer.status, answer.tables[0].rows) == ("ok", len(ROWS))
    assert syncs.rows() == ROWS
    assert syncs.downloads() - before == SLICES - kept
    assert len(project.exports) == 1


def test_a_table_that_changes_during_a_read_is_read_to_its_end_and_then_again(syncs: Syncs, project: Project) -> None:
    """Otherwise a table that changes more often than it can be read would never be published."""
    syncs.call(is_time_up=always)
    while syncs.tasks:
        project.tick()
        project.insert(project.tables["in.c-a.t"], [(str(100 + len(project.requests)), "later")])
        answer = syncs.call(syncs.tasks.pop(0), is_time_up=always)
    assert (answer.status, answer.tables[0].rows) == ("ok", len(ROWS))
    assert syncs.rows() == ROWS
    assert len(project.exports) == 1
    assert syncs.call(is_time_up=never).tables[0].rows == len(project.tables["in.c-a.t"].rows)
    assert syncs.call(is_time_up=never).status == "unchanged"


def test_the_batches_of_another_export_are_not_used(syncs: Syncs, project: Project) -> None:
    syncs.call(is_time_up=always)
    project.files.clear()
    project.cache.clear()
    project.tables["in.c-a.t"].rows[0].values["name"] = "another"
    answers = [syncs.call(syncs.tasks.pop(0), is_time_up=never)]
    assert (answers[-1].status, len(project.exports)) == ("ok", 2)
    assert syncs.rows() == [("1", "another"), *ROWS[1:]]


def test_batches_of_other_columns_are_not_used(syncs: Syncs) -> None:
    syncs.call(is_time_up=always)
    syncs.options = KeboolaTableOptions(types={"id": "BIGINT"})
    assert syncs.call(syncs.tasks.pop(0), is_time_up=never).status == "ok"
    assert syncs.rows() == [(int(id_), name) for id_, name in ROWS]


def test_batches_of_another_system_are_not_used(syncs: Syncs) -> None:
    """Ids of exports and of their files are unique only at one address, and a source can get another one."""
    syncs.call(is_time_up=always)
    others = [(id_, f"other {id_}") for id_, _ in ROWS]
    with serving(Project(slice_rows=2)) as other:
        other.project.table("in.c-a.t", ["id", "name"], others)
        syncs.served = other
        answer = syncs.call(syncs.tasks.pop(0), is_time_up=never)
    assert (answer.status, len(other.project.exports)) == ("ok", 1)
    assert syncs.rows() == others


def test_values_that_do_not_fit_are_reported_for_all_batches(syncs: Syncs, project: Project) -> None:
    project.tables["in.c-a.t"].rows[0].values["id"] = "x"
    project.tables["in.c-a.t"].rows[-1].values["id"] = "y"
    project.tables["in.c-a.t"].column_metadata["id"] = [
        {"provider": "user", "key": "KBC.datatype.basetype", "value": "INTEGER", "timestamp": ""}
    ]
    assert "2 values of the column 'id'" in str(syncs.to_the_end(always)[-1].tables[0].notes)


def test_a_failed_download_leaves_the_batches_to_the_next_call(syncs: Syncs, project: Project) -> None:
    syncs.call(is_time_up=always)
    kept = len(syncs.kept())
    project.faults.append(Fault(r"5_part|/o/.*part_?5", status=500, times=5))
    assert syncs.call(syncs.tasks.pop(0), is_time_up=never).status == "failed"
    assert len(syncs.kept()) > kept
    before = syncs.downloads()
    assert syncs.call(is_time_up=never).status == "ok"
    assert syncs.downloads() - before < SLICES
    assert syncs.rows() == ROWS
    assert len(project.exports) == 1


def test_an_export_that_can_no_longer_be_read_is_started_again(syncs: Syncs, project: Project) -> None:
    syncs.call(is_time_up=always)
    project.faults.append(Fault(SLICE, status=500, times=100))
    assert syncs.call(syncs.tasks.pop(0), is_time_up=never).status == "failed"
    project.faults.clear()
    assert syncs.call(is_time_up=never).status == "ok"
    assert syncs.rows() == ROWS
    assert len(project.exports) == 2


def test_a_batch_whose_file_is_gone_is_read_again(syncs: Syncs, project: Project) -> None:
    """Keboola answers an equal order with the same file as before, so the batches of the new export are those of the old."""
    syncs.call(is_time_up=always)
    syncs.store.delete(next(key for key in syncs.kept() if key.endswith(".parquet")))
    answer = syncs.call(syncs.tasks.pop(0), is_time_up=never)
    assert (answer.status, "sync the table again" in str(answer.tables[0].error)) == ("failed", True)
    assert syncs.call(is_time_up=never).status == "ok"
    assert syncs.rows() == ROWS
    assert len(project.files) == 1


def test_a_single_batch_is_neither_stored_nor_cut(syncs: Syncs) -> None:
    syncs.batch_bytes = 1 << 20
    assert syncs.call(is_time_up=always).status == "ok"
    assert syncs.kept() == []
    assert syncs.rows() == ROWS


def test_an_old_cut_is_forgotten(syncs: Syncs, project: Project) -> None:
    syncs.clock = lambda: datetime.now(UTC) - timedelta(hours=13)
    syncs.call(is_time_up=always)
    syncs.clock = lambda: datetime.now(UTC)
    project.tick()
    project.insert(project.tables["in.c-a.t"], [("13", "name 13")])
    assert syncs.call(syncs.tasks.pop(0), is_time_up=never).tables[0].rows == len(ROWS) + 1
