"""Any interleaving of runs gives every row of the source once, as the source has it."""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analyst import runs
from analyst.contract import parquet
from analyst.contract.connector import Cursor, Extracted, SourceTable
from analyst.contract.extract_edit import read_extract
from analyst.contract.extraction import Extraction
from analyst.contract.publishing import drop
from analyst.runs import RunRecord
from analyst.store import Store
from tests.bucket_contents import ask, connected
from tests.doubles.faulty_store import Fault, FaultyStore
from tests.examples import examples, partly

pytestmark = pytest.mark.slow

Kind = Literal["full", "key", "cursor", "key and cursor"]
KINDS: tuple[Kind, ...] = ("full", "key", "cursor", "key and cursor")


class Clock:
    """A clock on which every look is a second later."""

    def __init__(self) -> None:
        self._now = datetime(2026, 1, 1, tzinfo=UTC)
        self._turn = threading.Lock()

    def __call__(self) -> datetime:
        with self._turn:
            self._now += timedelta(seconds=1)
            return self._now


@dataclass
class Ledger:
    """A source of one table, whose rows come to be and change; each change has the next number."""

    kind: Kind
    rows: dict[int, int] = field(default_factory=dict)
    changes: int = 0

    def add(self) -> None:
        self.changes += 1
        self.rows[len(self.rows)] = self.changes

    def touch(self) -> None:
        self.changes += 1
        if self.rows and self.kind != "cursor":
            self.rows[0] = self.changes

    def table(self) -> SourceTable:
        return SourceTable(
            "t",
            "t",
            str(self.changes),
            primary_key=("id",) if "key" in self.kind else (),
            sync_strategy="full_refresh" if self.kind == "full" else "incremental",
            cursor_column="change" if "cursor" in self.kind else None,
        )


@dataclass
class Reader:
    """A connector of a ledger. Once it has read it calls `then`, in which others may do what they like."""

    ledger: Ledger
    then: Callable[[], object] = lambda: None

    def tables(self) -> Iterable[SourceTable]:
        return [self.ledger.table()]

    def notes(self) -> tuple[str, ...]:
        return ()

    def extract(self, _table: SourceTable, since: Cursor, into: Path) -> Extracted:
        rows = [row for row in self.ledger.rows.items() if since is None or row[1] > int(since)]
        values = ", ".join(str(row) for row in rows) or "(null::int, null::int)"
        self.then()
        query = f"select id::int as id, change::int as change from (values {values}) v(id, change) where id is not null"
        with connected() as con:
            files = tuple(parquet.write(con, query, into))
            columns = parquet.inspect(con, files[0]).columns
        greatest = max((change for _id, change in rows), default=None)
        return Extracted(files, columns, greatest if "cursor" in self.ledger.kind else None)


def extract(store: Store, clock: Clock, reader: Reader) -> RunRecord:
    record = Extraction(store, "s", runs.new_run_id(), clock).run(lambda: reader).record
    assert record.status != "failed", record
    return record


def published(store: Store) -> list[Any]:
    return sorted(ask(store, "extracts/s/extract.duckdb", "select id, change from t"))


class Run:
    """A run that reads when it begins and publishes when it is told to."""

    def __init__(self, store: Store, clock: Clock, ledger: Ledger) -> None:
        self._read, self._go = threading.Event(), threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._extract, args=(store, clock, ledger))
        self._thread.start()
        assert self._read.wait(60)

    def publish(self) -> None:
        self._go.set()
        self._thread.join(60)
        if self._failure is not None:
            raise self._failure

    def _extract(self, store: Store, clock: Clock, ledger: Ledger) -> None:
        try:
            extract(store, clock, Reader(ledger, self._pause))
        except BaseException as failure:  # noqa: BLE001 - told by `publish`
            self._failure = failure
        finally:
            self._read.set()

    def _pause(self) -> None:
        self._read.set()
        assert self._go.wait(60)


STEPS = st.lists(
    st.sampled_from(["add", "add", "touch", "begin", "begin", "publish first", "publish last"]), max_size=14
)


@pytest.mark.slow
@pytest.mark.parametrize("kind", partly(KINDS[::-1], 2))
@settings(max_examples=examples(6), deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=STEPS)
def test_every_row_is_published_exactly_once(kind: Kind, steps: list[str], new_store: Callable[[], Store]) -> None:
    store = new_store()
    clock, ledger, begun = Clock(), Ledger(kind), list[Run]()
    ledger.add()
    for step in steps:
        if step in ("add", "touch"):
            getattr(ledger, step)()
        elif step == "begin":
            begun.append(Run(store, clock, ledger))
        elif begun:
            begun.pop(0 if step == "publish first" else -1).publish()
    for run in begun:
        run.publish()
    extract(store, clock, Reader(ledger))
    assert published(store) == sorted(ledger.rows.items())


@pytest.mark.parametrize("kind", partly(KINDS[::-1], 1))
@pytest.mark.parametrize(
    "fault", [[fault] for fault in Fault] + [[Fault.LATE, Fault.LATE], [Fault.NEVER, Fault.AT_ONCE]]
)
def test_a_publish_whose_answer_is_lost_happens_once(
    store: Store, kind: Kind, fault: list[Fault], tmp_path: Path
) -> None:
    clock, ledger = Clock(), Ledger(kind)
    ledger.add()
    extract(FaultyStore(store, puts=[*fault]), clock, Reader(ledger))
    ledger.add()
    extract(FaultyStore(store, puts=[*fault]), clock, Reader(ledger))
    assert published(store) == [(0, 1), (1, 2)]
    assert read_extract(store, "s", tmp_path)[0].state("t").version == 2


@pytest.mark.parametrize("kind", partly(KINDS[::-1], 1))
@pytest.mark.parametrize("lost", [Fault.AT_ONCE, Fault.LATE])
def test_an_answer_may_be_lost_while_another_publishes(store: Store, kind: Kind, lost: Fault) -> None:
    clock, ledger = Clock(), Ledger(kind)
    ledger.add()

    def another() -> None:
        ledger.add()
        extract(store, clock, Reader(ledger))

    extract(FaultyStore(store, puts=[another, lost]), clock, Reader(ledger))
    extract(store, clock, Reader(ledger))
    assert published(store) == [(0, 1), (1, 2)]


def test_a_full_refresh_gives_way_to_a_later_read(store: Store, tmp_path: Path) -> None:
    clock, ledger = Clock(), Ledger("full")
    ledger.add()
    slow = Run(store, clock, ledger)
    ledger.add()
    extract(store, clock, Reader(ledger))
    slow.publish()
    assert published(store) == [(0, 1), (1, 2)]
    assert read_extract(store, "s", tmp_path)[0].state("t").version == 1


def test_a_version_number_is_never_assigned_twice(store: Store, tmp_path: Path) -> None:
    clock, ledger = Clock(), Ledger("full")
    ledger.add()
    first, second = Run(store, clock, ledger), Run(store, clock, ledger)
    first.publish()
    second.publish()
    assert read_extract(store, "s", tmp_path)[0].state("t").version == 2


@pytest.mark.parametrize("kind", partly(KINDS[::-1], 2))
def test_a_run_does_not_restore_a_table_dropped_during_the_run(store: Store, kind: Kind, tmp_path: Path) -> None:
    clock, ledger = Clock(), Ledger(kind)
    ledger.add()
    extract(store, clock, Reader(ledger))
    ledger.add()
    late = Run(store, clock, ledger)
    assert drop(store, "s", "t", now=clock, folder=tmp_path)
    late.publish()
    assert read_extract(store, "s", tmp_path)[0].meta == {}
    extract(store, clock, Reader(ledger))
    assert published(store) == [(0, 1), (1, 2)]
    assert not drop(store, "s", "other", now=clock, folder=tmp_path)


@pytest.mark.parametrize("kind", partly(KINDS[::-1], 2))
def test_a_file_is_reused_only_if_the_replaced_extract_lists_it(store: Store, kind: Kind, tmp_path: Path) -> None:
    """A sweep may take every file that no extract lists; a name once dropped never comes back."""
    clock, ledger = Clock(), Ledger(kind)
    ledger.add()
    extract(store, clock, Reader(ledger))
    (before,) = (row.path for row in read_extract(store, "s", tmp_path)[0].files["t"])
    drop(store, "s", "t", now=clock, folder=tmp_path)
    store.delete(before)
    extract(store, clock, Reader(ledger))
    (after,) = (row.path for row in read_extract(store, "s", tmp_path)[0].files["t"])
    assert after != before
    assert published(store) == [(0, 1)]
