"""`da config`: the settings of `da` on this machine."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from da.config import Config, server_address
from da.help import Commands
from da.mirror.workspace import Workspace
from da.options import Json
from da.output import print_json, print_table, respond

app = Commands("Show and change the settings of da on this machine.")

Key = Annotated[Literal["server", "workspace"], typer.Argument(metavar="KEY", help="The setting: server or workspace.")]
Value = Annotated[str | None, typer.Argument(metavar="[VALUE]", help="Its value; removes the setting if omitted.")]


@app.command("show")
def show(json: Json = False) -> None:
    """Show the settings and where each one is set.

    Examples:
      da config show
    """
    config = Config.read()
    settings = [
        _server(config),
        _login(config),
        _workspace(config),
        _setting("config", str(config.folder), _from("DA_CONFIG_DIR")),
    ]
    if json:
        print_json(settings)
        return
    print_table(("setting", "value", "set by"), [(it["name"], it["value"], it["origin"]) for it in settings])


@app.command("set")
def set_(key: Key, value: Value = None, json: Json = False) -> None:
    """Change a setting, or remove it.

    `server` is the address of the server that da uses; you log in to each server once. `workspace` is the folder of the
    mirror for commands that run outside of a mirror.

    Examples:
      da config set server https://data.example.com
      da config set workspace ~/analysis
      da config set workspace  # remove it
    """
    config = Config.read()
    if value is not None:
        value = server_address(value) if key == "server" else str(Path(value).expanduser().absolute())
    config.set(key, value)
    text = f"Set {key} to {value}." if value else f"Removed the setting {key}."
    respond({"name": key, "value": value}, text, json=json)


def _setting(name: str, value: str | None, origin: str) -> dict[str, Any]:
    return {"name": name, "value": value, "origin": origin}


def _from(variable: str, otherwise: str = "default") -> str:
    return variable if os.environ.get(variable) else otherwise


def _server(config: Config) -> dict[str, Any]:
    server = config.server
    return _setting("server", server, _from("DA_SERVER", "da login" if server else "not set"))


def _login(config: Config) -> dict[str, Any]:
    if os.environ.get("DA_TOKEN") or os.environ.get("DA_TOKEN_FILE"):
        return _setting("login", "an access token", _from("DA_TOKEN_FILE", "DA_TOKEN"))
    email = config.email
    return _setting("login", email, "da login" if email else "not set")


def _workspace(config: Config) -> dict[str, Any]:
    workspace = Workspace.find()
    found = "a mirror" if (workspace.root / ".da").is_dir() else "current folder"
    origin = "config.json" if config.workspace == str(workspace.root) else found
    return _setting("workspace", str(workspace.root), _from("DA_LOCAL_DIR", origin))
