"""Plots are drawn of any numbers and texts, and the kind of plot suits the columns."""

import re
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from analyst.pages import plots
from analyst.pages.results import Cell, is_number, plain, plot

NUMBERS = st.lists(
    st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(10**30), 10**30)), min_size=1, max_size=30
)
LABELS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=20)


def coordinates(markup: str) -> list[float]:
    """Parse a plot, which must be well-formed, and return all its coordinates."""
    drawn = ET.fromstring(markup)
    found = []
    for each in drawn.iter():
        named = (each.get(name, "") for name in ("x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "width", "height"))
        found += [float(value) for value in named if re.fullmatch(r"-?[0-9.]+", value)]
        found += [float(part) for part in re.split(r"[ ,]", each.get("points", "")) if part]
    return found


@given(NUMBERS, LABELS)
@example([-1.7e308, 0.0, 1.7e308], "a difference that is infinite")
def test_any_numbers_stay_within_the_plot(values: list[float], label: str) -> None:
    labels = [label] * len(values)
    pairs = list(zip(values, reversed(values), strict=True))
    for markup in (
        plots.line(labels, values, label),
        plots.bars(labels, values, label),
        plots.scatter(pairs, label),
        plots.distribution(values, label),
    ):
        assert all(-1 <= each <= 1000 for each in coordinates(markup))


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=40), LABELS)
def test_small_plots_are_well_formed(values: list[int], label: str) -> None:
    assert coordinates(plots.mini_bars(values, [label] * len(values), label))
    assert coordinates(plots.share(min(values) / (max(values) or 1), label))


def test_a_gap_interrupts_a_line() -> None:
    assert plots.line(list("abcd"), [1, None, 2, 3], "x").count("<polyline") == 2


@pytest.mark.parametrize(
    ("types", "rows", "chart"),
    [
        (["DATE", "DOUBLE"], [["2026-01-01", 1.0], ["2026-01-02", 2.0]], "line"),
        (["VARCHAR", "BIGINT"], [["a", 1], ["b", 2]], "bar"),
        (["DOUBLE"], [[1.0], [2.0]], "histogram"),
        (["DOUBLE", "INTEGER"], [[1.0, 2], [2.0, 3]], "scatter"),
        (["VARCHAR"], [["a"], ["b"]], "none"),
        (["BIGINT"], [[1]], "none"),
        (["VARCHAR", "BIGINT"], [[str(each), each] for each in range(100)], "none"),
        (["DATE", "DECIMAL(10,2)"], [["2026-01-01", "1.50"], ["2026-01-02", None]], "line"),
    ],
)
def test_the_plot_suits_the_columns(types: list[str], rows: list[list[object]], chart: str) -> None:
    columns = [{"name": f"c{place}", "type": kind} for place, kind in enumerate(types)]
    drawn = plot(columns, rows, "auto", None, None)
    assert (drawn.chart, bool(drawn.markup)) == (chart, chart != "none")


@pytest.mark.parametrize("chart", ["line", "bar", "scatter", "histogram"])
@pytest.mark.parametrize("rows", [[], [[None, None]], [["x", True]], [[{"a": 1}, [1, 2]]]])
def test_results_without_numbers_have_no_plot(chart: str, rows: list[list[object]]) -> None:
    columns = [{"name": "a", "type": "VARCHAR"}, {"name": "b", "type": "DOUBLE"}]
    assert plot(columns, rows, chart, "a", "b").markup == ""  # type: ignore[arg-type]


def test_names_are_quoted_where_duckdb_needs_it() -> None:
    assert (plain("shop", "orders"), plain("order"), plain("a b"), plain('a"b')) == (
        "shop.orders",
        '"order"',
        '"a b"',
        '"a""b"',
    )


def test_cells_keep_values_and_shorten_long_ones() -> None:
    assert (Cell.of(None).text, Cell.of(1.50).text, Cell.of({"a": "ž"}).text, Cell.of(True).text) == (
        None,
        "1.5",
        '{"a": "ž"}',
        "true",
    )
    assert len(Cell.of("x" * 10_000).text or "") == 2001
    assert [is_number(each) for each in ("UBIGINT", "DECIMAL(18,3)", "VARCHAR", "DATE")] == [True, True, False, False]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (3396.8500000000004, Cell("3396.85", "3396.8500000000004")),
        (2142500.759999989, Cell("2142500.76", "2142500.759999989")),
        (0.1, Cell("0.1")),
        (9007199254740992.0, Cell("9007199254740992.0")),
        (1e22, Cell("1e+22")),
        (9007199254740993, Cell("9007199254740993")),
        ("3396.8500000000004", Cell("3396.8500000000004")),
        (True, Cell("true")),
        (None, Cell(None)),
    ],
)
def test_numbers_are_shown_without_their_binary_noise(value: object, shown: Cell) -> None:
    """All of a number stays beside it."""
    assert Cell.of(value) == shown


@pytest.mark.parametrize(
    ("labels", "below"),
    [
        (["2026-01-01 00:00:00", "2026-01-02 00:00:00"], ["2026-01-01", "2026-01-02"]),
        (["2026-01-01 07:30:00", "2026-01-01 08:00:00.5"], ["07:30", "08:00"]),
        (["2026-01-01T07:30:00Z", "2026-01-02T08:00:00+00"], ["01-01 07:30", "01-02 08:00"]),
        (["2026-01-01 07:30:00", "never"], ["2026-01-01 07…", "never"]),
        ([f"2026-01-{day:02} 07:30:00" for day in range(1, 9)], [f"2026-01-0{day}" for day in (1, 3, 5, 7)]),
    ],
)
def test_times_below_a_plot_are_as_short_as_they_can_be(labels: list[str], below: list[str]) -> None:
    drawn = ET.fromstring(plots.line(labels, [1.0] * len(labels), "t"))
    assert [each.text for each in drawn.iter("text") if each.get("y") == "242"] == below


@given(st.lists(LABELS, min_size=1, max_size=40))
def test_labels_below_a_plot_do_not_overlap(labels: list[str]) -> None:
    drawn = ET.fromstring(plots.bars(labels, [1.0] * len(labels), "t"))
    shown = [(float(each.get("x", 0)), each.text or "") for each in drawn.iter("text") if each.get("y") == "242"]
    longest = max(len(text) for _, text in shown)
    assert all(right[0] - left[0] >= 6.5 * longest for left, right in pairwise(shown))
