"""Automation: whether a server acts by itself, or only when somebody asks it to.

A copy of a bucket has the schedules, scripts and preferences of the original. While `state/paused.json` exists, nothing
is started by a schedule, and people are sent nothing but test messages that they ask for; what happens is still on
their pages.
"""

from datetime import datetime
from typing import Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from analyst.store import ANY, Store

_KEY: Final = "state/paused.json"
RESTORED: Final = "a backup of another bucket was restored here, and the original may still be running"


class Pause(BaseModel):
    """Why a server does not act by itself, since when, and the e-mail address of the person who paused it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    at: AwareDatetime
    why: str
    by: str | None = None


def paused(store: Store) -> Pause | None:
    """Return why nothing happens by itself; `None` if it does.

    Raises:
        UnavailableError: the store does not respond.
    """
    found = store.read(_KEY)
    if found is None:
        return None
    try:
        return Pause.model_validate_json(found.data)
    except ValidationError:  # of a later version: being quiet harms nobody
        return Pause(at=datetime.fromisoformat("1970-01-01T00:00:00Z"), why="it was paused by a newer version")


def pause(store: Store, why: str, by: str | None, now: datetime) -> None:
    """Pause a server. Runs that have begun end as usual.

    Raises:
        UnavailableError: the store does not respond.
    """
    if paused(store) is None:  # the first reason stays
        store.put(_KEY, Pause(at=now, why=why, by=by).model_dump_json().encode(), if_version=ANY)


def resume(store: Store) -> None:
    """Let a server act by itself again.

    Raises:
        UnavailableError: the store does not respond.
    """
    store.delete(_KEY)
