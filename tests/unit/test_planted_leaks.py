"""The leaks that `tests/e2e/leaks` plants: each changes one place of the code as it is now."""

from tests.planted_leaks import PATCHES
from tests.processes import ROOT


def test_every_planted_leak_changes_exactly_one_place() -> None:
    counts = {
        (patch.path, patch.old): (ROOT / patch.path).read_text(encoding="utf-8").count(patch.old) for patch in PATCHES
    }
    assert [place for place, count in counts.items() if count != 1] == []
