"""What is published without a connector: files of parts of a table, and tables that go together."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest
from ulid import ULID

from analyst import duckdb_files, runs
from analyst.contract import parquet, publishing
from analyst.contract.extract_edit import read_extract
from analyst.contract.model import FileRow
from analyst.contract.parquet import ParquetFile
from analyst.contract.publishing import MovedError, NewTable, Uploads
from analyst.store import ABSENT, Store

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@dataclass
class Publisher:
    """Publishes tables of a source `s`, from one state of it."""

    store: Store
    folder: Path
    numbers: Iterator[int] = field(default_factory=count)

    def file(self, query: str, partition: str | None = None) -> ParquetFile:
        into = self.folder / f"files-{next(self.numbers)}"
        into.mkdir()
        with duckdb_files.connect(threads=1) as con:
            (path,) = parquet.write(con, query, into)
            return replace(parquet.inspect(con, path), partition=partition)

    def table(self, name: str, *files: ParquetFile | FileRow) -> NewTable:
        state = read_extract(self.store, "s", self.folder)[0].state(name)
        return NewTable(name, None, (), files, None, None, state, NOW, rebase=lambda *_: None)

    def publish(self, *tables: NewTable, together: bool = True) -> frozenset[str]:
        uploads = Uploads(self.store, "s", lambda: str(ULID()))
        return publishing.publish(
            self.store,
            "s",
            tables,
            (),
            run_id=runs.new_run_id(),
            uploads=uploads,
            now=lambda: NOW + timedelta(seconds=1),
            folder=self.folder,
            together=together,
            check=None,
        ).superseded

    def files(self, table: str) -> tuple[FileRow, ...]:
        return read_extract(self.store, "s", self.folder)[0].files.get(table, ())


@pytest.fixture
def publisher(quick_store: Store, tmp_path: Path) -> Publisher:
    return Publisher(quick_store, tmp_path)


def test_a_file_records_which_part_of_its_table_it_is(publisher: Publisher) -> None:
    publisher.publish(
        publisher.table("t", publisher.file("select 1 as x where false"), publisher.file("select 1 as x", "2024-05"))
    )
    empty, may = publisher.files("t")
    assert (empty.partition, may.partition) == (None, "2024-05")
    publisher.publish(publisher.table("t", empty, may, publisher.file("select 2 as x", "2024-06")))
    assert publisher.files("t")[:2] == (empty, may)
    assert publisher.files("t")[2].partition == "2024-06"


def test_equal_parts_have_files_of_their_own(publisher: Publisher) -> None:
    publisher.publish(publisher.table("t", *(publisher.file("select 1 as x", month) for month in ("a", "b"))))
    first, second = publisher.files("t")
    assert (first.sha256, first.partition) == (second.sha256, "a")
    assert second.partition == "b"
    assert first.path != second.path
    publisher.publish(publisher.table("t", *(publisher.file("select 1 as x", month) for month in ("a", "b"))))
    assert publisher.files("t") == (first, second)


def test_tables_that_belong_together_are_published_together_or_not_at_all(publisher: Publisher) -> None:
    publisher.publish(*(publisher.table(name, publisher.file("select 1 as x")) for name in "ab"))
    late = [publisher.table(name, publisher.file("select 2 as x")) for name in "ab"]
    publisher.publish(publisher.table("b", publisher.file("select 3 as x")))
    before = [publisher.files(name) for name in "ab"]
    with pytest.raises(MovedError, match=r"s\.b was published by another run"):
        publisher.publish(*late)
    assert [publisher.files(name) for name in "ab"] == before
    assert publisher.publish(*late, together=False) == {"b"}
    assert publisher.files("a") != before[0]


@pytest.mark.parametrize("number", [16, 17])
def test_tables_replace_their_own_rows_however_many_they_are(publisher: Publisher, number: int) -> None:
    publisher.publish(*(publisher.table(name, publisher.file("select 1 as x")) for name in ("kept", "t0")))
    kept, first = publisher.files("kept"), publisher.files("t0")
    file = publisher.file("select 2 as x")
    publisher.publish(*(publisher.table(f"t{each}", file) for each in range(number)))
    assert publisher.files("kept") == kept
    assert len(publisher.files("t0")) == len(first) == 1
    assert publisher.files("t0") != first
    assert len(read_extract(publisher.store, "s", publisher.folder)[0].meta) == number + 1


def test_an_extract_is_read_once_until_its_bytes_change(publisher: Publisher) -> None:
    publisher.publish(publisher.table("t", publisher.file("select 1 as x")))
    known, version = read_extract(publisher.store, "s", publisher.folder)
    assert read_extract(publisher.store, "s", publisher.folder) == (known, version)
    assert read_extract(publisher.store, "s", publisher.folder)[0] is known
    publisher.publish(publisher.table("t", publisher.file("select 2 as x")))
    assert read_extract(publisher.store, "s", publisher.folder)[0].state("t").version == known.state("t").version + 1


def test_what_is_known_of_an_extract_is_not_taken_for_that_of_another_source(publisher: Publisher) -> None:
    publisher.publish(publisher.table("t", publisher.file("select 1 as x")))
    assert read_extract(publisher.store, "s", publisher.folder)[0].files.keys() == {"t"}
    found = publisher.store.read("extracts/s/extract.duckdb")
    assert found is not None
    publisher.store.put("extracts/other/extract.duckdb", found.data, if_version=ABSENT)
    other, _ = read_extract(publisher.store, "other", publisher.folder)
    assert other.files == {}
    assert other.refused.keys() == {"t"}
