"""Compare-and-swap: read an object, compute its next state, write that if the object has not changed since.

And a simpler case: writing an object once, where every writer would write something equivalent.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from analyst import backoff
from analyst.errors import UnavailableError
from analyst.store.interface import ABSENT, Condition, Object, Store, StoreConflictError, UnsureWriteError

FEW = 5
"""The number of attempts for callers that prefer an early error to a late success."""

_PATIENCE = 60.0
_SMALL = 65_536


def swap(
    store: Store,
    key: str,
    change: Callable[[Object | None], bytes],
    *,
    done: Callable[[Object], bool],
    pauses: Iterable[float] | None = None,
    most: int | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> str:
    """Replace an object with its next state; return the version that contains the change.

    Args:
        store: the bucket.
        key: the object.
        change: returns the next state of the current object (`None`: it does not exist). It is called again on the
            new state whenever another writer was faster; an error that it raises ends the swap.
        done: returns whether an object already contains this change, by an id in the body. It is called after a write
            without a response, when others may have built on it since.
        pauses: seconds to wait before each further attempt (default: `pauses_for`).
        most: the maximum number of attempts.
        sleep: waits.

    Raises:
        UnavailableError: other writers were faster at every attempt, or the store does not respond.
        UnsureWriteError: a write got no response and can't be read back; the change may be there.
    """
    unsure: UnsureWriteError | None = None
    for _ in attempts(store, most, pauses=pauses, sleep=sleep):
        current = _read_back(store, key, unsure)
        # A write without a response may have succeeded. Without this check of the body, the retry would fail its own
        # condition, apply the change a second time to its own result, and report success once for two changes.
        if unsure is not None and current is not None and done(current):
            return current.version
        data = change(current)
        try:
            return store.put(key, data, if_version=ABSENT if current is None else current.version)
        except UnsureWriteError as error:
            unsure = error
        except StoreConflictError:
            pass  # another writer was faster, or an earlier attempt of ours arrived late: the next read shows which
    return _last_look(store, key, done, unsure)


def put_once(
    store: Store,
    key: str,
    data: bytes,
    *,
    if_version: str | Condition = ABSENT,
    most: int = FEW,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Write an object for which every writer would write something equivalent; return whether this call certainly did.

    A conflict is success: the object is there, written by another process or by an attempt whose response was lost.

    Args:
        store: the bucket.
        key: the object.
        data: its content.
        if_version: the version to replace (default: the object must not exist).
        most: the maximum number of attempts.
        sleep: waits.

    Raises:
        UnavailableError: the store does not respond.
        UnsureWriteError: no attempt got a response; the object may exist.
    """
    return _write_once(store, lambda: store.put(key, data, if_version=if_version), most, sleep)


def upload_once(store: Store, key: str, path: Path, *, sleep: Callable[[float], None] = time.sleep) -> None:
    """Copy a local file to a key under which only equivalent content is ever written, like `put_once`."""
    _write_once(store, lambda: store.upload(key, path), FEW, sleep)


def small_text(data: bytes) -> str | None:
    """Return the text of an object if it is small enough to be embedded in its pointer, which saves a request."""
    return data.decode() if len(data) <= _SMALL else None


def attempts(
    store: Store,
    most: int | None = None,
    *,
    pauses: Iterable[float] | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[int]:
    """Yield the number of each attempt, with `pauses` between them (default: `pauses_for`)."""
    return backoff.attempts(pauses_for(store) if pauses is None else pauses, most, sleep)


def pauses_for(store: Store) -> Iterator[float]:
    """Yield growing random pauses in seconds, a minute in total.

    They start at milliseconds for a bucket on this host, and at a second for a cloud: Google Cloud Storage accepts one
    write per second and object.
    """
    shortest, longest = (0.002, 0.25) if store.url.startswith(("file:", "memory:")) else (1.0, 16.0)
    return backoff.within(backoff.growing(shortest, longest), _PATIENCE)


def _write_once(store: Store, write: Callable[[], object], most: int, sleep: Callable[[float], None]) -> bool:
    unsure = UnsureWriteError("")
    for _ in attempts(store, most, sleep=sleep):
        try:
            write()
        except UnsureWriteError as error:
            unsure = error
        except StoreConflictError:
            return False  # another writer was first, or an attempt of ours whose response was lost
        else:
            return True
    raise unsure


def _read_back(store: Store, key: str, unsure: UnsureWriteError | None) -> Object | None:
    try:
        return store.read(key)
    except UnavailableError as error:
        if unsure is None:
            raise
        raise UnsureWriteError(
            f"the write of {key!r} got no response, and the object can't be read back; check whether the change is there "
            "before you repeat it"
        ) from error


def _last_look(store: Store, key: str, done: Callable[[Object], bool], unsure: UnsureWriteError | None) -> str:
    if unsure is None:
        raise UnavailableError(f"{key!r} can't be written: other processes change it all the time; try again later")
    current = _read_back(store, key, unsure)
    if current is not None and done(current):
        return current.version
    raise unsure
