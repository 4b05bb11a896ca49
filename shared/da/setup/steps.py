"""What follows when the files are written: every step can be taken again, and goes on where it stopped."""

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
from da.output import say
from da.patience import Patience
from da.plan import Request
from da.progress import progress
from da.server import Server
from da.session import server_of
from da.setup.answers import Answers, port_of
from da.setup.progress import Kept
from da.sync import Sync
from da.web import Web
from da.workspace import Workspace

AGAIN: Final = "Then run da setup again; it goes on from here."

_PAUSE: Final = 0.5
_TIMEOUT: Final = 3600.0
_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _CONFLICT = 401, 403, 404, 409


@dataclass(frozen=True, slots=True)
class Steps:
    """The steps of one setup in a folder. Each raises a `DaError` that says what to do when it can't be taken."""

    folder: Path
    answers: Answers
    kept: Kept
    config: Config
    web: Web

    @property
    def address(self) -> str:
        """Where the server is."""
        return self.answers["server"]

    def connect(self, wait: float) -> None:
        """Wait until the server answers, for so many seconds; 0 asks once."""
        server = Server(Login(self.address, ""), self.web, Patience(attempts=1))
        deadline = time.monotonic() + wait
        is_told = False
        while not self._answers(server):
            if time.monotonic() >= deadline:
                raise DaError(f"Nothing answers at {self.address} yet. {self._how_to_start()}\n{AGAIN}")
            if not is_told:
                say(f"Nothing answers at {self.address} yet. {self._how_to_start()}\nWaiting for it…")
                is_told = True
            time.sleep(_PAUSE)
        say(f"{self.address} answers.")
        if self.address.startswith("http:") and not is_loopback(self.address):
            say("Beware: over http:// your token and data can be read on the way; use https://.", err=True)

    def log_in(self) -> Server:
        """Log in as an administrator: as one who is already, else as the first one."""
        known = self._known()
        if known is None:
            login = self._bootstrapped()
            self.config.save(login)
            say(f"Made {login.email} the first administrator, and logged in.")
            known = server_of(self.config, login, self.web)
        if self.kept.token is not None:
            self.kept.token = None
            self.kept.save()
        return known

    def take_over(self, server: Server) -> None:
        """Have the server make the source that the file declares."""
        name = self.answers["source_name"]
        sources = {
            source["name"]: source for source in server.post("/api/admin/config/apply", {}, again=True)["sources"]
        }
        if name not in sources:
            source = f"the source {name} of {self.folder / 'config' / 'instance.yaml'}"
            raise DaError(f"The server at {self.address} does not know {source}. {self._how_to_restart()}")
        say(f"Source {name} ({sources[name]['type']}): {sources[name]['outcome']}.")

    def extract(self, server: Server) -> bool:
        """Have the source read for the first time; tell whether all of it went well."""
        return synced(server, self.answers["source_name"], _TIMEOUT)

    def mirror(self, server: Server, workspace: Workspace) -> bool:
        """Mirror the tables to this machine; tell whether all of them are here."""
        with workspace.locked():

            def bar(total: int, files: int):  # type: ignore[no-untyped-def]  # noqa: ANN202
                return progress(total, files, wanted=True)

            report = Sync(workspace, server, self.web, bar).run(Request((), dry_run=False, verify=False))
        for line in report.lines():
            say(line)
        for table, error in report.failed.items():
            say(f"{table}: {error}")
        return report.exit_code == 0

    def _answers(self, server: Server) -> bool:
        """Ask whether the server works; `False` when there is none yet."""
        try:
            server.get("/api/health")
        except (UnreachableError, BrokenError):
            return False
        except RefusedError as error:
            if error.code == "settings":
                why = "docker compose logs app, or the terminal of make dev"
                raise DaError(
                    f"{self.address} runs, but its settings are not usable; its log says why: {why}"
                ) from None
            if error.status == _NOT_FOUND:
                raise DaError(f"What answers at {self.address} is something else; give another --server") from None
            raise
        return True

    def _known(self) -> Server | None:
        """Find the login that there is; `None` if there is none, or it has ended."""
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
        except DaError:  # nobody is logged in, or not any more
            return None
        if me.get("role") != "admin":
            raise DaError(
                f"You are logged in as {_who(me)}; log in as an administrator: da login --server {self.address}"
            )
        say(f"Logged in as {_who(me)}.")
        return server

    def _bootstrapped(self) -> Login:
        secret = read_dotenv(self.folder / ".env").get("BOOTSTRAP_SECRET")
        if secret is None:
            raise DaError(
                f"{self.folder / '.env'} has no BOOTSTRAP_SECRET any more. Log in: da login --server {self.address}\n{AGAIN}"
            )
        if self.kept.token is None:  # kept before it is asked for: an answer may get lost
            self.kept.token = f"da_{secrets.token_urlsafe(32)}"
            self.kept.save()
        wanted = {"email": self.answers["email"], "secret": secret, "token": self.kept.token}
        try:
            answer = Server(Login(self.address, ""), self.web).post("/auth/bootstrap", wanted, again=True)
        except RefusedError as error:
            if error.status == _FORBIDDEN:
                why = f"The server at {self.address} has another BOOTSTRAP_SECRET than {self.folder / '.env'}"
                raise DaError(f"{why}. {self._how_to_restart()}") from None
            if error.status == _CONFLICT:
                what = "The first administrator was made before. Log in as an administrator"
                raise DaError(f"{what}: da login --server {self.address}\n{AGAIN}") from None
            raise
        return Login(self.address, str(answer["token"]), str(answer["user"]["email"]))

    def _how_to_start(self) -> str:
        if not is_loopback(self.address):
            return f"Start the functions there, with {self.folder / '.env'} and config/instance.yaml, and see that they are reached."
        return f"Start the functions in another terminal, in {self.folder}:\n{_commands(self.address)}"

    def _how_to_restart(self) -> str:
        if not is_loopback(self.address):
            return f"Take it and config/instance.yaml there, and start the functions anew. {AGAIN}"
        restart = "docker compose up -d --force-recreate app"
        return f"Start it anew in {self.folder}: {restart}, or make dev\n{AGAIN}"


def _commands(address: str) -> str:
    port = port_of(address)
    dev = f"make dev PORT={port}" if port != 8000 else "make dev"  # noqa: PLR2004
    return (
        f"  docker compose up --build -d     (or docker-compose, where it is the older one)\n  {dev:<33}without Docker"
    )


def _who(me: Mapping[str, Any]) -> str:
    return f"{me.get('email') or me.get('name') or 'somebody'} ({me.get('role', 'no role')})"
