"""Google Cloud Storage as the tests of the `gs` store have it: a double, and the real library's client to it."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.doubles.gcs import Gcs, running


@pytest.fixture
def gcs() -> Iterator[Gcs]:
    with running(Gcs()) as gcs:
        yield gcs


@pytest.fixture
def client(gcs: Gcs) -> Iterator[Any]:
    with gcs.client() as client:
        yield client
