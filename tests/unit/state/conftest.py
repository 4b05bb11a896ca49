"""A state in memory if `--store` does not say otherwise, and the open file alone for what needs no bucket."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from duckdb import DuckDBPyConnection

from analyst.state import Actor, State
from analyst.state.files import Writer
from analyst.store import Store

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def now() -> datetime:
    return NOW


@pytest.fixture
def actor() -> Actor:
    return Actor("u-root", NOW, "req-1")


@pytest.fixture
def store(quick_store: Store) -> Store:
    return quick_store


@pytest.fixture
def state(store: Store) -> State:
    return State(store, lambda: NOW, sleep=lambda _: None)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[DuckDBPyConnection]:
    with Writer().renewed(None, tmp_path / "state.duckdb", NOW) as con:
        yield con
