"""A bucket for each test that wants one, of the kind that `--store` says."""

import gc
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # not there where only the packages of `da` are
    from analyst.store import Store
    from tests.clouds import Cloud, NewCloud


try:
    from tests.examples import register_profiles
except ImportError:
    pass  # where only the packages of `da` are, nothing needs Hypothesis
else:
    register_profiles()


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell has it for what runs in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)  # or Ctrl-C would do nothing in the processes of tests


# by default, the collector would look through hundreds of thousands of collected tests again and again
gc.set_threshold(20_000, 20, 50)


def pytest_collection_finish() -> None:
    """Exempt the tests, and what they import, from collection: they stay until the end."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    """End that exemption, otherwise libraries in C report what is left."""
    gc.unfreeze()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--store",
        choices=("file", "gs", "s3"),
        help="the kind of bucket that tests work on: file (the default; in memory where that does), or a double of a cloud",
    )


@pytest.fixture(scope="session")
def store_kind(pytestconfig: pytest.Config) -> str:
    """Which kind of bucket the tests work on."""
    return pytestconfig.getoption("--store") or "file"


@pytest.fixture(scope="session")
def new_cloud(store_kind: str) -> "Iterator[NewCloud]":
    """Yield a factory of buckets."""
    from tests.clouds import clouds

    with clouds(store_kind) as new:
        yield new


@pytest.fixture
def cloud(new_cloud: "NewCloud", tmp_path: Path, at_once: None) -> "Iterator[Cloud]":  # noqa: ARG001
    """The place of an empty bucket."""
    with new_cloud(tmp_path) as cloud:
        yield cloud


@pytest.fixture(scope="module")
def shared_cloud(new_cloud: "NewCloud", tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Cloud]":
    """The place of a bucket that the tests of a module share, empty at first."""
    with new_cloud(tmp_path_factory.mktemp("shared")) as cloud:
        yield cloud


@pytest.fixture
def store(cloud: "Cloud") -> "Store":
    """An empty bucket."""
    return cloud.open()


@pytest.fixture
def new_store(
    new_cloud: "NewCloud",
    tmp_path_factory: pytest.TempPathFactory,
    at_once: None,  # noqa: ARG001
) -> "Iterator[Callable[[], Store]]":
    """Yield a factory of empty buckets, for tests that want more than one."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(new_cloud(tmp_path_factory.mktemp("bucket"))).open()


@pytest.fixture
def new_quick_store(request: pytest.FixtureRequest) -> "Callable[[], Store]":
    """Return a factory of empty buckets, in memory unless `--store` names a kind."""
    from tests.doubles.memory_store import MemoryStore

    made: Callable[[], Store] = (
        request.getfixturevalue("new_store") if request.config.getoption("--store") else MemoryStore
    )
    return made


@pytest.fixture
def quick_store(new_quick_store: "Callable[[], Store]") -> "Store":
    """An empty bucket in memory, if `--store` does not say otherwise."""
    return new_quick_store()


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for a cloud no longer than for this host."""
    from analyst.store import compare_and_swap
    from tests.named_bucket import pauses_here

    monkeypatch.setattr(compare_and_swap, "pauses_for", pauses_here)
