"""An unreadable extract.duckdb of one source affects no other source."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from analyst.rebuild.batches import MOST_BYTES
from analyst.store import Entry, Store
from tests.bucket_contents import query
from tests.doubles.memory_store import MemoryStore
from tests.unit.rebuild.lake import extract, rebuild


def put_large(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(MOST_BYTES + 1)


def put_folder(path: Path) -> None:
    path.mkdir()
    (path / "x").write_bytes(b"x")


IN_PLACE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a symbolic link": (lambda path: path.symlink_to(path.with_name("data")), "symbolic link"),
    "a dangling link": (lambda path: path.symlink_to("nowhere"), "symbolic link"),
    "a pipe": (os.mkfifo, "is gone"),
    "a folder": (Path.mkdir, "is gone"),
    "a folder of files": (put_folder, "is gone"),
    "a huge file": (put_large, "larger than 1024 MB"),
}


@pytest.mark.parametrize("kind", IN_PLACE)
def test_an_invalid_extract_is_a_problem_of_its_source_only(store: Store, kind: str) -> None:
    if store.local_path("x") is None:
        pytest.skip("only a folder has files that are no objects")
    extract(store, "bad", {"people": "select 1 as n"})
    extract(store, "good", {"orders": "select 1 as n"})
    rebuild(store)
    path = store.local_path("extracts/bad/extract.duckdb")
    assert path is not None
    path.unlink()
    put, reason = IN_PLACE[kind]
    put(path)
    extract(store, "good", {"orders": "select 2 as n"})
    (problem,) = rebuild(store).problems
    assert problem.source == "bad"
    assert reason in problem.message
    assert (query(store, "from orders"), query(store, "from people")) == ([(2,)], [(1,)])
    assert rebuild(store).status == "unchanged"


class Huge(MemoryStore):
    """A bucket that says of one extract that it is huge, and in which nobody may read it."""

    def head(self, key: str) -> Entry | None:
        found = super().head(key)
        return replace(found, size=MOST_BYTES + 1) if found and key == "extracts/bad/extract.duckdb" else found

    def download(self, key: str, path: Path) -> str:
        assert key != "extracts/bad/extract.duckdb"
        return super().download(key, path)


def test_an_extract_that_is_too_large_is_refused_before_a_byte_is_read() -> None:
    store = Huge()
    extract(store, "bad", {"people": "select 1 as n"})
    extract(store, "good", {"orders": "select 1 as n"})
    (problem,) = rebuild(store).problems
    assert (problem.source, problem.table) == ("bad", None)
    assert "larger than 1024 MB" in problem.message
