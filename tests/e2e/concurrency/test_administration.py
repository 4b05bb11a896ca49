"""Many administrators at once, each a process of its own, on a bucket of each kind."""

from pathlib import Path

import pytest

from tests.clouds import KINDS, cloud
from tests.integration.administration import (
    administrate,
    check_lists_say_what_the_state_says,
    check_nothing_is_lost,
)

WRITERS, TIMES = 16, 50


@pytest.mark.parametrize("kind", KINDS)
def test_no_change_of_800_is_lost_or_half_done(kind: str, tmp_path: Path) -> None:
    with cloud(kind, tmp_path) as bucket:
        outcome = administrate(bucket, WRITERS, TIMES, seconds=3600)
        check_nothing_is_lost(outcome)
        pairs = check_lists_say_what_the_state_says(outcome, tmp_path)
    assert outcome.edits > WRITERS * TIMES
    assert pairs < 8 * outcome.edits  # most of the work is of use, though all want the same object
