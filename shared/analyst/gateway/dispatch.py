"""The dispatch socket: programs on the same host hand in notifications, by HTTP on a Unix socket.

`POST /dispatch` with `{"user", "notification": {"id", "title", "message", "script", "timestamp", "image_url"}}` returns
`{"sent": n}`, the number of connections of this instance that are sent it now; `GET /health` returns what the port does. What
is handed in is put into the outbox first, so people who are not connected, or are so to another instance, get it later.
Only the user and the group of the gateway may open the socket: whoever does can write to everybody.
"""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, model_validator

from analyst.gateway.requests import RefusedError
from analyst.notifications.notification import Notification, notification_id
from analyst.scripts.contract import LONGEST_MESSAGE, LONGEST_TITLE

_EARLIEST: Final = datetime.fromtimestamp(0, UTC)
_AHEAD: Final = timedelta(minutes=5)
"""How far ahead the clock of a program may be."""


class Content(BaseModel):
    """A notification that is handed in. A timestamp without a zone is in UTC; without one, it is the present."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: Annotated[str, Field(max_length=200)] | None = None
    title: str = ""
    message: str = ""
    script: Annotated[str, Field(max_length=200)] | None = None
    timestamp: datetime | None = None
    image_url: Annotated[str, Field(max_length=2000, pattern=r"^(https?://|/)[^\s]*$")] | None = None

    @model_validator(mode="after")
    def _says_something(self) -> "Content":
        if not self.title.strip() and not self.message.strip():
            raise ValueError("a notification needs a title or a message")
        return self

    def notification(self, user_id: str, now: datetime) -> Notification:
        """Return it as it is stored: the same `id` and `timestamp` for a person are the same notification.

        Notifications are sorted by their time. One of the future would stay the newest, and those that come later would
        count as read with it.

        Raises:
            RefusedError: its time can't be used.
        """
        at = self.timestamp or now
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
        if not _EARLIEST <= at <= now + _AHEAD:
            raise RefusedError(
                400, "the notification is not valid: notification.timestamp: it is in the future, or before 1970"
            )
        key = f"dispatched {user_id} {self.id or f'{now.isoformat()} {self.title} {self.message}'}"
        title = " ".join((self.title or self.message).split())[:LONGEST_TITLE]
        text = self.message if self.title else ""
        return Notification(
            id=notification_id(key, at),
            at=at,
            kind="script",
            title=title,
            text=text[:LONGEST_MESSAGE],
            url="/notifications",
            script=self.script,
            image_url=self.image_url,
        )


class Dispatch(BaseModel):
    """A notification for a user, who is given by e-mail address or id."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    user: Annotated[str, Field(min_length=1, max_length=320)]
    notification: Content
