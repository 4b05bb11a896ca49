"""The interface through which every byte of the bucket is read and written.

Keys are relative to `DATA_URL`, with `/` between parts: `extracts/shop/extract.duckdb`. A *version* is an opaque text
that changes whenever the object does. Ages are measured by the clock of the store, never by that of this host.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final, Protocol, runtime_checkable
from urllib.parse import urlsplit

from analyst.errors import AnalystError, NotFoundError, UnavailableError


def endpoint_options(address: str) -> dict[str, str]:
    """Return the options of a `CREATE SECRET` for a server at a custom address."""
    place = urlsplit(address)
    return {"endpoint": place.netloc, "url_style": "path", "use_ssl": str(place.scheme == "https").lower()}


class StoreConflictError(AnalystError):
    """A conditional write found the object at another version."""

    status = 409
    code = "store_conflict"
    retryable = True


class ObjectMissingError(NotFoundError):
    """No object has this key."""


class UnsureWriteError(UnavailableError):
    """A write got no response: it may have happened, may still happen, or never will. Read back to find out."""

    code = "store_unsure"


class Condition(Enum):
    """Conditions of a write other than a version."""

    ABSENT = "absent"
    ANY = "any"


ABSENT: Final = Condition.ABSENT
"""Write only if no object has this key."""

ANY: Final = Condition.ANY
"""Overwrite unconditionally: only for copies that nothing of ours reads."""


@dataclass(frozen=True, slots=True)
class Object:
    """An object that was read. `age` is in seconds."""

    data: bytes
    version: str
    age: float


@dataclass(frozen=True, slots=True)
class Entry:
    """An object in a listing. `size` is in bytes, `age` in seconds."""

    key: str
    version: str
    size: int
    age: float


@runtime_checkable
class DuckdbReadable(Protocol):
    """A store whose objects DuckDB's httpfs can read."""

    def duckdb_secret(self) -> Mapping[str, str]:
        """Return the options, including `type`, of a `CREATE SECRET` that lets DuckDB read this bucket now.

        Raises:
            SettingsError: there are no credentials.
        """


class Store(Protocol):
    """A bucket. Every implementation passes `tests/unit/store/suite.py`.

    Keys that are absolute, empty, or contain `..`, a backslash, a NUL or an empty part raise `InvalidInputError`.
    A backend that does not respond raises `UnavailableError`.
    """

    @property
    def url(self) -> str:
        """The `DATA_URL` of the bucket, without a trailing slash."""

    def read(self, key: str, *, unless: str | None = None) -> Object | None:
        """Read a whole object; `None` if it does not exist.

        If it is still at version `unless`, `data` is empty: the caller has it already.
        """

    def put(self, key: str, data: bytes, *, if_version: str | Condition) -> str:
        """Write a whole object and return its new version.

        Raises:
            StoreConflictError: the object is at another version than `if_version`, or exists despite `ABSENT`.
            UnsureWriteError: no response came; the write may have happened.
        """

    def upload(self, key: str, path: Path) -> str:
        """Copy a local file of any size to a new object and return its version. The file may change afterwards.

        Raises:
            StoreConflictError: the object already exists.
            UnsureWriteError: no attempt got a response; the object may exist.
        """

    def download(self, key: str, path: Path) -> str:
        """Copy an object to a local file and return its version. A broken download leaves no file.

        Raises:
            ObjectMissingError: no object has this key.
        """

    def list(self, prefix: str) -> "Iterable[Entry]":
        """List the objects whose keys start with `prefix`, in the order of their keys, page by page."""

    def list_folders(self, prefix: str) -> "Iterable[str]":
        """List the names of the folders directly under `prefix` (which ends in `/`)."""

    def head(self, key: str) -> Entry | None:
        """Return the entry of one object without reading it; `None` if it does not exist."""

    def delete(self, key: str) -> None:
        """Delete an object; a missing one is no error. An object written later has a new version."""

    def sign(self, key: str, *, expires: int, filename: str) -> str:
        """Make a URL that reads this object for `expires` seconds without other credentials, saved as `filename`.

        A URL that starts with `/` is relative to the address of our own functions.
        """

    def local_path(self, key: str) -> Path | None:
        """Return the path of the object on this machine's disk, whether it exists or not; `None` for a remote store.

        Nothing may write to that path.
        """


def require(key: str, current: str | None, if_version: str | Condition) -> None:
    """Check the condition of a write against the current version of the object (`None`: it does not exist).

    Raises:
        StoreConflictError: the condition does not hold.
    """
    if if_version is ANY or current == (None if if_version is ABSENT else if_version):
        return
    state = "does not exist" if current is None else f"is at version {current}"
    wanted = "to be absent" if if_version is ABSENT else f"version {if_version}"
    raise StoreConflictError(f"{key!r} {state}, but the write expects {wanted}; read it again and repeat the change")
