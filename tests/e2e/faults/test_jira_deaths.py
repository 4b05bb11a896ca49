"""A fold of Jira's events may die at any touch of the store: tables are whole, and the next fold mends the rest."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.faults.fates import FATES, Fate
from tests.forks import Forks, forking
from tests.integration.jira import dying_fold
from tests.integration.jira.cut_fold import Scene, wrong


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with forking(Path(dying_fold.__file__)) as forks:
        yield forks


@pytest.mark.parametrize("fate", [fate for fate in FATES if fate.name.startswith("KILLED")])
def test_a_fold_may_die_at_any_access_to_the_store(scene: Scene, forks: Forks, fate: Fate) -> None:
    points = scene.points()
    found: list[str] = []
    job: dict[str, Any] = {
        "kind": scene.place.kind,
        "address": scene.place.address,
        "folder": str(scene.folder),
        "fate": fate.name,
    }
    for point in scene.chosen(points, fate):

        def die(point: int = point) -> None:
            assert forks.run({**job, "point": point}) == -signal.SIGKILL

        found += wrong(scene, f"{fate.name} {points[point - 1]}", die)
    assert not found, "\n".join(found)
