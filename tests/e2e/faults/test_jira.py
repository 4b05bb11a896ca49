"""Whatever answer of the store is lost while Jira's events are folded, tables are whole, and the next fold mends the rest."""

import pytest

from tests.e2e.faults.fates import FATES, Fate
from tests.integration.jira.cut_fold import Scene, wrong


@pytest.mark.parametrize("fate", [fate for fate in FATES if not fate.name.startswith("KILLED")])
def test_any_answer_of_the_store_may_be_lost(scene: Scene, fate: Fate) -> None:
    points = scene.points()
    found: list[str] = []
    for point in scene.chosen(points, fate):
        found += wrong(scene, f"{fate.name} {points[point - 1]}", lambda point=point: scene.fold_with(fate, point))  # type: ignore[misc]
    assert not found, "\n".join(found)
