"""A fold that is killed at any access to the bucket leaves all tables whole; the next one completes it without losses.

A few of the touches are tried here, all of them in tests/e2e/faults.
"""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.faults.fates import Fate
from tests.e2e.faults.places import PLACES
from tests.forks import Forks, forking
from tests.integration.jira.conftest import Installed
from tests.integration.jira.cut_fold import Scene, prepare, wrong

STRIDE = 24


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with forking(Path(__file__).with_name("dying_fold.py")) as forks:
        yield forks


@pytest.fixture(scope="module")
def scene(installed: Installed, store_kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("dying")
    with PLACES[store_kind](folder / "place") as place:
        yield prepare(place, installed, folder)


def test_a_fold_may_die_at_any_access_to_the_store(scene: Scene, forks: Forks) -> None:
    points = scene.points()
    found: list[str] = []
    for point in scene.chosen(points, Fate.KILLED_AFTER)[::STRIDE]:
        job = {"kind": scene.place.kind, "address": scene.place.address, "folder": str(scene.folder), "point": point}

        def die(job: dict[str, object] = job) -> None:
            assert forks.run({**job, "fate": "KILLED_AFTER"}) == -signal.SIGKILL

        found += wrong(scene, f"killed after {points[point - 1]}", die)
    assert not found, "\n".join(found)
