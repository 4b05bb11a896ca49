"""Names of tables, columns and sources, and the one way to quote them in SQL."""

import re
import unicodedata
from collections.abc import Iterable
from typing import Annotated

from pydantic import StringConstraints

from analyst.errors import InvalidInputError

NAME_PATTERN = r"^[a-z_][a-z0-9_]{0,62}$"
"""What a source, table or column is called in the extract, the snapshot and on the laptop."""

TABLE_ID_PATTERN = r"^[a-z_][a-z0-9_]{0,62}\.[a-z_][a-z0-9_]{0,62}$"
"""`<source>.<table_name>`."""

Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
"""A name, checked where it comes in."""

TableId = Annotated[str, StringConstraints(pattern=TABLE_ID_PATTERN)]
"""A table's id, checked where it comes in."""

_NAME = re.compile(NAME_PATTERN)


def quote(identifier: str) -> str:
    """Quote an identifier for SQL."""
    if "\x00" in identifier:
        raise InvalidInputError("a name can't hold a NUL character")
    return '"' + identifier.replace('"', '""') + '"'


def quote_text(text: str) -> str:
    """Quote a text literal for the few statements (ATTACH, COPY … TO, COMMENT) that take no parameters."""
    if "\x00" in text:
        raise InvalidInputError("a text in SQL can't hold a NUL character")
    return "'" + text.replace("'", "''") + "'"


def is_name(text: str) -> bool:
    """Tell whether a text is a name as the contract has them."""
    return _NAME.fullmatch(text) is not None


def normalise(original: str) -> str:
    """Make a name of any text: 'Order Date (UTC)' becomes `order_date_utc`, 'Čas' becomes `cas`.

    Letters lose their accents, everything else that a name can't hold becomes one underscore.

    Raises:
        InvalidInputError: nothing is left of the text.
    """
    plain = unicodedata.normalize("NFKD", original).encode("ascii", "ignore").decode().lower()
    name = re.sub(r"[^a-z0-9]+", "_", plain).strip("_") if not _NAME.fullmatch(plain) else plain
    if not name:
        raise InvalidInputError(f"no name can be made of {original!r}: it has neither a letter nor a digit")
    if name[0].isdigit():
        name = f"_{name}"
    return name[:63]


def normalise_all(originals: Iterable[str]) -> dict[str, str]:
    """Make names of texts that stand side by side: `{original: name}`, in their order.

    Raises:
        InvalidInputError: two of them become the same name; the message has both.
    """
    names: dict[str, str] = {}
    taken: dict[str, str] = {}
    for original in originals:
        name = normalise(original)
        if name in taken:
            raise InvalidInputError(
                f"{taken[name]!r} and {original!r} would both be called {name!r}; rename one of them"
            )
        taken[name] = original
        names[original] = name
    return names
