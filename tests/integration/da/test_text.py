"""Numbers, times and tables as people read them."""

import tracemalloc
from datetime import UTC, datetime, timedelta

import pytest

from da.text import ago_text, bytes_text, clean, columns_of, laid_out, layout, seconds_text

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (123_456, "123 kB"), (999_999, "1.0 MB"), (1.5e12, "1.5 TB")],
)
def test_sizes_are_written_for_people(size: float, text: str) -> None:
    assert bytes_text(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (59.9, "59.9 s"), (59.99, "1 min 0 s"), (119.7, "2 min 0 s"), (200, "3 min 20 s")],
)
def test_durations_are_written_for_people(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "just now"), (59, "just now"), (60, "1 minute ago"), (7200, "2 hours ago"), (86400 * 3, "3 days ago")],
)
def test_times_are_written_for_people(seconds: float, text: str) -> None:
    assert ago_text(NOW - timedelta(seconds=seconds), NOW) == text


def test_control_characters_are_replaced() -> None:
    assert clean("a\x1b[31m\nb\tc\u202ed") == "a\ufffd[31m b c\ufffdd"


def test_without_a_terminal_nothing_is_cut() -> None:
    text = layout(["a", "b"], [("x" * 500, None)])
    assert text.lines[2] == "x" * 500 + "  NULL"


def test_columns_without_room_are_counted() -> None:
    text = layout([f"column{n}" for n in range(20)], [["value"] * 20], width=40)
    assert text.lines[0] == "column0  column1  …  column18  column19"
    assert text.hidden == 16
    assert max(map(len, text.lines)) <= 40


@pytest.mark.parametrize("width", range(1, 120, 7))
def test_the_first_column_is_always_shown(width: int) -> None:
    text = layout(["first", "second", "third"], [["a" * 30, "b" * 30, "c" * 30]], width=width)
    assert text.lines[0].startswith("first")
    assert width < 40 or max(map(len, text.lines)) <= width


def test_long_cells_are_cut() -> None:
    assert layout(["a"], [["x" * 500]], width=80).lines[2] == "x" * 59 + "…"


def test_wide_characters_take_two_columns() -> None:
    text = layout(["名前", "n"], [["東京", "1"], ["e\u0301a", "22"]], right=[False, True])
    assert text.lines == ["名前   n", "────  ──", "東京   1", "e\u0301a    22"]
    assert columns_of(layout(["a"], [["東" * 100]], width=80).lines[2]) == 59


def test_a_large_table_is_not_held_in_memory() -> None:
    rows = ([f"{number}", "x" * 3000, "\ud800" if number == 7 else None] for number in range(10_000))
    tracemalloc.start()
    lines, hidden = laid_out(["n", "text", "none"], rows)
    count, last = 0, ""
    for last in lines:  # noqa: B007 - the last one is wanted
        count += 1
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (count, hidden) == (10_002, 0)
    assert last.split() == ["9999", "x" * 3000, "NULL"]
    assert peak < 20_000_000, "its rows have 30 MB"
