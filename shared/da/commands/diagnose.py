"""`da diagnose`: find problems and suggest fixes."""

import email.utils
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import typer

from da import __version__
from da.commands.status import moved_from
from da.config import Config, is_loopback
from da.errors import DaError
from da.mirror.workspace import Workspace
from da.options import Json
from da.output import print_json, print_table, say
from da.server import Backoff, health_of
from da.session import server_of
from da.text import ago_text, bytes_text, local_day
from da.updates import update_command
from da.web import Web

Verdict = Literal["ok", "warning", "problem"]

_TIMEOUT: Final = 10.0
_CLOCK: Final = 120.0
"""Seconds of clock difference that signed URLs and sessions tolerate."""

_LITTLE: Final = 1 << 30
_WEEK: Final = 7 * 86400


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check, and how to fix it."""

    check: str
    verdict: Verdict
    found: str
    advice: str = ""


def diagnose(json: Json = False) -> None:
    """Check the server, login, clock, versions, disk and local database, and suggest fixes.

    Exits with 1 if a check finds a problem.

    Examples:
      da diagnose
      da diagnose --json  # for a support request
    """
    findings = list(_findings(Config.read()))
    if json:
        print_json({"da": __version__, "checks": [asdict(finding) for finding in findings]})
    else:
        rows = [(it.check, it.verdict, it.found) for it in findings]
        print_table(("check", "result", "details"), rows)
        for finding in findings:
            if finding.advice:
                say()
                say(f"{finding.check}: {finding.advice}")
    if any(finding.verdict == "problem" for finding in findings):
        raise typer.Exit(1)


def _findings(config: Config) -> Iterator[Finding]:
    yield from _server(config)
    yield _checked("workspace", _workspace)
    yield _checked("disk", _disk)
    yield _checked("local database", _database)


def _checked(check: str, look: Callable[[], Finding]) -> Finding:
    try:
        return look()
    except DaError as error:
        return Finding(check, "problem", str(error))


def _server(config: Config) -> Iterator[Finding]:
    """Run the checks that need the server: reachability, versions, clock and login."""
    try:
        address = config.server
    except DaError as error:
        yield Finding("server", "problem", str(error), "Run: da login --server URL")
        return
    if address is None:
        yield Finding("server", "problem", "no server is configured", "Run: da login --server URL")
        return
    with Web(timeout=_TIMEOUT) as web:
        try:
            health, date = health_of(address, web)
        except DaError as error:
            advice = (
                "Check the address, your network, and that the server runs (locally: make dev or docker compose up)"
            )
            yield Finding("server", "problem", str(error), advice)
            return
        is_open = address.startswith("http:") and not is_loopback(address)
        advice = "Over http:// your token and data are not encrypted; use https://" if is_open else ""
        yield Finding("server", "warning" if is_open else "ok", f"{address} answers", advice)
        yield _versions(health, address)
        yield _clock(date)
        yield _login(config, web)


def _versions(health: dict[str, Any], address: str) -> Finding:
    import duckdb

    theirs = str(health["version"])
    found = f"da {__version__}, server {theirs}, DuckDB {duckdb.__version__}"
    if theirs.split(".")[:2] == __version__.split(".")[:2]:
        return Finding("versions", "ok", found)
    return Finding(
        "versions",
        "warning",
        found,
        f"Install the version of da that matches the server: {update_command(theirs, address)}",
    )


def _clock(date: str) -> Finding:
    try:
        theirs = email.utils.parsedate_to_datetime(date).timestamp()
    except ValueError:
        return Finding("clock", "ok", "the server sends no date")
    ahead = time.time() - theirs
    if abs(ahead) <= _CLOCK:
        return Finding("clock", "ok", "in sync with the server")
    found = f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the server"
    return Finding(
        "clock", "warning", found, "Set this machine's clock; otherwise sessions and links expire at the wrong time"
    )


def _login(config: Config, web: Web) -> Finding:
    try:
        me = server_of(config, config.login(), web, Backoff(attempts=1)).get("/api/me")
    except DaError as error:
        return Finding("login", "problem", str(error), "Run: da login")
    token = me.get("token") or {}
    ends = f", expires {local_day(token['expires_at'])}" if token.get("expires_at") else ""
    name = me.get("email") or "a service"
    return Finding("login", "ok", f"{name} ({me.get('role')}), with {'a session' if not token else 'a token'}{ends}")


def _workspace() -> Finding:
    workspace = Workspace.find()
    checked_at = workspace.checked_at()
    if checked_at is None:
        return Finding("workspace", "warning", f"{workspace.root} has never been synced", "Run: da sync")
    if moved := moved_from(workspace, workspace.state()):
        return Finding("workspace", "problem", f"{workspace.root}: {moved}", "Run: da sync")
    found = f"{workspace.root}, synced {ago_text(checked_at)}"
    if time.time() - checked_at.timestamp() > _WEEK:
        return Finding("workspace", "warning", found, "Run: da sync")
    return Finding("workspace", "ok", found)


def _disk() -> Finding:
    place = Workspace.find().root
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free >= _LITTLE:
        return Finding("disk", "ok", f"{bytes_text(free)} free")
    return Finding("disk", "warning", f"{bytes_text(free)} free", "A sync may run out of space; free some")


def _database() -> Finding:
    import duckdb

    path = Workspace.find().duckdb
    if not path.exists():
        return Finding("local database", "warning", f"{path} does not exist yet", "Run: da sync")
    try:
        with duckdb.connect(str(path), read_only=True) as db:
            row = db.execute("select count(*) from duckdb_views() where not internal").fetchone()
    except duckdb.Error as error:
        advice = (
            f"If another program has {path} open, close it. If the file is damaged or was written by a newer DuckDB, run"
            " da sync: it keeps the file under another name and creates a new one"
        )
        return Finding("local database", "problem", str(error).partition("\n")[0], advice)
    return Finding("local database", "ok", f"{row[0] if row else 0} views")
