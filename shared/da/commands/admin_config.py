"""`da admin config`: the settings of the instance, and the file that defines them."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from da.errors import DaError, cause_of
from da.help import Commands
from da.options import Json
from da.output import print_json, print_table, say
from da.session import session
from da.text import count_text, local_time

app = Commands("Check and apply the settings in config/instance.yaml.")


@app.command()
def check(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="The candidate for config/instance.yaml; - reads stdin.")
    ] = None,
    json: Json = False,
) -> None:
    """Validate a settings file, or show the settings in effect.

    The server validates FILE with its own environment variables and changes nothing. Without FILE, shows the settings
    in effect and where each one is set. Exits with 1 if the file has a problem.

    Examples:
      da admin config check
      da admin config check config/instance.yaml
    """
    if file is None:
        _print_settings(json=json)
        return
    text = _text(file)
    with session() as server:
        found = server.post("/api/admin/config/check", {"text": text}, again=True)
        problems, warnings = found["problems"], found["warnings"]
    if json:
        print_json(found)
    else:
        name = "stdin" if str(file) == "-" else str(file)
        _print_findings(name, problems, "")
        _print_findings(name, warnings, "warning: ")
        summary = f"{count_text(len(problems), 'problem')}, {count_text(len(warnings), 'warning')}"
        say(f"{name}: {summary}." if problems or warnings else f"{name}: no problems found.")
    raise typer.Exit(1 if problems else 0)


@app.command()
def apply(json: Json = False) -> None:
    """Create or update the sources declared in config/instance.yaml.

    The server uses the file as it was when the server started. No source is removed.

    Examples:
      da admin config apply
    """
    with session() as server:
        sources = server.post("/api/admin/config/apply", {}, again=True)["sources"]
    if json:
        print_json(sources)
    else:
        for source in sources:
            say(f"{source['name']} ({source['type']}): {source['outcome']}")
        if not sources:
            say(
                "There were no sources in config/instance.yaml when the server started; add some and restart it, or run: da admin sources add NAME"
            )


def _print_settings(*, json: bool) -> None:
    with session() as server:
        found = server.get("/api/admin/config")
        rows = [(s["key"] or s["variable"], _value(s), _origin(s, found["file"])) for s in found["settings"]]
    if json:
        print_json(found)
        return
    print_table(("setting", "value", "set in"), rows)
    scripts = found.get("scripts")
    if scripts:
        how = f"was confined by {scripts['confined_by']}" if scripts["confined_by"] else f"failed: {scripts['problem']}"
        say(f"The last run of a script, {local_time(scripts['at'])}, {how}.", err=True)
    _print_findings(str(found["file"]), found["warnings"], "warning: ")


def _print_findings(file: str, findings: list[dict[str, Any]], kind: str) -> None:
    for finding in findings:
        line = f":{finding['line']}" if finding.get("line") else ""
        path = f" {finding['path']}:" if finding.get("path") else ""
        say((f"{file}{line}:{path} {kind}{finding['message']}"), err=True)


def _value(setting: dict[str, Any]) -> str:
    if setting["is_secret"]:
        return "(set)" if setting["is_set"] else ""
    value = setting["value"]
    if isinstance(value, list | dict):
        return ", ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else "" if value is None else str(value)


def _origin(setting: dict[str, Any], file: str | None) -> str:
    if setting["origin"] == "file":
        return f"{file}:{setting['line']}"
    return str(setting["variable"]) if setting["origin"] == "environment" else "default"


def _text(file: Path) -> str:
    try:
        data = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        return data.decode("utf-8-sig")
    except OSError as error:
        raise DaError(f"can't read '{file}': {cause_of(error)}; check the path and its permissions") from None
    except UnicodeDecodeError:
        raise DaError(f"can't read '{file}': it is not UTF-8 text; save it as UTF-8") from None
