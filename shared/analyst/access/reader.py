"""The reader of the access list: it revalidates before each answer, and trusts an old list only briefly."""

import hashlib
import threading
from collections.abc import Callable
from datetime import datetime
from typing import Final, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from analyst.access import parts
from analyst.access.roles import Caller
from analyst.access.rules import TOKEN_PREFIX, AccessList
from analyst.errors import AnalystError, UnauthenticatedError, UnavailableError
from analyst.store import Object, Store

CURRENT = "state/current.json"
"""The key of the pointer."""

SCHEMA_VERSION: Final = 6
"""The version of the schema of the system state that this code reads and writes."""


class StatePointer(BaseModel):
    """`state/current.json`: the current pair of system file and access list."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    version: int
    """The number of edits, starting at 1."""
    system: str
    """The key of the DuckDB file."""
    access: str
    """The key of the access list, or of the list of its parts."""
    sha256: dict[str, str]
    """SHA-256 (hex) of the objects `system` and `access`; that of a list of parts is named `parts.HASHED`."""
    access_text: str | None = None
    """The object `access` itself if it is small: one request less for a process that starts."""
    recent: tuple[str, ...] = ()
    """Ids of the last edits, newest last, by which a writer that got no response finds out whether it succeeded."""
    schema_version: int = 0
    """The version of the schema of the system file; 0 if an older version wrote the pointer."""


class StateTooNewError(UnavailableError):
    """The state was written by a newer version of this program; it is left untouched."""

    code = "state_too_new"
    retryable = False

    @classmethod
    def of(cls, version: int) -> Self:
        """Return the error for a version of the schema."""
        return cls(
            f"the system state has schema version {version}, but this version supports only versions up to "
            f"{SCHEMA_VERSION}; upgrade the functions"
        )


class DamagedStateError(UnavailableError):
    """An object of the state is missing, damaged, or of a newer version; it stays so until an administrator acts."""

    retryable = False


def parse_pointer(data: bytes) -> StatePointer:
    """Parse `state/current.json`.

    Raises:
        DamagedStateError: it is malformed.
        StateTooNewError: a newer version wrote it.
    """
    try:
        pointer = StatePointer.model_validate_json(data)
    except ValidationError as error:
        raise DamagedStateError(
            f"{CURRENT!r} can't be read: it is damaged, or was written by a newer version; restore it from a backup "
            "or an "
            "earlier object version, or install the newer version; do not delete it"
        ) from error
    if pointer.schema_version > SCHEMA_VERSION:
        raise StateTooNewError.of(pointer.schema_version)
    return pointer


TRUSTED_FOR: Final = 60.0
"""Seconds for which a list is still used while the store does not respond."""

_RETRY_AFTER: Final = 1.0
_REFRESHES_PER_SECOND: Final = 5.0


class AccessReader:
    """The current access list of a process. Threads that need a newer one share one fetch.

    Ages count from when a fetch began: what it read may have been replaced while it was under way. `max_age` is in
    seconds, `monotonic` a clock such as `time.monotonic`. `renew` publishes the list again from the system state: it is
    called when the list is missing, damaged, or in a format of another version.
    """

    def __init__(
        self,
        store: Store,
        max_age: float,
        monotonic: Callable[[], float],
        renew: Callable[[], None] | None = None,
    ) -> None:
        self._store = store
        self._max_age = max_age
        self._monotonic = monotonic
        self._renew = renew
        self._fetching = threading.Lock()
        self._list = AccessList()
        self._parts = parts.PartReader(store)
        self._version: str | None = None
        self._as_of = float("-inf")
        self._failed_at = float("-inf")
        self._failure: AnalystError | None = None
        self._newest_edit = self._fetched_edit = object()
        self._refreshes = _Allowance(_REFRESHES_PER_SECOND)

    def current(self) -> AccessList:
        """Return the list, fetched at most `max_age` ago.

        While the store does not respond, the last list is used until it is 60 seconds old.

        Raises:
            UnavailableError: there is no list, or it is too old to be trusted.
        """
        after = self._monotonic() - self._max_age
        if not self._is_good(after):
            with self._fetching:
                # Checked again under the lock: the thread that held it has usually fetched what this one waits for.
                if not self._is_good(after) and not self._has_just_failed():
                    self._try_to_fetch()
        return self._trusted()

    def refresh(self) -> AccessList:
        """Fetch the list again, for a token that it does not know; at most a few times per second."""
        if self._refreshes.take(self._monotonic()):
            self.expire()
        return self.current()

    def expire(self) -> None:
        """Fetch the list again before the next answer, because something has changed."""
        self._newest_edit = object()

    def caller_of(self, token: str, now: datetime) -> Caller:
        """Return the caller of an access token, even if another process created it a moment ago.

        Raises:
            UnauthenticatedError: it is not valid.
            UnavailableError: as `current`.
        """
        try:
            return self.current().caller_of(token, now)
        except UnauthenticatedError:
            if not token.startswith(TOKEN_PREFIX):
                raise
        return self.refresh().caller_of(token, now)

    def _is_good(self, after: float) -> bool:
        return self._as_of > after and self._fetched_edit is self._newest_edit

    def _has_just_failed(self) -> bool:
        return self._monotonic() < self._failed_at + _RETRY_AFTER

    def _try_to_fetch(self) -> None:
        """Fetch; a failure is remembered, not raised, because the present list may still be good enough."""
        # Both are read before the fetch: it may miss an edit that ends in the meantime, and must count as older.
        began, edit = self._monotonic(), self._newest_edit
        try:
            self._fetch()
        except AnalystError as error:
            self._failed_at, self._failure = self._monotonic(), error
        else:
            self._as_of, self._fetched_edit = began, edit

    def _fetch(self) -> None:
        pointer = self._store.read(CURRENT, unless=self._version)
        if pointer is None:
            self._list, self._version = AccessList(), None
        elif pointer.version != self._version:
            self._list, self._version = self._read(pointer)

    def _read(self, pointer: Object) -> tuple[AccessList, str]:
        try:
            return self._load(pointer.data), pointer.version
        except parts.UnreadableError:
            newer = self._pointer()
            if newer.version == pointer.version:
                if self._renew is None:
                    raise
                self._renew()
                newer = self._pointer()
        return self._load(newer.data), newer.version

    def _pointer(self) -> Object:
        found = self._store.read(CURRENT)
        if found is None:
            raise DamagedStateError(
                f"{CURRENT!r} has been deleted; restore it from a backup or an earlier object version"
            )
        return found

    def _load(self, pointer: bytes) -> AccessList:
        place = parse_pointer(pointer)
        text = list_text(self._store, place)
        if parts.HASHED in place.sha256:
            return self._parts.read(parts.parse_list(text, place.access))
        return parts.parse(text, place.access)

    def _trusted(self) -> AccessList:
        if self._monotonic() - self._as_of > TRUSTED_FOR:
            if isinstance(self._failure, StateTooNewError):
                raise StateTooNewError(str(self._failure)) from self._failure
            if self._failure is not None and not self._failure.retryable:
                raise DamagedStateError(f"the access list can't be read: {self._failure}") from self._failure
            raise UnavailableError(
                "the access list is temporarily unavailable; try again in a moment"
            ) from self._failure
        return self._list


def list_text(store: Store, place: StatePointer) -> bytes:
    """Return the access list to which the pointer refers, or the list of its parts.

    Raises:
        UnreadableError: it is missing or damaged.
        UnavailableError: the store does not respond.
    """
    if place.access_text is not None:
        text = place.access_text.encode()
    else:
        published = store.read(place.access)
        text = b"" if published is None else published.data
    if hashlib.sha256(text).hexdigest() != place.sha256.get(parts.HASHED, place.sha256.get("access")):
        raise parts.UnreadableError(f"the access list {place.access!r} is missing or damaged")
    return text


class _Allowance:
    """A rate limit per second, with bursts of the same size. It uses no lock: being off by one does no harm."""

    def __init__(self, per_second: float) -> None:
        self._rate = per_second
        self._left = per_second
        self._at: float | None = None

    def take(self, now: float) -> bool:
        passed = now - self._at if self._at is not None else 0.0
        self._left, self._at = min(self._rate, self._left + passed * self._rate), now
        if self._left < 1:
            return False
        self._left -= 1
        return True
