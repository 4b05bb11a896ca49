"""A model of Cloud Run: a few instances of a service, each of which has a processor only while it answers a request.

Between requests an instance is frozen (SIGSTOP), as where the processor is billed by request. A request that takes longer
than the timeout is answered 504, and its instance is killed, which is the worst that Cloud Run does. A dead instance is
replaced when the next request needs one.
"""

import http.client
import itertools
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from tests.doubles.loopback import http_server
from tests.processes import BIN, ROOT, free_port

_HOP = {"connection", "transfer-encoding", "keep-alive", "date", "server"}


@dataclass
class Instance:
    """One process group of the functions framework."""

    process: subprocess.Popen[bytes]
    port: int
    active: int = 0
    frozen: bool = False

    def signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None


@dataclass
class CloudRun:
    """The service. `freezes` and `deaths` count what befell its instances."""

    home: Path
    environ: dict[str, str]
    instances: int = 3
    timeout: float = 60.0
    url: str = ""
    freezes: int = 0
    timeouts: int = 0
    deaths: int = 0
    requests: list[tuple[str, int]] = field(default_factory=list)
    _running: list[Instance] = field(default_factory=list)
    _turn: threading.Condition = field(default_factory=threading.Condition)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def kill_one(self) -> None:
        """Kill an instance, one that answers a request if there is one."""
        with self._turn:
            alive = sorted((one for one in self._running if one.is_alive), key=lambda one: -one.active)
        if alive:
            self._kill(alive[0])

    def is_idle(self) -> bool:
        with self._turn:
            return not any(one.active for one in self._running)

    def all_frozen(self) -> bool:
        """Whether every instance that is alive is stopped, as the system sees it."""
        with self._turn:
            return all(_state(one.process.pid) == "T" for one in self._running if one.is_alive)

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        """Pass a request to an instance."""
        instance = self._taken()
        connection = http.client.HTTPConnection("127.0.0.1", instance.port, timeout=self.timeout)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            found = answer.status, dict(answer.getheaders()), answer.read()
        except TimeoutError:
            self.timeouts += 1
            self._kill(instance)
            found = 504, {}, b""
        except (OSError, http.client.HTTPException):
            found = 503, {}, b""
        finally:
            connection.close()
            self._given_back(instance)
        self.requests.append((path, found[0]))
        return found

    def close(self) -> None:
        for instance in self._running:
            instance.signal(signal.SIGCONT)
            instance.signal(signal.SIGTERM)
        for instance in self._running:
            with suppress(subprocess.TimeoutExpired):
                instance.process.wait(10)
            instance.signal(signal.SIGKILL)
            instance.process.wait(10)

    def _taken(self) -> Instance:
        with self._turn:
            self._running = [one for one in self._running if one.is_alive]
            if len(self._running) < self.instances:
                instance = self._started()
                self._running.append(instance)
            else:
                instance = min(self._running, key=lambda one: one.active)
            instance.active += 1
            if instance.frozen:
                instance.signal(signal.SIGCONT)
                instance.frozen = False
        _wait(instance)
        return instance

    def _given_back(self, instance: Instance) -> None:
        with self._turn:
            instance.active -= 1
            if not instance.active and instance.is_alive:
                instance.signal(signal.SIGSTOP)
                instance.frozen = True
                self.freezes += 1

    def _kill(self, instance: Instance) -> None:
        self.deaths += 1
        instance.signal(signal.SIGKILL)
        instance.process.wait(10)

    def _started(self) -> Instance:
        port = free_port()
        environ = {
            **os.environ,
            "FUNCTION_SOURCE": str(ROOT / "functions/host.py"),
            "FUNCTION_TARGET": "host",
            "HOST": "127.0.0.1",
            "PORT": str(port),
            **self.environ,
        }
        with (self.home / f"instance-{next(self._numbers)}.log").open("wb") as log:
            command = [str(BIN / "functions-framework")]
            process = subprocess.Popen(
                command, cwd=self.home, env=environ, stdout=log, stderr=log, start_new_session=True
            )
        return Instance(process, port)


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def _wait(instance: Instance) -> None:
    deadline = time.monotonic() + 60
    while instance.is_alive and time.monotonic() < deadline:
        connection = http.client.HTTPConnection("127.0.0.1", instance.port, timeout=10)
        try:
            connection.request("GET", "/healthz")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.05)
        finally:
            connection.close()


@contextmanager
def cloud_run(service: CloudRun) -> Iterator[CloudRun]:
    """Run a service behind one address; its `environ` may still be changed before the first request."""

    class Front(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.0"

        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, headers, data = service.answer(self.command, self.path, dict(self.headers), body)
            self.send_response(status)
            for name, value in headers.items():
                if name.lower() not in _HOP and name.lower() != "content-length":
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            with suppress(OSError):
                self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _any  # noqa: N815

        def log_message(self, *_: object) -> None: ...

    try:
        with http_server(Front) as service.url:
            yield service
    finally:
        service.close()
