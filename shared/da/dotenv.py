"""`.env` files as read by Docker Compose: `NAME=value` lines with optional quotes."""

import re
from pathlib import Path

from da.errors import DaError, cause_of

_LINE = re.compile(r"\s*(export\s+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s*=")
_PLAIN = re.compile(r"[A-Za-z0-9_./:@~+-]*")


def read_dotenv(path: Path) -> dict[str, str]:
    """Return the variables that a file sets, without empty ones; a missing file sets none.

    Raises:
        DaError: the file can't be read.
    """
    values = {name: _unquoted(line.partition("=")[2].strip()) for name, line in dotenv_lines(path).items()}
    return {name: value for name, value in values.items() if value}


def dotenv_lines(path: Path) -> dict[str, str]:
    """Return the lines of a file by the name they set; the last one wins.

    Raises:
        DaError: the file can't be read.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeError) as error:
        raise DaError(f"can't read '{path}': {cause_of(error)}; correct that and try again") from None
    found = ((_LINE.match(line), line) for line in lines)
    return {match["name"]: line for match, line in found if match}


def dotenv_line(name: str, value: str) -> str:
    """Format a line; the value must not contain a quote or line break."""
    return f"{name}={value}" if _PLAIN.fullmatch(value) else f"{name}='{value}'"


def _unquoted(value: str) -> str:
    quote = value[:1]
    if quote in {"'", '"'}:
        return value[1:].partition(quote)[0]
    return value.partition(" #")[0].rstrip()
