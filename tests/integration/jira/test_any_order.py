"""In whatever order events arrive, and however often, the tables are the same files as with each once, in order."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.examples import examples
from tests.integration.jira.conftest import Installed
from tests.integration.jira.history import History
from tests.integration.jira.replayed_history import Retelling


@pytest.fixture(scope="module")
def retelling(installed: Installed, pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Retelling:
    """Buckets in memory, if `--store` does not say otherwise."""
    made = Retelling if pytestconfig.getoption("--store") else Retelling.in_memory
    return made(installed, tmp_path_factory.mktemp("retold"))


@settings(max_examples=examples(1), derandomize=True)
@given(seed=st.integers(0, 2**32))
def test_events_in_any_order_and_number_give_the_same_files(retelling: Retelling, seed: int) -> None:
    random = Random(seed)
    events = History(random).go_on(20)
    expected = retelling.in_order(events).files()
    jira = retelling.anyhow(events, random)
    assert jira.files() == expected
    assert retelling.replayed(jira).files() == expected
