"""`.env` files as Docker Compose takes them: `NAME=value` lines, a value in quotes or without."""

import re
from pathlib import Path

from da.errors import DaError

_LINE = re.compile(r"\s*(export\s+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s*=")
_PLAIN = re.compile(r"[A-Za-z0-9_./:@~+-]*")


def read_dotenv(path: Path) -> dict[str, str]:
    """Read what a file sets; nothing when it is not there, and nothing of what is empty.

    Raises:
        DaError: it can't be read.
    """
    values = {name: _unquoted(line.partition("=")[2].strip()) for name, line in dotenv_lines(path).items()}
    return {name: value for name, value in values.items() if value}


def dotenv_lines(path: Path) -> dict[str, str]:
    """Read the lines of a file by the names that they set; of two the later counts.

    Raises:
        DaError: it can't be read.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise DaError(f"{path} can't be read: {getattr(error, 'strerror', None) or 'it is no text in UTF-8'}") from None
    found = ((_LINE.match(line), line) for line in lines)
    return {match["name"]: line for match, line in found if match}


def dotenv_line(name: str, value: str) -> str:
    """Write a line that every reader takes as it is meant; a quote or line end in the value would not be."""
    return f"{name}={value}" if _PLAIN.fullmatch(value) else f"{name}='{value}'"


def _unquoted(value: str) -> str:
    quote = value[:1]
    if quote in {"'", '"'}:
        return value[1:].partition(quote)[0]
    return value.partition(" #")[0].rstrip()
