"""Processes that administrate at once lose nothing, whatever kind of bucket it is."""

from pathlib import Path

import pytest

from tests.clouds import KINDS, cloud
from tests.examples import partly, size
from tests.integration.administration import (
    administrate,
    check_lists_say_what_the_state_says,
    check_nothing_is_lost,
)


@pytest.mark.many
@pytest.mark.slow
@pytest.mark.parametrize("kind", partly(KINDS, 1))
def test_concurrent_changes_are_complete_and_the_access_list_matches_the_state(kind: str, tmp_path: Path) -> None:
    with cloud(kind, tmp_path) as bucket:
        writers, times = size(3, many=4), size(2, many=3)
        outcome = administrate(bucket, writers=writers, times=times, seconds=300)
        check_nothing_is_lost(outcome)
        assert check_lists_say_what_the_state_says(outcome, tmp_path) >= outcome.edits > writers * times
