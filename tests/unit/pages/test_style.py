"""The stylesheet: every pair of colours that carries text is readable, in light and in dark."""

import re
from pathlib import Path

import pytest

import analyst.pages

STYLE = (Path(analyst.pages.__file__).parent / "templates/style.css").read_text()
TEXT = [
    *[(ink, paper) for ink in ("ink", "soft", "key", "good", "warn", "bad") for paper in ("paper", "back")],
    *[(ink, f"{kind}-back") for kind in ("good", "warn", "bad") for ink in (kind, "ink")],
    ("on-key", "key"),
]
EDGES = [("edge", "paper"), ("edge", "back"), ("key", "paper"), ("key", "back")]


def themes() -> dict[str, dict[str, str]]:
    light, dark = (dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block)) for block in STYLE.split("@media", 1))
    return {"light": light, "dark": {**light, **dark}}


def luminance(colour: str) -> float:
    """Relative luminance, as WCAG 2.2 defines it."""
    channels = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def test_contrast_is_computed_as_defined() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(("ink", "paper"), TEXT)
def test_text_is_readable(theme: str, ink: str, paper: str) -> None:
    colours = themes()[theme]
    assert contrast(colours[ink], colours[paper]) >= 4.5


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(("edge", "paper"), EDGES)
def test_edges_of_inputs_and_the_focus_are_visible(theme: str, edge: str, paper: str) -> None:
    colours = themes()[theme]
    assert contrast(colours[edge], colours[paper]) >= 3


def test_both_themes_name_the_same_colours() -> None:
    light, dark = (set(re.findall(r"--([\w-]+): #", block)) for block in STYLE.split("@media", 1))
    assert light == dark


def test_no_colour_is_written_outside_the_tokens() -> None:
    rules = STYLE.partition("*, *::before")[2]
    assert re.findall(r"#[0-9a-fA-F]{3,8}\b", rules) == []
