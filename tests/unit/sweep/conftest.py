"""What the tests of compactions share."""

from pathlib import Path

import pytest

from analyst.store import Store
from tests.doubles.pieces import Pieces
from tests.unit.sweep.scattered_tables import Bucket


@pytest.fixture
def bucket(store: Store, tmp_path: Path) -> Bucket:
    return Bucket(store, tmp_path)


@pytest.fixture
def source(bucket: Bucket) -> Pieces:
    """A source of a table of five small files, which is published."""
    source = Pieces()
    source.grow(5)
    bucket.extract(source)
    bucket.rebuild()
    return source
