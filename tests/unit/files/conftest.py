"""A folder of files, and what the connector makes of it."""

from pathlib import Path

import pytest

from tests.unit.files.folder import Folder


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """An empty folder under SOURCE_ROOTS."""
    path = tmp_path / "files"
    path.mkdir()
    return Folder(path, tmp_path / "work")
