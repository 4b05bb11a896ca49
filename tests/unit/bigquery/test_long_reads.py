"""A read that takes longer than a request is cut between batches; the next task reads each stream on from where it was left."""

import json
import os
import random
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyst.connectors.bigquery.access import Access
from analyst.connectors.bigquery.api import BigQueryApi
from analyst.connectors.bigquery.connector import BigQueryConnector, Limits, WantedTable
from analyst.connectors.bigquery.long_reads import LongReads
from analyst.connectors.bigquery.options import BigQueryTableOptions
from analyst.connectors.bigquery.reader_processes import Readers
from analyst.contract.checkpoints import Checkpoints
from analyst.contract.source_jobs import SourceJobs
from analyst.extract_run import ExtractAnswer, Extracting, ExtractRequest
from analyst.http_client import HttpClient
from analyst.snapshots import Snapshots
from analyst.store import Condition, Store
from tests.bucket_contents import ask
from tests.clouds import FileCloud
from tests.doubles.bigquery.project import Fault, Project, column
from tests.doubles.bigquery.server import Served, serving
from tests.doubles.wrapped_store import Around
from tests.examples import examples

pytestmark = pytest.mark.slow

FIELDS = [column("id", "INTEGER"), column("name"), column("day", "DATE")]
ROWS = [{"id": number, "name": f"name {number}", "day": date(2026, 1, 1 + number % 3)} for number in range(18)]
STREAMS = 6


class KilledError(BaseException):
    """Stands for the end of the process."""


@dataclass
class Mortal(Around):
    """A bucket whose user dies before, or after, one of its writes."""

    steps: int

    def _step(self) -> None:
        self.steps -= 1
        if self.steps == 0:
            raise KilledError

    def upload(self, key: str, path: Path) -> str:
        self._step()
        version = super().upload(key, path)
        self._step()
        return version

    def put(self, key: str, data: bytes, *, if_version: str | Condition) -> str:
        self._step()
        version = super().put(key, data, if_version=if_version)
        self._step()
        return version


def always() -> bool:
    return True


def never() -> bool:
    return False


@dataclass
class Syncs:
    """Extracts the table as the function does, in calls that follow each other as tasks do."""

    served: Served
    readers: Readers
    store: Store
    options: BigQueryTableOptions = field(default_factory=BigQueryTableOptions)
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    soon: float = 0.0
    key_file: str | None = None
    registration: str = "uuid"
    names: tuple[str, ...] = ()
    """Names of the run besides its id."""
    tasks: list[dict[str, Any]] = field(default_factory=list)

    def call(
        self, body: dict[str, Any] | None = None, *, is_time_up: Callable[[], bool], store: Store | None = None
    ) -> ExtractAnswer:
        """Make one call; the next part of the run is a task."""
        store, project = store or self.store, self.served.project.id
        api = BigQueryApi(project, Access(self.served.url, self.served.storage, self.key_file), HttpClient())
        jobs = SourceJobs(store, "bq", self.clock)
        checkpoints = Checkpoints(store, "bq", self.clock, is_time_up)
        long = LongReads(
            self.readers, jobs, checkpoints, tuple(filter(None, [*self.names, (body or {}).get("run_id")])), self.soon
        )
        wanted = WantedTable("t", "d", "t", self.options)
        limits = Limits(project, streams=STREAMS)
        connector = BigQueryConnector(api, [wanted], self.readers, limits, now=self.clock, long=long)
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
        return running.run(
            ExtractRequest.model_validate(body or {"source": "bq"}), lambda: connector, lambda: {"t": self.registration}
        )

    def to_the_end(self, is_time_up: Callable[[], bool]) -> list[ExtractAnswer]:
        """Make calls until nothing is left."""
        answers = [self.call(self.tasks.pop(0) if self.tasks else None, is_time_up=is_time_up)]
        while self.tasks:
            answers.append(self.call(self.tasks.pop(0), is_time_up=is_time_up))
            assert len(answers) <= 2 * len(ROWS)
        return answers

    def rows(self) -> list[Any]:
        return ask(self.store, "extracts/bq/extract.duckdb", "select id, name from t order by id, name")

    def kept(self) -> list[str]:
        return [entry.key for entry in self.store.list("jobs/bq/t/pieces/") if entry.key.endswith(".json")]


def listed(rows: Any) -> list[Any]:
    return sorted((row["id"], row["name"]) for row in rows)


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving(Project()) as found:
        yield found


@pytest.fixture(scope="module")
def readers() -> Iterator[Readers]:
    with Readers(most=1) as found:
        yield found


def fresh(served: Served) -> Project:
    """Make the project as it was."""
    served.project.__dict__.update(Project(rows_per_stream=3, rows_per_batch=1).__dict__)
    table = served.project.table("d.t", FIELDS, ROWS)
    table.partitioning = {"type": "DAY", "field": "day"}
    table.partition_times = {f"2026010{day}": served.project.now for day in (1, 2, 3)}
    return served.project


@pytest.fixture
def project(served: Served) -> Project:
    return fresh(served)


@pytest.fixture
def syncs(served: Served, project: Project, readers: Readers, tmp_path: Path) -> Syncs:  # noqa: ARG001
    return Syncs(served, readers, FileCloud(tmp_path / "bucket").open())


KINDS: dict[str, BigQueryTableOptions] = {
    "whole": BigQueryTableOptions(),
    "incremental": BigQueryTableOptions(sync_strategy="incremental", primary_key=("id",), cursor_column="id"),
    "by its days": BigQueryTableOptions(by_partition=True),
    "a query": BigQueryTableOptions(sql="SELECT id, name FROM `shop-123456.d.t`"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_table_that_is_cut_after_each_batch_is_published_whole(syncs: Syncs, project: Project, kind: str) -> None:
    syncs.options = KINDS[kind]
    answers = syncs.to_the_end(always)
    assert [answer.left for answer in answers] == [("t",)] * (len(answers) - 1) + [()]
    assert len(answers) > 1
    assert len({answer.run_id for answer in answers}) == 1
    assert (answers[-1].status, answers[-1].tables[0].rows) == ("ok", len(ROWS))
    assert "the reading that began at" in str(answers[-1].tables[0].notes)
    assert syncs.rows() == listed(ROWS)
    assert len(project.sessions) == (3 if kind == "by its days" else 1)
    assert project.resumed
    if kind != "a query":
        assert syncs.call(is_time_up=never).status == "unchanged"


def test_the_cursor_of_an_increment_is_the_greatest_of_all_its_pieces(syncs: Syncs, project: Project) -> None:
    syncs.options = KINDS["incremental"]
    rows = [{**row, "id": number} for row, number in zip(ROWS, [100, *range(17)], strict=True)]
    project.load(project.tables["d.t"], rows)
    syncs.to_the_end(always)
    project.tick()
    project.load(project.tables["d.t"], [*rows, {**ROWS[0], "id": 101}])
    assert syncs.call(is_time_up=never).status == "ok"
    assert project.sessions[-1].restriction == "(`id` >= 100 OR `id` IS NULL)"
    assert len(syncs.rows()) == len(ROWS) + 1


def test_a_call_that_is_cut_publishes_nothing_of_the_table(syncs: Syncs) -> None:
    answer = syncs.call(is_time_up=always)
    assert (answer.http_status, answer.left, answer.tables) == (202, ("t",), ())
    assert [*syncs.store.list("extracts/")] == []
    assert [task["tables"] for task in syncs.tasks] == [["t"]]


def test_a_read_that_ends_soon_stores_no_pieces(syncs: Syncs) -> None:
    syncs.soon = 60.0
    assert syncs.call(is_time_up=never).status == "ok"
    assert [*syncs.store.list("jobs/")] == []
    syncs.options = KINDS["a query"]
    assert syncs.call(is_time_up=never).status == "ok"
    assert syncs.kept() == []


def test_an_expired_session_is_replaced(syncs: Syncs, project: Project) -> None:
    syncs.call(is_time_up=always)
    project.expire()
    answers = syncs.to_the_end(always)
    assert (answers[-1].status, len(project.sessions)) == ("ok", 2)
    assert syncs.rows() == listed(ROWS)


def test_an_old_session_is_not_used(syncs: Syncs, project: Project) -> None:
    syncs.clock = lambda: datetime.now(UTC) - timedelta(hours=6)
    syncs.call(is_time_up=always)
    syncs.clock = lambda: datetime.now(UTC)
    assert syncs.call(syncs.tasks.pop(0), is_time_up=never).status == "ok"
    assert (syncs.rows(), len(project.sessions)) == (listed(ROWS), 2)


def test_when_the_reading_process_dies_its_pieces_are_used_by_the_next_call(syncs: Syncs, project: Project) -> None:
    syncs.call(is_time_up=always)
    kept = len(syncs.kept())
    project.faults.append(Fault("ReadRows", then=lambda: os.kill(syncs.readers.pids[0], signal.SIGKILL)))
    answer = syncs.call(syncs.tasks.pop(0), is_time_up=never)
    assert (answer.status, "died" in str(answer.tables[0].error)) == ("failed", True)
    assert syncs.call(is_time_up=never).status == "ok"
    assert 1 <= kept <= STREAMS  # a stream that is due after another one has read a batch is left
    assert (syncs.rows(), len(project.sessions)) == (listed(ROWS), 1)


def test_a_table_that_changes_during_a_read_is_read_to_its_end_and_then_again(syncs: Syncs, project: Project) -> None:
    """Otherwise a table that changes more often than it can be read would never be published."""
    syncs.call(is_time_up=always)
    rows = list(ROWS)
    while syncs.tasks:
        project.tick()
        rows.append({**ROWS[0], "id": 100 + len(rows)})
        project.load(project.tables["d.t"], rows)
        answer = syncs.call(syncs.tasks.pop(0), is_time_up=always)
    assert (answer.status, answer.tables[0].rows) == ("ok", len(ROWS))
    assert syncs.rows() == listed(ROWS)
    assert len(project.sessions) == 1
    assert syncs.call(is_time_up=never).tables[0].rows == len(rows)
    assert syncs.call(is_time_up=never).status == "unchanged"


def test_rows_read_with_other_options_are_not_used(syncs: Syncs, project: Project) -> None:
    syncs.call(is_time_up=always)
    syncs.options = BigQueryTableOptions(row_filter="id < 5")
    assert syncs.call(syncs.tasks.pop(0), is_time_up=never).status == "ok"
    assert syncs.rows() == listed(ROWS[:5])
    assert len(project.sessions) == 2


def test_a_table_now_read_by_partitions_does_not_use_the_moment_of_an_earlier_whole_read(syncs: Syncs) -> None:
    syncs.call(is_time_up=always)
    syncs.options = KINDS["by its days"]
    assert syncs.call(syncs.tasks.pop(0), is_time_up=never).status == "ok"
    assert syncs.rows() == listed(ROWS)


def key_of(folder: Path, account: str, key: str) -> str:
    path = folder / f"{account}-{key}.json"
    path.write_text(json.dumps({"type": "service_account", "client_email": f"{account}@x", "private_key_id": key}))
    return str(path)


@pytest.mark.parametrize(
    ("account", "registration", "sessions"),
    [("a", "uuid", 1), ("b", "uuid", 2), ("a", "other", 2)],
    ids=["another key", "another account", "another registration"],
)
def test_a_read_is_only_resumed_with_the_same_account_and_registration(
    syncs: Syncs, project: Project, tmp_path: Path, *, account: str, registration: str, sessions: int
) -> None:
    """Another account may be shown fewer rows of the same table."""
    syncs.key_file = key_of(tmp_path, "a", "1")
    syncs.call(is_time_up=always)
    syncs.key_file, syncs.registration = key_of(tmp_path, account, "2"), registration
    assert syncs.call(syncs.tasks.pop(0), is_time_up=never).status == "ok"
    assert (syncs.rows(), len(project.sessions)) == (listed(ROWS), sessions)


def billed(project: Project) -> int:
    return len([job for job in project.jobs.values() if not job.dry_run])


RUN = {"source": "bq", "run_id": "01M8JM8RRTVM4JK0EBMTR9MEV7"}


def test_a_query_is_billed_once_however_often_it_is_cut(syncs: Syncs, project: Project) -> None:
    syncs.options = KINDS["a query"]
    syncs.to_the_end(always)
    assert billed(project) == 1


def test_a_query_whose_session_has_expired_is_not_billed_again(syncs: Syncs, project: Project) -> None:
    syncs.options = KINDS["a query"]
    began = datetime.now(UTC) - timedelta(hours=7)
    syncs.clock = lambda: began
    syncs.call(is_time_up=always)
    syncs.clock = lambda: datetime.now(UTC)
    syncs.call(syncs.tasks.pop(0), is_time_up=always)
    project.expire()
    answers = syncs.to_the_end(always)
    assert (answers[-1].status, syncs.rows()) == ("ok", listed(ROWS))
    assert (billed(project), len(project.sessions)) == (1, 3)
    published = "select extracted_at from _meta where table_name = 't'"
    ((extracted_at,),) = ask(syncs.store, "extracts/bq/extract.duckdb", published)
    assert extracted_at.replace(tzinfo=UTC) == began


def test_a_query_whose_result_is_gone_is_run_again(syncs: Syncs, project: Project) -> None:
    syncs.options = KINDS["a query"]
    syncs.call(RUN, is_time_up=always)
    project.expire()
    for name in [name for name in project.tables if name.startswith("_anonymous")]:
        del project.tables[name]
    assert syncs.call(syncs.tasks.pop(0), is_time_up=never).status == "ok"
    assert (syncs.rows(), billed(project)) == (listed(ROWS), 2)


def test_a_query_whose_job_is_known_but_whose_result_is_gone_is_run_again_in_the_same_run(
    syncs: Syncs, project: Project
) -> None:
    syncs.options = KINDS["a query"]
    assert syncs.call(RUN, is_time_up=never).status == "ok"
    project.expire()
    for name in [name for name in project.tables if name.startswith("_anonymous")]:
        del project.tables[name]
    for entry in list(syncs.store.list("jobs/")):  # the sweep deletes them after a day
        syncs.store.delete(entry.key)
    assert syncs.call(RUN, is_time_up=never).status == "ok"
    assert (syncs.rows(), billed(project)) == (listed(ROWS), 2)


@pytest.mark.parametrize(("before", "after"), [((), ("a day",)), (("a day",), ())])
def test_a_query_is_billed_once_although_the_schedule_changes_between_the_parts_of_a_run(
    syncs: Syncs, project: Project, before: tuple[str, ...], after: tuple[str, ...]
) -> None:
    syncs.options = KINDS["a query"]
    syncs.names = before
    syncs.call(RUN, is_time_up=always)
    syncs.names = after
    assert syncs.call(syncs.tasks.pop(0), is_time_up=never).status == "ok"
    assert (syncs.rows(), billed(project)) == (listed(ROWS), 1)


def test_a_query_whose_result_is_refused_for_a_while_is_not_run_again(syncs: Syncs, project: Project) -> None:
    syncs.options = KINDS["a query"]
    syncs.call(RUN, is_time_up=always)
    project.expire()
    project.faults.append(Fault("CreateReadSession", times=9, code="PERMISSION_DENIED"))
    task = syncs.tasks.pop(0)
    assert syncs.call(task, is_time_up=never).status == "failed"
    project.faults.clear()
    assert syncs.call(task, is_time_up=never).status == "ok"
    assert (syncs.rows(), billed(project)) == (listed(ROWS), 1)


@pytest.mark.parametrize("moment", ["/queries/", "CreateReadSession", "ReadRows"])
def test_a_query_is_billed_once_in_a_run_whenever_its_reader_dies(syncs: Syncs, project: Project, moment: str) -> None:
    syncs.options, syncs.soon = KINDS["a query"], 60.0
    assert syncs.call(is_time_up=never).status == "ok"
    project.faults.append(Fault(moment, then=lambda: os.kill(syncs.readers.pids[0], signal.SIGKILL)))
    answer = syncs.call(RUN, is_time_up=never)
    assert (answer.status, "died" in str(answer.tables[0].error)) == ("failed", True)
    assert syncs.call(RUN, is_time_up=never).status == "ok"
    assert (syncs.rows(), billed(project)) == (listed(ROWS), 2)
    assert syncs.call({**RUN, "run_id": "01M8JM8RRTVM4JK0EBMTR9MEV8"}, is_time_up=never).status == "ok"
    assert billed(project) == 3


def test_a_query_that_failed_is_run_again_in_the_same_run(syncs: Syncs, project: Project) -> None:
    syncs.options = KINDS["a query"]
    rows = project.tables.pop("d.t")
    assert syncs.call(RUN, is_time_up=never).status == "failed"
    project.tables["d.t"] = rows
    assert syncs.call(RUN, is_time_up=never).status == "ok"


STEPS = st.lists(st.sampled_from(["cut", "kill", "expire", "change", "other way", "limit"]), max_size=6)


@settings(max_examples=examples(8))
@given(kind=st.sampled_from(sorted(KINDS)), steps=STEPS, seed=st.integers(0, 1 << 30))
def test_nothing_is_lost_or_repeated_whatever_happens(
    served: Served,
    readers: Readers,
    tmp_path_factory: pytest.TempPathFactory,
    *,
    kind: str,
    steps: list[str],
    seed: int,
) -> None:
    """Whatever ends the calls, what is published is the table at one moment, and in the end the table as it is."""
    project, chance = fresh(served), random.Random(seed)
    syncs = Syncs(served, readers, FileCloud(tmp_path_factory.mktemp("law") / "bucket").open(), KINDS[kind])
    rows, versions = list(ROWS), [listed(ROWS)]
    for step in steps:
        task = syncs.tasks.pop(0) if syncs.tasks else None
        if step == "cut":
            syncs.call(task, is_time_up=always)
        elif step == "kill":
            mortal = Mortal(syncs.store, chance.randint(1, 30))
            try:
                syncs.call(task, is_time_up=chance.choice([always, never]), store=mortal)
            except KilledError:
                syncs.tasks[:] = [task] if task else []
        elif step == "expire":
            project.expire()
            syncs.tasks += [task] if task else []
        elif step == "other way":
            syncs.tasks += [task] if task else []
            if kind != "a query":
                syncs.options = KINDS[chance.choice(["whole", "incremental", "by its days"])]
        elif step == "limit":
            syncs.tasks += [task] if task else []
            project.faults.append(Fault("ReadRows", code="RESOURCE_EXHAUSTED", after=1))
        else:
            syncs.tasks += [task] if task else []
            project.tick()
            rows.append({**ROWS[0], "id": len(rows)})
            project.load(project.tables["d.t"], rows, "20260101")
            versions.append(listed(rows))
        if [*syncs.store.list("extracts/bq/extract.duckdb")]:
            assert syncs.rows() in versions
    project.faults.clear()
    syncs.to_the_end(always)
    assert syncs.rows() in versions
    syncs.tasks.clear()
    assert syncs.call(is_time_up=never).status in ("ok", "unchanged")
    assert syncs.rows() == versions[-1]


def test_a_rate_limit_loses_nothing_that_was_read(syncs: Syncs, project: Project) -> None:
    syncs.call(is_time_up=always)
    project.faults.append(Fault("ReadRows", code="RESOURCE_EXHAUSTED", message="quota", after=1))
    answer = syncs.call(syncs.tasks.pop(0), is_time_up=never)
    assert (answer.status, syncs.call(is_time_up=never).status) == ("failed", "ok")
    assert (syncs.rows(), len(project.sessions)) == (listed(ROWS), 1)


def test_a_temporary_failure_of_credentials_loses_nothing_that_was_read(syncs: Syncs, project: Project) -> None:
    syncs.call(is_time_up=always)
    project.faults += [
        Fault(call, after=0, times=9, code="PERMISSION_DENIED") for call in ("ReadRows", "CreateReadSession")
    ]
    assert syncs.call(syncs.tasks.pop(0), is_time_up=never).status == "failed"
    project.faults.clear()
    assert syncs.call(is_time_up=never).status == "ok"
    assert (syncs.rows(), len(project.sessions)) == (listed(ROWS), 1)


def test_published_rows_are_dated_by_their_session(syncs: Syncs) -> None:
    began = datetime.now(UTC) - timedelta(hours=5)
    syncs.clock = lambda: began
    syncs.call(is_time_up=always)
    syncs.clock = lambda: datetime.now(UTC)
    syncs.to_the_end(never)
    published = "select extracted_at from _meta where table_name = 't'"
    ((extracted_at,),) = ask(syncs.store, "extracts/bq/extract.duckdb", published)
    assert extracted_at.replace(tzinfo=UTC) == began


def test_a_resumed_read_is_finished_in_one_call(syncs: Syncs) -> None:
    syncs.call(is_time_up=always)
    answer = syncs.call(syncs.tasks.pop(0), is_time_up=never)
    assert (answer.status, answer.left, syncs.rows()) == ("ok", (), listed(ROWS))


@pytest.mark.parametrize(("before", "after"), [("whole", "by its days"), ("by its days", "whole")])
def test_a_table_that_was_cut_can_then_be_read_in_another_way(syncs: Syncs, before: str, after: str) -> None:
    syncs.options = KINDS[before]
    syncs.call(is_time_up=always)
    syncs.options = KINDS[after]
    syncs.to_the_end(always)
    assert syncs.call(is_time_up=never).status == "unchanged"
    assert syncs.rows() == listed(ROWS)
