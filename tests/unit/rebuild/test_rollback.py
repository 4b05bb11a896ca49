"""Going back to an earlier snapshot, and what others do meanwhile."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from analyst import runs
from analyst.catalog import CURRENT, Pointer
from analyst.contract.extraction import Extraction
from analyst.errors import ConflictError, NotFoundError, UnavailableError
from analyst.rebuild import Rebuild, RebuildAnswer
from analyst.rebuild.publishing import COPY
from analyst.rebuild.rollback import roll_back
from analyst.store import Condition
from analyst.store.memory import MemoryStore
from tests.doubles.toy_source import Toy, ToyTable

NOW = datetime(2026, 1, 2, tzinfo=UTC)


class Bucket(MemoryStore):
    """A bucket with two snapshots, in which something may happen just before a key is put."""

    def __init__(self) -> None:
        super().__init__()
        self.before: dict[str, Callable[[], object]] = {}
        self.is_down = False
        for generation in (1, 2):
            self.publish(generation)
            assert self.rebuild().status == "published"

    def put(self, key: str, data: bytes, *, if_version: str | Condition) -> str:
        self.before.pop(key, lambda: None)()
        return super().put(key, data, if_version=if_version)

    def list_folders(self, prefix: str) -> Iterable[str]:
        if self.is_down:
            raise UnavailableError("the store is down")
        return super().list_folders(prefix)

    def publish(self, generation: int) -> None:
        table = ToyTable(f"select {generation} as generation", str(generation))
        ended = Extraction(self, "shop", runs.new_run_id(), lambda: NOW).run(lambda: Toy({"orders": table}))
        assert ended.record.status == "ok"

    def rebuild(self) -> RebuildAnswer:
        return Rebuild(self, lambda: NOW, tuple).run()

    def roll_back(self, number: int) -> RebuildAnswer:
        return roll_back(Rebuild(self, lambda: NOW, tuple), number)

    def pointer(self) -> Pointer:
        return Pointer.model_validate_json(self.data(CURRENT))

    def data(self, key: str) -> bytes:
        found = self.read(key)
        assert found is not None
        return found.data

    def shown(self, folder: Path) -> list[Any]:
        """Query the copy of the newest snapshot."""
        assert self.data(COPY) == self.data(self.pointer().duckdb)
        self.download(COPY, folder / "copy.duckdb")
        with duckdb.connect(folder / "copy.duckdb", read_only=True) as con:
            (path,) = con.execute("select path from _files").fetchone() or ("",)
        self.download(path, folder / "orders.parquet")
        return duckdb.execute(f"select generation from '{folder}/orders.parquet'").fetchall()


@pytest.fixture
def bucket() -> Bucket:
    return Bucket()


def test_the_tables_are_those_of_then_until_the_source_publishes_anew(bucket: Bucket, tmp_path: Path) -> None:
    answer = bucket.roll_back(1)
    assert (answer.status, answer.snapshot, answer.tables) == ("published", 3, 1)
    assert bucket.rebuild().status == "unchanged"
    assert bucket.shown(tmp_path) == [(1,)]
    bucket.publish(3)
    assert bucket.rebuild().snapshot == 4
    assert bucket.shown(tmp_path) == [(3,)]


def test_no_two_snapshots_are_of_the_same_bytes(bucket: Bucket) -> None:
    """On S3 the same bytes have the same version, and a builder that woke up late could not tell what came between."""
    files = [bucket.pointer().duckdb]
    for number in (1, 1, 2):
        bucket.roll_back(number)
        files.append(bucket.pointer().duckdb)
    assert len({bucket.data(file) for file in files}) == 4


def test_what_is_published_meanwhile_is_built(bucket: Bucket, tmp_path: Path) -> None:
    """Its trigger finds the lease held, and goes away."""
    triggered: list[str] = []

    def publish() -> None:
        bucket.publish(3)
        triggered.append(bucket.rebuild().status)

    bucket.before[CURRENT] = publish
    assert bucket.roll_back(1).snapshot == 3
    assert triggered == ["running"]
    assert bucket.pointer().snapshot == 4
    assert bucket.shown(tmp_path) == [(3,)]


def test_going_back_stands_when_what_was_published_meanwhile_can_not_be_built(bucket: Bucket, tmp_path: Path) -> None:
    bucket.before[COPY] = lambda: setattr(bucket, "is_down", True)
    assert bucket.roll_back(1).snapshot == 3
    assert bucket.shown(tmp_path) == [(1,)]


def test_nobody_goes_back_while_a_rebuild_is_running_or_to_what_is_not_there(bucket: Bucket) -> None:
    refused: list[str] = []

    def try_it() -> None:
        with pytest.raises(ConflictError, match="a rebuild is running") as error:
            bucket.roll_back(1)
        refused.append(error.value.code)

    bucket.before[CURRENT] = try_it
    bucket.publish(3)
    assert bucket.rebuild().snapshot == 3
    assert refused == ["conflict"]
    with pytest.raises(NotFoundError, match="no snapshot 9"):
        bucket.roll_back(9)
