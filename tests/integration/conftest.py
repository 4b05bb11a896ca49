"""A bucket with an administrator, with which tests of all functions begin."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # not there where only the packages of `da` are
    from tests.clouds import NewCloud
    from tests.integration.world import Begun


@pytest.fixture(scope="session")
def begun(new_cloud: "NewCloud", tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Begun]":
    """A bucket that has an administrator and nothing else."""
    from tests.integration.world import Begun, World

    folder = tmp_path_factory.mktemp("begun")
    with new_cloud(folder) as cloud:
        yield Begun(cloud, World(folder, cloud).admin, folder)
