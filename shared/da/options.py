"""Read `key=value` as it is given on a command line."""

import json
from collections.abc import Iterable
from typing import Any

from da.errors import UsageError


def read_options(texts: Iterable[str]) -> dict[str, Any]:
    """Make a mapping of `key=value` texts.

    A value stays the text it is: the server knows which options are numbers or switches. One that begins with `[`
    or `{` is JSON. A key that is given several times becomes a list.
    """
    options: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise UsageError(f"{text!r} is no option; it looks like key=value")
        read = _value(value, text)
        if key in options:
            before = options[key] if isinstance(options[key], list) else [options[key]]
            options[key] = [*before, read]
        else:
            options[key] = read
    return options


def _value(value: str, text: str) -> Any:
    if not value.startswith(("[", "{")):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise UsageError(f"{text!r}: what begins with {value[0]} must be JSON ({error})") from None
