"""Runs the system as its users do: functions in a process of their own, `da` as a command."""

import atexit
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import TYPE_CHECKING, Any, Protocol

from tests.doubles.loopback import listening
from tests.forks import Forks, forking

if TYPE_CHECKING:  # not there where only the packages of `da` are
    from tests.clouds import Cloud

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
BOOTSTRAP_SECRET = "bootstrap-secret-of-the-tests-0123456789"
SERVICE_TOKEN = "service-token-of-the-tests-0123456789abcdef"
_START_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Host:
    """A running host of functions."""

    url: str
    pid: int | None = None

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, Any]:
        """Send a request; return the status and the JSON of the answer."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers or {}, method=method)
        if token is not None:
            request.add_header("Authorization", f"Bearer {token}")
        if data is not None:
            request.add_header("Content-Type", "application/json")
        try:
            with _OPENER.open(request, timeout=120) as response:
                return response.status, _json(response.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _json(error.read())

    def bootstrap(self, email: str = "admin@example.com") -> str:
        """Make the first administrator; return their token."""
        status, answer = self.ask("POST", "/auth/bootstrap", {"email": email, "secret": BOOTSTRAP_SECRET})
        assert status == 201, answer
        return str(answer["token"])

    def user(self, admin: str, email: str, role: str = "analyst") -> tuple[str, str]:
        """Add a user; return their id and a token."""
        status, user = self.ask("POST", "/api/users", {"email": email, "role": role}, token=admin)
        assert status == 201, user
        status, made = self.ask("POST", "/auth/tokens", {"name": "test", "user": email}, token=admin)
        assert status == 201, made
        return str(user["id"]), str(made["token"])


class _StayHere(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_StayHere)


def _json(body: bytes) -> Any:
    try:
        return json.loads(body) if body else None
    except ValueError:
        return body


@contextmanager
def host(
    home: Path,
    cloud: "Cloud | None" = None,
    *,
    sources: Path | None = None,
    nice: int = 0,
    fork: bool = False,
    **settings: str,
) -> Iterator[Host]:
    """Run all functions until the block ends, on a bucket below `home` if none is given, as `nice` as is said.

    With `fork`, one that has imported the functions already is forked: the imports take longer than most tests.
    """
    port = free_port()
    bucket = {"DATA_URL": (home / "bucket").as_uri()} if cloud is None else cloud.settings
    environ = {
        **os.environ,
        "FUNCTION_SOURCE": str(ROOT / ("tests/forked_host.py" if fork else "functions/host.py")),
        "FUNCTION_TARGET": "host",
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "BASE_URL": f"http://127.0.0.1:{port}",
        **bucket,
        "BOOTSTRAP_SECRET": BOOTSTRAP_SECRET,
        "SERVICE_TOKEN": SERVICE_TOKEN,
        "SOURCE_ROOTS": str(sources or home),
        **settings,
    }
    log = home / "host.log"
    process: _Process
    if fork:
        process = _Fork(_host_forks(threading.get_ident()), environ, home, log, nice)
    else:
        command = ["nice", "-n", str(nice), str(BIN / "functions-framework")]
        with log.open("wb") as output:
            process = subprocess.Popen(command, cwd=home, env=environ, stdout=output, stderr=output)
    try:
        running = Host(f"http://127.0.0.1:{port}", process.pid)
        wait_for(running, process)
        yield running
    except BaseException:
        print(log.read_text())
        raise
    finally:
        process.terminate()
        process.wait(timeout=60)


class _Process(Protocol):
    pid: int

    def poll(self) -> int | None:
        """Return the exit code if the process has ended."""

    def terminate(self) -> None:
        """Ask the process to end."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended."""


class _Fork:
    """A host that was forked."""

    def __init__(self, forks: Forks, environ: dict[str, str], home: Path, log: Path, nice: int) -> None:
        log.touch()
        self.forks = forks
        forks.write({"environ": environ, "cwd": str(home), "log": str(log), "nice": nice})
        self.pid = int(forks.read())

    def poll(self) -> int | None:
        return self._ended("poll")

    def terminate(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGTERM)

    def wait(self, timeout: float | None = None) -> int:  # noqa: ARG002 - the one who forked it waits
        code = self._ended("wait")
        assert code is not None
        return code

    def _ended(self, how: str) -> int | None:
        self.forks.write({how: self.pid})
        answer = self.forks.read()
        return None if answer == "running" else int(answer)


@contextmanager
def served(application: Any, port: int = 0) -> Iterator[Host]:
    """Serve functions from threads of this process until the block ends, where the statement is not about processes."""
    from werkzeug.serving import make_server

    with listening(make_server("127.0.0.1", port, application, threaded=True)) as url:
        yield Host(url)


def run_da(
    *arguments: str, environ: Mapping[str, str], cwd: Path, stdin: str = "", dies: tuple[int, Path] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run `da` as a process of its own, forked by one that has imported its modules: they take longer than most commands.

    It `dies` after so many steps below a folder.
    """
    with TemporaryDirectory(prefix="da-") as folder:
        files = [Path(folder) / name for name in ("stdin", "stdout", "stderr")]
        for file in files:
            file.write_text(stdin if file.name == "stdin" else "")
        job = {
            "arguments": [*map(str, arguments)],
            "environ": {**environ},
            "cwd": str(cwd),
            "files": [*map(str, files)],
            "dies": [] if dies is None else [dies[0], str(dies[1])],
        }
        code = _forks(threading.get_ident()).run(job)
        return subprocess.CompletedProcess(arguments, code, files[1].read_text(), files[2].read_text())


@cache
def _forks(_thread: int) -> Forks:
    """Start what forks the commands of a thread, until the tests end."""
    return _kept(ROOT / "tests/da_forks.py")


@cache
def _host_forks(_thread: int) -> Forks:
    """Start what forks the hosts of a thread, until the tests end."""
    return _kept(ROOT / "tests/host_forks.py")


def _kept(script: Path) -> Forks:
    stack = ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(forking(script))


def da(
    workspace: Path, *arguments: str, server: Host, token: str, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run `da` in a workspace."""
    workspace.mkdir(parents=True, exist_ok=True)
    environ = {
        **os.environ,
        "DA_SERVER": server.url,
        "DA_TOKEN": token,
        "DA_LOCAL_DIR": str(workspace),
        "DA_CONFIG_DIR": str(workspace / ".config"),
    }
    done = run_da(*arguments, environ=environ, cwd=workspace)
    assert not check or done.returncode == 0, done.stderr
    return done


def wait_for(running: Host, process: _Process, path: str = "/healthz") -> None:
    """Wait until a host that a process starts answers a request; without a pause, the waiting would slow the start."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, "the process has ended"
        try:
            if running.ask("GET", path)[0] == 200:
                return
        except OSError:
            pass
        time.sleep(0.02)
    raise AssertionError("the host did not start in time")


def free_port() -> int:
    """Find a port for a server that is yet to start.

    It is below those that the system gives to connections and to servers on port 0, and no other process of tests is given
    it as long as this one lives, so that nobody takes it before the server has started.
    """
    for port in islice(_ports(), 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


@cache
def _ports() -> Iterator[int]:
    """Reserve a hundred ports for this process; return them again and again."""
    for first in range(10_000, 32_000, 100):
        with ExitStack() as stack, suppress(OSError):  # another process, or another user, has it
            lock = stack.enter_context((Path(gettempdir()) / f"ai-data-analyst-ports-{first}").open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            atexit.register(stack.pop_all().close)
            return cycle(range(first, first + 100))
    raise AssertionError("all ports are reserved by other processes of tests")
