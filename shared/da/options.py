"""Parse `key=value` options of the command line."""

import json
from collections.abc import Iterable
from typing import Any

from da.errors import UsageError


def read_options(texts: Iterable[str]) -> dict[str, Any]:
    """Parse `key=value` options.

    Values stay strings: the server knows which options are numbers or booleans. A value that starts with `[` or `{` is
    JSON. A repeated key becomes a list.
    """
    options: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise UsageError(f"{text!r} is not a valid option (expected KEY=VALUE)")
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
        raise UsageError(
            f"{text!r} is not a valid option: a value that starts with {value[0]} must be JSON ({error})"
        ) from None
