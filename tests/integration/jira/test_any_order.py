"""However events come, and however often, the tables are the same files as when they come in order and once."""

from pathlib import Path
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.integration.jira.history import History
from tests.integration.jira.retelling import Retelling


@settings(max_examples=2, derandomize=True)
@given(seed=st.integers(0, 2**32))
def test_any_order_and_number_of_events_makes_the_same_files(installed: tuple[Path, str], seed: int) -> None:
    random, retelling = Random(seed), Retelling.of(*installed)
    events = History(random).go_on(20)
    expected = retelling.in_order(events).files()
    jira = retelling.anyhow(events, random)
    assert jira.files() == expected
    assert retelling.replayed(jira).files() == expected
