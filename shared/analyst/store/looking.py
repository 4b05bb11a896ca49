"""Looking at one object of every folder: what a store can tell at once, it is asked for at once."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, runtime_checkable

from analyst.store.port import Entry, Store

_HEADS_AT_ONCE = 16


@runtime_checkable
class FolderLooker(Protocol):
    """A store that looks at the object of a name in every folder in one listing."""

    def look_into_folders(self, prefix: str, name: str) -> Iterable[Entry]:
        """List the objects `<prefix><folder>/<name>`, in the order of their keys; `prefix` ends in `/`."""


def look_into_folders(store: Store, prefix: str, name: str) -> list[Entry]:
    """List the objects `<prefix><folder>/<name>`, in the order of their keys; `prefix` ends in `/`.

    One listing where the store can do that, else one for the folders and a look at each, side by side.
    """
    if isinstance(store, FolderLooker):
        return list(store.look_into_folders(prefix, name))
    folders = sorted(store.list_folders(prefix))
    with ThreadPoolExecutor(_HEADS_AT_ONCE) as pool:
        found = list(pool.map(lambda folder: store.head(f"{prefix}{folder}/{name}"), folders))
    return [entry for entry in found if entry is not None]
