"""Whatever befalls a fold of Jira's events at any touch of the store, tables are whole, and the next fold mends the rest."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clouds import FileCloud
from tests.e2e.faults.fates import FATES, Fate
from tests.e2e.faults.places import Place
from tests.forks import Forks, forking
from tests.integration.jira import dying
from tests.integration.jira.conftest import Installed, install
from tests.integration.jira.crashing import Scene, prepare, wrong

DEATHS = [fate for fate in FATES if fate.name.startswith("KILLED")]
STRIDE = 8
"""Elsewhere than on file one of so many touches is tried."""


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with forking(Path(dying.__file__)) as forks:
        yield forks


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("installed")
    return install(FileCloud(folder / "bucket"), folder)


@pytest.fixture
def scene(place: Place, installed: Installed, tmp_path: Path) -> Scene:
    return prepare(place, installed, tmp_path)


def chosen(scene: Scene, points: list[tuple[str, str]], fate: Fate) -> list[int]:
    """Choose the touches at which something is tried."""
    able = scene.chosen(points, fate)
    return able if scene.place.kind == "file" else able[list(Fate).index(fate) :: STRIDE]


@pytest.mark.parametrize("fate", DEATHS)
def test_a_fold_may_die_at_any_touch(scene: Scene, forks: Forks, fate: Fate) -> None:
    points = scene.points()
    found: list[str] = []
    job: dict[str, Any] = {
        "kind": scene.place.kind,
        "address": scene.place.address,
        "folder": str(scene.folder),
        "fate": fate.name,
    }
    for point in chosen(scene, points, fate):

        def die(point: int = point) -> None:
            assert forks.run({**job, "point": point}) == -signal.SIGKILL

        found += wrong(scene, f"{fate.name} {points[point - 1]}", die)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("fate", [fate for fate in FATES if fate not in DEATHS])
def test_any_answer_of_the_store_may_be_lost(scene: Scene, fate: Fate) -> None:
    points = scene.points()
    found: list[str] = []
    for point in chosen(scene, points, fate):
        found += wrong(scene, f"{fate.name} {points[point - 1]}", lambda point=point: scene.fold_with(fate, point))  # type: ignore[misc]
    assert not found, "\n".join(found)
