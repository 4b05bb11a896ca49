"""The protocol of the gateway, spoken by the library `websockets` as existing programs do."""

import asyncio
import json
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from websockets.asyncio.client import connect as connect_async
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from analyst.gateway.connection import Limits
from tests.integration.gateway.conftest import POLL, QUICK, Office, Running, gateway, health, received, signed_in


@pytest.fixture
def running(office: Office) -> Iterator[Running]:
    with gateway(office.environ) as made:
        yield made


async def old_client(url: str, token: str, wanted: int) -> list[dict[str, Any]]:
    """A program for desktops: it shows its token, answers pings, and shows notifications until it has seen enough."""
    shown: list[dict[str, Any]] = []
    async with connect_async(url) as socket:
        await socket.send(json.dumps({"type": "auth", "token": token}))
        reply = json.loads(await socket.recv())
        if reply["type"] != "auth_ok":
            raise RuntimeError(reply["message"])
        assert reply["username"]
        async for raw in socket:
            message = json.loads(raw)
            if message["type"] == "ping":
                await socket.send(json.dumps({"type": "pong"}))
            elif message["type"] == "notification":
                shown.append(message)
                if len(shown) == wanted:
                    break
    return shown


def test_a_program_for_the_old_gateway_runs_unchanged(office: Office, running: Running) -> None:
    token = office.person("ann")
    office.notify(token)
    found = asyncio.run(old_client(running.url, token, 1))
    inbox = office.world.ask("GET", "/api/notifications", token=token)["notifications"]
    assert found == [
        {
            "type": "notification",
            "id": inbox[0]["id"],
            "title": "This is a test message.",
            "message": "",
            "script": "message",
            "timestamp": found[0]["timestamp"],
        }
    ]
    with pytest.raises(RuntimeError, match=r"^Invalid token$"):
        asyncio.run(old_client(running.url + "ws/notifications", "da_wrong", 1))


REFUSED = {
    "": "Invalid JSON",
    "{": "Invalid JSON",
    "[" * 16_000: "Invalid JSON",
    "[]": "Expected auth message with token",
    "null": "Expected auth message with token",
    '{"type": "auth"}': "Expected auth message with token",
    '{"type": "auth", "token": ""}': "Expected auth message with token",
    '{"type": "auth", "token": 7}': "Expected auth message with token",
    '{"type": "pong"}': "Expected auth message with token",
    '{"type": "other", "token": "da_x"}': "Expected auth message with token",
    '{"type": "auth", "token": "x"}': "Invalid token",
    '{"type": "auth", "token": "da_x"}': "Invalid token",
    '{"type": "auth", "token": "a.b.c"}': "Invalid token",
    '{"type": "auth", "token": "\\ud800"}': "Invalid token",
    '{"type": "auth", "token": "x\\r\\ny"}': "Invalid token",
    json.dumps({"type": "auth", "token": "service-" + "0" * 32}): "Invalid token",
}


def test_connections_that_do_not_sign_in_are_refused(running: Running) -> None:
    for first, reason in REFUSED.items():
        with connect(running.url) as socket:
            socket.send(first)
            assert received(socket) == {"type": "auth_error", "message": reason}, first[:80]
            ended(socket, 1008)


def ended(socket: ClientConnection, code: int, reason: str = "") -> None:
    """Wait for the end of a connection, which the server closes with a code."""
    with pytest.raises(ConnectionClosed) as error:
        _drain(socket)
    assert error.value.rcvd is not None
    assert error.value.rcvd.code == code
    assert reason in error.value.rcvd.reason


def _drain(socket: ClientConnection) -> None:
    while True:
        socket.recv(10)


def test_a_client_that_sends_nothing_is_refused(office: Office) -> None:
    with gateway(office.environ, Limits(auth=0.2)) as running, connect(running.url) as socket:
        assert received(socket) == {"type": "auth_error", "message": "Auth timeout"}
        ended(socket, 1008)


def test_a_message_that_is_too_large_ends_the_connection(office: Office, running: Running) -> None:
    with connect(running.url) as socket:
        socket.send("x" * 20_000)
        ended(socket, 1009)
    with signed_in(running, office.person("ann")) as socket:
        socket.send(b"\xff nothing that is known, and ignored")
        socket.send("x" * 20_000)
        ended(socket, 1009)


def test_the_simultaneous_connections_of_a_person_are_limited(office: Office, running: Running) -> None:
    ann, bob = office.person("ann"), office.person("bob")
    with ExitStack() as stack:
        sockets = [stack.enter_context(signed_in(running, ann)) for _ in range(QUICK.per_person)]
        with connect(running.url) as one_more:
            one_more.send(json.dumps({"type": "auth", "token": office.token("ann")[1]}))
            assert received(one_more) == {"type": "auth_error", "message": "Too many connections"}
            ended(one_more, 1008)
        with signed_in(running, bob):
            assert health(running) == {"status": "ok", "connections": QUICK.per_person + 1, "users": 2}
        sockets[0].close()
        stack.enter_context(signed_in(running, ann))


def test_an_instance_has_a_limit_of_connections_and_no_other_paths(office: Office) -> None:
    token = office.person("ann")
    with gateway(office.environ, Limits(connections=1)) as running:
        with pytest.raises(InvalidStatus, match="404"), connect(running.url + "other"):
            pass
        with signed_in(running, token), pytest.raises(InvalidStatus, match="503"), connect(running.url):
            pass
        with signed_in(running, token):
            pass


def test_a_proxy_may_pass_on_the_path_of_the_public_url(office: Office) -> None:
    token = office.person("ann")
    with gateway({**office.environ, "BASE_URL": "https://example.com/team/data"}) as running:
        for path in ("ws/notifications", "team/data/ws/notifications", "team/data/", "team/data"):
            with connect(running.url + path) as socket:
                socket.send(json.dumps({"type": "auth", "token": token}))
                assert received(socket)["type"] == "auth_ok"
        for path in ("team/ws/notifications", "team/database", "team/data/other"):
            with pytest.raises(InvalidStatus, match="404"), connect(running.url + path):
                pass
        with urllib.request.urlopen(f"http://127.0.0.1:{running.port}/team/data/health", timeout=60) as answer:
            assert json.load(answer)["status"] == "ok"


def test_a_client_that_answers_no_pings_is_dropped(office: Office) -> None:
    token = office.person("ann")
    with gateway(office.environ, Limits(heartbeat=0.1, poll=POLL, closing=0.5)) as running:
        with signed_in(running, token) as alive:
            for _ in range(6):
                assert received(alive) == {"type": "ping"}
                alive.send('{"type": "pong"}')
        with signed_in(running, token) as silent:
            assert [received(silent)["type"] for _ in range(3)] == ["ping"] * 3
            ended(silent, 1008, "does not answer pings")


def test_a_client_that_sends_too_much_is_closed(office: Office, running: Running) -> None:
    with signed_in(running, office.person("ann")) as socket:
        with suppress(ConnectionClosed):
            for _ in range(150):
                socket.send('{"type": "pong"}')
        ended(socket, 1008, "too many messages")


def test_a_token_that_ends_ends_its_connections(office: Office, running: Running) -> None:
    office.person("ann")
    (id_, token), (_, other) = office.token("ann"), office.token("ann")
    with signed_in(running, token) as socket, signed_in(running, other) as stays:
        office.world.ask("DELETE", f"/auth/tokens/{id_}")
        assert received(socket) == {"type": "auth_error", "message": "Invalid token"}
        ended(socket, 1008, "revoked")
        office.notify(other)
        assert received(stays)["type"] == "notification"


def test_an_instance_that_stops_announces_it(office: Office, running: Running) -> None:
    with signed_in(running, office.person("ann")) as socket:
        running.stop()
        ended(socket, 1001, "stopping")
