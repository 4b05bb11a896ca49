"""Linking a chat of Telegram, and what the bot answers: through the functions, with a double of the Bot API."""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from analyst.context import Process
from analyst.notifications.telegram_bot import webhook_secret
from tests.doubles.chats import TOKEN, TelegramDouble, telegram
from tests.integration.world import SERVICE_TOKEN, Begun, World

CHAT = 7


class Chat:
    """People who write to the bot, and the functions that answer."""

    def __init__(self, world: World, double: TelegramDouble, clock: list[datetime]) -> None:
        self.world, self.double, self.clock = world, double, clock
        self.secret = webhook_secret(world.process.settings)

    def say(self, text: str, chat_id: int = CHAT, kind: str = "private") -> str | None:
        """Have somebody write, and Telegram send the update; return the answer in the response."""
        return self.update(self.double.write(chat_id, text, kind))

    def update(self, update: Any) -> str | None:
        headers = {"X-Telegram-Bot-Api-Secret-Token": self.secret}
        answer = self.world.client.post("/webhooks/telegram", json=update, headers=headers)
        assert answer.status_code == 200, answer.text
        found: dict[str, str] = answer.get_json(force=True)
        if found:
            assert (found["method"], set(found)) == ("sendMessage", {"method", "chat_id", "text"})
        return found.get("text")

    def ask(self, method: str, path: str, body: Any = None, token: str = "") -> Any:
        return self.world.ask(method, path, body, token=token)

    def status_of(self, path: str, body: Any = None, token: str = "") -> int:
        return self.world.send("POST", path, body, token=token).status_code

    def code(self, chat_id: int = CHAT) -> str:
        found = re.search(r"Your code is ([0-9]{6})\.", self.say("/start", chat_id) or "")
        assert found is not None
        return found[1]


@pytest.fixture
def chat(begun: Begun, tmp_path: Path) -> Iterator[Chat]:
    clock = [datetime.now(UTC)]

    def process(environ: Mapping[str, str], **more: Any) -> Process:
        return Process(environ, clock=lambda: clock[0], **more)

    with telegram() as double:
        variables = {"TELEGRAM_URL": double.url, "TELEGRAM_BOT_TOKEN": TOKEN, "ACCESS_MAX_AGE": "0"}
        base = "https://data.example.com"
        yield Chat(begun.world(tmp_path, process=process, variables=variables, base_url=base), double, clock)


def test_a_chat_is_linked_by_the_code_that_it_shows(chat: Chat) -> None:
    assert chat.say("/whoami") == "This chat is not linked to an account; send /start to link it."
    code = chat.code()
    assert chat.ask("GET", "/api/telegram/status")["linked"] is False
    assert chat.ask("POST", "/api/telegram/verify", {"code": f" {code} "}) == {"status": "linked", "chat_id": CHAT}
    status = chat.ask("GET", "/api/telegram/status")
    assert (status["linked"], status["chat_id"], status["problem"]) == (True, CHAT, None)
    assert chat.say("/whoami") == "You are admin@example.com, with the role admin."
    assert chat.say("/start@data_bot") == (
        "This chat is already linked to admin@example.com. /help lists what I can do."
    )
    assert chat.status_of("/api/telegram/verify", {"code": code}) == 404  # once
    assert chat.ask("POST", "/api/telegram/unlink") == {"status": "unlinked"}
    assert chat.ask("POST", "/api/telegram/unlink") == {"status": "unlinked"}
    assert (chat.say("/status") or "").startswith("This chat is not linked")


def test_a_chat_is_linked_by_a_link(chat: Chat) -> None:
    made = chat.ask("POST", "/api/telegram/link")
    found = re.fullmatch(r"https://t\.me/data_bot\?start=([A-Za-z0-9_-]{1,64})", made["url"])
    assert found is not None
    assert made["expires_in"] == 600
    welcome = "This chat is linked to admin@example.com. /help lists what I can do."
    assert chat.say(f"/start {found[1]}") == welcome
    assert (chat.say(f"/start {found[1]}", 8) or "").startswith("This link is expired or was used before.")
    assert chat.ask("GET", "/api/telegram/status")["chat_id"] == CHAT


@pytest.mark.parametrize("code", ["000000", "12345", "1234567", "abcdef", "", "\uff11\uff12\uff13\uff14\uff15\uff16"])
def test_wrong_codes_link_nothing(chat: Chat, code: str) -> None:
    right = chat.code()
    assert chat.status_of("/api/telegram/verify", {"code": code if code != right else "000001"}) in (404, 422)
    assert chat.ask("GET", "/api/telegram/status")["linked"] is False


def test_codes_expire_after_ten_minutes_or_when_a_new_one_is_shown(chat: Chat) -> None:
    first, second = chat.code(), chat.code()
    assert chat.status_of("/api/telegram/verify", {"code": first}) == 404
    link = chat.ask("POST", "/api/telegram/link")["url"].partition("=")[2]
    chat.clock[0] += timedelta(minutes=10, seconds=1)
    assert chat.status_of("/api/telegram/verify", {"code": second}) == 404
    assert (chat.say(f"/start {link}") or "").startswith("This link is expired")


def test_codes_cannot_be_guessed(chat: Chat) -> None:
    right = chat.code()
    wrong = next(code for code in ("111111", "222222") if code != right)
    assert [chat.status_of("/api/telegram/verify", {"code": wrong}) for _ in range(11)] == [404] * 10 + [429]
    assert chat.status_of("/api/telegram/verify", {"code": right}) == 429


def test_a_chat_belongs_to_one_person_and_a_person_has_one_chat(chat: Chat) -> None:
    chat.ask("POST", "/api/users", {"email": "ann@example.com", "role": "viewer"})
    ann = str(chat.ask("POST", "/auth/tokens", {"name": "x", "user": "ann@example.com"})["token"])
    chat.ask("POST", "/api/telegram/verify", {"code": chat.code()})
    chat.ask("POST", "/api/telegram/verify", {"code": chat.code(8)})  # the administrator moves to another chat
    assert (chat.say("/whoami") or "").startswith("This chat is not linked")
    chat.ask("POST", "/api/telegram/verify", {"code": chat.code()}, ann)
    link = chat.ask("POST", "/api/telegram/link", token=ann)["url"].partition("=")[2]
    chat.say(f"/start {link}", 8)  # ann takes over the chat of the administrator
    assert chat.ask("GET", "/api/telegram/status")["linked"] is False
    assert chat.ask("GET", "/api/telegram/status", token=ann)["chat_id"] == 8
    assert chat.say("/whoami", 8) == "You are ann@example.com, with the role viewer."
    (user,) = [each for each in chat.ask("GET", "/api/users")["users"] if each["email"] == "ann@example.com"]
    chat.ask("PUT", f"/api/users/{user['id']}", {"active": False})
    assert (chat.say("/whoami", 8) or "").startswith("This chat is not linked")


def test_the_status_command_shows_unread_notifications(chat: Chat) -> None:
    chat.ask("POST", "/api/telegram/verify", {"code": chat.code()})
    assert chat.say("/status") == "There is nothing new."
    chat.ask("POST", "/api/users", {"email": "ann@example.com", "role": "viewer"})
    ann = str(chat.ask("POST", "/auth/tokens", {"name": "x", "user": "ann@example.com"})["token"])
    chat.ask("POST", "/api/access-requests", {"table": "shop.orders", "reason": "x"}, ann)
    chat.ask("POST", "/notifications/collect", {}, SERVICE_TOKEN)
    reply = "1 unread:\n- ann@example.com requests access to shop.orders\nhttps://data.example.com/notifications"
    assert chat.say("/status") == reply
    chat.ask("POST", "/api/notifications/read", {"through": "7ZZZZZZZZZZZZZZZZZZZZZZZZZ"})
    assert chat.say("/status") == "There is nothing new."


def test_other_messages_of_people_are_answered_with_help_or_ignored(chat: Chat) -> None:
    assert "/status - what is new, and your scripts" in (chat.say("/help") or "")
    assert chat.say("hello") == "I only know commands; /help lists them."
    assert chat.say("hello", -5, "group") is None
    assert chat.say("/start", -5, "group") == "I write to private chats only; open one with me and send /start."


def test_a_repeated_update_is_answered_once(chat: Chat) -> None:
    update = chat.double.write(CHAT, "/help")
    assert chat.update(update) is not None
    assert chat.update(update) is None


def test_a_user_who_blocks_the_bot_unlinks_the_chat(chat: Chat) -> None:
    chat.ask("POST", "/api/telegram/verify", {"code": chat.code()})
    member = {"chat": {"id": CHAT, "type": "private"}, "new_chat_member": {"status": "kicked"}}
    assert chat.update({"update_id": 1, "my_chat_member": {**member, "date": 1 << 40}}) is None
    assert chat.ask("GET", "/api/telegram/status")["linked"] is False


def test_a_late_report_of_a_block_does_not_end_a_newer_link(chat: Chat) -> None:
    """Telegram repeats an update whose answer was an error, also after the person has linked the chat again."""
    chat.ask("POST", "/api/telegram/verify", {"code": chat.code()})
    member = {"chat": {"id": CHAT, "type": "private"}, "new_chat_member": {"status": "kicked"}, "date": 1_600_000_000}
    assert chat.update({"update_id": 1, "my_chat_member": member}) is None
    assert chat.ask("GET", "/api/telegram/status")["linked"] is True


@pytest.mark.parametrize(
    "update",
    [
        {},
        {"update_id": "1"},
        {"update_id": 1},
        {"update_id": True, "message": {"chat": {"id": 7}, "text": "/start"}},
        {"update_id": 1, "message": []},
        {"update_id": 1, "message": {"text": "/start"}},
        {"update_id": 1, "message": {"chat": {"id": "7", "type": "private"}, "text": "/start"}},
        {"update_id": 1, "message": {"chat": {"id": 7, "type": "private"}, "text": 7}},
        {"update_id": 1, "message": {"chat": {"id": 7, "type": "private"}, "photo": []}},
        {"update_id": 1, "my_chat_member": {"new_chat_member": {"status": "kicked"}}},
        {"update_id": 1, "callback_query": []},
        {"update_id": 1, "callback_query": {"id": "q", "from": {"id": 7}, "data": "run:x"}},
        {"update_id": 1, "callback_query": {"id": 7, "from": {"id": 7}, "message": {"chat": {"id": 7}}, "data": "x"}},
        {"update_id": 1, "edited_message": {"chat": {"id": 7, "type": "private"}, "text": "/start"}},
    ],
)
def test_other_updates_are_ignored(chat: Chat, update: Any) -> None:
    assert chat.update(update) is None


def test_only_telegram_may_send_updates(chat: Chat) -> None:
    update = chat.double.write(CHAT, "/start")
    for headers in ({}, {"X-Telegram-Bot-Api-Secret-Token": "x"}, {"X-Telegram-Bot-Api-Secret-Token": "\xff"}):
        assert chat.world.client.post("/webhooks/telegram", json=update, headers=headers).status_code == 401


def test_the_webhook_is_registered_with_the_secret(chat: Chat) -> None:
    assert chat.ask("POST", "/api/admin/telegram/webhook", {}) == {
        "bot": "data_bot",
        "url": "https://data.example.com/webhooks/telegram",
    }
    assert chat.double.webhook is not None
    assert chat.double.webhook["secret_token"] == chat.secret
    assert chat.ask("POST", "/api/admin/telegram/webhook", {"enabled": False})["url"] is None
    assert chat.double.webhook is None


def test_updates_are_polled_if_telegram_cannot_send_them(chat: Chat) -> None:
    for text in ("/help", "/whoami"):
        chat.double.write(CHAT, text)
    polled = [chat.ask("POST", "/telegram/poll", {}, SERVICE_TOKEN)["updates"] for _ in range(2)]
    assert polled == [2, 0]
    assert len(chat.double.texts(CHAT)) == 2
    chat.double.blocked.add(CHAT)
    chat.double.write(CHAT, "/help")
    assert chat.ask("POST", "/telegram/poll", {}, SERVICE_TOKEN)["updates"] == 1
    chat.ask("POST", "/api/admin/telegram/webhook", {})
    assert chat.status_of("/telegram/poll", {}, SERVICE_TOKEN) == 409
