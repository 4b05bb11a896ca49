"""Compare-and-swap: read an object, make its next state, write it if it is still the one that was read.

And what is simpler: writing once what nobody else would write in another way.
"""

import random
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

from analyst.errors import UnavailableError
from analyst.store.port import ABSENT, Condition, Object, Store, StoreConflictError, UnsureWriteError

FEW = 5
"""Attempts where somebody waits for whom it is better to know that the store does not answer."""

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
    """Replace an object by what `change` makes of it; return the version in which the change is.

    Args:
        store: the bucket.
        key: the object.
        change: makes the next state of the current object, `None` when there is none. It runs again, on what others
            wrote, whenever they came between; whatever it raises ends the swap.
        done: tells whether an object has this change already, by an id of it in the body. It is asked after a write
            that got no answer, when others may have built on it since.
        pauses: seconds to wait before each further attempt; those of `pauses_for` when not given.
        most: how many attempts are made at most.
        sleep: waits.

    Raises:
        UnavailableError: others came between at every attempt, or the store does not answer.
        UnsureWriteError: a write got no answer and can't be read back; the change may be there.
    """
    unsure: UnsureWriteError | None = None
    for _ in attempts(store, most, pauses=pauses, sleep=sleep):
        current = _read_back(store, key, unsure)
        if unsure is not None and current is not None and done(current):
            return current.version
        data = change(current)
        try:
            return store.put(key, data, if_version=ABSENT if current is None else current.version)
        except UnsureWriteError as error:
            unsure = error
        except StoreConflictError:
            pass  # somebody came between, or an earlier attempt of ours came late: the next reading tells
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
    """Write an object that nobody writes anything else in the place of: whoever came first has written what is as good.

    So a name is written once, or one version is replaced once, however often the answer is lost. Return whether this
    call certainly wrote it.

    Args:
        store: the bucket.
        key: the object.
        data: what it is to hold.
        if_version: the version that it replaces; there is none when not given.
        most: how many attempts are made at most.
        sleep: waits.

    Raises:
        UnavailableError: the store does not answer.
        UnsureWriteError: no attempt got an answer; the object may be there.
    """
    return _write_once(store, lambda: store.put(key, data, if_version=if_version), most, sleep)


def upload_once(store: Store, key: str, path: Path, *, sleep: Callable[[float], None] = time.sleep) -> None:
    """Copy a local file to a name that only this content, or what is as good, is written under: as `put_once`."""
    _write_once(store, lambda: store.upload(key, path), FEW, sleep)


def small_text(data: bytes) -> str | None:
    """Give what of an object stands in the pointer to it too: its text if it is small, which saves a request."""
    return data.decode() if len(data) <= _SMALL else None


def attempts(
    store: Store,
    most: int | None = None,
    *,
    pauses: Iterable[float] | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[None]:
    """Yield once for each attempt, with `pauses` between them: those of `pauses_for` when not given."""
    yield
    for pause in islice(pauses_for(store) if pauses is None else pauses, None if most is None else most - 1):
        sleep(pause)
        yield


def pauses_for(store: Store) -> Iterator[float]:
    """Yield pauses between attempts, longer and longer and never the same, a minute in sum.

    They start at milliseconds on this host, and at a second elsewhere: a cloud takes one write per second and object.
    """
    shortest, longest = (0.002, 0.25) if store.url.startswith(("file:", "memory:")) else (1.0, 16.0)
    waited, growing = 0.0, growing_pauses(shortest, longest)
    while waited < _PATIENCE:
        pause = next(growing)
        yield pause
        waited += pause


def growing_pauses(shortest: float, longest: float) -> Iterator[float]:
    """Yield pauses in seconds, longer and longer and never the same, without end."""
    most = shortest * 2
    while True:
        yield random.uniform(shortest, most)  # noqa: S311 - only spreads the contenders
        most = min(most * 2, longest)


def _write_once(store: Store, write: Callable[[], object], most: int, sleep: Callable[[float], None]) -> bool:
    unsure = UnsureWriteError("")
    for _ in attempts(store, most, sleep=sleep):
        try:
            write()
        except UnsureWriteError as error:
            unsure = error
        except StoreConflictError:
            return False  # somebody was first, or an attempt of ours that got no answer
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
            f"{key} was written without an answer and can't be read back; look before you repeat it"
        ) from error


def _last_look(store: Store, key: str, done: Callable[[Object], bool], unsure: UnsureWriteError | None) -> str:
    if unsure is None:
        raise UnavailableError(f"others change {key} all the time; try again later")
    current = _read_back(store, key, unsure)
    if current is not None and done(current):
        return current.version
    raise unsure
