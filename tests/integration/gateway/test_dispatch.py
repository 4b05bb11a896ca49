"""The dispatch socket, and the gateway as a channel that people choose."""

import asyncio
import json
import os
import socket as sockets
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection

from analyst.gateway.dispatch import Content
from analyst.gateway.requests import listening
from analyst.notifications.delivery import post
from analyst.notifications.outbox import Outbox
from tests.integration.gateway.conftest import QUICK, Office, gateway, health, received, signed_in


def sent(path: Path, data: bytes) -> tuple[int, Any]:
    """Send bytes to the socket; return the status and the document of the answer."""
    with sockets.socket(sockets.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(str(path))
        connection.sendall(data)
        connection.shutdown(sockets.SHUT_WR)
        answer = b""
        while block := connection.recv(65_536):
            answer += block
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def request(document: Any, line: str = "POST /dispatch HTTP/1.1") -> bytes:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return f"{line}\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


OLD = {
    "id": "0b4f4a0e",
    "title": "Revenue drop",
    "message": "It is 20 % lower.",
    "script": "revenue.py",
    "timestamp": "2026-11-29T12:00:00",
    "image_url": "/api/notifications/images/x.png",
}
"""What a runner of scripts that was written for the old gateway hands in."""


def test_submitted_events_reach_connected_and_later_clients(office: Office, tmp_path: Path) -> None:
    path, ann = tmp_path / "d.sock", office.person("ann")
    office.person("bob")
    with gateway(office.environ, QUICK, path) as running:
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        with signed_in(running, ann) as one, signed_in(running, ann) as two:
            assert sent(path, request({"user": "Ann@example.com", "notification": OLD})) == (200, {"sent": 2})
            for socket in (one, two):
                found = received(socket)
                assert found.pop("id") != OLD["id"]
                assert found == {
                    "type": "notification",
                    "title": "Revenue drop",
                    "message": "It is 20 % lower.",
                    "script": "revenue.py",
                    "timestamp": "2026-11-29T12:00:00+00:00",
                    "image_url": "/api/notifications/images/x.png",
                }
            assert sent(path, request({"user": "ann@example.com", "notification": OLD})) == (200, {"sent": 0})  # known
            assert sent(path, request(b"", "GET /health HTTP/1.1")) == (200, health(running))
            office.notify(ann)
            assert [received(each)["script"] for each in (one, two)] == ["message"] * 2  # nothing came twice
        assert sent(path, request({"user": "bob@example.com", "notification": OLD})) == (200, {"sent": 0})
        with signed_in(running, office.token("bob")[1]) as late:
            assert received(late)["title"] == "Revenue drop"
    assert not path.exists()
    titles = [each["title"] for each in office.world.ask("GET", "/api/notifications", token=ann)["notifications"]]
    assert titles == ["This is a test message.", "Revenue drop"]


REFUSED: list[tuple[bytes, int, str]] = [
    (request({"user": "nobody@example.com", "notification": OLD}), 404, "no active user"),
    (request({"user": "ann@example.com"}), 400, "notification"),
    (request({"notification": OLD}), 400, "user"),
    (request({"user": 7, "notification": OLD}), 400, "user"),
    (request({"user": "ann@example.com", "notification": {}}), 400, "needs a title or a message"),
    (request({"user": "ann@example.com", "notification": {"title": " ", "message": ""}}), 400, "needs a title"),
    (request({"user": "ann@example.com", "notification": {"title": "x", "timestamp": "soon"}}), 400, "timestamp"),
    (
        request({"user": "ann@example.com", "notification": {"title": "x", "image_url": "javascript:x"}}),
        400,
        "image_url",
    ),
    *(
        (
            request({"user": "ann@example.com", "notification": {"title": "x", "timestamp": time}}),
            400,
            "in the future, or",
        )
        for time in ("1960-01-01T00:00:00Z", "9999-01-01T00:00:00", "9999-12-31T23:59:59-12:00")
    ),
    (request(b"{"), 400, "not valid"),
    (request(b"[]"), 400, "not valid"),
    (request(b"\xff"), 400, "not valid"),
    (request(b"[" * 10_000), 400, "not valid"),
    (request(OLD, "GET /dispatch HTTP/1.1"), 404, "POST /dispatch"),
    (request(OLD, "POST /other HTTP/1.1"), 404, "POST /dispatch"),
    (b"POST /dispatch HTTP/1.1\r\nContent-Length: 999999999\r\n\r\n", 413, "larger than"),
    (b"POST /dispatch HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400, "not a number"),
    (b"POST /dispatch HTTP/1.1\r\nContent-Length: 50\r\n\r\n{}", 400, "shorter"),
    (b"POST /dispatch HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 400, "no length"),
    (b"GET /" + b"x" * 40_000 + b" HTTP/1.1\r\n\r\n", 413, "larger than"),
    (b"hello\r\n\r\n", 400, "HTTP"),
    (b"hello", 400, "HTTP"),
    (b"", 400, "HTTP"),
]


def test_invalid_requests_are_explained_and_leave_the_connection_open(office: Office, tmp_path: Path) -> None:
    path, ann = tmp_path / "d.sock", office.person("ann")
    with sockets.socket(sockets.AF_UNIX) as stale:
        stale.bind(str(path))  # left by a process that was killed
    with gateway(office.environ, QUICK, path) as running:
        for data, status, message in REFUSED:
            found, answer = sent(path, data)
            assert (found, message in answer["error"]) == (status, True), (data[:80], answer)
        with signed_in(running, ann) as socket:
            assert sent(path, request({"user": "ann@example.com", "notification": {"message": "only this"}}))[1] == {
                "sent": 1
            }
            assert received(socket)["title"] == "only this"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_other_users_of_the_host_cannot_submit_anything(office: Office) -> None:
    office.person("ann")
    path = Path(f"/tmp/da-dispatch-{os.getpid()}.sock")  # where everybody may look
    with gateway(office.environ, QUICK, path):
        code = f"import socket; socket.socket(socket.AF_UNIX).connect({str(path)!r})"
        other = subprocess.run(
            ["/usr/bin/python3", "-I", "-c", code],
            user=65_534,
            group=65_534,
            extra_groups=[],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd="/",
        )
    assert "PermissionError" in other.stderr


def test_people_choose_which_events_reach_programs(office: Office) -> None:
    world, ann = office.world, office.person("ann")
    user = world.ask("GET", "/api/me", token=ann)["user_id"]

    def choose(*channels: str) -> None:
        world.ask("PUT", "/api/notifications/preferences", {"kinds": {"script": channels}}, token=ann)

    def happen(number: int) -> None:
        made = Content(title=f"n{number}").notification(user, world.process.clock())
        post(world.process.store, world.process.settings, made, [user])

    with gateway(office.environ) as running:
        choose("page")
        happen(1)
        with signed_in(running, ann) as socket:
            happen(2)
            choose("gateway")
            happen(3)
            assert received(socket)["title"] == "n3"
        happen(4)  # the program is away, and the page does not show it as new
        inbox = world.ask("GET", "/api/notifications", token=ann)
        assert {each["title"]: each["read"] for each in inbox["notifications"]} == {
            "n1": False,
            "n2": False,
            "n3": True,
            "n4": True,
        }
        world.ask("POST", "/api/notifications/read", {"through": "7ZZZZZZZZZZZZZZZZZZZZZZZZZ"}, token=ann)
        with signed_in(running, ann) as socket:
            assert next(title for title in titles(socket) if title != "n3") == "n4"
        choose()
        happen(5)
        choose("page", "gateway")
        happen(6)
        with signed_in(running, ann) as socket:
            assert next(title for title in titles(socket) if title not in ("n3", "n4")) == "n6"


CHOICES: list[tuple[list[str], dict[str, bool]]] = [
    (["slack"], {"Revenue drop": False}),
    (["telegram", "email"], {"Revenue drop": False}),
    (["page"], {"Revenue drop": False}),
    (["gateway"], {"Revenue drop": True}),  # not for the page: a program of theirs gets it
    ([], {}),
]


def test_submitted_messages_follow_the_preferences_of_their_recipients(office: Office, tmp_path: Path) -> None:
    """It is not sent to chats and by mail, so the page keeps it for a person who has chosen only these."""
    path = tmp_path / "d.sock"
    people = [office.person(f"p{number}") for number in range(len(CHOICES))]
    with gateway(office.environ, QUICK, path):
        for number, (channels, _) in enumerate(CHOICES):
            chosen = {"kinds": {"script": channels}}
            office.world.ask("PUT", "/api/notifications/preferences", chosen, token=people[number])
            for _ in range(2):
                handed_in = {"user": f"p{number}@example.com", "notification": OLD}
                assert sent(path, request(handed_in)) == (200, {"sent": 0})
    for token, (channels, read) in zip(people, CHOICES, strict=True):
        inbox = office.world.ask("GET", "/api/notifications", token=token)["notifications"]
        assert {each["title"]: each["read"] for each in inbox} == read, channels
    assert list(Outbox(office.world.process.store).waiting()) == []


def titles(socket: ClientConnection) -> Iterator[str]:
    """Return the titles of what comes; what was not confirmed before a connection ended comes again."""
    while True:
        yield str(received(socket)["title"])


def test_a_file_in_place_of_the_socket_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "d.sock"
    path.write_text("mine")

    async def listen() -> None:
        async with listening(path, {}, dict):
            raise AssertionError("the socket is there")

    with pytest.raises(OSError, match="in use"):
        asyncio.run(listen())
    assert path.read_text() == "mine"


def test_a_test_message_reaches_programs(office: Office) -> None:
    ann = office.person("ann")
    with gateway(office.environ) as running, signed_in(running, ann) as socket:
        office.world.ask("POST", "/api/notifications/test", {"channel": "gateway"}, token=ann)
        assert received(socket)["title"] == "This is a test message."


def test_a_process_that_ends_does_not_remove_the_socket_of_the_next(tmp_path: Path) -> None:
    """While an instance is replaced, both run for a moment."""
    path = tmp_path / "dispatch.sock"

    async def overlap() -> None:
        first = listening(path, {}, lambda: {"of": "the first"})
        await first.__aenter__()
        async with listening(path, {}, lambda: {"of": "the next"}):
            await first.__aexit__(None, None, None)
            answer = await asyncio.to_thread(sent, path, b"GET /health HTTP/1.1\r\n\r\n")
            assert answer == (200, {"of": "the next"})
        assert not path.exists()

    asyncio.run(overlap())
