"""Serve all functions in one process that restarts when a file changes; the bucket and the secrets are in `.dev/`.

`.env` and `config/instance.yaml` in the working directory override this. Settings, bucket and port are checked first.
"""

import argparse
import itertools
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any, Final, NoReturn

from analyst.context.process import Process
from analyst.errors import AnalystError
from da.dotenv import read_dotenv
from da.errors import DaError

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
SECRETS = ("SECRET_KEY", "BOOTSTRAP_SECRET", "SERVICE_TOKEN")
WATCHED = ("functions", "shared/analyst")
SUFFIXES = (".py", ".sql", ".html")
ENV_FILE = Path(".env")
INSTANCE_FILE = Path("config/instance.yaml")
SETUP_FILE = Path(".setup.json")
START_TIMEOUT = 120.0
END_TIMEOUT = 10.0

WELCOME = """\
AI Data Analyst runs on {url}, the documentation of the API on {url}/docs
  bucket    {bucket}
  sources   {sources}, with a folder for each source
  secrets   {secrets}
"""
UNFINISHED = """
The setup is not finished. Continue it in another terminal:
  {bin}/da setup
"""
NOBODY = """
Nobody can log in yet. Become the first administrator in another terminal, in {here}:
  . {secrets}; export BOOTSTRAP_SECRET
  {bin}/da login --server {url} --bootstrap you@example.com
"""
SOMEBODY = """
Log in from another terminal:
  {bin}/da login --server {url}
"""
END = "\nPress Ctrl-C to stop.\n"
STOPPED: Final = threading.Event()
"""Whether somebody has interrupted this program."""


class DevError(Exception):
    """The functions can't be served; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Dev:
    """What is served where. `logs` is how they are printed: `text` for people, `json` as the functions write them."""

    port: int
    place: Path
    logs: str

    @property
    def url(self) -> str:
        """The address of the functions."""
        return f"http://localhost:{self.port}"

    def run(self) -> None:
        """Serve until interrupted.

        Raises:
            DevError: the settings, the bucket or the port can't be used, or the functions do not start.
        """
        self.require_port()
        greeting = self.checked()
        while True:
            before = stamps()
            with self.served():
                if greeting:
                    print(greeting, flush=True)
                changed = until_changed(before)
            print(f"{changed} has changed; restarting.", flush=True)
            greeting = ""
            self.wait_for_valid_settings()

    def require_port(self) -> None:
        """Check that nothing else listens on the port."""
        if not 0 < self.port < 65536:  # noqa: PLR2004
            raise DevError(f"{self.port} is not a port (expected a number from 1 to 65535): make dev PORT=8001")
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(("127.0.0.1", self.port))
            except PermissionError:
                raise DevError(
                    f"Port {self.port} needs the rights of root; use one above 1023: make dev PORT=8000"
                ) from None
            except OSError:
                other = "AI Data Analyst already runs there" if self.is_up() else "another program uses it"
                raise DevError(
                    f"Port {self.port} is in use: {other}. "
                    f"Stop that (if it is Docker Compose: docker compose down), or use another port: "
                    f"make dev PORT={self.port + 1 if self.port < 65535 else 8000}"  # noqa: PLR2004
                ) from None

    def checked(self) -> str:
        """Check settings and bucket; return the welcome that fits the state of the instance."""
        environ = configured(self.place, self.url)
        process = Process(environ, default_file=INSTANCE_FILE)
        try:
            with process.state.read() as db:
                found = db.execute("select count(*) from users where role = 'admin' and active").fetchone()
        except AnalystError as error:
            raise DevError(
                f"{error}\nCorrect the settings in .env or config/instance.yaml, and start it again."
            ) from None
        has_admin = found is not None and found[0] > 0
        text = WELCOME + (SOMEBODY if has_admin else UNFINISHED if SETUP_FILE.exists() else NOBODY) + END
        names = {"url": self.url, "bin": _short(BIN), "here": Path.cwd(), "secrets": _sourced(self.secrets_file())}
        return text.format(bucket=process.store.url, sources=environ["SOURCE_ROOTS"].split(",")[0], **names)

    def wait_for_valid_settings(self) -> None:
        """Report settings that were broken while serving, and wait until they are corrected."""
        reported = ""
        while True:
            before = stamps()
            try:
                self.checked()
            except DevError as error:
                if str(error) != reported:
                    reported = str(error)
                    print(f"{reported}\nWaiting for a change.", file=sys.stderr, flush=True)
                until_changed(before)
            else:
                return

    def secrets_file(self) -> Path:
        """Return the file that contains the bootstrap secret."""
        return ENV_FILE if read_dotenv(ENV_FILE).get("BOOTSTRAP_SECRET") else self.place / "env"

    @contextmanager
    def served(self) -> Iterator[None]:
        """Serve the current code while the block runs, and wait until the functions respond."""
        host = ROOT / "functions" / "host.py"
        command = [str(BIN / "functions-framework"), "--source", str(host), "--target", "host"]
        child = subprocess.Popen(  # a session of its own: Ctrl-C reaches only us, and we end the child
            [*command, "--host", "localhost", "--port", str(self.port)],
            env=configured(self.place, self.url),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        printing = threading.Thread(target=print_logs, args=(child.stdout or (), self.logs == "json"), daemon=True)
        printing.start()
        try:
            self.wait(child)
            yield
        finally:
            end(child)
            printing.join(END_TIMEOUT)

    def wait(self, child: "subprocess.Popen[str]") -> None:
        """Wait until the functions respond."""
        deadline = time.monotonic() + START_TIMEOUT
        while not self.is_up():
            if child.poll() is not None:
                raise DevError("The functions do not start; the lines above say why.")
            if time.monotonic() > deadline:
                raise DevError(f"The functions do not respond on {self.url}; the lines above may say why.")
            time.sleep(0.1)

    def is_up(self) -> bool:
        """Return whether the functions of an instance respond on the port."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"{self.url}/healthz", timeout=5) as answer:
                return bool(answer.status == 200)  # noqa: PLR2004
        except (OSError, ValueError):
            return False


def main() -> int:
    """Serve until interrupted. Exit codes: 0 stopped, 1 failure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", help="the port on localhost (default: PORT of .env, else 8000)")
    parser.add_argument("--place", type=Path, default=ROOT / ".dev", help="the folder of the bucket and the secrets")
    parser.add_argument("--logs", default="auto", help="text or json (default: json if the output is not a terminal)")
    given = parser.parse_args()
    if given.logs not in {"auto", "text", "json"}:
        print(f"'{given.logs}' is not a format of logs (expected text or json): make dev LOGS=json", file=sys.stderr)
        return 1
    logs = given.logs if given.logs != "auto" else "text" if sys.stdout.isatty() else "json"
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as a shell has it for what runs in the background
            signal.signal(number, stop)
    try:
        Dev(port_of(given.port), given.place.absolute(), logs).run()
    except (DevError, DaError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.", flush=True)
    return 0


def stop(_number: int, _frame: FrameType | None) -> NoReturn:
    """Interrupt what is being done; Python drops the exception if that is a finalizer, so the signal is kept, too."""
    STOPPED.set()
    raise KeyboardInterrupt


def port_of(given: str | None) -> int:
    """Return the port to serve on."""
    text = given or read_dotenv(ENV_FILE).get("PORT") or "8000"
    try:
        return int(text)
    except ValueError:
        raise DevError(f"'{text}' is not a port (expected a number from 1 to 65535): make dev PORT=8001") from None


def until_changed(before: dict[Path, int]) -> str:
    """Wait until a watched file changes, and return its name."""
    while (now := stamps()) == before:
        if STOPPED.wait(0.5):
            raise KeyboardInterrupt
    changed = {path for path, _ in now.items() ^ before.items()}
    return _short(min(changed))


def stamps() -> dict[Path, int]:
    """Return the modification time of each watched file."""
    found: dict[Path, int] = {}
    code = ((ROOT / folder).rglob(f"*{suffix}") for folder, suffix in itertools.product(WATCHED, SUFFIXES))
    for path in itertools.chain((ENV_FILE, INSTANCE_FILE), *code):
        with suppress(FileNotFoundError):  # deleted since it was listed, or never there
            found[path] = path.stat().st_mtime_ns
    return found


def configured(place: Path, url: str) -> dict[str, str]:
    """Return the environment of the functions. The current environment overrides `.env`, which overrides the defaults.

    The folder of sources is that of Docker Compose, `sources` or `SOURCES` in `.env`; one in `place` still works.
    """
    dotenv = read_dotenv(ENV_FILE)
    sources = Path(dotenv.pop("SOURCES", "sources")).expanduser().absolute()
    try:
        for folder in (place / "bucket", sources):
            folder.mkdir(parents=True, exist_ok=True)
        made_up = made_up_once(place / "env")
    except OSError as error:
        raise DevError(f"'{error.filename}' can't be created: {error.strerror}") from None
    earlier = [folder for folder in [place / "sources"] if folder.is_dir() and any(folder.iterdir())]
    ours = {
        "DATA_URL": (place / "bucket").as_uri(),
        "SOURCE_ROOTS": ",".join(map(str, [sources, *earlier])),
        "BASE_URL": url,
    }
    return {**ours, **made_up, **dotenv, **os.environ}


def made_up_once(path: Path) -> dict[str, str]:
    """Read the secrets, generated if the file does not exist: `NAME=value` lines that a shell can read."""
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text("".join(f"{name}={secrets.token_hex(32)}\n" for name in SECRETS), encoding="ascii")
    found = read_dotenv(path)
    if missing := [name for name in SECRETS if name not in found]:
        raise DevError(
            f"'{_short(path)}' is damaged: it contains no {missing[0]}. Delete it, and make dev creates a new one; "
            "everybody must then log in again."
        )
    return found


def print_logs(lines: Iterable[str], is_json: bool) -> None:
    """Print what the functions write, each line as it comes."""
    for line in lines:
        text = line.rstrip("\n") if is_json else readable(line.rstrip("\n"))
        if text:
            print(text, flush=True)


def readable(line: str) -> str:
    """Return a line of the log for people: the time, the message, how long it took, and what failed."""
    try:
        found = json.loads(line)
        at = datetime.fromisoformat(found["time"]).astimezone()
        message, severity = str(found["message"]), str(found["severity"])
    except (ValueError, TypeError, KeyError):
        return line
    more = [f"{found['ms']:.0f} ms"] if isinstance(found.get("ms"), int | float) else []
    more += [str(found[name]) for name in ("code", "caller") if found.get(name)]
    shown = {"time", "severity", "message", "ms", "code", "caller", "error"} | {
        *("request_id", "function", "method", "path", "status", "bytes")
    }
    more += [f"{name}={_plain(value)}" for name, value in found.items() if name not in shown and value is not None]
    level = "" if severity == "INFO" else f"{severity} "
    error = f"\n{found['error']}" if found.get("error") else ""
    return f"{at:%H:%M:%S} {level}{message}{'  ' if more else ''}{', '.join(more)}{error}"


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def end(child: "subprocess.Popen[str]") -> None:
    """End our child and the processes that it started, and nothing else."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(END_TIMEOUT)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def _short(path: Path) -> str:
    return os.path.relpath(path)


def _sourced(path: Path) -> str:
    """Return a path that a shell's `.` accepts: without a slash it would be searched for in PATH."""
    short = _short(path)
    return short if "/" in short else f"./{short}"


if __name__ == "__main__":
    sys.exit(main())
