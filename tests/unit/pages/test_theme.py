"""A theme never makes a page unreadable."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyst.pages import Site, render
from analyst.pages.theme import STYLESHEET, contrast, readable, rules
from analyst.settings import read_settings
from analyst.settings.instance import read_instance
from analyst.settings.model import Settings

NAMES = [
    name.removeprefix("theme_")
    for name in Settings.model_fields
    if name.startswith("theme_") and name not in ("theme_font", "theme_radius")
]
COLOURS = st.integers(0, 0xFFFFFF).map(lambda number: f"#{number:06x}")


def settings(**theme: str) -> Settings:
    return Settings(data_url="file:///nowhere", **{f"theme_{name}": value for name, value in theme.items()})


@given(COLOURS, COLOURS)
def test_any_colour_becomes_readable_on_any_paper(colour: str, paper: str) -> None:
    assert contrast(readable(colour, [paper]), paper) >= 4.5


def test_a_readable_colour_is_not_changed() -> None:
    assert readable("#1a56c4", ["#ffffff", "#f6f7f9"]) == "#1a56c4"


@given(COLOURS)
def test_the_primary_colour_is_readable_in_dark_mode(primary: str) -> None:
    dark = rules(settings(primary=primary)).split("@media")[2]
    key, on_key = (re.findall(rf"--{name}: (#[0-9a-f]{{6}})", dark)[0] for name in ("key", "on-key"))
    assert min(contrast(key, paper) for paper in ("#0f131a", "#171c26", on_key)) >= 4.5


@given(st.dictionaries(st.sampled_from(NAMES), COLOURS))
def test_every_text_is_readable_with_any_colours(theme: dict[str, str]) -> None:
    light = rules(settings(**theme)).partition("(prefers-color-scheme: dark)")[0]
    usual = STYLESHEET.read_text().partition("(prefers-color-scheme: dark)")[0]
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", usual + light))
    pairs = [(text, paper) for text in ("ink", "soft", "key", "good", "warn", "bad") for paper in ("back", "paper")]
    pairs += [(text, f"{kind}-back") for kind in ("good", "warn", "bad") for text in (kind, "ink")]
    pairs += [("key", "key-back"), ("on-key", "key"), ("ink", "mark")]
    assert [pair for pair in pairs if contrast(*map(colours.__getitem__, pair)) < 4.5] == []


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
