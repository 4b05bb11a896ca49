"""A bucket with an administrator, with which tests of all functions begin."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # not there where only the packages of `da` are
    from tests.clouds import NewCloud
    from tests.integration.world import Begun


@contextmanager
def forking_workers() -> Iterator[None]:
    """Keep the process that forks the workers of queries until all tests have ended, in place of one for each world."""
    from analyst.query.pool import ZYGOTES

    kept = ZYGOTES.take()
    try:
        yield
    finally:
        ZYGOTES.give_back(kept)


@pytest.fixture(scope="session")
def begun(new_cloud: "NewCloud", tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Begun]":
    """A bucket that has an administrator and nothing else."""
    from tests.integration.world import Begun, World

    folder = tmp_path_factory.mktemp("begun")
    with new_cloud(folder) as cloud, forking_workers():
        yield Begun(cloud, World(folder, cloud).admin, folder)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash passwords with little work."""
    from argon2 import PasswordHasher

    from analyst.auth.providers import password as passwords

    cheap = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
    monkeypatch.setattr(passwords, "_hasher", lambda: cheap)
    passwords._nobodys_hash.cache_clear()
