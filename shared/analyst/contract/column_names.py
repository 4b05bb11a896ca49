"""Names of columns, derived from the source's own names and kept with them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from analyst.errors import SourceError
from analyst.names import identity, name_of

Names = dict[str, str]
"""The columns of one file in order: column name → the source's own name (the original)."""


@dataclass(frozen=True, slots=True)
class Header:
    """The source's own names of the columns of one file; `where` names the file in messages."""

    where: str
    originals: Sequence[str]


@dataclass(frozen=True, slots=True)
class Naming:
    """The names of a table's columns: `known` maps the published names to their originals.

    A column is identified by its original, at any position and in any file. `is_replaced` means that no published row
    stays, so the name of an original that is gone can be reused.
    """

    known: Mapping[str, str] = field(default_factory=dict)
    is_replaced: bool = True

    def names(self, headers: Sequence[Header]) -> list[Names]:
        """Name the columns of some files. A column without an original is named by its position: `column0` is the first.

        Raises:
            SourceError: two originals would get the same name, or one contains a NUL; the message names them and their files.
        """
        named = {identity(original): name for name, original in self.known.items() if original.strip()}
        present = {identity(original) for header in headers for original in header.originals}
        owners: dict[str, tuple[str, str]] = {}
        if not self.is_replaced:
            owners = {name: (original, "the published table") for name, original in self.known.items()}
        elif named:
            kept = {name: original for name, original in self.known.items() if identity(original) in present}
            owners = {name: (original, "the published table") for name, original in kept.items()}
        return [self._of(header, named, owners) for header in headers]

    def _of(self, header: Header, named: Mapping[str, str], owners: dict[str, tuple[str, str]]) -> Names:
        names: Names = {}
        for place, original in enumerate(header.originals):
            if "\0" in original:
                raise SourceError(f"{header.where}: the name of the column {original!r} contains a NUL; rename it")
            has_original = bool(original.strip())
            name = named.get(identity(original)) or name_of(original) if has_original else f"column{place}"
            if name in names:
                both = f"{names[name]!r} and {original!r}"
                raise SourceError(
                    f"{header.where}: the columns {both} would both be called {name!r}; rename one of them"
                )
            owner, where = owners.setdefault(name, (original, header.where))
            if has_original and identity(owner) != identity(original):
                raise SourceError(
                    f"{header.where}: the column {original!r} would be called {name!r}, which is {owner!r} in {where}; "
                    "rename one of them"
                )
            names[name] = original
        return names

    def replaced(self, found: Mapping[str, str]) -> list[str]:
        """Report the names that now belong to another original."""
        return [
            f"the column {name!r} is now read from {original!r}; until the last sync it was read from "
            f"{self.known[name]!r}"
            for name, original in found.items()
            if original and name in self.known and identity(self.known[name]) != identity(original)
        ]


def named(originals: Sequence[str], where: str) -> Names:
    """Name the columns of one file of a table that was never published.

    Raises:
        SourceError: two originals would get the same name; the message contains both, and `where` they are.
    """
    return Naming().names([Header(where, originals)])[0]


def unrelated(files: Sequence[tuple[str, Names]]) -> list[str]:
    """Report the first file that no chain of common columns connects with the first file of its table."""
    groups: list[tuple[str, set[str]]] = []
    for name, columns in files:
        connected = [group for group in groups if not group[1].isdisjoint(columns)]
        first = connected[0][0] if connected else name
        united = set(columns).union(*(group[1] for group in connected))
        groups = [group for group in groups if group not in connected] + ([(first, united)] if united else [])
    places = {name: place for place, (name, _columns) in enumerate(files)}
    first_of_each = sorted((name for name, _columns in groups), key=lambda name: places[name])
    if len(first_of_each) < 2:  # noqa: PLR2004 - all are connected
        return []
    one, other = first_of_each[:2]
    why = f"{other} has no column in common with {one}, but both are files of one table"
    return [f"{why}; move it to another folder if it belongs to another table"]
