"""What all these tests share: places to act in, and actors that do not wait."""

from collections.abc import Iterator
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from analyst.store import compare_and_swap
from analyst.sweep import checkpoints
from tests.clouds import FileCloud
from tests.e2e.faults.places import PLACES, Place

if TYPE_CHECKING:
    from tests.integration.jira.conftest import Installed
    from tests.integration.jira.cut_fold import Scene

pytest.register_assert_rewrite("tests.e2e.faults.laptops", "tests.e2e.faults.mirror", "tests.e2e.faults.scenes")
pytest.register_assert_rewrite("tests.integration.jira.cut_fold")


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare_and_swap, "pauses_for", lambda _store: repeat(0.0, 50))
    monkeypatch.setattr(checkpoints, "EVERY", 2)


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    with PLACES[request.param](tmp_path) as place:
        yield place


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> "Installed":
    """A bucket in which a source of the type jira is registered."""
    from tests.integration.jira.conftest import install

    folder = tmp_path_factory.mktemp("installed")
    return install(FileCloud(folder / "bucket"), folder)


@pytest.fixture
def scene(place: Place, installed: "Installed", tmp_path: Path) -> "Scene":
    """A place where events of Jira wait to be folded."""
    from tests.integration.jira.cut_fold import prepare

    return prepare(place, installed, tmp_path)
