from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyst.backoff import Pace, attempts, growing, repeat, within

SECONDS = st.floats(min_value=0.001, max_value=100)


class Failing:
    """Fails so many times, then returns how often it was called."""

    def __init__(self, times: int) -> None:
        self.left = times
        self.calls = 0

    def __call__(self) -> int:
        self.calls += 1
        if self.calls <= self.left:
            raise ConnectionError(str(self.calls))
        return self.calls


@given(SECONDS, SECONDS)
def test_pauses_grow_within_their_bounds(shortest: float, more: float) -> None:
    longest = shortest * 2 + more
    bound = shortest * 2
    for pause in islice(growing(shortest, longest), 20):
        assert shortest <= pause <= bound
        bound = min(bound * 2, longest)


@given(st.lists(SECONDS), SECONDS)
def test_pauses_end_once_they_add_up_to_the_limit(pauses: list[float], limit: float) -> None:
    kept = list(within(pauses, limit))
    assert kept == pauses[: len(kept)]
    assert sum(kept[:-1]) < limit or not kept
    assert len(kept) == len(pauses) or sum(kept) >= limit


def test_an_action_is_repeated_while_there_are_pauses() -> None:
    slept: list[float] = []
    reported: list[tuple[str, float]] = []
    action = Failing(2)
    done = repeat(
        action,
        on=ConnectionError,
        pauses=(1.0, 2.0, 3.0),
        sleep=slept.append,
        failed=lambda error, pause: reported.append((str(error), pause)),
    )
    assert (done, slept, reported) == (3, [1.0, 2.0], [("1", 1.0), ("2", 2.0)])


def test_the_error_of_the_last_attempt_is_raised() -> None:
    with pytest.raises(ConnectionError, match="3"):
        repeat(Failing(9), on=ConnectionError, pauses=(0.0, 0.0), sleep=lambda _: None)


def test_other_errors_are_not_repeated() -> None:
    action = Failing(1)
    with pytest.raises(ConnectionError):
        repeat(action, on=KeyError, pauses=(0.0, 0.0), sleep=lambda _: None)
    assert action.calls == 1


@pytest.mark.parametrize(("most", "numbers"), [(None, [1, 2, 3]), (1, [1]), (2, [1, 2]), (9, [1, 2, 3])])
def test_attempts_are_numbered_and_limited(most: int | None, numbers: list[int]) -> None:
    slept: list[float] = []
    assert list(attempts((0.5, 0.7), most, slept.append)) == numbers
    assert slept == [0.5, 0.7][: len(numbers) - 1]


def test_repeated_requests_are_spaced_out_and_the_last_one_is_served() -> None:
    now = [100.0]
    pace = Pace(60.0, lambda: now[0])
    pauses = []
    for at in (100.0, 101.0, 130.0, 159.0, 160.0, 161.0, 400.0):
        now[0] = at
        pauses.append(pace.pause())
    assert pauses == [0.0, 59.0, 30.0, 1.0, 60.0, 59.0, 0.0]
