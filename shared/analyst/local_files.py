"""Files of a bucket that is a folder of this host, handed out to whoever has a signed URL."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

from analyst.errors import NotFoundError
from analyst.store import Store


@runtime_checkable
class SignsItself(Protocol):
    """A store whose signed URLs lead to our own functions."""

    def verify(self, key: str, parameters: Mapping[str, str]) -> None:
        """Let a request for a signed URL through."""


def locate(store: Store, key: str, parameters: Mapping[str, str]) -> Path:
    """Find the file that a signed URL is for; `parameters` are those of its query.

    Raises:
        ForbiddenError: the URL was not given out by this store, or has expired.
        NotFoundError: the file is gone, or this store's files are elsewhere.
    """
    if not isinstance(store, SignsItself):
        raise NotFoundError("files of this bucket are not served here; use the URL as it was given out")
    store.verify(key, parameters)
    path = store.local_path(key)
    if path is None or not path.is_file():
        raise NotFoundError(f"there is no file {key} any more; ask for a new link")
    return path
