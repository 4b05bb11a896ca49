"""A process that is killed at any touch of the store leaves the old state whole or the new one, and the next mends the rest."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.faults.actors import DEEDS
from tests.e2e.faults.fates import FATES, Fate
from tests.e2e.faults.places import Place
from tests.e2e.faults.scenes import Scene, prepare
from tests.forks import Forks, forking

DEATHS = [fate for fate in FATES if fate.name.startswith("KILLED")]


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with forking(Path(__file__).with_name("dying_actor.py")) as forks:
        yield forks


def _job(scene: Scene, point: int, fate: Fate) -> dict[str, Any]:
    store = scene.store()
    return {
        "kind": scene.place.kind,
        "address": scene.place.address,
        "deed": scene.deed,
        "generation": scene.generation,
        "point": point,
        "fate": fate.name,
        "old": sorted(store.aged),
        "by": store.by,
    }


@pytest.mark.parametrize("deed", DEEDS)
def test_a_process_may_die_at_any_access_to_the_store(place: Place, deed: str, forks: Forks) -> None:
    scene = prepare(deed, place)
    wrong: list[str] = []
    for fate in DEATHS:
        for point in scene.chosen(fate):
            source = scene.begin()
            assert forks.run(_job(scene, point, fate)) == -signal.SIGKILL
            try:
                seen = scene.look(scene.seen)
                scene.go_on(source, seen, again=bool(point % 2))
            except AssertionError as error:
                wrong.append(f"{fate.name} at {point}: {error}"[:1500])
    assert not wrong, "\n".join(wrong)
