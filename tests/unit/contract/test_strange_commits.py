"""Another writer commits to a table's Delta log: that is reported, and the log says what was published again."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import DeltaTable, write_deltalake

from analyst import runs
from analyst.contract.extraction import Extraction
from analyst.rebuild import Rebuild
from analyst.rebuild.rollback import roll_back
from analyst.runs import RunRecord
from analyst.store import ANY, Store
from analyst.sweep import Sweep, SweepAnswer
from tests.bucket_contents import ask, filled, query
from tests.clouds import Cloud
from tests.doubles.memory_store import MemoryStore
from tests.doubles.toy_source import Toy, ToyTable
from tests.examples import partly

pytestmark = pytest.mark.slow

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
HOME = "extracts/shop/data/orders/"
LOG = f"{HOME}_delta_log/"
EXTRACT = "extracts/shop/extract.duckdb"

Stranger = Callable[[Path], object]


def extract(store: Store, number: int, *, cursor: str | None = "n") -> RunRecord:
    """Publish one more row, each in a file of its own."""
    table = ToyTable(f"select {number} as n, 'row' as t", str(number), cursor_column=cursor)
    ended = Extraction(store, "shop", runs.new_run_id(), lambda: NOW).run(lambda: Toy({"orders": table}))
    assert ended.record.status in ("ok", "unchanged"), ended.record
    return ended.record


def sweep(store: Store) -> SweepAnswer:
    return Sweep(store, timedelta(hours=6), timedelta(hours=1), now=lambda: NOW).run()


def published(store: Store) -> list[int]:
    return sorted(n for (n,) in ask(store, EXTRACT, "select n from orders"))


def by_delta(store: Store) -> list[int]:
    """Read the table as engines do that know nothing of us."""
    with filled(store, HOME) as path:
        found = pl.read_delta(str(path))
        assert found.columns == ["n", "t"]
    return sorted(found["n"])


def optimize(path: Path) -> None:
    DeltaTable(str(path)).optimize.compact()


def append(path: Path) -> None:
    write_deltalake(str(path), pl.DataFrame({"n": [99], "t": ["theirs"]}), mode="append")


def change_the_schema(path: Path) -> None:
    more = pl.DataFrame({"n": [98], "t": ["theirs"], "more": [1.5]})
    write_deltalake(str(path), more, mode="overwrite", schema_mode="overwrite")


def delete(path: Path) -> None:
    DeltaTable(str(path)).delete("n = 1")


def vacuum(path: Path) -> None:
    DeltaTable(str(path)).vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False)


def checkpoint(path: Path) -> None:
    append(path)
    DeltaTable(str(path)).create_checkpoint()


def clean_up(path: Path) -> None:
    checkpoint(path)
    for commit in sorted((path / "_delta_log").glob("*.json"))[:-1]:
        commit.unlink()


def many(path: Path) -> None:
    for step in (append, optimize, delete, append, checkpoint, append):
        step(path)


def constrain(path: Path) -> None:
    DeltaTable(str(path)).alter.set_table_properties({"delta.appendOnly": "true"})


def delete_by_vector(path: Path) -> None:
    """As Spark does: rows are marked as deleted in a file that stays."""
    table = DeltaTable(str(path))
    name = min((path / "_delta_log").glob("*.json"))
    added = next(json.loads(line)["add"] for line in name.read_text().splitlines() if '"add"' in line)
    vector = {
        "storageType": "u",
        "pathOrInlineDv": "ab^-aqEH.-t@S}K{vb[*k^",
        "offset": 4,
        "sizeInBytes": 40,
        "cardinality": 1,
    }
    features = {"readerFeatures": ["deletionVectors"], "writerFeatures": ["deletionVectors"]}
    lines = [
        {"protocol": {"minReaderVersion": 3, "minWriterVersion": 7, **features}},
        {"remove": {"path": added["path"], "deletionTimestamp": 1, "dataChange": True}},
        {"add": {**added, "deletionVector": vector}},
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (path / f"_delta_log/{table.version() + 1:020}.json").write_text(text)


STRANGERS = [optimize, append, change_the_schema, delete, checkpoint, clean_up, many, constrain, delete_by_vector]


@pytest.fixture(scope="module")
def grown(shared_cloud: Cloud) -> dict[int, Cloud]:
    """Buckets to which so many rows were published; tests work on copies."""
    store, found = shared_cloud.open(), dict[int, Cloud]()
    for number in range(1, 4):
        extract(store, number)
        found[number] = shared_cloud.copy()
    return found


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("stranger", partly(STRANGERS, 4))
def test_the_next_publish_restates_the_published_files(grown: dict[int, Cloud], stranger: Stranger) -> None:
    store = grown[3].copy().open()
    with filled(store, HOME) as path:
        stranger(path)
    record = extract(store, 4)
    assert record.status == "ok"
    assert by_delta(store) == published(store) == [1, 2, 3, 4]
    (note,) = record.notes
    assert "another writer has changed the Delta log of shop.orders" in note
    assert "Never write to extracts/shop/data/orders/_delta_log/" in note
    assert extract(store, 5).notes == ()
    assert by_delta(store) == published(store) == [1, 2, 3, 4, 5]


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("stranger", partly(STRANGERS, 4))
def test_a_sweep_restates_the_published_files_when_no_publish_does(grown: dict[int, Cloud], stranger: Stranger) -> None:
    store = grown[2].copy().open()
    with filled(store, HOME) as path:
        stranger(path)
    (problem,) = sweep(store).problems
    assert problem.source == "shop"
    assert "another writer has changed the Delta log of shop.orders" in problem.message
    assert by_delta(store) == published(store) == [1, 2]
    assert sweep(store).problems == ()


@pytest.mark.parametrize("is_published", [True, False])
def test_a_commit_of_ours_whose_name_another_writer_took_first_is_not_lost(store: Store, *, is_published: bool) -> None:
    """Ours was swapped, and its copy did not get into the log before theirs."""
    extract(store, 1)
    extract(store, 2)
    store.put(f"{LOG}{1:020}.json", b'{"commitInfo":{"operation":"OPTIMIZE"}}\n', if_version=ANY)
    assert by_delta(store) == [1]
    if is_published:
        assert len(extract(store, 3).notes) == 1
        assert by_delta(store) == [1, 2, 3]
    else:
        assert len(sweep(store).problems) == 1
        assert by_delta(store) == [1, 2]


def test_a_log_that_another_writer_began_is_replaced_when_the_table_is_published(store: Store) -> None:
    with filled(store, HOME) as path:
        append(path)
    assert len(extract(store, 1).notes) == 1
    assert by_delta(store) == published(store) == [1]


@pytest.mark.parametrize("text", [b"", b"{", b"null\n[]\n7\n", b'{"add": {}}\n{"remove": null}\n', b"\xff\n"])
def test_invalid_files_in_the_log_block_no_publish(store: Store, text: bytes) -> None:
    extract(store, 1)
    store.put(f"{LOG}{1:020}.json", text, if_version=ANY)
    record = extract(store, 2)
    assert (record.status, len(record.notes)) == ("ok", 1)
    assert published(store) == [1, 2]
    added: list[Any] = [json.loads(line) for line in _text(store, 2).splitlines()]
    assert sum("add" in action for action in added) == 1


def _text(store: Store, version: int) -> str:
    found = store.read(f"{LOG}{version:020}.json")
    assert found is not None
    return found.data.decode()


def test_a_lost_log_is_recreated(store: Store) -> None:
    for number in range(1, 4):
        extract(store, number)
    store.delete(f"{LOG}{1:020}.json")
    store.delete(f"{LOG}{2:020}.json")
    (note,) = extract(store, 4).notes
    assert by_delta(store) == [1, 2, 3, 4]
    for entry in list(store.list(LOG)):
        store.delete(entry.key)
    assert "changed" in note
    assert len(sweep(store).problems) == 1
    assert by_delta(store) == [1, 2, 3, 4]


@pytest.mark.parametrize("deleted", [[0], [0, 1], [1]])
def test_a_log_without_earlier_commits_continues_from_a_checkpoint(store: Store, deleted: list[int]) -> None:
    for number in range(1, 4):
        extract(store, number)
    for version in deleted:
        store.delete(f"{LOG}{version:020}.json")
    (problem,) = sweep(store).problems
    assert "commits are missing in it, and no checkpoint covers them; its version 3 restates" in problem.message
    assert by_delta(store) == published(store) == [1, 2, 3]
    assert sweep(store).problems == ()
    assert extract(store, 4).notes == ()
    assert by_delta(store) == published(store) == [1, 2, 3, 4]


@pytest.mark.parametrize("number", [3, 1000, 1 << 52])
@pytest.mark.parametrize("is_published", [True, False])
def test_a_log_continues_after_a_commit_far_ahead(store: Store, number: int, *, is_published: bool) -> None:
    for row in (1, 2):
        extract(store, row)
    store.put(f"{LOG}{number:020}.json", b'{"commitInfo":{"operation":"WRITE"}}\n', if_version=ANY)
    if is_published:
        extract(store, 3)
    (problem,) = sweep(store).problems
    assert f"its version {number + 1} restates what is published" in problem.message
    assert by_delta(store) == published(store)
    assert sweep(store).problems == ()
    assert extract(store, 4).notes == ()
    assert by_delta(store) == published(store) == [1, 2, *([3] if is_published else []), 4]


@pytest.mark.parametrize("name", [f"{(1 << 53) + 1:020}.json", f"{'9' * 20}.json", f"{'9' * 20}.checkpoint.parquet"])
def test_commits_that_no_commit_can_follow_are_deleted(store: Store, name: str) -> None:
    for row in (1, 2):
        extract(store, row)
    store.put(f"{LOG}{name}", b'{"commitInfo":{"operation":"WRITE"}}\n', if_version=ANY)
    (problem,) = sweep(store).problems
    assert name in problem.message
    assert sweep(store).problems == ()
    assert by_delta(store) == published(store) == [1, 2]
    assert extract(store, 3).notes == ()
    assert by_delta(store) == published(store) == [1, 2, 3]


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(
    "text",
    [
        *[b"", b'{"vers', b"[]", b"null", b'{"version":7,"size":3}', b'{"version":"x"}', b'{"version":3,"parts":9}'],
        *[b'{"version":1e999}', b'{"version":1%0900d}' % 0],
    ],
)
def test_a_last_checkpoint_file_that_names_no_checkpoint_is_deleted(grown: dict[int, Cloud], text: bytes) -> None:
    store = grown[3].copy().open()
    with filled(store, HOME) as path:
        checkpoint(path)
    sweep(store)
    store.put(f"{LOG}_last_checkpoint", text, if_version=ANY)
    (problem,) = sweep(store).problems
    assert "_last_checkpoint named no checkpoint" in problem.message
    assert store.head(f"{LOG}_last_checkpoint") is None
    assert by_delta(store) == published(store) == [1, 2, 3]
    assert sweep(store).problems == ()


def test_a_damaged_checkpoint_is_followed_by_another(store: Store) -> None:
    for number in range(1, 4):
        extract(store, number)
    store.put(f"{LOG}{2:020}.checkpoint.parquet", b"PAR1 no", if_version=ANY)
    store.delete(f"{LOG}{0:020}.json")
    store.put(f"{LOG}{3:020}.json", b'{"commitInfo":{"operation":"WRITE"}}\n', if_version=ANY)
    (problem,) = sweep(store).problems
    assert "a checkpoint in it can't be read" in problem.message
    assert by_delta(store) == published(store) == [1, 2, 3]
    assert sweep(store).problems == ()


def test_an_overwritten_earlier_commit_is_noticed_and_restated() -> None:
    clock = [1_800_000_000.0]
    store = MemoryStore(lambda: clock[0])
    for number in range(1, 4):
        extract(store, number)
        clock[0] += 60
    first = store.read(f"{LOG}{1:020}.json")
    assert first is not None
    store.put(f"{LOG}{1:020}.json", first.data, if_version=ANY)  # as a copy of the bucket does
    clock[0] += 60
    assert sweep(store).problems == ()
    store.put(f"{LOG}{1:020}.json", b'{"commitInfo":{"operation":"WRITE"}}\n', if_version=ANY)
    clock[0] += 60
    assert by_delta(store) == [1, 3]
    (problem,) = sweep(store).problems
    assert "another writer has changed the Delta log of shop.orders" in problem.message
    assert by_delta(store) == [1, 2, 3]
    assert sweep(store).problems == ()


def test_a_table_with_an_unsupported_type_leaves_no_stale_log(store: Store) -> None:
    """A table whose files differ in the type of a column has no Delta schema until it is rewritten."""
    extract(store, 1, cursor=None)
    table = ToyTable("select 1 as n, 'row' as t, interval 1 day as odd", "odd")
    Extraction(store, "shop", runs.new_run_id(), lambda: NOW).run(lambda: Toy({"orders": table}))
    assert extract(store, 3, cursor=None).notes == ()
    assert by_delta(store) == published(store) == [3]


def test_a_source_stays_held_back_when_its_log_is_restated(store: Store) -> None:
    rebuilding = Rebuild(store, lambda: NOW, tuple)
    for number in (1, 2):
        extract(store, number)
        rebuilding.run()
    roll_back(rebuilding, 1)
    with filled(store, HOME) as path:
        optimize(path)
    assert len(sweep(store).problems) == 1
    assert by_delta(store) == published(store) == [1, 2]
    assert rebuilding.run().status == "unchanged"
    assert query(store, "select n from orders") == [(1,)]


def test_files_that_a_vacuum_deleted_are_reported(store: Store) -> None:
    for number in range(1, 4):
        extract(store, number)
    with filled(store, HOME) as path:
        optimize(path)
        vacuum(path)
        gone = [entry.key for entry in store.list(HOME) if not (path / entry.key.removeprefix(HOME)).exists()]
    for key in gone:  # where the bucket is no folder
        store.delete(key)
    messages = [problem.message for problem in sweep(store).problems]
    assert any("3 files of orders are missing from the bucket" in message for message in messages)
