"""Delivery: what is sent to whom, in which form, and what becomes of what can't be sent."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from analyst.access import AccessList
from analyst.access.rules import Grants, Registration, User
from analyst.errors import UnavailableError
from analyst.http_client import HttpClient
from analyst.notifications import preferences
from analyst.notifications.delivery import Delivery, post
from analyst.notifications.notification import Item, Notification, caller_of, notification_id
from analyst.notifications.outbox import MOST, Destination, Outbox, Shown, expired
from analyst.notifications.preferences import Changes
from analyst.notifications.telegram_bot import Links
from analyst.settings import Settings, read_settings
from tests.doubles.chats import TOKEN, SlackDouble, TelegramDouble, slack, telegram
from tests.doubles.mailbox import Mailbox, mailbox
from tests.doubles.memory_store import MemoryStore

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
CHAT = 7


@dataclass
class Post:
    """A bucket with the user `ann`, who may read `shop.orders`, and all channels."""

    settings: Settings
    slack: SlackDouble
    telegram: TelegramDouble
    mails: Mailbox
    age: list[float] = field(default_factory=lambda: [0.0])
    store: MemoryStore = field(init=False)
    grants: dict[str, Any] = field(default_factory=lambda: {"users": {"ann": {"tables": ["uuid-1"]}}})

    def __post_init__(self) -> None:
        self.store = MemoryStore(lambda: self.age[0])

    def access(self) -> AccessList:
        registered = Registration(uuid="uuid-1", source="shop", name="orders", registered_at=NOW)
        user = User(email="ann@example.com", role="analyst")
        return AccessList(
            users={"ann": user}, tables={"shop.orders": registered}, grants=Grants.model_validate(self.grants)
        )

    def link(self) -> None:
        self.telegram.chats.add(CHAT)
        preferences.edit(
            self.store,
            "ann",
            lambda mine: preferences.changed(mine, Changes(slack=self.slack.webhook), self.slack.url, NOW),
        )
        code = Links(self.store).code_of_chat(CHAT, NOW)
        Links(self.store).link_by_person(code, "ann", NOW)

    def post(self, number: int = 0, **more: Any) -> list[Destination]:
        item = Item(table="shop.orders", registration="uuid-1", text="a < b & *c*")
        at = NOW + timedelta(seconds=number)
        made = Notification(id=notification_id(f"n {number}", at), at=at, kind="table_failed", items=(item,), **more)
        return post(self.store, self.settings, made, ["ann"])

    def inbox(self, user_id: str) -> list[Shown]:
        access = self.access()
        return Outbox(self.store).inbox(caller_of(access, user_id), access)

    def deliver(self, channel: str) -> Any:
        to = Destination(channel, "ann")  # type: ignore[arg-type]
        return Delivery(self.store, self.settings, HttpClient(), self.access).send(to)

    def waits(self) -> set[str]:
        return {each.channel for each in Outbox(self.store).waiting()}


@pytest.fixture
def office() -> Iterator[Post]:
    with slack() as chat, telegram() as bot, mailbox() as mails:
        settings = read_settings(
            {
                "DATA_URL": "file:///nowhere",
                "BASE_URL": "https://data.example.com",
                "SLACK_URL": chat.url,
                "TELEGRAM_URL": bot.url,
                "TELEGRAM_BOT_TOKEN": TOKEN,
                "SMTP_HOST": "localhost",
                "SMTP_PORT": str(mails.port),
                "SMTP_SECURITY": "none",
                "SMTP_FROM": "data@example.com",
            }
        )
        made = Post(settings, chat, bot, mails)
        made.link()
        yield made


def all_channels(office: Post) -> None:
    changes = Changes(kinds={"table_failed": ("page", "email", "telegram", "slack")})
    preferences.edit(office.store, "ann", lambda mine: preferences.changed(mine, changes, office.slack.url, NOW))


def test_every_channel_gets_a_notification_in_its_own_format(office: Post) -> None:
    all_channels(office)
    places = office.post(url="/tables/shop/orders")
    assert {each.channel for each in places} == {"email", "telegram", "slack"} == office.waits()
    assert office.post() == []  # the same event
    for each in places:
        assert (office.deliver(each.channel).sent, office.deliver(each.channel).sent) == (1, 0)
    assert office.waits() == set()
    mail = office.mails.mails[0]
    assert (mail["To"], mail["Subject"]) == ("ann@example.com", "AI Data Analyst: shop.orders can't be synced")
    assert "shop.orders: a < b & *c*\nhttps://data.example.com/tables/shop/orders" in office.mails.last()
    assert office.telegram.texts(CHAT) == ["shop.orders can't be synced\nshop.orders: a < b & *c*"]
    (block,) = office.slack.posted[0]["blocks"]
    assert block["text"]["text"] == (
        "*shop.orders can't be synced* <https://data.example.com/tables/shop/orders|open>\nshop.orders: a &lt; b &amp; *c*"
    )


def test_waiting_notifications_are_sent_as_one_message(office: Post) -> None:
    for number in range(30):
        office.post(number)
    assert office.deliver("slack").sent == 30
    assert [len(each["blocks"]) for each in office.slack.posted] == [20, 10]
    assert office.deliver("telegram").sent == 30
    assert len(office.telegram.sent) == 2


def test_a_notification_about_a_table_that_became_hidden_is_not_sent(office: Post) -> None:
    office.post()
    office.grants = {}
    assert (office.deliver("slack").dropped, office.slack.posted, office.waits()) == (1, [], {"telegram"})
    assert office.inbox("ann") == []


def test_a_preference_changed_in_the_meantime_applies(office: Post) -> None:
    office.post()
    changes = Changes(kinds={"table_failed": ("page",)})
    preferences.edit(office.store, "ann", lambda mine: preferences.changed(mine, changes, office.slack.url, NOW))
    assert (office.deliver("slack").dropped, office.slack.posted) == (1, [])


@pytest.mark.parametrize("channel", ["slack", "telegram"])
def test_the_pause_that_a_service_requests_is_observed(office: Post, channel: str) -> None:
    office.post()
    office.slack.refusals = [(429, "rate_limited")]
    office.telegram.refusals = [(429, {"description": "Too Many Requests: retry after 30", "retry_after": 30})]
    asked = office.deliver(channel)
    assert (asked.sent, asked.retry_after) == (0, 30)
    assert office.deliver(channel).sent == 1


@pytest.mark.parametrize("channel", ["slack", "telegram"])
def test_notifications_wait_while_a_service_is_unavailable(office: Post, channel: str) -> None:
    office.post()
    office.slack.refusals, office.telegram.refusals = [(503, "")], [(500, {"description": "Internal Server Error"})]
    with pytest.raises(UnavailableError) as error:
        office.deliver(channel)
    assert TOKEN not in str(error.value)
    assert office.deliver(channel).sent == 1


@pytest.mark.parametrize(
    ("channel", "refusal", "reason"),
    [
        ("slack", (404, "no_service"), "no_service"),
        ("slack", (410, "channel_is_archived"), "channel_is_archived"),
        ("slack", (403, "action_prohibited"), "action_prohibited"),
        ("slack", (400, "invalid_payload"), "invalid_payload"),
        ("slack", (302, ""), "302"),
        ("telegram", (403, {"description": "Forbidden: bot was blocked by the user"}), "blocked"),
        ("telegram", (400, {"description": "Bad Request: chat not found"}), "chat not found"),
    ],
)
def test_a_channel_that_is_gone_is_not_tried_again(office: Post, channel: str, refusal: Any, reason: str) -> None:
    office.post()
    office.slack.refusals, office.telegram.refusals = [refusal], [refusal]
    assert office.deliver(channel).dropped == 1
    mine = preferences.read(office.store, "ann")
    link = mine.slack if channel == "slack" else mine.telegram
    assert link is not None
    assert link.problem is not None
    assert reason in link.problem
    assert channel not in {each.channel for each in office.post(1)}
    assert len(office.inbox("ann")) == 2  # nothing is lost


def test_slack_gets_plain_text_if_it_refuses_blocks(office: Post) -> None:
    office.post()
    office.slack.refusals = [(400, "invalid_blocks")]
    assert office.deliver("slack").sent == 1
    assert office.slack.posted[0]["text"].startswith("shop.orders can't be synced\n")


def test_telegram_gets_plain_text_if_it_refuses_markup(office: Post) -> None:
    office.post()
    office.telegram.refusals = [(400, {"description": "Bad Request: can't parse entities: Unmatched end tag"})]
    assert office.deliver("telegram").sent == 1
    assert "<b>" in office.telegram.texts(CHAT)[0]


def test_a_chat_that_has_moved_is_followed(office: Post) -> None:
    office.post()
    office.telegram.migrated = {CHAT: -100}
    office.telegram.chats.add(-100)
    assert office.deliver("telegram").sent == 1
    link = preferences.read(office.store, "ann").telegram
    assert link is not None
    assert link.chat_id == -100


@pytest.mark.parametrize("text", ["x" * 9000, "<&>" * 4000, "😀" * 5000, "&" * 9000])
def test_long_texts_are_cut_to_the_limits_of_services(office: Post, text: str) -> None:
    for number in range(3):
        office.post(number, text=text)
    assert (office.deliver("slack").sent, office.deliver("telegram").sent) == (3, 3)
    assert preferences.read(office.store, "ann").slack.problem is None  # type: ignore[union-attr]
    assert len(office.telegram.sent) == len(office.slack.posted) == 1


def test_a_removed_user_gets_nothing(office: Post) -> None:
    office.post()
    nobody = AccessList()
    done = Delivery(office.store, office.settings, HttpClient(), lambda: nobody).send(Destination("slack", "ann"))
    assert (done.dropped, office.slack.posted, office.waits()) == (1, [], {"telegram"})


def test_notifications_undeliverable_for_three_days_stay_in_the_inbox_only(office: Post) -> None:
    office.post()
    office.age[0] += 4 * 86_400
    assert (office.deliver("slack").dropped, office.slack.posted) == (1, [])
    assert len(office.inbox("ann")) == 1


def test_a_webhook_on_another_server_is_never_called(office: Post) -> None:
    """One that was stored while SLACK_URL was another."""
    office.post()
    settings = office.settings.model_copy(update={"slack_url": "https://hooks.slack.com"})
    with pytest.raises(Exception, match="not an incoming webhook"):
        Delivery(office.store, settings, HttpClient(), office.access).send(Destination("slack", "ann"))
    assert office.slack.posted == []


def test_old_and_excess_notifications_are_swept(office: Post) -> None:
    store = MemoryStore(lambda: office.age[0])
    outbox = Outbox(store)
    ids = [notification_id(str(number), NOW + timedelta(seconds=number)) for number in range(MOST + 2)]
    for id_ in ids:
        outbox.add("ann", Notification(id=id_, at=NOW, kind="message", title="x"), ["page", "gateway", "slack"])
    swept = [entry.key.rpartition("/")[2].removesuffix(".json") for entry in expired(store)]
    assert swept == ids[1::-1]
    office.age[0] += 5 * 86_400
    assert len(list(expired(store))) == 2 + 2 * len(ids)  # of each, what was to be sent, and its announcement
    office.age[0] += 30 * 86_400
    assert len(list(expired(store))) == 3 * len(ids)
