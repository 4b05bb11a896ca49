"""A large access list in parts: immutable objects with the entries of some users, groups or tables each.

A change writes the parts whose entries it changes and a small list of all parts, and a reader parses only parts that it
does not know. A part's key is new whenever it is written, so that a part which no list names any more, and which a sweep is
about to delete, is never named again.
"""

import gc
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from analyst.access.rules import AccessList, Granted, Grants, Registration, Token, User, Withdrawn
from analyst.errors import UnavailableError
from analyst.store import Store, in_parallel

PREFIX: Final = "state/access_parts/"
NAME: Final = re.compile(rf"{PREFIX}[0-9a-z]{{26}}-[a-z]+-[0-9]+\.json")
HASHED: Final = "access_parts"
"""The name in the pointer's `sha256` of the hash of a list of parts.

A list of another version, which does not know parts, finds no hash of `access` there: it takes the list for a damaged one,
and publishes it again as a whole.
"""


class UnreadableError(UnavailableError):
    """An access list, or a part of it, can't be read, but can be published again."""


class Part(BaseModel):
    """A part of the list. `mark` is equal as long as the rows of the state behind it are."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    key: str
    sha256: str
    mark: str


class PartList(BaseModel):
    """The parts of an access list, by name: `<kind>-<number>`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    version: int
    parts: dict[str, Part]

    @property
    def keys(self) -> frozenset[str]:
        """The keys of the parts."""
        return frozenset(part.key for part in self.parts.values())


def parse_list(text: bytes, key: str) -> PartList:
    """Parse a list of parts.

    Raises:
        UnreadableError: it is in the format of another version.
    """
    try:
        return PartList.model_validate_json(text)
    except ValidationError as error:
        raise UnreadableError(f"the list {key!r} of parts has the format of another version") from error


def parse(text: bytes, key: str) -> AccessList:
    """Parse an access list or a part of one.

    Raises:
        UnreadableError: it is in the format of another version.
    """
    try:
        with _without_collection():
            return AccessList.model_validate_json(text)
    except ValidationError as error:
        raise UnreadableError(f"the access list {key!r} has the format of another version") from error


class PartReader:
    """Reads lists in parts. It keeps the parts of the last list, because most are in the next one too."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: Mapping[str, AccessList] = {}

    def read(self, listed: PartList) -> AccessList:
        """Return the whole access list.

        Raises:
            UnreadableError: a part is missing, damaged, or in the format of another version.
            UnavailableError: the store does not respond.
        """
        known = self._known
        missing = [part for part in listed.parts.values() if part.key not in known]
        texts = in_parallel(self._text, missing)
        read = {part.key: parse(text, part.key) for part, text in zip(missing, texts, strict=True)}
        self._known = {part.key: read.get(part.key) or known[part.key] for part in listed.parts.values()}
        return _joined(listed.version, self._known.values())

    def _text(self, part: Part) -> bytes:
        found = self._store.read(part.key)
        if found is None or hashlib.sha256(found.data).hexdigest() != part.sha256:
            raise UnreadableError(f"the part {part.key!r} of the access list is missing or damaged")
        return found.data


def _joined(version: int, parts: Iterable[AccessList]) -> AccessList:
    """Join parts, which have no entry in common; tables are ordered by their registration, as in a whole list."""
    users: dict[str, User] = {}
    groups: dict[str, str] = {}
    tokens: dict[str, Token] = {}
    tables: dict[str, Registration] = {}
    of_users: dict[str, Granted] = {}
    of_groups: dict[str, Granted] = {}
    withdrawn: dict[str, Withdrawn] = {}
    revoked_sessions: list[str] = []
    for part in parts:
        users |= part.users
        groups |= part.groups
        tokens |= part.tokens
        tables |= part.tables
        of_users |= part.grants.users
        of_groups |= part.grants.groups
        withdrawn |= part.withdrawn or {}
        revoked_sessions += part.revoked_sessions
    return AccessList.model_construct(
        version=version,
        users=users,
        groups=groups,
        tokens=tokens,
        tables=dict(sorted(tables.items(), key=lambda item: (item[1].registered_at, item[0]))),
        grants=Grants.model_construct(users=of_users, groups=of_groups),
        withdrawn=withdrawn,
        revoked_sessions=tuple(sorted(revoked_sessions)),
    )


@contextmanager
def _without_collection() -> Iterator[None]:
    """Suspend garbage collection, which would traverse all the new objects again and again."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
