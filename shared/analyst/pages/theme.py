"""The theme of an instance: its colours, font and corners, as rules that follow the stylesheet.

Colours that carry text are made darker or lighter until they can be read, so no theme makes a page unreadable: a contrast of
at least 4.5:1, as WCAG 2.2 defines it, to what is behind them.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

from analyst.settings import Settings

_READABLE: Final = 4.5
_STEPS: Final = 50
_WHITE, _BLACK = "#ffffff", "#000000"
_BEHIND: Final = {"back": "background", "paper": "surface", "line": "border"}
_USUAL_BEHIND: Final = {"back": "#f6f7f9", "paper": "#ffffff"}
_DARK: Final = ("#0f131a", "#171c26", "#1c2a47")
"""What is behind text in dark mode: the colours of the stylesheet."""

_TEXTS: Final = {"ink": "text_primary", "soft": "text_secondary", "good": "success", "warn": "warning", "bad": "error"}


def rules(settings: Settings) -> str:
    """Return the rules of a theme; empty without one."""
    given = tuple(
        (name.removeprefix("theme_"), value)
        for name in Settings.model_fields
        if name.startswith("theme_") and (value := getattr(settings, name)) is not None
    )
    return _rules(given) if given else ""


@lru_cache(maxsize=16)
def _rules(given: tuple[tuple[str, str], ...]) -> str:
    theme = dict(given)
    always = {"sans": theme.get("font"), "radius": theme.get("radius")}
    light = {ours: theme.get(theirs) for ours, theirs in _BEHIND.items()}
    behind = [light["back"] or _USUAL_BEHIND["back"], light["paper"] or _USUAL_BEHIND["paper"]]
    light |= {ours: readable(theme[theirs], behind) for ours, theirs in _TEXTS.items() if theirs in theme}
    dark: dict[str, str | None] = {}
    if primary := theme.get("primary"):
        tint = theme.get("primary_light") or _mixed(primary, behind[1], 0.9)
        key = readable(primary, [*behind, tint])
        light |= {"key": key, "on-key": _on(key), "key-back": tint}
        in_dark = readable(primary, _DARK)
        dark |= {"key": in_dark, "on-key": _on(in_dark)}
    else:
        light["key-back"] = theme.get("primary_light")
    return (
        _block(always)
        + f"@media (prefers-color-scheme: light) {{ {_block(light)} }}\n"
        + f"@media (prefers-color-scheme: dark) {{ {_block(dark)} }}\n"
    )


def _block(values: Mapping[str, str | None]) -> str:
    return f":root {{ {' '.join(f'--{name}: {value};' for name, value in values.items() if value)} }}"


def readable(colour: str, behind: Iterable[str]) -> str:
    """Return a colour that can be read on others: the given one, or one nearer to black or white."""
    papers = list(behind)
    end = _BLACK if contrast(_BLACK, papers[0]) > contrast(_WHITE, papers[0]) else _WHITE
    steps = (_mixed(colour, end, step / _STEPS) for step in range(_STEPS + 1))
    return next((each for each in steps if all(contrast(each, paper) >= _READABLE for paper in papers)), end)


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours, from 1 to 21."""
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def _on(colour: str) -> str:
    return max((_WHITE, "#0d1421"), key=lambda each: contrast(each, colour))


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
