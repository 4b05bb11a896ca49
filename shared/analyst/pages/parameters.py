"""The named parameters of a statement (`$name`), and their values as people write them in a form."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Final

from analyst.receipts import Value

_TOKEN: Final = re.compile(
    r"""
    [eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | "(?:[^"]|"")*"    # texts and quoted names
    | --[^\n]* | /\*.*?(?:\*/|$)                                   # comments
    | \$(?P<tag>(?:[^\W\d]\w*)?)\$.*?\$(?P=tag)\$                  # texts between dollar signs
    | \$(?P<name>\w+)
    | [^\W\d][\w$]*                                                # names, in which a dollar sign is a letter
    """,
    re.DOTALL | re.VERBOSE,
)
_NUMBER: Final = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_MOST: Final = 50


def names_in(sql: str) -> tuple[str, ...]:
    """Return the names of the parameters of a statement, in their order; those in texts and comments are none."""
    found = (each["name"] for each in _TOKEN.finditer(sql) if each["name"])
    return tuple(dict.fromkeys(found))[:_MOST]


def given(names: Iterable[str], texts: Iterable[str]) -> dict[str, str]:
    """Return the texts of a form by name; a missing text is empty."""
    left = iter(texts)
    return {name: next(left, "") for name in names}


def values_of(texts: Mapping[str, str]) -> dict[str, Value]:
    """Return the values that texts stand for.

    An empty text is NULL; numbers, `true` and `false` are read as such, and anything in single quotes is a text. Other
    texts are bound as literals, which DuckDB converts to dates and times where it needs them.
    """
    return {name: _value(text) for name, text in texts.items()}


def _value(text: str) -> Value:
    bare = text.strip()
    if not bare:
        return None
    if len(bare) > 1 and bare[0] == bare[-1] == "'":
        return bare[1:-1].replace("''", "'")
    if bare.lower() in {"true", "false"}:
        return bare.lower() == "true"
    if _NUMBER.fullmatch(bare):
        number: int | float = json.loads(bare)
        if abs(number) < 1 << 63:
            return number
    return text
