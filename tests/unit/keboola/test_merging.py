"""Whatever happens to a table, and wherever a sync dies: the next one publishes what the table has."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from analyst.connectors.keboola.api import StorageApi
from analyst.connectors.keboola.connector import KeboolaConnector, WantedTable
from analyst.connectors.keboola.http import Connection, Patience
from analyst.connectors.keboola.options import KeboolaTableOptions
from analyst.contract.extraction import Extraction
from analyst.http_client import HttpClient
from analyst.runs import RunRecord, new_run_id
from analyst.store import Condition, Store
from tests.bucket_contents import ask
from tests.clouds import FileCloud
from tests.doubles.keboola.project import TOKEN, Project
from tests.doubles.keboola.server import Served, serving
from tests.doubles.wrapped_store import Around
from tests.examples import examples

pytestmark = pytest.mark.slow

KEYS = [("1", "a"), ("1", "b"), ("2", "a"), ("3", ""), ("10", "é")]
ROWS = st.lists(
    st.tuples(st.sampled_from(KEYS), st.sampled_from(["", "x", "2026-01-31", "2026-02-01 10:00:00"])),
    min_size=1,
    max_size=3,
)
STEPS = st.one_of(
    st.tuples(st.just("import"), ROWS),
    st.tuples(st.just("delete"), st.sampled_from(KEYS)),
    st.tuples(st.just("wait"), st.sampled_from([0, 1, 30, 70, 2000])),
    st.tuples(st.just("sync"), st.sampled_from([None, None, 1, 2, 3, 4, 6, 9])),
)


class KilledError(BaseException):
    """The process dies."""


@dataclass
class DyingStore(Around):
    """A store whose process dies at its nth write, before or after it."""

    left: int

    def _step(self, key: str) -> None:
        if key.startswith("state/progress/"):  # written by a thread of its own, when a run takes long
            return
        self.left -= 1
        if self.left == 0:
            raise KilledError

    def put(self, key: str, data: bytes, *, if_version: str | Condition) -> str:
        self._step(key)
        version = super().put(key, data, if_version=if_version)
        self._step(key)
        return version

    def upload(self, key: str, path: Path) -> str:
        self._step(key)
        version = super().upload(key, path)
        self._step(key)
        return version


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving(Project()) as found:
        yield found


def now() -> datetime:
    return datetime.now(UTC)


def sync(
    served: Served,
    store: Store,
    options: Mapping[str, Any],
    clock: Callable[[], datetime] = now,
    monotonic: Callable[[], float] = time.monotonic,
) -> RunRecord:
    """Extract the table as the function does."""
    http = HttpClient()
    wanted = [WantedTable("t", "in.c-a.t", KeboolaTableOptions.model_validate(options))]
    api = StorageApi(Connection(served.url, SecretStr(TOKEN), client=http, patience=Patience(monotonic=monotonic)))
    extraction = Extraction(store, "kbc", new_run_id(), lambda: datetime.now(UTC))
    return extraction.run(lambda: KeboolaConnector(api, wanted, http, endpoint=served.url, now=clock)).record


def _has_key(key: tuple[Any, Any], row: Mapping[str, Any]) -> bool:
    return (row["id"], row["part"]) == key


def play(served: Served, history: Sequence[tuple[str, Any]], options: Mapping[str, Any]) -> None:
    """Let things happen to a table; after the last sync, what is published is what the table has."""
    fresh = Project(parquet=False, slice_rows=2)
    served.project.__dict__.update(fresh.__dict__)
    project = served.project
    table = project.table(
        "in.c-a.t", ["id", "part", "value"], key=["id", "part"], types={"id": {"basetype": "INTEGER"}}
    )
    with TemporaryDirectory() as folder:
        store = FileCloud(Path(folder) / "bucket").open()
        for step, what in history:
            project.tick(seconds=1)  # two changes in one second have one lastChangeDate
            match step:
                case "import":
                    project.insert(table, [(*key, value) for key, value in dict(what).items()])
                case "delete":
                    project.delete(table, partial(_has_key, what))
                case "wait":
                    project.tick(minutes=what)
                case "sync" if what is None:
                    assert sync(served, store, options).status in ("ok", "unchanged")
                case _:
                    with suppress(KilledError):
                        sync(served, DyingStore(store, what), options)
        for _ in range(2):
            record = sync(served, store, options)
        assert (record.status, record.error) == ("unchanged", None), record
        found = ask(store, "extracts/kbc/extract.duckdb", "select id::int::varchar, part, value from t")
    assert sorted(found) == sorted(tuple(row.values.values()) for row in table.rows)


HISTORIES = st.lists(STEPS, min_size=2, max_size=9)
LOST: list[tuple[str, Any]] = [
    ("import", [(KEYS[0], "x"), (KEYS[1], "x")]),
    ("sync", None),
    ("wait", 30),
    ("delete", KEYS[0]),
    ("import", [(KEYS[2], "y")]),
    ("sync", None),
    ("wait", 2000),
    ("import", [(KEYS[1], "y"), (KEYS[3], "007")]),
    ("sync", 4),
]


@pytest.mark.parametrize(
    "options",
    [
        {"sync_strategy": "incremental", "overlap": "1h"},
        {"sync_strategy": "incremental", "overlap": "0s", "initial_load_chunk_days": 1},
        {"sync_strategy": "partitioned", "overlap": "1h", "partition_by": "value"},
        {},
    ],
    ids=["incremental", "in windows", "partitioned", "whole"],
)
@given(HISTORIES)
@example(LOST)
@settings(max_examples=examples(2), deadline=None)
def test_published_rows_equal_those_of_the_table_after_any_history(
    served: Served, options: Mapping[str, Any], history: list[tuple[str, Any]]
) -> None:
    play(served, history, {**options, "allow_fewer": True})


def test_a_table_that_just_changed_is_read_once_more(served: Served, tmp_path: Path) -> None:
    """Its `lastChangeDate` has seconds only: a change in the same second would go unnoticed."""
    served.project.__dict__.update(Project().__dict__)
    project, store = served.project, FileCloud(tmp_path / "bucket").open()
    project.table("in.c-a.t", ["id"], [("1",)], key=["id"])
    clock = [project.now]

    def status(seconds: int) -> str:
        clock[0] = project.now + timedelta(seconds=seconds)
        return sync(served, store, {}, lambda: clock[0]).status

    assert [status(1), status(60), status(120)] == ["ok", "ok", "unchanged"]


@pytest.mark.parametrize("left", [0, 5, 30])
def test_a_reload_in_windows_that_is_cut_empties_no_table_that_is_about_to_lose_most_rows(
    served: Served, tmp_path: Path, left: int
) -> None:
    served.project.__dict__.update(Project().__dict__)
    project, store = served.project, FileCloud(tmp_path / "bucket").open()
    table = project.table("in.c-a.t", ["id"], [(str(number),) for number in range(40)], key=["id"])
    project.tick(days=40)
    options = {"sync_strategy": "incremental", "overlap": "1h", "initial_load_chunk_days": 1}
    sync(served, store, options)
    project.delete(table, lambda row: int(row["id"] or 0) >= left)
    project.tick(days=1)

    cut = sync(served, store, options, monotonic=map(float, count(0, 1300)).__next__)  # each window takes too long
    assert ("allow_fewer" in str(cut.tables[0].error)) == (left < 20), cut
    rows = ask(store, "extracts/kbc/extract.duckdb", "select count(*) from t")
    assert rows == [(40 if left < 20 else left,)]


def test_a_filter_by_the_day_may_select_fewer_rows_on_another_day(served: Served, tmp_path: Path) -> None:
    served.project.__dict__.update(Project().__dict__)
    project, store = served.project, FileCloud(tmp_path / "bucket").open()
    days = [now(), now() + timedelta(days=1)]
    rows = [(str(number), f"{days[number // 40]:%Y-%m-%d}") for number in range(41)]
    project.table("in.c-a.t", ["id", "day"], rows, key=["id"])
    options = {"where_filters": [{"column": "day", "values": ["{{today}}"]}]}

    def rows_on(day: datetime) -> int | None:
        return sync(served, store, options, lambda: day).tables[0].rows

    assert list(map(rows_on, days)) == [40, 1]


def test_a_reload_of_the_last_days_may_have_fewer_rows_than_all_increments(served: Served, tmp_path: Path) -> None:
    served.project.__dict__.update(Project().__dict__)
    project, store = served.project, FileCloud(tmp_path / "bucket").open()
    table = project.table("in.c-a.t", ["id"], [(str(number),) for number in range(40)], key=["id"])
    options = {"sync_strategy": "incremental", "max_history_days": 10, "full_reload": "20d"}

    def rows() -> int | None:
        project.tick(hours=1)
        return sync(served, store, options, lambda: project.now).tables[0].rows

    assert rows() == 40
    project.tick(days=30)
    project.insert(table, [("7",)])
    assert rows() == 1
