"""The theme of an instance: its colours, font and corners, as rules that follow the stylesheet.

Colours that carry text, also those that the theme does not name, are made darker or lighter until they can be read, so no
theme makes a page unreadable: a contrast of at least 4.5:1, as WCAG 2.2 defines it, to what is behind them. Panels on which
nothing could be read in the same colour as on the page around them get the colour of the page.
"""

import re
from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Final

from analyst.settings import Settings

STYLESHEET: Final = Path(__file__).with_name("templates") / "style.css"

_READABLE: Final = 4.5
_VISIBLE: Final = 3.0
_STEPS: Final = 50
_WHITE, _BLACK = "#ffffff", "#000000"
_NAMES: Final = {
    "line": "border",
    "ink": "text_primary",
    "soft": "text_secondary",
    "good": "success",
    "warn": "warning",
    "bad": "error",
}
"""The stylesheet's names of colours, and those of the theme."""
_NOTICES: Final = {
    "ink": ("good-back", "warn-back", "bad-back", "mark"),
    "soft": (),
    "good": ("good-back",),
    "warn": ("warn-back",),
    "bad": ("bad-back",),
}
"""The colours of texts, and those that are behind them besides the page and its panels."""

_COLOUR: Final = re.compile(r"--([a-z-]+): (#[0-9a-f]{6})")


@cache
def _palettes() -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Return the colours of the stylesheet by name, in light and in dark mode."""
    light, dark = STYLESHEET.read_text("utf-8").split("@media", 1)
    return dict(_COLOUR.findall(light)), dict(_COLOUR.findall(dark))


def rules(settings: Settings) -> str:
    """Return the rules of a theme; empty without one. Its colours apply in light mode, its primary colour also in dark mode."""
    given = tuple(
        (name.removeprefix("theme_"), value)
        for name in Settings.model_fields
        if name.startswith("theme_") and (value := getattr(settings, name)) is not None
    )
    return _rules(given) if given else ""


@lru_cache(maxsize=16)
def _rules(given: tuple[tuple[str, str], ...]) -> str:
    theme, (usual, in_dark) = dict(given), _palettes()
    light, dark = _light(theme), dict[str, str]()
    if primary := theme.get("primary"):
        key = readable(primary, [in_dark[name] for name in ("back", "paper", "key-back")])
        dark = {"key": key, "on-key": _on(key)}
    changed = {name: value for name, value in light.items() if value != usual[name]}
    always = {ours: theme[theirs] for ours, theirs in (("sans", "font"), ("radius", "radius")) if theirs in theme}
    return (
        _block(always)
        + f"@media (prefers-color-scheme: light) {{ {_block(changed)} }}\n"
        + f"@media (prefers-color-scheme: dark) {{ {_block(dark)} }}\n"
    )


def _light(theme: Mapping[str, str]) -> dict[str, str]:
    """Return the colours of light mode. On a dark background, those that the theme does not name are those of dark mode."""
    usual, in_dark = _palettes()
    back = theme.get("background", usual["back"])
    paper = theme.get("surface", (in_dark if _end([back]) == _WHITE else usual)["paper"])
    behind = [back, paper if _can_be_read_on([back, paper]) else back]
    found = dict(in_dark if _end(behind) == _WHITE else usual)
    found |= {ours: theme[theirs] for ours, theirs in _NAMES.items() if theirs in theme}
    found["back"], found["paper"] = behind
    if primary := theme.get("primary"):
        found |= {"key": primary, "key-back": _mixed(primary, found["paper"], 0.9)}
    tints = (theme.get("primary_light", found["key-back"]), found["key-back"], found["paper"])
    found["key-back"] = next(tint for tint in tints if _can_be_read_on([*behind, tint]))
    found["key"] = readable(found["key"], [*behind, found["key-back"]])
    found["on-key"] = _on(found["key"])
    found["edge"] = readable(found["edge"], behind, _VISIBLE)
    for name, notices in _NOTICES.items():
        found[name] = readable(found[name], [*behind, *map(found.__getitem__, notices)])
    return found


def _block(values: Mapping[str, str]) -> str:
    return f":root {{ {' '.join(f'--{name}: {value};' for name, value in values.items())} }}"


def readable(colour: str, behind: Iterable[str], least: float = _READABLE) -> str:
    """Return a colour with a contrast of `least` to others: the given one, or one nearer to black or white.

    It is black or white if no colour has such a contrast to all of them.
    """
    papers = list(behind)
    end = _end(papers)
    steps = (_mixed(colour, end, step / _STEPS) for step in range(_STEPS + 1))
    return next((each for each in steps if _least_contrast(each, papers) >= least), end)


def _can_be_read_on(papers: Iterable[str]) -> bool:
    """Return whether there is a colour that can be read on all of these."""
    papers = list(papers)
    return _least_contrast(_end(papers), papers) >= _READABLE


def _end(papers: Iterable[str]) -> str:
    """Return black or white, whichever has more contrast to these."""
    papers = list(papers)
    return max((_BLACK, _WHITE), key=lambda each: _least_contrast(each, papers))


def _least_contrast(colour: str, papers: Iterable[str]) -> float:
    return min(contrast(colour, paper) for paper in papers)


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours, from 1 to 21."""
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def _on(colour: str) -> str:
    found = max((_WHITE, "#0d1421"), key=lambda each: contrast(each, colour))
    return found if contrast(found, colour) >= _READABLE else _end([colour])


def _mixed(colour: str, other: str, share: float) -> str:
    mixed = (round(a + (b - a) * share) for a, b in zip(_channels(colour), _channels(other), strict=True))
    return "#" + "".join(f"{each:02x}" for each in mixed)


def _channels(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _luminance(colour: str) -> float:
    red, green, blue = (
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4  # noqa: PLR2004 - of the definition
        for c in (each / 255 for each in _channels(colour))
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
