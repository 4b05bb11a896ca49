"""What reaches whom over the gateway: everything, on every instance, also after somebody was away."""

import json
import os
import signal
import socket as sockets
import subprocess
import sys
import threading
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from ulid import ULID
from websockets.exceptions import ConnectionClosed

from analyst.gateway.connection import Limits
from analyst.notifications.notification import Item, Kind, Notification, notification_id
from analyst.notifications.outbox import Outbox
from tests.integration.gateway.conftest import POLL, Office, Running, gateway, health, received, signed_in
from tests.processes import free_port


def test_several_instances_deliver_new_events_to_every_connection(office: Office) -> None:
    ann, bob = office.person("ann"), office.person("bob")
    with ExitStack() as stack:
        instances = [stack.enter_context(gateway(office.environ)) for _ in range(2)]
        of_ann = [stack.enter_context(signed_in(each, ann)) for each in (*instances, instances[0])]
        of_bob = stack.enter_context(signed_in(instances[1], bob))
        office.notify(ann)
        ids = {received(each)["id"] for each in of_ann}
        assert len(ids) == 1
        office.notify(bob)
        assert received(of_bob)["id"] not in ids  # it has got nothing of Ann's
        office.notify(ann)
        assert not {received(each)["id"] for each in of_ann} & ids  # and nobody the same twice


def test_a_client_that_was_away_gets_missed_events_once(office: Office) -> None:
    ann = office.person("ann")
    office.notify(ann)
    office.notify(ann)
    with gateway(office.environ) as running:
        with signed_in(running, ann) as socket:
            missed = [received(socket)["id"] for _ in range(2)]
            confirmed(office, ann, missed)
        office.notify(ann)
        with signed_in(running, ann) as socket:
            assert received(socket)["id"] not in missed
    inbox = [each["id"] for each in office.world.ask("GET", "/api/notifications", token=ann)["notifications"]]
    assert missed == sorted(missed)
    assert set(missed) < set(inbox)
    office.world.ask("POST", "/api/notifications/read", {"through": inbox[0]}, token=ann)
    with gateway(office.environ) as running, signed_in(running, ann) as socket:  # what was read on a page is known
        office.notify(ann)
        assert received(socket)["id"] not in inbox


def confirmed(office: Office, token: str, ids: list[str]) -> None:
    """Wait until it is noted that a person has received notifications."""
    user = office.world.ask("GET", "/api/me", token=token)["user_id"]
    outbox = Outbox(office.world.process.store)
    while {each.id for each in outbox.unreceived(user)} & set(ids):
        pass


def test_events_in_the_buffers_of_a_dying_connection_are_sent_again(office: Office) -> None:
    ann = office.person("ann")
    with gateway(office.environ) as running:
        with sockets.create_connection(("127.0.0.1", running.port), timeout=30) as hanging:
            hanging.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            hanging.sendall(HANDSHAKE)
            hanging.sendall(masked(json.dumps({"type": "auth", "token": ann}).encode()))
            office.notify(ann)
            while b"test message" not in hanging.recv(65_536, sockets.MSG_PEEK):
                pass  # the program hangs: it reads nothing, and answers nothing
        with signed_in(running, ann) as socket:
            assert received(socket)["title"] == "This is a test message."


def test_a_notification_shows_what_its_reader_may_see_when_it_is_sent(office: Office) -> None:
    world = office.world
    folder = Path(str(world.process.settings.source_roots[0])) / "shop"
    folder.mkdir()
    for table in ("orders", "people"):
        (folder / f"{table}.csv").write_text("id\n1\n")
    world.ask("POST", "/api/admin/sources/shop", {"type": "csv", "config": {"path": "shop"}})
    world.ask("POST", "/extract/csv", {"source": "shop"})
    ann = office.person("ann")
    granted = world.ask("POST", "/api/admin/permissions", {"user": "ann@example.com", "table": "shop.orders"})
    user = world.ask("GET", "/api/me", token=ann)["user_id"]
    known = world.process.access.refresh().tables
    items = tuple(Item(table=id_, registration=each.uuid, text="broken") for id_, each in sorted(known.items()))
    now = datetime.now(UTC)

    def happen(key: str, *which: Item) -> None:
        made = Notification(id=notification_id(key, now), at=now, kind="table_failed", items=which)
        Outbox(world.process.store).add(user, made, ["page", "gateway"])

    with gateway(office.environ) as running, signed_in(running, ann) as socket:
        happen("hidden", items[1])
        happen("both", *items)
        found = received(socket)
        assert (found["title"], found["message"], found["script"]) == (
            "shop.orders can't be synced",
            "shop.orders: broken",
            "table_failed",
        )
        assert "people" not in str(found)
        world.ask("DELETE", f"/api/admin/permissions/{granted['id']}")
        happen("again", items[0])
        office.notify(ann)
        assert received(socket)["script"] == "message"


def test_a_token_that_only_reads_gets_nothing_for_administrators(office: Office) -> None:
    world, now = office.world, datetime.now(UTC)
    user = world.ask("GET", "/api/me")["user_id"]
    plain = office.token("admin", scopes=["read"])[1]
    kinds: tuple[Kind, ...] = ("request_received", "message")
    for kind in kinds:
        made = Notification(id=notification_id(kind, now), at=now, kind=kind, title=kind)
        Outbox(world.process.store).add(user, made, ["page", "gateway"])
    with gateway(office.environ) as running:
        with signed_in(running, plain) as socket:
            assert received(socket)["title"] == "message"
        with signed_in(running, world.admin) as socket:  # which still waits for a token that may
            while received(socket)["title"] != "request_received":
                pass


def test_a_slow_reader_is_dropped_and_loses_nothing(office: Office) -> None:
    ann = office.person("ann")
    user = office.world.ask("GET", "/api/me", token=ann)["user_id"]
    outbox, now = Outbox(office.world.process.store), datetime.now(UTC)
    made = [
        Notification(id=notification_id(str(number), now), at=now, kind="message", title="x", text="y" * 900_000)
        for number in range(12)
    ]
    for each in made:
        outbox.add(user, each, ["page", "gateway"])
    with (
        gateway(office.environ, Limits(patience=0.3, closing=0.1, poll=POLL)) as running,
        sockets.create_connection(("127.0.0.1", running.port)) as slow,
    ):
        slow.sendall(HANDSHAKE)
        slow.sendall(masked(json.dumps({"type": "auth", "token": ann}).encode()))
        slow.recv(1000)
        while health(running)["connections"]:  # it reads nothing more, until it is dropped
            pass
    with gateway(office.environ) as running, signed_in(running, ann) as socket:  # of an instance that is patient
        found = {received(socket)["id"] for _ in made}
    assert found == {each.id for each in made}


HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def masked(text: bytes) -> bytes:
    """Return a text of at most 125 bytes as the frame of a client."""
    return bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text


def test_a_standalone_instance_starts_serves_and_stops_on_sigterm(office: Office, tmp_path: Path) -> None:
    ann, port = office.person("ann"), free_port()
    environ = {**os.environ, **office.environ, "WS_GATEWAY_PORT": str(port)}
    command = [sys.executable, "-m", "analyst.gateway"]
    with (tmp_path / "log").open("wb") as log, subprocess.Popen(command, env=environ, stdout=log, stderr=log) as child:
        office.notify(ann)
        running = started(port, child)
        with signed_in(running, ann) as socket:
            assert received(socket)["type"] == "notification"
            child.send_signal(signal.SIGTERM)
            with pytest.raises(ConnectionClosed, match="stopping"):
                socket.recv(60)
        assert child.wait(60) == 0
    logged = (tmp_path / "log").read_text()
    assert "gateway stopped" in logged
    assert ann not in logged


def started(port: int, child: "subprocess.Popen[bytes]") -> Running:
    """Wait until an instance accepts connections."""
    while child.poll() is None:
        try:
            with sockets.create_connection(("127.0.0.1", port)):
                return Running(port, child.terminate, threading.current_thread())
        except OSError:
            continue
    raise AssertionError(f"the gateway ended with {child.returncode}")


@pytest.mark.parametrize(
    ("variables", "status", "message"),
    [
        ({"WS_GATEWAY_PORT": "http"}, 2, "WS_GATEWAY_PORT"),
        ({"HEARTBEAT_INTERVAL_SECONDS": "0"}, 2, "HEARTBEAT_INTERVAL_SECONDS"),
        ({"MAX_CONNECTIONS_PER_USER": "-1"}, 2, "MAX_CONNECTIONS_PER_USER"),
        ({"DATA_URL": "ftp://x"}, 2, "DATA_URL"),
        ({"WS_GATEWAY_HOST": "192.0.2.1"}, 1, "can't run"),
        ({"WS_DISPATCH_SOCKET": "/nowhere/d.sock"}, 1, "can't run"),
    ],
)
def test_an_instance_that_cannot_start_reports_the_reason(
    office: Office, variables: dict[str, Any], status: int, message: str
) -> None:
    environ = {**os.environ, **office.environ, **variables}
    done = subprocess.run(
        [sys.executable, "-m", "analyst.gateway"], env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, message in done.stderr, "Traceback" in done.stderr) == (status, True, False), done.stderr


def test_without_its_package_an_instance_names_what_to_install() -> None:
    code = "import sys; sys.modules['websockets'] = None; from analyst.gateway.__main__ import main; raise SystemExit(main())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "ai-data-analyst[gateway]" in done.stderr) == (2, True), done.stderr


def test_announcements_are_found_by_time(office: Office) -> None:
    outbox, made = Outbox(office.world.process.store), str(ULID())
    outbox.add("ann", Notification(id=made, at=datetime.now(UTC), kind="message", title="x"), ["page", "gateway"])
    outbox.add("bob", Notification(id=made, at=datetime.now(UTC), kind="message", title="x"), ["email"])
    now = datetime.now(UTC).timestamp()
    assert [each.user_id for each in outbox.announced(now - 60, now)] == ["ann"]
    assert outbox.announced(now - 7200, now - 3600) == []
