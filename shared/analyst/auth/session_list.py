"""The sessions of each user, for their account page: browsers, `da` on laptops, and agents connected by OAuth.

Sessions are valid by their signature alone. `state/sessions/<user>/<session>.json` only names them: when they began, where,
and when they were last refreshed. A record that can't be written costs nobody their sign-in; its session is not listed, and
signing out everywhere ends it too. The sweep removes records once their sessions have expired.
"""

import hashlib
import logging
import re
from datetime import datetime, timedelta
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from analyst import logs
from analyst.access import AccessList
from analyst.auth import sessions
from analyst.auth.sessions import Session
from analyst.errors import AnalystError
from analyst.store import ANY, Store

_LOG: Final = logging.getLogger(f"{logs.ROOT}.auth")

PREFIX: Final = "state/sessions/"
"""The prefix of the records, by user."""

Kind = Literal["browser", "da", "agent"]

_LASTS: Final[dict[Kind, timedelta]] = {
    "browser": sessions.BROWSER_LASTS,
    "da": sessions.REFRESH_LASTS,
    "agent": sessions.REFRESH_LASTS,
}
_LONGEST: Final = 200
_BROWSERS: Final = (
    ("Edge", re.compile(r"\bEdg")),
    ("Opera", re.compile(r"\bOPR/")),
    ("Firefox", re.compile(r"\b(Firefox|FxiOS)/")),
    ("Chrome", re.compile(r"\b(Chrome|CriOS|Chromium)/")),
    ("Safari", re.compile(r"\bSafari/")),
)
_SYSTEMS: Final = (
    ("iPhone", re.compile(r"\biPhone")),
    ("iPad", re.compile(r"\biPad")),
    ("Android", re.compile(r"\bAndroid")),
    ("Windows", re.compile(r"\bWindows")),
    ("macOS", re.compile(r"\bMac OS X|Macintosh")),
    ("Linux", re.compile(r"\bLinux")),
)


class ListedSession(BaseModel):
    """A session. `name` says where it is: a browser, the machine of `da`, or how an agent calls itself."""

    model_config = ConfigDict(frozen=True)

    id: str
    kind: Kind
    name: str
    began: datetime
    last_used: datetime

    @property
    def expires(self) -> datetime:
        """When it ends if it is not refreshed again."""
        return self.last_used + _LASTS[self.kind]


def browser_name(agent: str | None) -> str:
    """Name a browser and its system by the header `User-Agent`: `Firefox on Linux`."""
    text = agent or ""
    browser = next((name for name, pattern in _BROWSERS if pattern.search(text)), "a browser")
    system = next((name for name, pattern in _SYSTEMS if pattern.search(text)), None)
    return f"{browser} on {system}" if system else browser


def record(store: Store, session: Session, kind: Kind, name: str, now: datetime) -> None:
    """Write down that a session began, or that it was refreshed; what fails is logged."""
    listed = ListedSession(id=session.id, kind=kind, name=name[:_LONGEST] or kind, began=session.began, last_used=now)
    _write(store, session.user_id, listed)


def refreshed(store: Store, session: Session, kind: Kind, now: datetime) -> None:
    """Write down that a session was refreshed; what fails is logged."""
    try:
        known = _read(store, _key(session.user_id, session.id))
    except AnalystError as error:
        _LOG.warning("a session could not be listed: %s", error)
        return
    record(store, session, kind, known.name if known is not None else kind, now)


def list_sessions(store: Store, user_id: str, access: AccessList, now: datetime) -> tuple[ListedSession, ...]:
    """List the sessions of a user that have not ended, the one that was used last first.

    Raises:
        UnavailableError: the store does not respond.
    """
    user = access.users.get(user_id)
    found = [_read(store, entry.key) for entry in store.list(f"{PREFIX}{user_id}/")]
    valid = [
        each
        for each in found
        if each is not None
        and each.expires > now
        and each.id not in access.revoked_sessions
        and user is not None
        and (user.sessions_valid_from is None or each.began >= user.sessions_valid_from)
    ]
    return tuple(sorted(valid, key=lambda each: each.last_used, reverse=True))


def _key(user_id: str, session_id: str) -> str:
    return f"{PREFIX}{user_id}/{hashlib.sha256(session_id.encode()).hexdigest()[:32]}.json"


def _write(store: Store, user_id: str, listed: ListedSession) -> None:
    try:
        store.put(_key(user_id, listed.id), listed.model_dump_json().encode(), if_version=ANY)
    except AnalystError as error:
        _LOG.warning("a session could not be listed: %s", error)


def _read(store: Store, key: str) -> ListedSession | None:
    found = store.read(key)
    try:
        return None if found is None else ListedSession.model_validate_json(found.data)
    except ValidationError:  # of another version
        return None
