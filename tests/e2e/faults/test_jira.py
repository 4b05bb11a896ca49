"""Whatever answer of the store is lost while Jira's events are folded, tables are whole, and the next fold mends the rest."""

import pytest

from tests.e2e.faults.fates import FATES, Fate
from tests.integration.jira.cut_fold import Scene, wrong


@pytest.mark.parametrize("fate", [fate for fate in FATES if not fate.name.startswith("KILLED")])
def test_any_answer_of_the_store_may_be_lost(told: Scene, fate: Fate) -> None:
    points = told.points()
    found: list[str] = []
    for point in told.chosen(points, fate):
        found += wrong(told, f"{fate.name} {points[point - 1]}", lambda point=point: told.fold_with(fate, point))  # type: ignore[misc]
    assert not found, "\n".join(found)
