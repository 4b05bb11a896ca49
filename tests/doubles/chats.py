"""A server of the Bot API on loopback: the methods that a bot of ours uses, with the answers and limits of version 10.0.

A text of markup is parsed as Telegram does: tags of HTML must be known and closed, entities of Markdown must be closed.
Lengths are counted in UTF-16 code units after the markup is removed. `tests/unit/notifications/test_doubles.py` has a real client use it.
"""

import html
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from io import BytesIO
from typing import Any
from urllib.parse import parse_qs

from werkzeug.wrappers import Request

from tests.doubles.loopback import http_server

TOKEN = "123456:double-of-a-token"
_TAGS = {"a", "b", "i", "u", "s", "code", "pre", "strong", "em"}


@dataclass
class TelegramDouble:
    """The chats of the bot. `refusals` are answered first, one for each `sendMessage`."""

    url: str = ""
    sent: list[dict[str, Any]] = field(default_factory=list)
    updates: list[dict[str, Any]] = field(default_factory=list)
    chats: set[int] = field(default_factory=set)
    blocked: set[int] = field(default_factory=set)
    migrated: dict[int, int] = field(default_factory=dict)
    refusals: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    webhook: dict[str, Any] | None = None
    photos: list[tuple[int, bytes]] = field(default_factory=list)
    refuses_photos: bool = False
    notes: list[tuple[str, str]] = field(default_factory=list)
    """What buttons that were pressed say: the ids of the queries, and the texts."""

    def write(self, chat_id: int, text: str, kind: str = "private") -> dict[str, Any]:
        """Have somebody write to the bot; return the update."""
        self.chats.add(chat_id)
        update = {
            "update_id": 1000 + len(self.updates),
            "message": {
                "message_id": len(self.updates) + 1,
                "date": 1767225600,
                "chat": {"id": chat_id, "type": kind, "first_name": "Ann"},
                "from": {"id": chat_id, "is_bot": False, "first_name": "Ann"},
                "text": text,
            },
        }
        self.updates.append(update)
        return update

    def press(self, chat_id: int, data: Any, by: int | None = None, kind: str = "private") -> dict[str, Any]:
        """Have somebody press a button; return the update."""
        update = {
            "update_id": 1000 + len(self.updates),
            "callback_query": {
                "id": f"q{len(self.updates)}",
                "from": {"id": chat_id if by is None else by, "is_bot": False, "first_name": "Ann"},
                "message": {"message_id": 1, "date": 1767225600, "chat": {"id": chat_id, "type": kind}},
                "chat_instance": "1",
                "data": data,
            },
        }
        self.updates.append(update)
        return update

    def texts(self, chat_id: int) -> list[str]:
        """Return what a chat shows."""
        return [each.get("text", each.get("caption", "")) for each in self.sent if each["chat"]["id"] == chat_id]

    def answer(self, path: str, given: dict[str, Any]) -> tuple[int, dict[str, Any]]:  # noqa: C901, PLR0911, PLR0912 - a list of methods
        """Answer a call of a method."""
        found = re.fullmatch(r"/bot([^/]+)/(\w+)", path)
        if found is None or found[1] != TOKEN:
            return _refused(401, "Unauthorized")
        match found[2]:
            case "getMe":
                return _ok({"id": 123456, "is_bot": True, "first_name": "Data", "username": "data_bot"})
            case "setWebhook":
                if not str(given["url"]).startswith("https://"):
                    return _refused(400, "Bad Request: bad webhook: An HTTPS URL must be provided for webhook")
                if not re.fullmatch(r"[A-Za-z0-9_-]{1,256}", given.get("secret_token", "x")):
                    return _refused(400, "Bad Request: secret token contains unallowed characters")
                self.webhook = given
                return _ok(True)
            case "deleteWebhook":
                self.webhook = None
                return _ok(True)
            case "getUpdates":
                if self.webhook is not None:
                    return _refused(409, "Conflict: can't use getUpdates method while webhook is active")
                start = int(given.get("offset") or 0)
                return _ok([each for each in self.updates if each["update_id"] >= start][:100])
            case "answerCallbackQuery":
                if len(given.get("text", "")) > 200:
                    return _refused(400, "Bad Request: MESSAGE_TOO_LONG")
                self.notes.append((given["callback_query_id"], given.get("text", "")))
                return _ok(True)
            case "sendMessage":
                for row in given.get("reply_markup", {}).get("inline_keyboard", ()):
                    if any(len(each["callback_data"].encode()) > 64 for each in row):
                        return _refused(400, "Bad Request: BUTTON_DATA_INVALID")
                return self._send(given, "text", 4096)
            case "sendPhoto":
                if not given.get("photo"):
                    return _refused(400, "Bad Request: there is no photo in the request")
                if self.refuses_photos:
                    return _refused(400, "Bad Request: PHOTO_INVALID_DIMENSIONS")
                return self._send(given, "caption", 1024)
        return _refused(404, "Not Found")

    def _send(  # noqa: PLR0911 - a list of refusals
        self, given: dict[str, Any], named: str, longest: int
    ) -> tuple[int, dict[str, Any]]:
        if self.refusals:
            code, more = self.refusals.pop(0)
            return _refused(code, more.pop("description", "x"), **more)
        chat_id = int(given["chat_id"])
        if chat_id in self.migrated:
            new = self.migrated[chat_id]
            return _refused(400, "Bad Request: group chat was upgraded to a supergroup chat", migrate_to_chat_id=new)
        if chat_id in self.blocked:
            return _refused(403, "Forbidden: bot was blocked by the user")
        if chat_id not in self.chats:
            return _refused(400, "Bad Request: chat not found")
        try:
            text = plain(str(given.get(named, "")), given.get("parse_mode"))
        except ValueError as error:
            return _refused(400, f"Bad Request: can't parse entities: {error}")
        if not text.strip() and named == "text":
            return _refused(400, "Bad Request: message text is empty")
        if len(text.encode("utf-16-le")) // 2 > longest:
            return _refused(400, f"Bad Request: message {'caption ' if named == 'caption' else ''}is too long")
        message = {
            "message_id": len(self.sent) + 1,
            "date": 1767225600,
            "chat": {"id": chat_id, "type": "private"},
            named: text,
        }
        if named == "caption":
            message["photo"] = [{"file_id": "1", "file_unique_id": "1", "width": 1, "height": 1}]
            self.photos.append((chat_id, given["photo"]))
        self.sent.append(message)
        return _ok(message)


def plain(text: str, parse_mode: str | None) -> str:
    """Return a text without its markup.

    Raises:
        ValueError: the markup is invalid.
    """
    if parse_mode is None:
        return text
    if parse_mode == "Markdown":
        for mark in "*_`":
            if text.count(mark) % 2:
                raise ValueError("Can't find end of the entity starting at byte offset 0")
        return re.sub(r"[*_`]", "", text)
    stack: list[str] = []
    for closing, name in re.findall(r"<(/?)([^\s>/]*)[^>]*>", text):
        if name not in _TAGS:
            raise ValueError(f'Unsupported start tag "{name}" at byte offset 0')
        if not closing:
            stack.append(name)
        elif not stack or stack.pop() != name:
            raise ValueError("Unmatched end tag at byte offset 0")
    if stack or re.search(r"<(?![^>]*>)", text):
        raise ValueError("Can't find end tag")
    return html.unescape(re.sub(r"<[^>]*>", "", text))


def _ok(result: Any) -> tuple[int, dict[str, Any]]:
    return 200, {"ok": True, "result": result}


def _refused(code: int, description: str, **parameters: Any) -> tuple[int, dict[str, Any]]:
    more = {"parameters": parameters} if parameters else {}
    return code, {"ok": False, "error_code": code, "description": description, **more}


@contextmanager
def telegram() -> Iterator[TelegramDouble]:
    """Serve the double."""
    double = TelegramDouble()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            kind = self.headers.get("Content-Type") or ""
            if kind.startswith("application/json"):
                given = json.loads(body or b"{}")
            elif kind.startswith("multipart/"):
                sent = {"input_stream": BytesIO(body), "content_type": kind, "content_length": len(body)}
                with Request.from_values(method="POST", **sent) as form:
                    given = {name: _value(value) for name, value in form.form.items()}
                    given |= {name: file.read() for name, file in form.files.items()}
            else:
                given = {name: _value(values[0]) for name, values in parse_qs(body.decode()).items()}
            status, document = double.answer(self.path, given)
            data = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            """Log nothing."""

    with http_server(Handler) as double.url:
        yield double


def _value(text: str) -> Any:
    return json.loads(text) if text[:1] in "[{" else text


@dataclass
class SlackDouble:
    """Incoming webhooks of Slack: what was posted to the one that exists, and the answers that are given first.

    Source: https://api.slack.com/messaging/webhooks and the reference of blocks.
    """

    url: str = ""
    posted: list[dict[str, Any]] = field(default_factory=list)
    refusals: list[tuple[int, str]] = field(default_factory=list)

    @property
    def webhook(self) -> str:
        """The address that works."""
        return f"{self.url}/services/T0001/B0001/secretsecretsecretsecret"

    def answer(self, path: str, body: bytes) -> tuple[int, str]:
        """Answer a message."""
        if self.refusals:
            return self.refusals.pop(0)
        if path != "/services/T0001/B0001/secretsecretsecretsecret":
            return 404, "no_service"
        try:
            message = json.loads(body)
        except ValueError:
            return 400, "invalid_payload"
        blocks = message.get("blocks", [])
        if not message.get("text") and not blocks:
            return 400, "no_text"
        if len(blocks) > 50 or any(not 0 < len(block["text"]["text"]) <= 3000 for block in blocks):
            return 400, "invalid_blocks"
        self.posted.append(message)
        return 200, "ok"


@contextmanager
def slack() -> Iterator[SlackDouble]:
    """Serve the double."""
    double = SlackDouble()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, word = double.answer(self.path, body)
            self.send_response(status)
            if status == 429:
                self.send_header("Retry-After", "30")
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(word)))
            self.end_headers()
            self.wfile.write(word.encode())

        def log_message(self, *_: Any) -> None:
            """Log nothing."""

    with http_server(Handler) as double.url:
        yield double
