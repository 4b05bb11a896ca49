"""What the tests of stores share: a folder, and doubles of clouds with the real libraries' clients to them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.gcs import Gcs, running
from tests.doubles.s3 import FaultyS3, serving


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where the bucket of a `file` store is to be."""
    return tmp_path / "bucket"


@pytest.fixture
def gcs() -> Iterator[Gcs]:
    with running(Gcs()) as gcs:
        yield gcs


@pytest.fixture
def client(gcs: Gcs) -> Iterator[Any]:
    with gcs.client() as client:
        yield client


@pytest.fixture(scope="module")
def server() -> Iterator[FaultyS3]:
    """What speaks S3, for all tests of a module."""
    with serving() as running:
        yield running


@pytest.fixture
def faulty(server: FaultyS3) -> Iterator[FaultyS3]:
    """The same, for a test that uses up all faults that it asks for."""
    server.requests.clear()
    yield server
    left = list(server.faults)
    server.faults.clear()
    assert left == []
