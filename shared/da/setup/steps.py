"""The steps after the files are written. Every step can be repeated and resumes where it stopped."""

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from da.commands.admin_runs import synced
from da.config import Config, Login, is_loopback
from da.dotenv import read_dotenv
from da.errors import BrokenError, DaError, RefusedError, UnreachableError
from da.mirror.plan import Request
from da.mirror.sync import Sync
from da.mirror.workspace import Workspace
from da.output import say, say_text, say_warning
from da.progress import bar
from da.server import Backoff, Server
from da.session import server_of
from da.setup.answers import Answers, Kept, port_of
from da.web import Web

AGAIN: Final = "Then run da setup again to continue."

_PAUSE: Final = 0.5
_TIMEOUT: Final = 3600.0
_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _CONFLICT = 401, 403, 404, 409


@dataclass(frozen=True, slots=True)
class Steps:
    """The steps of one setup in a folder. Each raises a `DaError` that says what to do if it fails."""

    folder: Path
    answers: Answers
    kept: Kept
    config: Config
    web: Web

    @property
    def address(self) -> str:
        """The URL of the server."""
        return self.answers["server"]

    def connect(self, wait: float) -> None:
        """Wait up to `wait` seconds until the server answers; 0 tries once."""
        server = Server(Login(self.address, ""), self.web, Backoff(attempts=1))
        deadline = time.monotonic() + wait
        is_announced = False
        while not self._answers(server):
            if time.monotonic() >= deadline:
                raise DaError(f"no server answers at '{self.address}' yet. {self._how_to_start()}\n{AGAIN}")
            if not is_announced:
                say_text(f"No server answers at {self.address} yet. {self._how_to_start()}\nWaiting for it…")
                is_announced = True
            time.sleep(_PAUSE)
        say(f"Connected to {self.address}.")
        if self.address.startswith("http:") and not is_loopback(self.address):
            say_warning("over http:// your token and data are not encrypted; use https://.")

    def log_in(self) -> Server:
        """Log in as an administrator: with the existing login, or by creating the first administrator."""
        known = self._known()
        if known is None:
            login = self._bootstrapped()
            self.config.save(login)
            say(f"Created the first administrator {login.email} and logged in.")
            known = server_of(self.config, login, self.web)
        if self.kept.token is not None:
            self.kept.token = None
            self.kept.save()
        return known

    def take_over(self, server: Server) -> None:
        """Have the server create the source that the file declares."""
        name = self.answers["source_name"]
        sources = {
            source["name"]: source for source in server.post("/api/admin/config/apply", {}, again=True)["sources"]
        }
        if name not in sources:
            file = self.folder / "config" / "instance.yaml"
            why = f"it was started with another file than '{file}'"
            raise DaError(f"'{self.address}' has no source '{name}': {why}. {self._how_to_restart()}")
        say(f"Source {name} ({sources[name]['type']}): {sources[name]['outcome']}.")

    def extract(self, server: Server) -> bool:
        """Sync the source for the first time; return whether everything succeeded."""
        return synced(server, self.answers["source_name"], _TIMEOUT)

    def mirror(self, server: Server, workspace: Workspace) -> bool:
        """Mirror the tables to this machine; return whether all of them are complete."""
        with workspace.locked():
            report = Sync(workspace, server, self.web, bar(wanted=True)).run(Request((), dry_run=False, verify=False))
        self.config.set("last_workspace", str(workspace.root))
        for line in report.lines():
            say(line)
        for table, error in report.failed.items():
            say(f"{table}: {error}")
        return report.exit_code == 0

    def _answers(self, server: Server) -> bool:
        """Return whether the server answers; `False` if it can't be reached yet."""
        try:
            server.get("/api/health")
        except (UnreachableError, BrokenError):
            return False
        except RefusedError as error:
            if error.code == "settings":
                where = "docker compose logs app, or in the terminal of make dev"
                raise DaError(
                    f"the server at '{self.address}' runs, but its settings are invalid; see its log: {where}"
                ) from None
            if error.status == _NOT_FOUND:
                raise DaError(
                    f"the answer of '{self.address}' is not from an AI Data Analyst server; give another --server"
                ) from None
            raise
        return True

    def _known(self) -> Server | None:
        """Return the server for the existing login; `None` if there is none, or it has expired."""
        try:
            login = self.config.login()
            if login.server != self.address:
                return None
            server = server_of(self.config, login, self.web)
            me = server.get("/api/me")
        except RefusedError as error:
            if error.status != _UNAUTHORIZED:
                raise
            return None
        except (UnreachableError, BrokenError):
            raise
        except DaError:  # not logged in, or the session has expired
            return None
        if me.get("role") != "admin":
            raise DaError(
                f"can't continue as {_who(me)}: not an administrator; log in as one: da login --server {self.address}"
            )
        say(f"Logged in as {_who(me)}.")
        return server

    def _bootstrapped(self) -> Login:
        secret = read_dotenv(self.folder / ".env").get("BOOTSTRAP_SECRET")
        if secret is None:
            raise DaError(
                f"can't create the first administrator: '{self.folder / '.env'}' has no BOOTSTRAP_SECRET. Log in as an"
                f" administrator: da login --server {self.address}\n{AGAIN}"
            )
        if self.kept.token is None:  # saved before the request: the answer may get lost
            self.kept.token = f"da_{secrets.token_urlsafe(32)}"
            self.kept.save()
        wanted = {"email": self.answers["email"], "secret": secret, "token": self.kept.token}
        try:
            answer = Server(Login(self.address, ""), self.web).post("/auth/bootstrap", wanted, again=True)
        except RefusedError as error:
            if error.status == _FORBIDDEN:
                why = f"'{self.address}' uses another BOOTSTRAP_SECRET than '{self.folder / '.env'}'"
                raise DaError(f"can't create the first administrator: {why}. {self._how_to_restart()}") from None
            if error.status == _CONFLICT:
                what = f"can't create the first administrator: '{self.address}' already has one. Log in as an administrator"
                raise DaError(f"{what}: da login --server {self.address}\n{AGAIN}") from None
            raise
        return Login(self.address, str(answer["token"]), str(answer["user"]["email"]))

    def _how_to_start(self) -> str:
        if not is_loopback(self.address):
            return f"Start the functions there with {self.folder / '.env'} and config/instance.yaml, and check that the URL reaches them."
        return f"Start it in another terminal, in {self.folder}:\n{_commands(self.address)}"

    def _how_to_restart(self) -> str:
        if not is_loopback(self.address):
            return f"Copy .env and config/instance.yaml to the server and restart the functions. {AGAIN}"
        restart = "docker compose up -d --force-recreate app"
        return f"Restart the server in {self.folder}: {restart}, or make dev\n{AGAIN}"


def _commands(address: str) -> str:
    port = port_of(address)
    dev = f"make dev PORT={port}" if port != 8000 else "make dev"  # noqa: PLR2004
    return f"  docker compose up --build -d     (older Docker: docker-compose)\n  {dev:<33}without Docker"


def _who(me: Mapping[str, Any]) -> str:
    return f"{me.get('email') or me.get('name') or 'unknown user'} ({me.get('role', 'no role')})"
