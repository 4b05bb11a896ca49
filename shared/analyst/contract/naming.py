"""Names of columns: made of what the source calls them."""

from collections.abc import Iterable

from analyst.errors import InvalidInputError, SourceError
from analyst.names import normalise


def named(originals: Iterable[str], where: str) -> dict[str, str]:
    """Make names of columns: `{name: original}`, in their order.

    A column without a letter or digit that a name can hold is called by its place: `column0` is the first.

    Raises:
        SourceError: two would have one name; the message has both, and `where` they stand.
    """
    names: dict[str, str] = {}
    for index, original in enumerate(originals):
        name = _name(original, index)
        if name in names:
            both = f"{names[name]!r} and {original!r}"
            raise SourceError(f"{where}: the columns {both} would both be called {name!r}; rename one of them")
        names[name] = original
    return names


def _name(original: str, index: int) -> str:
    try:
        return normalise(original)
    except InvalidInputError:
        return f"column{index}"
