"""An extract of Jira that dies at a touch of the bucket leaves all tables whole; the next makes the same files as ever."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from analyst.connectors.jira.sync import backfill
from tests.e2e.faults.fates import FATES, Fate
from tests.e2e.faults.jira_extract import BATCH, Reading, reading
from tests.e2e.faults.places import FilePlace
from tests.forks import Forks, forking
from tests.integration.jira import dying_fold
from tests.integration.jira.conftest import Installed
from tests.integration.jira.cut_fold import CHANGES

DEATHS = [fate for fate in FATES if fate.name.startswith("KILLED")]
STRIDE = 3


@pytest.fixture
def forks() -> Iterator[Forks]:
    with forking(Path(dying_fold.__file__)) as forks:
        yield forks


@pytest.fixture
def scene(installed: Installed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reading]:
    monkeypatch.setattr(backfill, "_BATCH", BATCH)
    (tmp_path / "place/bucket").mkdir(parents=True)
    with reading(FilePlace(tmp_path / "place"), installed, tmp_path) as scene:
        yield scene


@pytest.mark.parametrize("fate", DEATHS)
def test_an_extract_may_die_at_any_access_to_the_store(scene: Reading, forks: Forks, fate: Fate) -> None:
    points, after = scene.points()
    able = [number for number, (what, _) in enumerate(points, 1) if what in CHANGES]
    found: list[str] = []
    for point in able[DEATHS.index(fate) :: STRIDE]:

        def die(point: int = point) -> None:
            job = {"kind": "file", "address": scene.place.address, "folder": str(scene.folder), "point": point}
            more = {"fate": fate.name, "settings": scene.settings, "batch": BATCH}
            assert forks.run({**job, **more}) == -signal.SIGKILL

        found += scene.wrong(f"{fate.name} {points[point - 1]}", die, after)
    assert not found, "\n".join(found)
