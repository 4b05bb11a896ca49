"""The port through which every byte of the bucket is read and written.

Keys are relative to `DATA_URL`, with `/` between parts: `extracts/shop/extract.duckdb`. A *version* is an opaque text
that changes whenever the object does. Times are the store's: an age is its clock minus the object's own time.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final, Protocol, runtime_checkable
from urllib.parse import urlsplit

from analyst.errors import AnalystError, NotFoundError, UnavailableError


def endpoint_options(address: str) -> dict[str, str]:
    """Give the options of a `CREATE SECRET` that lead to a server at an address of its own."""
    place = urlsplit(address)
    return {"endpoint": place.netloc, "url_style": "path", "use_ssl": str(place.scheme == "https").lower()}


class StoreConflictError(AnalystError):
    """The object is not at the version that the write was conditioned on."""

    status = 409
    code = "store_conflict"
    retryable = True


class ObjectMissingError(NotFoundError):
    """No object has this key."""


class UnsureWriteError(UnavailableError):
    """A write got no answer: it may have happened, happen yet, or never. Read back to know, or repeat what may be repeated."""

    code = "store_unsure"


class Condition(Enum):
    """What a write may ask of the object besides being at a version."""

    ABSENT = "absent"
    ANY = "any"


ABSENT: Final = Condition.ABSENT
"""Write only if there is no object of this key."""

ANY: Final = Condition.ANY
"""Write whatever is there: only for copies that nothing of ours reads."""


@dataclass(frozen=True, slots=True)
class Object:
    """One object as read. `age` is in seconds."""

    data: bytes
    version: str
    age: float


@dataclass(frozen=True, slots=True)
class Entry:
    """One object as listed. `size` is in bytes, `age` in seconds."""

    key: str
    version: str
    size: int
    age: float


@runtime_checkable
class DuckdbReadable(Protocol):
    """A store whose objects DuckDB's httpfs can read."""

    def duckdb_secret(self) -> Mapping[str, str]:
        """Give the options of a `CREATE SECRET` that lets DuckDB read this bucket now; its `type` is among them.

        Raises:
            SettingsError: there are no credentials.
        """


class Store(Protocol):
    """A bucket. Every implementation passes `tests/unit/store/suite.py`.

    Keys that are absolute, empty, or hold `..`, a backslash, a NUL or an empty part raise `InvalidInputError`.
    A backend that does not answer raises `UnavailableError`.
    """

    @property
    def url(self) -> str:
        """The `DATA_URL` of the bucket, without a slash at its end."""

    def read(self, key: str, *, unless: str | None = None) -> Object | None:
        """Read an object whole, `None` if there is none.

        If it is still at version `unless`, `data` comes back empty: the caller has it already.
        """

    def put(self, key: str, data: bytes, *, if_version: str | Condition) -> str:
        """Write an object whole and return its new version.

        Raises:
            StoreConflictError: the object is at another version than `if_version`, or exists despite `ABSENT`.
            UnsureWriteError: no answer came; the write may have happened.
        """

    def upload(self, key: str, path: Path) -> str:
        """Copy a local file of any size to a new object, put-if-absent; return its version. The file may change afterwards.

        Raises:
            StoreConflictError: the key is taken.
            UnsureWriteError: no answer came, however often it was sent; the object may be there.
        """

    def download(self, key: str, path: Path) -> str:
        """Copy an object to a local file, atomically (a broken download leaves none); return its version.

        Raises:
            ObjectMissingError: no object has this key.
        """

    def list(self, prefix: str) -> "Iterable[Entry]":
        """List the objects whose keys start with `prefix`, in the order of their keys, as they are reached."""

    def list_folders(self, prefix: str) -> "Iterable[str]":
        """List the names that stand directly under `prefix` (which ends in `/`) and have objects below them."""

    def head(self, key: str) -> Entry | None:
        """Look at one object without reading it, `None` if there is none."""

    def delete(self, key: str) -> None:
        """Delete an object; deleting none is no error. An object that comes later has a version of its own."""

    def sign(self, key: str, *, expires: int, filename: str) -> str:
        """Make a URL that reads this object for `expires` seconds without further proof, saved as `filename`.

        A URL that starts with `/` is relative to the address of our own functions.
        """

    def local_path(self, key: str) -> Path | None:
        """Tell where the object lies, or would, on this machine's disk; `None` for a store that is elsewhere.

        What lies there is never to be written to.
        """


def require(key: str, current: str | None, if_version: str | Condition) -> None:
    """Let a write through when the object's current version (`None`: there is none) is the one it is conditioned on.

    Raises:
        StoreConflictError: it is not.
    """
    if if_version is ANY or current == (None if if_version is ABSENT else if_version):
        return
    there = "does not exist" if current is None else f"is at version {current}"
    wanted = "to be absent" if if_version is ABSENT else f"version {if_version}"
    raise StoreConflictError(f"{key} {there}, and the write expects {wanted}; read it again and repeat the change")
