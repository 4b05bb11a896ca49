"""Engines that read a Delta table while it is published again and again see whole generations only."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.engines import publisher
from tests.e2e.engines.world import ENGINES, Bucket, Reader, Readers
from tests.processes import ROOT

PUBLISHES = 50
READS = 5
LOOK = "select count(*) as all_rows, min(generation) as least, max(generation) as greatest, sum(generation) as s from t"


@pytest.fixture
def readers() -> Iterator[Readers]:
    found = Readers()
    yield found
    found.end()


def look(reader: Reader, table: Path) -> int:
    """Read the table once; return its generation, which is one and whole."""
    found = reader.ask(table, None, LOOK)
    assert isinstance(found, list), found
    ((rows, least, greatest, total),) = found
    generation = int(least)
    whole = publisher.rows_of(generation)
    assert (int(rows), int(greatest), int(total)) == (whole, generation, generation * whole)
    return generation


def read_along(reader: Reader, table: Path, read_enough: threading.Semaphore, stop: Path) -> list[int]:
    seen: list[int] = []
    try:
        while not stop.exists():
            seen.append(look(reader, table))
            if len(seen) == READS:
                read_enough.release()
    finally:
        if len(seen) < READS:
            read_enough.release()
    return seen


def test_every_read_is_of_one_whole_generation(tmp_path: Path, readers: Readers) -> None:
    bucket, stop = Bucket(tmp_path), tmp_path / "stop"
    publisher.publish(bucket.store, 1)
    table, engines = bucket.table(publisher.TABLE), [readers[engine] for engine in ENGINES]
    assert [look(reader, table) for reader in engines] == [1] * len(engines)
    read_enough = threading.Semaphore(0)
    arguments = map(str, (bucket.folder / "bucket", 2, PUBLISHES + 1, stop))
    command = [sys.executable, "-m", "tests.e2e.engines.publisher", *arguments]
    with (
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as publishing,
        ThreadPoolExecutor(len(engines)) as pool,
    ):
        reading = [pool.submit(read_along, reader, table, read_enough, stop) for reader in engines]
        try:
            assert publishing.stdout
            assert publishing.stdout.readline() == "enough\n"
            for _ in engines:
                read_enough.acquire()
        finally:
            stop.touch()
        last = int(publishing.communicate(timeout=60)[0])
    for reader, future in zip(engines, reading, strict=True):
        seen = future.result()
        assert len(seen) >= READS
        assert seen == sorted(seen)
        assert look(reader, table) == last
    assert last > PUBLISHES
