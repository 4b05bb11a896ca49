"""Passwords that are hashed with little work, and a mailbox."""

from collections.abc import Iterator

import pytest
from argon2 import PasswordHasher

from analyst.auth.providers import password as passwords
from tests.doubles.mailbox import Mailbox, mailbox


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash with little work."""
    cheap = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
    monkeypatch.setattr(passwords, "_hasher", lambda: cheap)
    passwords._nobodys_hash.cache_clear()


@pytest.fixture
def box() -> Iterator[Mailbox]:
    with mailbox() as running:
        yield running
