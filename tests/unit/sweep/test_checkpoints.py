"""Checkpoints have the content of the commits before them, as delta-rs reads them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake

from analyst.errors import ContractError
from analyst.store.folder.store import FileStore
from analyst.sweep import checkpoints
from analyst.sweep.checkpoints import Log

HOME = "t/_delta_log/"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A table with awkward names, partitions, properties and a transaction."""
    path = tmp_path / "t"
    frame = pl.DataFrame({"n": [1, 2, 3], "part": ["a", "ž b/c", None], "list": [[1], [], None]})
    write_deltalake(
        str(path), frame, partition_by=["part"], name="orders", description="of 'shop'\n", mode="append",
        configuration={"delta.logRetentionDuration": "interval 3 days"},
    )  # fmt: skip
    write_deltalake(
        str(path), frame, mode="append", commit_properties=CommitProperties(app_transactions=[Transaction("loader", 7)])
    )
    return path


def state(path: Path) -> dict[str, Any]:
    """What delta-rs reads."""
    table = DeltaTable(str(path))
    actions = table.get_add_actions(flatten=False)
    added = pl.DataFrame(actions).drop("modification_time", "size_bytes", strict=False)
    metadata, protocol = table.metadata(), table.protocol()
    return {
        "version": table.version(),
        "files": sorted(table.file_uris()),
        "stats": sorted(added["path"].to_list()),
        "schema": table.schema().to_json(),
        "metadata": (
            metadata.id,
            metadata.name,
            metadata.description,
            metadata.partition_columns,
            metadata.configuration,
        ),
        "protocol": protocol,
        "transaction": table.transaction_version("loader"),
        "rows": sorted(map(repr, pl.read_delta(str(path)).rows())),
    }


def log_of(path: Path) -> Log:
    store = FileStore(path.parent, lambda: b"k" * 32)
    folder = path.parent / f"scratch-{len(list(path.parent.iterdir()))}"
    folder.mkdir()
    return Log.of(store, "t", ((entry.key.removeprefix(HOME), entry) for entry in store.list(HOME)), folder)


def written(path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Write a checkpoint, delete what it covers, and return what is read then."""
    monkeypatch.setattr(checkpoints, "EVERY", 1)
    log = log_of(path)
    assert log.checkpoint()
    for version, entry in log.commits.items():
        if version < log.last:
            (path.parent / entry.key).unlink()
    for entry in log.checkpoints.values():
        (path.parent / entry.key).unlink()
    return state(path)


def nothing(_path: Path) -> None:
    """Leave it."""


def overwrite(path: Path) -> None:
    write_deltalake(str(path), pl.DataFrame({"n": [9], "part": ["z"], "list": [[9]]}), mode="overwrite")


def widen(path: Path) -> None:
    more = pl.DataFrame({"n": [9], "part": ["z"], "list": [[9]], "when": ["x"]})
    write_deltalake(str(path), more, mode="append", schema_mode="merge")


def compact(path: Path) -> None:
    DeltaTable(str(path)).optimize.compact()


def delete(path: Path) -> None:
    DeltaTable(str(path)).delete("n = 1")


def theirs(path: Path) -> None:
    DeltaTable(str(path)).create_checkpoint()
    overwrite(path)


@pytest.mark.parametrize(
    "change", [nothing, overwrite, widen, compact, delete, theirs], ids=lambda change: change.__name__
)
def test_a_checkpoint_equals_the_commits_it_replaces(
    table: Path, change: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    change(table)
    before = state(table)
    assert written(table, monkeypatch) == before
    widen(table)  # and on top of ours, further commits and another checkpoint
    before = state(table)
    assert written(table, monkeypatch) == before


def test_a_removed_file_is_remembered_for_a_week(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    overwrite(table)
    written(table, monkeypatch)
    (checkpoint,) = (table / "_delta_log").glob("*.checkpoint.parquet")

    def removed() -> int:
        return pl.read_parquet(newest).filter(pl.col("remove").is_not_null()).height

    newest = checkpoint
    assert removed() > 0
    last = max((table / "_delta_log").glob("*.json"))
    version, week = int(last.stem), 8 * 24 * 3600 * 1000
    added = pl.read_parquet(checkpoint).filter(pl.col("add").is_not_null())["add"][0]
    line = {"add": {"path": "later.parquet", "partitionValues": {}, "size": 1, "dataChange": True}}
    line["add"]["modificationTime"] = added["modificationTime"] + week
    (table / f"_delta_log/{version + 1:020}.json").write_text(json.dumps(line) + "\n")
    assert log_of(table).checkpoint()
    newest = max((table / "_delta_log").glob("*.checkpoint.parquet"))
    assert removed() == 0


def append_line(path: Path, text: str) -> None:
    version = DeltaTable(str(path)).version()
    (path / f"_delta_log/{version + 1:020}.json").write_text(text)


@pytest.mark.parametrize(
    "line",
    [
        {"domainMetadata": {"domain": "delta.clustering", "configuration": "{}", "removed": False}},
        {"protocol": {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": ["v2Checkpoint"]}},
        {"add": {"path": "x", "partitionValues": {}, "size": 1, "modificationTime": 1, "baseRowId": 7}},
        {"something": {"of": "the future"}},
    ],
)
def test_a_log_with_entries_that_a_checkpoint_would_lose_gets_none(
    table: Path, line: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "EVERY", 1)
    append_line(table, json.dumps(line) + "\n")
    assert not log_of(table).checkpoint()
    assert not list((table / "_delta_log").glob("*.parquet"))


@pytest.mark.parametrize("text", ["{", "[]", "null\n", '{"add": {}}\n', '{"add": 1}\n', '{"txn": {"a": 1}}\n'])
def test_a_damaged_commit_is_reported(table: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "EVERY", 1)
    append_line(table, text)
    with pytest.raises(ContractError, match="Delta log of 't' can't be read"):
        log_of(table).checkpoint()


def test_a_missing_commit_is_reported(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "EVERY", 1)
    (table / f"_delta_log/{0:020}.json").unlink()
    with pytest.raises(ContractError, match="commit 0 is missing"):
        log_of(table).checkpoint()


def test_a_damaged_checkpoint_is_reported(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "EVERY", 1)
    theirs(table)
    (checkpoint,) = (table / "_delta_log").glob("*.parquet")
    checkpoint.write_bytes(b"PAR1 no PAR1")
    with pytest.raises(ContractError, match="checkpoint"):
        log_of(table).checkpoint()
