"""`da init`, `da update` and `da skills`: a folder in which AI agents work with the tables."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from da import workspace_files
from da.agents import skills as skill_texts
from da.errors import DaError, cause_of
from da.help import Commands
from da.mirror.workspace import Workspace
from da.options import Json
from da.output import print_json, print_table, say, say_text
from da.workspace_files import Written

Folder = Annotated[Path, typer.Argument(metavar="[FOLDER]", help="The folder; it is made if it does not exist.")]
NoSync = Annotated[bool, typer.Option("--no-sync", help="Do not mirror the tables now.")]
Background = Annotated[bool, typer.Option("--background", help="Return at once, and update in the background.")]
Skill = Annotated[str, typer.Argument(metavar="NAME", help="A skill, from da skills list.")]

skills = Commands("List and install skills: instructions for AI agents that work with the tables.")


def init(folder: Folder = Path(), *, no_sync: NoSync = False, json: Json = False) -> None:
    """Set up a folder as a workspace for AI agents: Claude Code, Codex, Cursor and others.

    It writes AGENTS.md, CLAUDE.md, .mcp.json, .cursor/mcp.json, .claude/settings.json, .claude/skills/ and
    .duckdb-skills/state.sql, and mirrors the tables. Existing files that da did not write stay as they are. You can run
    it again at any time. To undo it, delete these files.

    Examples:
      da init analysis
      da init --no-sync
    """
    root = folder.expanduser().absolute()
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DaError(f"can't make the folder '{root}': {cause_of(error)}; choose another one") from None
    done = workspace_files.write(root, _files(root))
    if not no_sync:
        _sync(root, quiet=json)
    if json:
        print_json(_document(root, done))
        return
    _show(root, done)
    say("Start an agent in this folder, for example: claude")


def update(background: Background = False, json: Json = False) -> None:
    """Update a workspace: AGENTS.md, skills and the mirror.

    Hooks of agents run it when a session starts. With --background it returns at once, and what happens is written to
    .da/update.log.

    Examples:
      da update
      da update --background
    """
    workspace = Workspace.find()
    if background:
        _start(workspace.root)
        if json:
            print_json({"folder": str(workspace.root), "written": [], "left": [], "unchanged": []})
        return
    done = workspace_files.write(workspace.root, _files(workspace.root))
    _sync(workspace.root, quiet=json)
    if json:
        print_json(_document(workspace.root, done))
        return
    _show(workspace.root, done)


@skills.command("list")
def list_skills(json: Json = False) -> None:
    """List the skills.

    Examples:
      da skills list
    """
    names = skill_texts.names()
    found = [{"name": name, "description": _description(skill_texts.text(name))} for name in names]
    if json:
        print_json(found)
        return
    print_table(("skill", "description"), [(each["name"], each["description"]) for each in found])


@skills.command("show")
def show_skill(name: Skill, json: Json = False) -> None:
    """Print a skill.

    Examples:
      da skills show explore-data
    """
    text = skill_texts.text(name)
    print_json({"name": name, "text": text}) if json else say_text(text.rstrip("\n"))


@skills.command("install")
def install_skill(name: Skill, json: Json = False) -> None:
    """Write a skill to .claude/skills of the workspace.

    Examples:
      da skills install explore-data
    """
    root = Workspace.find().root
    done = workspace_files.write(root, {workspace_files.skill_place(name): skill_texts.text(name)})
    print_json(_document(root, done)) if json else _show(root, done)


def _files(root: Path) -> dict[str, str]:
    """Return the files of a workspace, with the text of AGENTS.md that the server has for this person.

    Raises:
        DaError: the text is not the one that the server signed for with its hash.
    """
    from da.app import COMMANDS
    from da.session import session

    with session() as server:
        found = server.get("/api/agents/workspace")
    text = str(found["agents_md"])
    if hashlib.sha256(text.encode()).hexdigest() != found["sha256"]:
        raise DaError("the text of AGENTS.md was changed on its way from the server; run the command again")
    return workspace_files.files_of(root, text, COMMANDS, _marketplace(found.get("marketplace")))


def _marketplace(found: object) -> dict[str, str] | None:
    """Return the name and URL of the server's marketplace; older servers have none."""
    if not isinstance(found, dict) or not isinstance(found.get("name"), str) or not isinstance(found.get("url"), str):
        return None
    return {"name": found["name"], "url": found["url"]}


def _sync(root: Path, *, quiet: bool) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "da", "sync"],
        env={**os.environ, "DA_LOCAL_DIR": str(root)},
        capture_output=quiet,
        check=False,
    )
    if ran.returncode:
        raise DaError("the files are written, but the tables could not be mirrored; to try again, run: da sync")


def _start(root: Path) -> None:
    """Update in a process of its own: agents end hooks after a moment."""
    (root / ".da").mkdir(parents=True, exist_ok=True)
    with (root / ".da" / "update.log").open("w", encoding="utf-8") as log:
        subprocess.Popen(
            [sys.executable, "-m", "da", "update"],
            env={**os.environ, "DA_LOCAL_DIR": str(root)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _document(root: Path, done: Written) -> dict[str, Any]:
    return {"folder": str(root), "written": done.written, "left": done.left, "unchanged": done.unchanged}


def _show(root: Path, done: Written) -> None:
    for place in done.written:
        say(f"wrote {place}")
    for place in done.left:
        say(f"left {place} as it is, because it is yours; the new text is in {workspace_files.ASIDE}/{place}")
    if not done.written and not done.left:
        say(f"{root} is up to date.")
    if "CLAUDE.md" in done.left:
        say("To have Claude Code read AGENTS.md, add this line to your CLAUDE.md: @AGENTS.md")


def _description(text: str) -> str:
    return next((line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("description:")), "")
