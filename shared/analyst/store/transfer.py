"""Many objects at once, and objects as files of this machine for what reads nothing else."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol, runtime_checkable

from analyst.errors import InvalidInputError
from analyst.store.port import Entry, Store

_AT_ONCE = 16


@runtime_checkable
class FolderLooker(Protocol):
    """A store that looks at the object of a name in every folder in one listing."""

    def look_into_folders(self, prefix: str, name: str) -> Iterable[Entry]:
        """List the objects `<prefix><folder>/<name>`, in the order of their keys; `prefix` ends in `/`."""


def look_into_folders(store: Store, prefix: str, name: str) -> list[Entry]:
    """List the objects `<prefix><folder>/<name>`, in the order of their keys; `prefix` ends in `/`.

    One listing where the store can do that, else one for the folders and a look at each, side by side. What is there and
    can't be an object, such as a symbolic link, has an empty version: reading it says what is wrong.
    """
    if isinstance(store, FolderLooker):
        return list(store.look_into_folders(prefix, name))
    folders = sorted(store.list_folders(prefix))
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = list(pool.map(lambda folder: _look(store, f"{prefix}{folder}/{name}"), folders))
    return [entry for entry in found if entry is not None]


def delete_all(store: Store, keys: Iterable[str]) -> None:
    """Delete objects, several at once.

    Raises:
        UnavailableError: the store does not answer; some are deleted, in no order.
    """
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(store.delete, [*keys]))  # a listing is over before the first of it goes


def _look(store: Store, key: str) -> Entry | None:
    try:
        return store.head(key)
    except InvalidInputError:
        return Entry(key, "", 0, 0.0)


def local_copy(store: Store, key: str, copy: Path) -> Path:
    """Tell where an object lies on this machine's disk; if nowhere, it is copied to `copy`, unless that is there already.

    Raises:
        ObjectMissingError: it is to be copied, and there is none.
        UnavailableError: the store does not answer.
    """
    here = store.local_path(key)
    if here is not None:
        return here
    if not copy.exists():
        copy.parent.mkdir(parents=True, exist_ok=True)
        store.download(key, copy)
    return copy
