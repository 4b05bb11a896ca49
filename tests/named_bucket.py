"""Opens the bucket that the environment names, in a process of a test."""

import os
from collections.abc import Iterator

from analyst.settings import read_settings
from analyst.store import Store, compare_and_swap
from analyst.store.compare_and_swap import pauses_for
from analyst.store.factory import open_store
from tests.doubles.memory_store import MemoryStore


def pauses_here(_store: Store) -> Iterator[float]:
    """Yield the pauses of this host for every store: what stands in for a cloud takes many writes per second."""
    return pauses_for(MemoryStore())


def opened() -> Store:
    """Open the bucket of `DATA_URL`; from now on this process does not wait as it would for a cloud."""
    compare_and_swap.pauses_for = pauses_here  # type: ignore[assignment]
    return open_store(read_settings(os.environ))
