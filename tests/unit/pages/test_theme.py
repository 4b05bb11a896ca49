"""A theme never makes a page unreadable."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyst.pages import Site, render
from analyst.pages.theme import contrast, readable, rules
from analyst.settings import read_settings
from analyst.settings.instance import read_instance
from analyst.settings.model import Settings

COLOURS = st.integers(0, 0xFFFFFF).map(lambda number: f"#{number:06x}")


def settings(**theme: str) -> Settings:
    return Settings(data_url="file:///nowhere", **{f"theme_{name}": value for name, value in theme.items()})


@given(COLOURS, COLOURS)
def test_any_colour_becomes_readable_on_any_paper(colour: str, paper: str) -> None:
    assert contrast(readable(colour, [paper]), paper) >= 4.5


def test_a_readable_colour_is_not_changed() -> None:
    assert readable("#1a56c4", ["#ffffff", "#f6f7f9"]) == "#1a56c4"


@given(COLOURS)
def test_the_primary_colour_is_readable_in_both_modes(primary: str) -> None:
    light, dark = rules(settings(primary=primary)).split("@media")[2:0:-1][::-1]
    for block, papers in ((light, ("#ffffff", "#f6f7f9")), (dark, ("#0f131a", "#171c26"))):
        key, on_key = (re.findall(rf"--{name}: (#[0-9a-f]{{6}})", block)[0] for name in ("key", "on-key"))
        assert min(contrast(key, paper) for paper in papers) >= 4.5
        assert contrast(key, on_key) >= 4.5


def test_a_page_has_the_configured_theme() -> None:
    site = Site.of(settings(primary="#7b2cbf", font="Inter, sans-serif", radius="2px"))
    page = render("message.html", site, title="x", text="", request_id=None, links=[])
    assert "--key: #7b2cbf" in page
    assert "--sans: Inter, sans-serif" in page
    assert "--radius: 2px" in page
    assert rules(read_settings({"DATA_URL": "file:///nowhere"})) == ""


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("primary", "red"),
        ("primary", "#12345"),
        ("font", "x; } body { display: none"),
        ("radius", "calc(1px)"),
        ("font_url", "https://fonts.example"),
    ],
)
def test_unknown_parts_of_a_theme_are_refused_or_reported(key: str, value: str) -> None:
    instance = read_instance(f"theme: {{{key}: '{value}'}}", {})
    assert [each.path for each in (*instance.problems, *instance.warnings)] == [f"theme.{key}"]
