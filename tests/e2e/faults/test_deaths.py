"""A process that is killed at any touch of the store leaves the old state whole or the new one, and the next mends the rest."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.faults.actors import DEEDS
from tests.e2e.faults.fates import FATES, Fate
from tests.e2e.faults.places import Place
from tests.e2e.faults.scenes import Scene, prepare
from tests.running import ROOT

DEATHS = [fate for fate in FATES if fate.name.startswith("KILLED")]
Die = Callable[[Scene, int, Fate], int]


@pytest.fixture(scope="module")
def die() -> Iterator[Die]:
    """Give what runs a process to its end, and tells its exit code."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(Path(__file__).with_name("dying.py"))]
    with subprocess.Popen(command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as forks:

        def run(scene: Scene, point: int, fate: Fate) -> int:
            assert forks.stdin is not None
            assert forks.stdout is not None
            print(json.dumps(_job(scene, point, fate)), file=forks.stdin, flush=True)
            return int(forks.stdout.readline())

        yield run
        assert forks.stdin is not None
        forks.stdin.close()


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
def test_a_process_may_die_at_any_touch(place: Place, deed: str, die: Die) -> None:
    scene = prepare(deed, place)
    wrong: list[str] = []
    for fate in DEATHS:
        for point in scene.chosen(fate):
            source = scene.begin()
            assert die(scene, point, fate) == -signal.SIGKILL
            try:
                seen = scene.look(scene.seen)
                scene.go_on(source, seen, again=bool(point % 2))
            except AssertionError as error:
                wrong.append(f"{fate.name} at {point}: {error}"[:1500])
    assert not wrong, "\n".join(wrong)
