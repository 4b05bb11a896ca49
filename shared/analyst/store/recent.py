"""JSON documents of the bucket that every request needs and that rarely change, cached in each process."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from analyst.errors import UnavailableError
from analyst.store.interface import Object, Store

D = TypeVar("D", bound=BaseModel)


@dataclass(slots=True)
class Recent:
    """Documents, each read again when it is older than `max_age` seconds. Thread-safe."""

    store: Store
    max_age: float
    monotonic: Callable[[], float]
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _read: dict[str, tuple[float, str | None, BaseModel]] = field(default_factory=dict)

    def read(self, kind: type[D], key: str) -> D:
        """Return a document, with its defaults if the object does not exist; the same instance until it changes.

        Raises:
            UnavailableError: the store does not respond, or the document is damaged.
        """
        with self._lock:
            as_of, version, document = self._read.get(key, (float("-inf"), None, kind()))
            began = self.monotonic()
            if began - as_of >= self.max_age:
                found = self.store.read(key, unless=version)
                if (version_now := None if found is None else found.version) != version:
                    document, version = parsed(kind, key, found), version_now
                self._read[key] = began, version, document
            if not isinstance(document, kind):
                raise TypeError(f"{key!r} is read as two kinds")
            return document

    def expire(self, key: str) -> None:
        """Read a document again before the next answer, because it has changed."""
        with self._lock:
            if key in self._read:
                self._read[key] = (float("-inf"), *self._read[key][1:])


def parsed(kind: type[D], key: str, found: Object | None) -> D:
    """Return the document of an object; with its defaults if there is none.

    Raises:
        UnavailableError: it is damaged, or of a newer version.
    """
    try:
        return kind() if found is None else kind.model_validate_json(found.data)
    except ValidationError as error:
        raise UnavailableError(f"{key!r} is damaged or of a newer version; restore it from a backup") from error
