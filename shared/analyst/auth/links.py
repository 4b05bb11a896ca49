"""Links that prove control of a mailbox: signed, short-lived, and valid once.

A link alone proves that a mail was delivered, not that a person read it: mail scanners open links, run the scripts of
the page and submit its forms. So a link works in the browser that requested it, which has a cookie, and in any other one
with a code of six digits. The requesting page shows the code. The mail of an invitation, which no browser requested,
contains it as text. Each link allows five attempts at its code.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Final

from analyst.auth.keys import Keys, Purpose
from analyst.auth.limits import Limit, Limits
from analyst.auth.single_use_tokens import use
from analyst.errors import UnauthenticatedError
from analyst.store import Store

LASTS: Final[Mapping[Purpose, timedelta]] = MappingProxyType(
    {Purpose.MAGIC_LINK: timedelta(minutes=15), Purpose.SET_UP: timedelta(hours=24), Purpose.RESET: timedelta(hours=1)}
)
"""The validity of each kind of link."""


PER_LINK: Final = Limit("link-code", 5, timedelta(hours=24))
"""Codes that may be tried for one link."""

PER_CLIENT: Final = Limit("link-code-from", 30, timedelta(minutes=15))
"""Codes that one client may try, for any links."""

_COOKIE: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_CODE: Final = re.compile(r"[0-9]{6}")


class CodeError(UnauthenticatedError):
    """A link was opened in another browser, and its code is missing or wrong. The link stays valid."""


@dataclass(frozen=True, slots=True)
class Binding:
    """The binding of a link to a person: its id, the code derived from it, and the cookie of the requesting browser."""

    id: str
    code: str
    cookie: str | None = None

    @property
    def claims(self) -> Mapping[str, Any]:
        """The claims for the link. They reveal neither the cookie nor the code."""
        return {"jti": self.id, **({} if self.cookie is None else {"browser": _digest(self.cookie)})}


@dataclass(frozen=True, slots=True)
class Shown:
    """The proof beside a link: the browser's cookie, the entered code, and the network of the client."""

    cookie: str | None
    code: str
    network: str


def bind(keys: Keys, purpose: Purpose) -> Binding:
    """Create a binding that no browser requested: its code is handed over with it, as text."""
    id_ = secrets.token_urlsafe(16)
    return Binding(id_, keys.codes(purpose, id_)[0])


def bind_to_browser(keys: Keys, purpose: Purpose, cookie: str | None) -> Binding:
    """Bind a link to the browser that requests it, by the cookie that it has or gets."""
    bound = bind(keys, purpose)
    known = cookie is not None and _COOKIE.fullmatch(cookie)
    return Binding(bound.id, bound.code, cookie if known else secrets.token_urlsafe(32))


@dataclass(frozen=True, slots=True)
class Link:
    """The content of a link. `subject` is an e-mail address or the id of a user; `claims` depend on the kind of link."""

    subject: str
    claims: Mapping[str, Any] = field(default_factory=dict)


def make(keys: Keys, purpose: Purpose, link: Link, now: datetime) -> str:
    """Create the token of a link."""
    return keys.sign(purpose, link.subject, now, LASTS[purpose], **link.claims)


def read(keys: Keys, purpose: Purpose, token: str, now: datetime) -> Link:
    """Verify a link's token without using it: a mail scanner that opens it changes nothing.

    Raises:
        UnauthenticatedError: it was not made here for this purpose, or has expired.
    """
    claims = keys.verify(purpose, token, now)
    return Link(str(claims["sub"]), claims)


def needs_code(link: Link, cookie: str | None) -> bool:
    """Return whether a browser must present the link's code: all but the one that requested it."""
    if "jti" not in link.claims:  # from a version that did not bind links; none is older than a day
        return False
    browser = link.claims.get("browser")
    return cookie is None or not isinstance(browser, str) or not hmac.compare_digest(_digest(cookie), browser)


def require_person(keys: Keys, purpose: Purpose, link: Link, shown: Shown, *, limits: Limits, now: datetime) -> None:
    """Accept a link in the browser that requested it, or with its code.

    Input that can't be a code is not counted, so that a scanner that fills in forms does not use up the attempts.

    Raises:
        CodeError: it is another browser, and the code is missing or wrong.
        RateLimitedError: too many codes were tried.
    """
    if not needs_code(link, shown.cookie):
        return
    code = "".join(shown.code.split())
    if not _CODE.fullmatch(code):
        raise CodeError(
            "this link was requested in another browser; enter the code that is shown there, or in the invitation"
        )
    limits.count(PER_CLIENT, shown.network, now)
    limits.count(PER_LINK, str(link.claims["jti"]), now)
    if not any(hmac.compare_digest(code, right) for right in keys.codes(purpose, str(link.claims["jti"]))):
        raise CodeError("the code is wrong; check it and try again")


def _digest(cookie: str) -> str:
    return hashlib.sha256(cookie.encode("utf-8", "surrogatepass")).hexdigest()


def consume(keys: Keys, purpose: Purpose, token: str, store: Store, now: datetime) -> Link:
    """Verify a link's token and use it up.

    Raises:
        UnauthenticatedError: it is not valid, or was used before.
        UnavailableError: the store does not respond.
    """
    link = read(keys, purpose, token, now)
    use(store, token, now)
    return link
