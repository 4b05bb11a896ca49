"""Names for the tables and columns of sources whose own names may be equal once they are normalized."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from analyst.names import identity, name_of

_HASH_DIGITS: Final = 6


def column_names(originals: Iterable[str]) -> dict[str, str]:
    """Return the published name of each column; of several with one name, all but the first get a hash of their own."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for original in originals:
        name = name_of(original)
        if name in taken:
            mark = hashlib.sha256(identity(original).encode()).hexdigest()[:_HASH_DIGITS]
            name = f"{name[: 62 - _HASH_DIGITS]}_{mark}"
        taken.add(name)
        names[original] = name
    return names


def unique_names(spellings: Mapping[str, Sequence[str]], taken: Iterable[str]) -> dict[str, str]:
    """Return a name for each table by its id: the first of its spellings that no other table has at the same place.

    All tables have equally many spellings, from the shortest to one that is unique. The names do not depend on the order of
    the tables. A name in `taken` is not used again.
    """
    used, names = set(taken), dict[str, str]()
    left = sorted(spellings)
    for place in range(max(map(len, spellings.values()), default=0)):
        wanted: dict[str, list[str]] = {}
        for id_ in left:
            wanted.setdefault(spellings[id_][place], []).append(id_)
        names |= {group[0]: name for name, group in wanted.items() if len(group) == 1 and name not in used}
        used |= set(names.values())
        left = [id_ for id_ in left if id_ not in names]
    return names
