"""Quote the parts of SQL that can't be parameters."""

import re
from pathlib import Path

from da.errors import DaError

_TOKENS = re.compile(r'"(?:[^"\\]|\\.)*"|NaN|-?Infinity')


def quote(identifier: str) -> str:
    """Quote an identifier."""
    return '"' + _plain(identifier).replace('"', '""') + '"'


def quote_text(text: str) -> str:
    """Quote a text literal."""
    return "'" + _plain(text).replace("'", "''") + "'"


def quote_path(path: Path) -> str:
    """Quote a path for `read_parquet`, which treats `*`, `?` and `[` as patterns."""
    return quote_text(re.sub(r"[*?\[]", r"[\g<0>]", path.as_posix()))


def _plain(text: str) -> str:
    if "\x00" in text:
        raise DaError("a name can't contain a NUL character")
    return text


def valid_json(text: str) -> str:
    """Replace NaN and infinities, which JSON does not have, by null in what DuckDB wrote."""
    if "NaN" not in text and "Infinity" not in text:
        return text
    return _TOKENS.sub(lambda found: found[0] if found[0].startswith('"') else "null", text)
