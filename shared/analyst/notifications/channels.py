"""Channels: how notifications are sent to a person by mail and to Slack. Telegram has a module of its own.

A channel sends what is given to it, once for each call. It raises `UnavailableError` or `RateLimitedError` if it is
worth another attempt, and `UndeliverableError` if it is not.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from analyst import mail
from analyst.errors import AnalystError, RateLimitedError, UnavailableError
from analyst.http_client import HttpClient
from analyst.notifications.notification import Notification
from analyst.notifications.preferences import webhook
from analyst.settings import Settings

_TIMEOUT: Final = 15.0
_LONGEST_PAUSE: Final = 3600


class UndeliverableError(AnalystError):
    """The recipient can't be reached this way, now or later; the message says why."""

    status = 409
    code = "undeliverable"


Pictures = Callable[[Notification], bytes | None]
"""Returns the picture of a notification, a PNG, or `None` if it has none."""


def no_pictures(_notification: Notification) -> bytes | None:
    """Return no picture."""
    return None


class ChannelOfPerson(Protocol):
    """Sends notifications to one person."""

    def send(self, notifications: Sequence[Notification]) -> None:
        """Send notifications, oldest first, as one message. One with a picture comes alone.

        Raises:
            UndeliverableError: the recipient can't be reached this way.
            RateLimitedError: too many messages; `retry_after` in the details is in seconds.
            UnavailableError: the service does not respond.
        """


def plain_text(notification: Notification) -> str:
    """Return a notification as plain text: the headline, then its lines."""
    return "\n".join((notification.headline, *notification.lines))


def subject_of(notifications: Sequence[Notification]) -> str:
    """Return one line for several notifications."""
    if len(notifications) == 1:
        return " ".join(notifications[0].headline.split())
    return f"{len(notifications)} notifications"


@dataclass(frozen=True, slots=True)
class Email:
    """Mails to an address."""

    settings: Settings
    address: str
    pictures: Pictures = no_pictures

    def send(self, notifications: Sequence[Notification]) -> None:
        """Send one mail."""
        base = (self.settings.base_url or "").rstrip("/")
        parts = [plain_text(each) + (f"\n{base}{each.url}" if each.url and base else "") for each in notifications]
        foot = f"To choose what you hear of: {base}/notifications\n"
        subject = f"{self.settings.instance_name}: {subject_of(notifications)}"
        found = [(f"{each.script or each.id}.png", self.pictures(each)) for each in notifications]
        pictures = [(name, data) for name, data in found if data is not None]
        text = "\n\n".join([*parts, foot])
        mail.send(self.settings, self.address, subject[:_LONGEST_SUBJECT], text, pictures)


_LONGEST_SUBJECT: Final = 200


@dataclass(frozen=True, slots=True)
class Slack:
    """Messages to an incoming webhook, see https://api.slack.com/messaging/webhooks.

    Slack answers `ok`, or one word for what is wrong. Messages have no ids, so one whose answer is lost is sent twice.
    """

    http: HttpClient
    slack_url: str
    url: str
    base_url: str | None

    def send(self, notifications: Sequence[Notification]) -> None:
        """Send one message, with a section for each notification."""
        fallback = _cut(_escaped(subject_of(notifications)), _LONGEST_SECTION)
        sections = [self._section(each) for each in notifications[:_MOST_SECTIONS]]
        left = len(notifications) - _MOST_SECTIONS
        if left > 0:
            sections.append(_text(f"and {left} more"))
        status, word = self._post({"text": fallback, "blocks": sections})
        if (status, word) == (400, "invalid_blocks"):
            text = _cut(_escaped("\n\n".join(map(plain_text, notifications))), _LONGEST_TEXT)
            status, word = self._post({"text": text})
        if status != 200:  # noqa: PLR2004
            raise UndeliverableError(f"Slack refuses messages to this webhook: {word or status}")

    def _section(self, each: Notification) -> dict[str, Any]:
        head = f"*{_escaped(' '.join(each.headline.split()))}*"
        if each.url and self.base_url:
            head += f" <{self.base_url.rstrip('/')}{each.url}|open>"
        return _text("\n".join((_cut(head, _LONGEST_SECTION // 2), *map(_escaped, each.lines))))

    def _post(self, message: dict[str, Any]) -> tuple[int, str]:
        answer = self.http.request(
            "POST",
            webhook(self.url, self.slack_url),  # checked again: it may have been stored for another server
            headers={"Content-Type": "application/json"},
            body=json.dumps(message).encode(),
            read=_TIMEOUT,
        )
        if answer.status == RateLimitedError.status:
            raise RateLimitedError(
                "Slack accepts no further messages for now", retry_after=pause_of(answer.headers.get("Retry-After"))
            )
        if answer.status >= 500:  # noqa: PLR2004
            raise UnavailableError(f"Slack answered {answer.status}")
        word = answer.data[:100].decode(errors="replace").strip()
        return answer.status, word if word.replace("_", "").isalpha() else ""


def pause_of(value: object) -> int:
    """Return the seconds that a service asks to wait; 1 if it states no valid number, and an hour at most."""
    try:
        return min(max(1, int(float(str(value)))), _LONGEST_PAUSE)
    except (ValueError, OverflowError):
        return 1


_LONGEST_SECTION: Final = 3000
_LONGEST_TEXT: Final = 30_000
_MOST_SECTIONS: Final = 49
"""Slack takes 50 blocks in a message."""


def _text(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": _cut(text, _LONGEST_SECTION)}}


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _cut(escaped: str, longest: int) -> str:
    """Shorten an escaped text, without cutting an entity or a link in two."""
    if len(escaped) <= longest:
        return escaped
    cut = escaped[: longest - 1]
    for opening, closing in (("&", ";"), ("<", ">")):
        if cut.rfind(opening) > cut.rfind(closing):
            cut = cut[: cut.rfind(opening)]
    return cut + "…"
