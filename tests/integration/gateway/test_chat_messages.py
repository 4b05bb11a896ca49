"""Messages that programs on the host send to chats, with the requests of the earlier service."""

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from analyst import automation
from analyst.notifications.telegram_bot import Links
from tests.doubles.chats import TOKEN, TelegramDouble, telegram
from tests.doubles.loopback import http_server
from tests.integration.gateway.conftest import QUICK, Office, gateway, signed_in
from tests.integration.gateway.test_dispatch import request, sent
from tests.integration.scripts.conftest import PNG


@dataclass
class Desk:
    """The socket of a gateway, beside a bot to whom Ann has linked her chat, which has the number 7."""

    path: Path
    office: Office
    bot: TelegramDouble
    ann: str

    def post(self, place: str, **document: Any) -> tuple[int, Any]:
        return sent(self.path, request(document, f"POST {place} HTTP/1.1"))


@pytest.fixture
def desk(office: Office, tmp_path: Path) -> Iterator[Desk]:
    with telegram() as bot:
        office.environ |= {"TELEGRAM_URL": bot.url, "TELEGRAM_BOT_TOKEN": TOKEN, "ALLOWED_DOMAINS": "example.com"}
        ann = office.person("ann")
        link(office, ann, bot)
        with gateway(office.environ, QUICK, tmp_path / "send.sock"):
            yield Desk(tmp_path / "send.sock", office, bot, ann)


def link(office: Office, token: str, bot: TelegramDouble, chat_id: int = 7) -> None:
    """Link a chat to a person, as the bot does."""
    bot.write(chat_id, "/start")
    user = office.world.ask("GET", "/api/me", token=token)["user_id"]
    links, now = Links(office.world.process.store), office.world.process.clock()
    assert links.link_by_chat(links.code_of_person(user, now), chat_id, now) == user


def test_a_text_of_an_old_script_reaches_the_chat(desk: Desk) -> None:
    for name in ("ann@example.com", "ANN@example.com", "ann"):
        assert desk.post("/send", user=name, text="*Revenue* is down") == (200, {"ok": True})
    assert desk.bot.texts(7) == ["Revenue is down"] * 3
    assert desk.post("/send", user="ann", text="<b>1</b>", parse_mode="HTML")[0] == 200
    assert desk.post("/send", user="ann", text="a_b *c", more="ignored")[0] == 200  # no valid Markdown
    assert desk.post("/send", user="ann", text="*" + "x" * 5000 + "*")[0] == 200
    assert desk.bot.texts(7)[3:5] == ["1", "a_b *c"]
    assert len(desk.bot.texts(7)[5]) == 4096


def test_a_message_for_a_removed_user_reaches_no_namesake(desk: Desk) -> None:
    namesake = desk.office.world.ask("POST", "/api/users", {"email": "bob@partner.example", "role": "analyst"})
    token = desk.office.world.ask("POST", "/auth/tokens", {"name": "x", "user": namesake["email"]})["token"]
    link(desk.office, token, desk.bot, 8)
    assert desk.post("/send", user="bob@partner.example", text="yes")[0] == 200
    assert desk.post("/send", user="bob", text="for bob@example.com")[0] == 404
    assert desk.bot.texts(8) == ["yes"]


def test_a_picture_of_an_old_script_reaches_the_chat(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "chart.png").write_bytes(PNG)
    assert desk.post("/send_photo", user="ann", photo_path=str(tmp_path / "chart.png"), caption="c" * 2000)[0] == 200
    assert desk.bot.photos == [(7, PNG)]
    assert len(desk.bot.texts(7)[0]) == 1024


def test_only_pictures_leave_the_host(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_text("password=hunter2")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "large.png").write_bytes(PNG + bytes(6 << 20))
    for name in ("secret.png", "pipe.png", "large.png", "missing.png", ".", "/etc/passwd", "a\0b", "/dev/zero"):
        status, answer = desk.post("/send_photo", user="ann", photo_path=str(tmp_path / name))
        assert (status, "picture" in answer["error"], "hunter2" in answer["error"]) == (400, True, False), name
    assert desk.bot.sent == []


def test_users_without_a_chat_or_with_messages_disabled_get_nothing(desk: Desk) -> None:
    office = desk.office
    office.person("bob")
    office.world.ask("POST", "/api/users", {"email": "ann@other.example", "role": "analyst"})
    for name in ("bob", "nobody", "ann", "ann@other.example"):  # there are two people named ann now
        assert desk.post("/send", user=name, text="x")[0] == 404
    off = {"kinds": {"script": ["page"]}}
    office.world.ask("PUT", "/api/notifications/preferences", off, token=desk.ann)
    assert desk.post("/send", user="ann@example.com", text="x")[0] == 404
    assert desk.bot.sent == []


def test_refusals_by_telegram_are_reported(desk: Desk) -> None:
    desk.bot.blocked.add(7)
    status, answer = desk.post("/send", user="ann", text="x")
    assert (status, "blocked" in answer["error"], TOKEN in answer["error"]) == (502, True, False)
    desk.bot.blocked.clear()
    desk.bot.refusals += [(429, {"retry_after": 3}), (500, {})]
    assert [desk.post("/send", user="ann", text="x")[0] for _ in range(2)] == [502, 502]
    store = desk.office.world.process.store
    automation.pause(store, "it is a copy", None, desk.office.world.process.clock())
    assert desk.post("/send", user="ann", text="x")[0] == 502
    assert desk.bot.sent == []


@pytest.mark.parametrize(
    ("place", "body"),
    [
        ("/send", {"user": "ann"}),
        ("/send", {"user": "ann", "text": ""}),
        ("/send", {"text": "x"}),
        ("/send", {"user": "ann", "text": "x", "parse_mode": "Word"}),
        ("/send_photo", {"user": "ann"}),
        ("/send_photo", {"user": "ann", "photo_path": 7}),
    ],
)
def test_an_invalid_message_is_refused(desk: Desk, place: str, body: dict[str, Any]) -> None:
    status, answer = desk.post(place, **body)
    assert (status, "is not valid" in answer["error"]) == (400, True)


def test_without_a_bot_nothing_is_sent(office: Office, tmp_path: Path) -> None:
    with telegram() as bot:
        link(office, office.person("ann"), bot)
        with gateway(office.environ, QUICK, tmp_path / "send.sock"):
            status, answer = sent(
                tmp_path / "send.sock", request({"user": "ann@example.com", "text": "x"}, "POST /send HTTP/1.1")
            )
    assert (status, "TELEGRAM_BOT_TOKEN" in answer["error"]) == (502, True)


def test_a_telegram_that_does_not_answer_blocks_no_connection(office: Office, tmp_path: Path) -> None:
    path, answers, asked = tmp_path / "send.sock", threading.Event(), threading.Semaphore(0)

    class Silent(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.release()
            answers.wait(60)

        def log_message(self, *_: Any) -> None:
            pass

    with http_server(Silent) as url, telegram() as bot, ThreadPoolExecutor(100) as programs:
        office.environ |= {"TELEGRAM_URL": url, "TELEGRAM_BOT_TOKEN": TOKEN}
        ann = office.person("ann")
        link(office, ann, bot)
        with gateway(office.environ, QUICK, path) as running:
            message = request({"user": "ann@example.com", "text": "x"}, "POST /send HTTP/1.1")
            done = [programs.submit(sent, path, message) for _ in range(100)]
            assert all(asked.acquire(timeout=60) for _ in range(4))
            assert next(as_completed(done)).result()[0] == 503  # too many wait
            began = time.monotonic()
            with signed_in(running, ann):
                assert time.monotonic() - began < 5
            answers.set()
            assert {each.result()[0] for each in done} == {502, 503}
