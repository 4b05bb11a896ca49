"""A mailbox for tests of signing in."""

from collections.abc import Iterator

import pytest

from tests.doubles.mailbox import Mailbox, mailbox


@pytest.fixture
def box() -> Iterator[Mailbox]:
    with mailbox() as running:
        yield running
