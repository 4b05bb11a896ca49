"""Operations on many objects, and local copies of objects for code that only reads files."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

from analyst.errors import InvalidInputError
from analyst.store.interface import Entry, Store

T = TypeVar("T")
R = TypeVar("R")


@runtime_checkable
class FolderLooker(Protocol):
    """A store that finds the objects of one name in all folders with a single listing."""

    def look_into_folders(self, prefix: str, name: str) -> Iterable[Entry]:
        """List the objects `<prefix><folder>/<name>`, in the order of their keys; `prefix` ends in `/`."""


def in_parallel(request: Callable[[T], R], items: Iterable[T], at_once: int = 16) -> list[R]:
    """Make a request for each item, at most `at_once` at the same time; return the results in the order of the items.

    All items are known before the first request, so a listing may be of what the requests delete. A single request is made
    in this thread. If one fails, its error is raised after those that have begun.
    """
    wanted = [*items]
    if len(wanted) <= 1:
        return [request(item) for item in wanted]
    with ThreadPoolExecutor(min(at_once, len(wanted))) as pool:
        return list(pool.map(request, wanted))


def look_into_folders(store: Store, prefix: str, name: str) -> list[Entry]:
    """List the objects `<prefix><folder>/<name>`, in the order of their keys; `prefix` ends in `/`.

    With one listing where the store supports it, else one for the folders and a parallel request for each. Something at
    the key that is not an object, such as a symbolic link, is listed with an empty version: reading it raises the error.
    """
    if isinstance(store, FolderLooker):
        return list(store.look_into_folders(prefix, name))
    folders = sorted(store.list_folders(prefix))
    found = in_parallel(lambda folder: _look(store, f"{prefix}{folder}/{name}"), folders)
    return [entry for entry in found if entry is not None]


def delete_all(store: Store, keys: Iterable[str]) -> None:
    """Delete objects in parallel.

    Raises:
        UnavailableError: the store does not respond; some objects are deleted, in no particular order.
    """
    in_parallel(store.delete, keys)


def _look(store: Store, key: str) -> Entry | None:
    try:
        return store.head(key)
    except InvalidInputError:
        return Entry(key, "", 0, 0.0)


def local_copy(store: Store, key: str, copy: Path) -> Path:
    """Return the path of an object on this machine's disk; if the store is remote, download it to `copy` unless that exists.

    Raises:
        ObjectMissingError: the object of a remote store does not exist.
        UnavailableError: the store does not respond.
    """
    here = store.local_path(key)
    if here is not None:
        return here
    if not copy.exists():
        copy.parent.mkdir(parents=True, exist_ok=True)
        store.download(key, copy)
    return copy
