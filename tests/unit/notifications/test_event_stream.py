"""Positions in a stream of events: whoever follows them misses nothing, and is sent nothing twice."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ulid import ULID

from analyst.notifications.event_stream import OVERLAP_MS, Added, Position, Waiting, answer, event

T0 = 1_764_400_000_000
STEPS = st.lists(
    st.tuples(
        st.integers(0, 2 * OVERLAP_MS),  # time that passes
        st.integers(0, 3),  # notifications that are added then
        st.integers(-7 * 86_400_000, 0),  # when their events happened
        st.integers(-OVERLAP_MS // 4, OVERLAP_MS // 4),  # how wrong the clock is by which the reader is answered
    ),
    max_size=20,
)


@given(STEPS)
def test_a_reader_gets_each_event_once_whatever_the_order_of_ids_from_hosts_with_different_clocks(
    steps: list[tuple[int, int, int, int]],
) -> None:
    there: list[tuple[str, int]] = []
    sent: list[str] = []
    now, position = T0, Position.at_end([], datetime.fromtimestamp(T0 / 1000, UTC))
    for passed, count, happened, wrong in steps:
        now += passed
        there += [(str(ULID.from_timestamp((now + happened) / 1000)), now) for _ in range(count)]
        seen = [Added(id_, ms + wrong) for id_, ms in there]
        sent += [each.id for each in position.new(seen)]
        text = str(position.after(seen))
        position = Position.parse(text) or Position(0)
        assert str(position) == text
    assert sorted(sent) == sorted(id_ for id_, _ in there)


def test_a_new_reader_gets_only_later_events() -> None:
    old = [Added(str(ULID()), T0 - number * 1000) for number in range(10)]
    position = Position.at_end(old, datetime.fromtimestamp(T0 / 1000, UTC))
    new = Added(str(ULID()), T0)
    assert position.new(old) == []
    assert position.new([*old, new]) == [new]


@given(st.text())
def test_any_text_is_a_canonical_position_or_rejected(text: str) -> None:
    found = Position.parse(text)
    assert found is None or str(found) == text


@pytest.mark.parametrize(
    "text", ["", "x", "-1", "1.", "1.x", "1." + "0" * 26, "1\n", "9" * 16, "1" + ".0000000000" * 65]
)
def test_malformed_positions_are_rejected(text: str) -> None:
    assert Position.parse(text) is None


def test_a_position_is_short() -> None:
    many = [Added(str(ULID()), T0) for _ in range(500)]
    text = str(Position(T0).after(many))
    assert len(text) < 1000
    assert Position.parse(text) is not None


def test_events_have_the_format_of_the_standard() -> None:
    assert event("ready", '{"unread": 1}', Position(5, ("0123456789",))) == (
        'event: ready\nid: 5.0123456789\ndata: {"unread": 1}\n\n'
    )
    assert answer([], again_after=1.5) == "retry: 1500\n\n: nothing new\n\n"


def test_only_a_few_requests_wait_at_the_same_time() -> None:
    waiting = Waiting()
    with waiting.place(wanted=False) as unwanted:
        assert not unwanted
    holds = [waiting.place(wanted=True) for _ in range(7)]
    assert [hold.__enter__() for hold in holds] == [True] * 6 + [False]
    for hold in holds:
        hold.__exit__(None, None, None)
    with waiting.place(wanted=True) as again:
        assert again
