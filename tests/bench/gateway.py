"""The memory of one instance of the gateway that many people are connected to, and the time until all have a notification."""

import asyncio
import os
import subprocess
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from ulid import ULID
from websockets.asyncio.client import ClientConnection, connect

from analyst.context import Process
from analyst.notifications.notification import Notification
from analyst.notifications.outbox import Outbox
from tests.bench.measurement import BIN, Row, at_most
from tests.clouds import FileCloud
from tests.integration.world import World
from tests.processes import free_port

SOCKETS = 1000
PEOPLE = 250


def measure() -> list[Row]:
    """Connect sockets to an instance, notify everybody, and read the resident memory of its process after that."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "bucket").mkdir()
        cloud = FileCloud(home / "bucket")
        secret = {"SECRET_KEY": "s" * 40}
        world = World(home, cloud, variables=secret)
        people = [
            world.ask("POST", "/api/users", {"email": f"p{n}@example.com", "role": "viewer"}) for n in range(PEOPLE)
        ]
        tokens = [
            str(world.ask("POST", "/auth/tokens", {"name": "x", "user": each["email"]})["token"]) for each in people
        ]
        port = free_port()
        environ = {**os.environ, **cloud.settings, **secret, "WS_GATEWAY_PORT": str(port)}
        child = subprocess.Popen([BIN / "python", "-m", "analyst.gateway"], env=environ, stdout=subprocess.DEVNULL)
        try:
            mb, idle_mb, seconds = asyncio.run(
                _connected(port, tokens, [str(each["id"]) for each in people], world.process, child.pid)
            )
        finally:
            child.terminate()
            child.wait(30)
            world.process.close()
    return [
        at_most(f"gateway: memory (RSS) with {SOCKETS:,} sockets", mb, "MB", 200, f"before: {idle_mb:.0f} MB"),
        at_most("gateway: a notification for everybody reaches all of them", seconds, "s", 10),
    ]


async def _connected(
    port: int, tokens: list[str], user_ids: list[str], process: Process, pid: int
) -> tuple[float, float, float]:
    """Return the MB with all sockets, the MB before, and the seconds until everybody has a notification."""
    url = f"ws://127.0.0.1:{port}/"
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
            continue
        writer.close()
        break
    before, ready, had = _rss_mb(pid), asyncio.Semaphore(0), asyncio.Semaphore(0)
    begin = asyncio.Semaphore(50)

    async def client(token: str) -> None:
        async with begin:
            opening = connect(url, compression=None, ping_interval=None, open_timeout=60)
            socket: ClientConnection = await opening.__aenter__()
            await socket.send(f'{{"type": "auth", "token": "{token}"}}')
            assert "auth_ok" in str(await socket.recv())
        ready.release()
        async for message in socket:
            if '"notification"' in str(message):
                had.release()
            else:
                await socket.send('{"type": "pong"}')

    clients = [asyncio.create_task(client(tokens[number % PEOPLE])) for number in range(SOCKETS)]
    for _ in clients:
        await ready.acquire()
    began = time.perf_counter()
    now = datetime.now(UTC)
    made = Notification(id=str(ULID()), at=now, kind="message", title="A message to everybody", text="x" * 500)
    outbox = Outbox(process.store)
    await asyncio.to_thread(lambda: [outbox.add(user_id, made, ["page", "gateway"]) for user_id in user_ids])
    for _ in clients:
        await had.acquire()
    seconds, after = time.perf_counter() - began, _rss_mb(pid)
    for each in clients:
        each.cancel()
    await asyncio.gather(*clients, return_exceptions=True)
    return after, before, seconds


def _rss_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024
