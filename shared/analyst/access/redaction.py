"""Takes credentials out of text that is kept: people paste them where they do not belong."""

import re
from typing import Any, Final

from analyst.access.rules import TOKEN_PREFIX, TOKEN_SHOWN

_EDGE: Final = r"[A-Za-z0-9_-]"
_TOKEN: Final = re.compile(rf"(?<!{_EDGE})({TOKEN_PREFIX}{_EDGE}{{{TOKEN_SHOWN - len(TOKEN_PREFIX)}}}){_EDGE}{{27,}}")
_SIGNED: Final = re.compile(rf"eyJ{_EDGE}{{8,}}\.{_EDGE}+\.{_EDGE}*")


def redacted(value: Any) -> Any:
    """Give a JSON value with the access tokens and signed tokens in its texts cut off; how one began stays."""
    if isinstance(value, str):
        return _SIGNED.sub("eyJ…", _TOKEN.sub(r"\1…", value))
    if isinstance(value, dict):
        return {name: redacted(item) for name, item in value.items()}
    return [redacted(item) for item in value] if isinstance(value, list | tuple) else value
