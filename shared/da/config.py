"""The server's address and the token: saved by `da login`, overridden by the environment.

`DA_CONFIG_DIR` (else `~/.config/da`) holds `config.json` {server, workspace, last_workspace} and `token.json` {server,
token, email, refresh_token, expires_at}, which only its owner can read. `DA_SERVER`, and `DA_TOKEN` or the content of the
file `DA_TOKEN_FILE`, override them.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from da.atomic import write_atomically
from da.errors import DaError, UsageError, cause_of

LOG_IN = "run: da login --server URL"


@dataclass(frozen=True, slots=True)
class Login:
    """A server and the credentials for it. `email` is the owner of the token, as reported by the server.

    The token of a session is short-lived: it expires at `expires_at` (seconds since 1970) and is renewed with
    `refresh_token`.
    """

    server: str
    token: str
    email: str | None = None
    refresh_token: str | None = None
    expires_at: float | None = None
    variable: str | None = None
    """The environment variable that the token comes from, if any."""


@dataclass(frozen=True, slots=True)
class Config:
    """The configuration of one user on one machine."""

    folder: Path
    environ: Mapping[str, str]

    @classmethod
    def read(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Locate the configuration from the environment."""
        return cls(_folder(environ), environ)

    @property
    def server(self) -> str | None:
        """The server's address without a trailing slash; `None` if none is configured."""
        address = self.environ.get("DA_SERVER") or self._read("config.json").get("server")
        return server_address(str(address)) if address else None

    def login(self) -> Login:
        """Return the server and the credentials for it.

        Raises:
            DaError: no server is configured, or there is no token for it.
        """
        server = self.server
        if server is None:
            raise DaError(f"no server is configured; {LOG_IN}")
        if token := _token(self.environ):
            return Login(server, token, variable="DA_TOKEN_FILE" if self.environ.get("DA_TOKEN_FILE") else "DA_TOKEN")
        saved = self.saved()
        if saved is None or saved.server != server:
            raise DaError(f"you are not logged in to '{server}'; run: da login --server {server}")
        return saved

    def saved(self) -> Login | None:
        """Return the login that `da login` saved, also if the environment overrides it; `None` if there is none."""
        saved = self._read("token.json")
        if not saved.get("server") or not saved.get("token"):
            return None
        email, refresh_token, expires_at = (saved.get(name) for name in ("email", "refresh_token", "expires_at"))
        return Login(str(saved["server"]), str(saved["token"]), email, refresh_token, expires_at)

    @property
    def email(self) -> str | None:
        """The owner of the saved token; `None` if unknown."""
        if _token(self.environ):
            return None
        saved = self._read("token.json")
        return saved.get("email") if saved.get("server") == self.server else None

    @property
    def workspace(self) -> str | None:
        """The folder of the mirror for commands that run outside of one; `None` if none is configured."""
        return self._setting("workspace")

    @property
    def last_workspace(self) -> str | None:
        """The folder that was synced last; `None` if unknown."""
        return self._setting("last_workspace")

    def save(self, login: Login) -> None:
        """Save the server and the token for the next commands; only the user can read the token."""
        self.set("server", login.server)
        token = {name: value for name, value in asdict(login).items() if value is not None}
        write_atomically(self.folder / "token.json", json.dumps(token), mode=0o600)

    def set(self, name: str, value: str | None) -> None:
        """Save a setting; `None` removes it."""
        settings = {**self._read("config.json"), name: value}
        text = json.dumps({key: each for key, each in settings.items() if each is not None})
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(self.folder / "config.json", text)

    def forget(self) -> bool:
        """Delete the token; return whether there was one."""
        path = self.folder / "token.json"
        there = path.exists()
        path.unlink(missing_ok=True)
        return there

    def _setting(self, name: str) -> str | None:
        value = self._read("config.json").get(name)
        return str(value) if value else None

    def _read(self, name: str) -> dict[str, Any]:
        path = self.folder / name
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except NotADirectoryError:
            raise DaError(f"can't read '{path}': '{self.folder}' is not a folder; correct DA_CONFIG_DIR") from None
        except OSError as error:
            raise DaError(f"can't read '{path}': {cause_of(error)}; fix its permissions") from None
        except (ValueError, RecursionError):
            raise DaError(f"can't read '{path}': it is not JSON; delete it and log in again") from None
        return document if isinstance(document, dict) else {}


def server_address(text: str) -> str:
    """Validate the address of a server and strip the trailing slash.

    Raises:
        UsageError: it is not an http(s) URL.
    """
    address = text.strip().rstrip("/")
    try:
        parts = urlsplit(address)
        invalid_port = parts.port == 0
    except ValueError:  # a bracket without its twin, or a port that is no number
        raise UsageError(
            f"{text!r} is not a valid server URL (expected something like https://data.example.com)"
        ) from None
    if parts.scheme == "" or (parts.scheme not in {"http", "https"} and "://" not in address):
        guess = f"{'http' if is_loopback(f'//{address}') else 'https'}://{address}"
        raise UsageError(f"{text!r} is not a valid server URL: it has no http:// or https://; did you mean {guess}?")
    if invalid_port or parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise UsageError(f"{text!r} is not a valid server URL (expected something like https://data.example.com)")
    return address


def is_loopback(server: str) -> bool:
    """Return whether a server's address is this machine."""
    return urlsplit(server).hostname in {"localhost", "127.0.0.1", "::1"}


def _token(environ: Mapping[str, str]) -> str:
    """Return the token from the environment: the content of `DA_TOKEN_FILE` if not empty, otherwise `DA_TOKEN`."""
    token = ""
    if file := environ.get("DA_TOKEN_FILE"):
        try:
            token = Path(file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeError) as error:
            reason = cause_of(error)
            raise DaError(f"can't read {file!r}, the value of DA_TOKEN_FILE: {reason}; correct or unset it") from None
    return token or environ.get("DA_TOKEN", "").strip()


def _folder(environ: Mapping[str, str]) -> Path:
    if named := environ.get("DA_CONFIG_DIR"):
        return Path(named).expanduser().absolute()
    return Path.home() / ".config" / "da"
