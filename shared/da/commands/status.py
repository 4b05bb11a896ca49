"""`da status`: report whether the mirror is up to date."""

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import typer

from da.config import Config
from da.errors import DaError
from da.mirror.manifest import Manifest, noticed
from da.mirror.plan import Request, plan
from da.mirror.snapshots import Snapshots
from da.mirror.state import State
from da.mirror.workspace import Workspace
from da.options import Json
from da.output import print_json, say, say_fact
from da.server import Backoff
from da.session import server_of
from da.text import ago_text, bytes_text, count_text, local_time
from da.web import Web

EXIT_CODES = {"up to date": 0, "behind": 3, "incomplete": 3, "moved": 3, "never synced": 3, "unknown": 4}
_TIMEOUT = 5.0
"""Seconds to wait for the server."""


@dataclass(frozen=True, slots=True)
class Status:
    """The status of a mirror. `checked_at` is when it last matched the server; sizes are in bytes."""

    state: str
    detail: str
    server: str | None
    user: str | None
    workspace: str
    snapshot: int
    checked_at: str | None
    mirrored: int
    not_mirrored: int
    rows: int
    size_bytes: int
    free_bytes: int
    notices: list[str]
    snapshots: int = 0


def status(json: Json = False) -> None:
    """Show whether the mirror is up to date.

    Exit codes: 0 up to date; 3 behind the server, incomplete, moved or never synced; 4 unknown because the server can't
    be reached or you are not logged in.

    Examples:
      da status
      da status || da sync  # fetch only if behind
    """
    workspace = Workspace.find()
    found = _status(workspace, Config.read())
    if json:
        print_json(asdict(found))
    else:
        _print(found, workspace)
    raise typer.Exit(EXIT_CODES[found.state])


def _status(workspace: Workspace, config: Config) -> Status:
    state, checked_at = workspace.state(), workspace.checked_at()
    word, detail = _compared(workspace, state, config)
    mirrored = [table for table in state.tables.values() if table.is_mirrored]
    return Status(
        state=word,
        detail=detail,
        server=config.server or state.server or None,
        user=config.email,
        workspace=str(workspace.root),
        snapshot=state.snapshot,
        checked_at=checked_at.isoformat(timespec="seconds") if checked_at else None,
        mirrored=len(mirrored),
        not_mirrored=len(state.tables) - len(mirrored),
        rows=sum(table.rows or 0 for table in mirrored),
        size_bytes=sum(file.size_bytes for table in mirrored for file in table.files),
        free_bytes=shutil.disk_usage(workspace.root).free if workspace.root.exists() else 0,
        notices=noticed(state.tables.values()),
        snapshots=sum(1 for _ in Snapshots(workspace)),
    )


def _compared(workspace: Workspace, state: State, config: Config) -> tuple[str, str]:
    """Compare the mirror with the server; return the state and its details."""
    if workspace.checked_at() is None:
        return "never synced", workspace.elsewhere() or "run da sync"
    if moved := moved_from(workspace, state):
        return "moved", moved
    try:
        with Web(timeout=_TIMEOUT) as web:
            answer = server_of(config, config.login(), web, Backoff(attempts=1)).manifest(state.etag)
        return _incomplete(workspace, state) if answer is None else _behind(workspace, state, answer[1])
    except DaError as error:
        return "unknown", str(error)


def moved_from(workspace: Workspace, state: State) -> str:
    """Describe where the mirror was moved or copied from; empty if it is still in its place."""
    if not state.root or state.root == str(workspace.root):
        return ""
    verb = "copied" if (Path(state.root) / ".da").is_dir() else "moved"
    return f"{verb} from {state.root}; its views still refer to files there; run da sync here"


def _incomplete(workspace: Workspace, state: State) -> tuple[str, str]:
    lost = [table.id for table in state.tables.values() if table.is_mirrored and not workspace.holds(table)]
    if lost:
        return "incomplete", f"files of {', '.join(lost)} are missing; run da sync"
    if workspace.database_stamp() is None:
        return "incomplete", f"{workspace.duckdb} is missing; run da sync"
    return "up to date", ""


def _behind(workspace: Workspace, state: State, document: object) -> tuple[str, str]:
    manifest = Manifest.from_json(document)
    todo = plan(manifest, state.tables, workspace, Request())
    news = (
        [f"{count_text(len(todo.updated), 'table')} to fetch ({bytes_text(todo.size_bytes)})"] if todo.updated else []
    )
    news += [f"{count_text(len(todo.removed), 'table')} to remove"] if todo.removed else []
    news += [f"{table_id}: {error}" for table_id, error in manifest.refused.items()]
    return "behind", f"{', '.join(news) or 'descriptions changed'}; run da sync"


def _print(found: Status, workspace: Workspace) -> None:
    checked_at = workspace.checked_at()
    synced = (
        f"snapshot {found.snapshot}, synced {ago_text(checked_at)} ({local_time(checked_at)})"
        if checked_at
        else "never"
    )
    tables = f"{found.mirrored} mirrored, {found.not_mirrored} on the server only"
    if found.snapshots:
        tables += f", {count_text(found.snapshots, 'snapshot')}"
    lines = {
        "server": found.server or "none",
        "user": found.user or "unknown",
        "workspace": found.workspace,
        "last sync": synced,
        "tables": f"{tables}; {found.rows:,} rows, {bytes_text(found.size_bytes)}",
        "disk": f"{bytes_text(found.free_bytes)} free",
        "state": found.state,
    }
    for name, value in lines.items():
        say_fact(name, value, found.detail if name == "state" else "")
    for notice in found.notices:
        say(f"Note: {notice}.")
