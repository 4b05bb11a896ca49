"""Links that prove the way to a mailbox: signed, short-lived, used once, and of no use after what they were for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Final

from analyst.auth.keys import Keys, Purpose
from analyst.auth.once import use
from analyst.store import Store

LASTS: Final[Mapping[Purpose, timedelta]] = MappingProxyType(
    {Purpose.MAGIC_LINK: timedelta(minutes=15), Purpose.SET_UP: timedelta(hours=24), Purpose.RESET: timedelta(hours=1)}
)
"""How long each kind of link works."""


@dataclass(frozen=True, slots=True)
class Link:
    """What a link says. `subject` is an e-mail or the id of a user, `claims` what its kind needs besides."""

    subject: str
    claims: Mapping[str, Any] = field(default_factory=dict)


def make(keys: Keys, purpose: Purpose, link: Link, now: datetime) -> str:
    """Make the token that stands in a link."""
    return keys.sign(purpose, link.subject, now, LASTS[purpose], **link.claims)


def read(keys: Keys, purpose: Purpose, token: str, now: datetime) -> Link:
    """Read a link's token, as often as one likes: a mail scanner that opens it changes nothing.

    Raises:
        UnauthenticatedError: it was not made here for this purpose, or has expired.
    """
    claims = keys.verify(purpose, token, now)
    return Link(str(claims["sub"]), claims)


def consume(keys: Keys, purpose: Purpose, token: str, store: Store, now: datetime) -> Link:
    """Read a link's token and use it up.

    Raises:
        UnauthenticatedError: it is not valid, or was used before.
        UnavailableError: the store does not answer.
    """
    link = read(keys, purpose, token, now)
    use(store, token, now)
    return link
