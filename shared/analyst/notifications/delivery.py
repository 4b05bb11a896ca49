"""Delivery: sends what waits for a channel of a person.

Whether the person may see it, and wants it this way, is decided when it is sent, not when it was put into the outbox.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel, ConfigDict

from analyst import automation
from analyst.access import AccessList
from analyst.errors import RateLimitedError
from analyst.http_client import HttpClient
from analyst.notifications import preferences
from analyst.notifications.channels import ChannelOfPerson, Email, Pictures, Slack, UndeliverableError
from analyst.notifications.notification import SENT, Notification, caller_of, seen_by
from analyst.notifications.outbox import Destination, Outbox
from analyst.notifications.preferences import Preferences
from analyst.notifications.telegram import BotApi, TelegramChat
from analyst.notifications.telegram_bot import Links
from analyst.settings import Settings
from analyst.store import Store
from analyst.tasks import Tasks

log = logging.getLogger(__name__)

_AT_ONCE: Final = 20
"""Notifications in one message."""


class Delivered(BaseModel):
    """The result of sending a channel's notifications.

    `dropped` ones may no longer be seen by the user or sent this way, or the server is paused. `retry_after` is the
    pause in seconds that the service asked for before the rest.
    """

    model_config = ConfigDict(frozen=True)

    sent: int = 0
    dropped: int = 0
    retry_after: int | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """Sends notifications."""

    store: Store
    settings: Settings
    http: HttpClient
    access: Callable[[], AccessList]

    def send(self, to: Destination) -> Delivered:
        """Send all that waits for a channel of a person.

        Raises:
            UnavailableError: the service does not respond, or is set up wrongly; what is not sent stays.
        """
        outbox, done = Outbox(self.store), Delivered()
        is_quiet = automation.paused(self.store) is not None
        while batch := outbox.to_send(to, _AT_ONCE):
            mine = preferences.read(self.store, to.user_id)
            channel = self._channel(to, mine)
            access = self.access()
            found = [
                (self._wanted(each, mine, access, to, is_quiet=is_quiet) if channel else None, key)
                for each, key in batch
            ]
            for message in _messages(found):
                wanted = [each for each, _ in message if each is not None]
                if channel is not None and wanted:
                    try:
                        channel.send(wanted)
                    except RateLimitedError as error:
                        return done.model_copy(update={"retry_after": error.details["retry_after"]})
                    except UndeliverableError as error:
                        self._note_problem(to, str(error))
                        outbox.forget(to)
                        left = len(batch) - done.sent - done.dropped
                        return done.model_copy(update={"dropped": done.dropped + left})
                for _, key in message:
                    outbox.settle(key)
                done = Delivered(sent=done.sent + len(wanted), dropped=done.dropped + len(message) - len(wanted))
        return done

    def _wanted(
        self, each: Notification | None, mine: Preferences, access: AccessList, to: Destination, *, is_quiet: bool
    ) -> Notification | None:
        """Return what may be sent of a notification now; of a server that is quiet, only what somebody asked for."""
        if each is None or (each.kind != "message" and (is_quiet or to.channel not in mine.channels(each.kind))):
            return None
        return seen_by(each, access, caller_of(access, to.user_id))

    def _channel(self, to: Destination, mine: Preferences) -> ChannelOfPerson | None:
        """Return what reaches a person; `None` if nothing does."""
        caller = caller_of(self.access(), to.user_id)
        if caller is None or caller.email is None:
            return None
        settings = self.settings
        if to.channel == "email":
            return Email(settings, caller.email, self._pictures(to))
        if to.channel == "slack" and mine.slack is not None:
            return Slack(self.http, settings.slack_url, mine.slack.url, settings.base_url)
        if to.channel == "telegram" and mine.telegram is not None:
            api = BotApi.of(settings, self.http)
            links = Links(self.store)
            chat_id = mine.telegram.chat_id
            return TelegramChat(
                api, chat_id, settings.base_url, lambda moved: links.move(to.user_id, moved), self._pictures(to)
            )
        return None

    def _pictures(self, to: Destination) -> Pictures:
        outbox = Outbox(self.store)
        return lambda each: outbox.picture(to.user_id, each.id) if each.picture else None

    def _note_problem(self, to: Destination, problem: str) -> None:
        """Note why a channel can't be used, which the person reads where they set it up; it is not used until then."""
        log.warning(
            "notifications can't be delivered",
            extra={"fields": {"channel": to.channel, "user_id": to.user_id, "reason": problem}},
        )

        def noted(mine: Preferences) -> Preferences:
            link = {"slack": mine.slack, "telegram": mine.telegram}.get(to.channel)
            return (
                mine
                if link is None
                else mine.model_copy(update={to.channel: link.model_copy(update={"problem": problem})})
            )

        preferences.edit(self.store, to.user_id, noted)


_Found = tuple[Notification | None, str]
"""What may be sent of a notification that waits, and its key."""


def _messages(found: Sequence[_Found]) -> Iterator[list[_Found]]:
    """Split what waits into messages: one with a picture comes alone, so that it is sent once even if the next one fails."""
    together: list[_Found] = []
    for each in found:
        if each[0] is not None and each[0].picture:
            yield together
            yield [each]
            together = []
        else:
            together.append(each)
    yield together


def reachable(settings: Settings, mine: Preferences) -> frozenset[str]:
    """Return the channels that reach a person now: what is not set up, or has a problem, gets nothing."""
    mails = settings.smtp_host is not None or settings.environment == "development"
    found = {"page", "gateway", *(["email"] if mails and settings.base_url is not None else ())}
    if mine.slack is not None and mine.slack.problem is None:
        found.add("slack")
    if settings.telegram_bot_token is not None and mine.telegram is not None and mine.telegram.problem is None:
        found.add("telegram")
    return frozenset(found)


def post(store: Store, settings: Settings, notification: Notification, user_ids: Sequence[str]) -> list[Destination]:
    """Put a notification into the outbox for each of these people, by their preferences; return where it is to be sent."""
    outbox, found = Outbox(store), list[Destination]()
    for user_id in user_ids:
        mine = preferences.read(store, user_id)
        channels = [each for each in mine.channels(notification.kind) if each in reachable(settings, mine)]
        if mine.channels(notification.kind) and outbox.add(user_id, notification, channels):
            found += [Destination(each, user_id) for each in channels if each in SENT]
    return found


def deliver_later(tasks: Tasks, *places: Destination, delay: float = 0.0) -> None:
    """Have what waits for channels of people sent after this answer, or `delay` seconds later.

    Raises:
        UnavailableError: tasks can't be added; the next collection finds what waits.
    """
    for each in places:
        body = {"channel": each.channel, "user": each.user_id}
        tasks.enqueue("/notifications/deliver", body, name=f"notify {each.channel} {each.user_id}", delay=delay)
