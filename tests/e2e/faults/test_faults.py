"""Whatever becomes of one touch of the store: nobody sees half a state, nothing is lost and nothing is done twice."""

import pytest

from tests.e2e.faults.actors import DEEDS
from tests.e2e.faults.fates import FATES, Touches
from tests.e2e.faults.places import Place
from tests.e2e.faults.scenes import Scene, prepare

FAULTS = [fate for fate in FATES if not fate.name.startswith("KILLED")]


@pytest.mark.parametrize("deed", DEEDS)
def test_one_touch_may_go_wrong(place: Place, deed: str) -> None:
    scene = prepare(deed, place)
    wrong: list[str] = []
    for fate in FAULTS:
        for point in scene.chosen(fate):
            touches = Touches(point, fate)
            try:
                befall(scene, touches)
            except AssertionError as error:
                wrong.append(f"{fate.name} at {point}, {touches.made[point - 1]}: {error}"[:1500])
    assert not wrong, "\n".join(wrong)


def befall(scene: Scene, touches: Touches) -> None:
    source = scene.begin()
    acknowledged = scene.act(source, touches)
    seen = scene.look()
    seen.follows(scene.seen)
    assert scene.is_done(seen) or not acknowledged
    scene.go_on(source, seen, again=bool((touches.point or 0) % 2))
