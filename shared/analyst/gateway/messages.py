"""The messages of the gateway's protocol, JSON objects with a `type`.

- The client sends `{"type": "auth", "token": …}` first, and `{"type": "pong"}` in reply to each ping.
- The server replies `{"type": "auth_ok", "username": …}`, or `{"type": "auth_error", "message": …}` and closes. It sends
  `{"type": "ping"}` and `{"type": "notification", "id", "title", "message", "script", "timestamp"}`, with an `image_url`
  if there is a picture, which the person can read with their token.

Programs exist that were written for exactly these messages, so nothing is added to them.
"""

import json
from enum import StrEnum
from typing import Any, Final

from analyst.notifications.notification import Notification

PING: Final = '{"type": "ping"}'


class AuthError(StrEnum):
    """Why a client is refused: the texts of `auth_error`."""

    TIMEOUT = "Auth timeout"
    NO_JSON = "Invalid JSON"
    NO_TOKEN = "Expected auth message with token"  # noqa: S105 - a message
    INVALID = "Invalid token"
    TOO_MANY = "Too many connections"


class RefusedError(Exception):
    """A client is refused."""

    def __init__(self, reason: AuthError) -> None:
        super().__init__(reason.value)
        self.reason = reason


def token_of(message: str | bytes) -> str:
    """Return the token of a client's first message.

    Raises:
        RefusedError: it has none.
    """
    try:
        document = json.loads(message)
    except (ValueError, RecursionError):
        raise RefusedError(AuthError.NO_JSON) from None
    token = document.get("token") if isinstance(document, dict) and document.get("type") == "auth" else None
    if not isinstance(token, str) or not token.strip():
        raise RefusedError(AuthError.NO_TOKEN)
    return token.strip()


def is_pong(message: str | bytes) -> bool:
    """Return whether a message answers a ping; whatever else a client sends is ignored."""
    try:
        document = json.loads(message)
    except (ValueError, RecursionError):
        return False
    return isinstance(document, dict) and document.get("type") == "pong"


def auth_ok(username: str) -> str:
    """Return the reply to a client that is accepted."""
    return _text({"type": "auth_ok", "username": username})


def auth_error(reason: AuthError) -> str:
    """Return the reply to a client that is refused."""
    return _text({"type": "auth_error", "message": reason.value})


def notification(seen: Notification, base_url: str | None = None) -> str:
    """Return a notification, of which the person must have been checked to see all.

    `script` is the name of the script that it comes from, or the kind. Without the address of the server, pictures have none.
    """
    own = f"{base_url.rstrip('/')}/api/notifications/{seen.id}/picture" if seen.picture and base_url else None
    url = own or seen.image_url
    return _text(
        {
            "type": "notification",
            "id": seen.id,
            "title": seen.headline,
            "message": "\n".join(seen.lines),
            "script": seen.script or seen.kind,
            "timestamp": seen.at.isoformat(),
            **({} if url is None else {"image_url": url}),
        }
    )


def _text(message: dict[str, Any]) -> str:
    return json.dumps(message, ensure_ascii=False)
