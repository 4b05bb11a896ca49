"""What all these tests share: places to act in, and actors that do not wait."""

from collections.abc import Iterator
from itertools import repeat
from pathlib import Path

import pytest

from analyst.store import swapping
from analyst.sweep import checkpoints
from tests.e2e.faults.places import PLACES, Place

pytest.register_assert_rewrite("tests.e2e.faults.laptops", "tests.e2e.faults.mirroring", "tests.e2e.faults.scenes")
pytest.register_assert_rewrite("tests.integration.jira.crashing")


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(swapping, "pauses_for", lambda _store: repeat(0.0, 50))
    monkeypatch.setattr(checkpoints, "EVERY", 2)


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    with PLACES[request.param](tmp_path) as place:
        yield place
