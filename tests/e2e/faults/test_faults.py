"""Whatever becomes of one touch of the store: nobody sees half a state, nothing is lost and nothing is done twice."""

import pytest

from tests.e2e.faults.actors import DEEDS
from tests.e2e.faults.fates import FATES, WRITES, Fate, Touches
from tests.e2e.faults.places import Place
from tests.e2e.faults.scenes import Scene, prepare

FAULTS = [fate for fate in FATES if not fate.name.startswith("KILLED")]
LOST = (Fate.LOST_BEFORE, Fate.LOST_AFTER, Fate.LATE)


@pytest.mark.parametrize("deed", DEEDS)
def test_any_single_access_may_fail(place: Place, deed: str) -> None:
    scene = prepare(deed, place)
    wrong: list[str] = []
    for fate in FAULTS:
        for point in scene.chosen(fate):
            touches = Touches(point, fate)
            try:
                befall(scene, point, touches)
            except AssertionError as error:
                wrong.append(f"{fate.name} at {point}, {touches.made[point - 1]}: {error}"[:1500])
    assert not wrong, "\n".join(wrong)


def befall(scene: Scene, point: int, touches: Touches) -> None:
    source = scene.begin()
    acknowledged = scene.act(source, touches)
    seen = scene.look(scene.seen)
    assert scene.is_done(seen) or not acknowledged
    unsure = touches.fate in LOST and touches.made[point - 1][0] in WRITES
    assert acknowledged or not unsure, "one write without an answer fails nothing"
    scene.go_on(source, seen, again=bool(point % 2))
