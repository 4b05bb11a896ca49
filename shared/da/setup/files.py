"""The two files of an instance: `.env` with its secrets, `config/instance.yaml` with the rest."""

import json
import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from da.atomic import write_atomically
from da.config import is_loopback
from da.dotenv import dotenv_line, dotenv_lines, read_dotenv
from da.errors import DaError
from da.setup.answers import Answers, port_of
from da.setup.progress import Kept

SECRETS: Final = ("SERVICE_TOKEN", "BOOTSTRAP_SECRET", "SECRET_KEY")

_USUAL_PORT: Final = 8000
_ENV: Final = """\
# Written by `da setup`; config/.env.template explains every variable. Never commit it: it holds secrets.
"""
_KEPT: Final = "\n# From the file that was here before"
_INSTANCE: Final = """\
# Written by `da setup`; config/instance.yaml.example shows every key, `da admin config check` tells what is wrong.
instance:
  name: {name}

auth:
  # Who proves an e-mail address of these domains may sign in; others only when they were added.
  allowed_domains: [{domain}]

data_source:
  type: {source}

sources:
  {source_name}:
    config:
      # the folder that .env calls SOURCES, as the functions see it
      path: ${{SOURCE_ROOTS}}
"""
_SERVER: Final = """
server:
  # where people reach it; links in mails lead there
  base_url: {server}
"""


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    text: str
    mode: int
    is_there_alike: bool


def write_files(folder: Path, answers: Answers, kept: Kept, *, force: bool) -> list[str]:
    """Write both files, and tell what was done, in sentences. What this setup has written already stays.

    Raises:
        DaError: one is there that says something else, and it is not to be replaced by `force`.
    """
    files = (_env_file(folder, answers), _instance_file(folder, answers))
    changed = [file for file in files if not file.is_there_alike and (force or not _stays(file, answers, kept))]
    if in_the_way := [str(file.path) for file in changed if file.path.exists() and not force]:
        what = "was written with other answers" if kept.written else "is there, and says something else"
        raise DaError(f"{' and '.join(in_the_way)}: {what}; --force writes it anew and keeps a backup beside it")
    told = [_write(file) for file in changed]
    if kept.written != answers:
        kept.written = dict(answers)
        kept.save()
    return told or [f"{files[0].path} and {files[1].path} stay as they are."]


def _stays(file: _File, answers: Answers, kept: Kept) -> bool:
    """Tell whether a file is this setup's, even if somebody has edited it since."""
    return file.path.exists() and kept.written == answers


def _env_file(folder: Path, answers: Answers) -> _File:
    path = folder / ".env"
    before = read_dotenv(path)
    plain = {"SOURCES": answers["data"]}
    port = port_of(answers["server"])
    if is_loopback(answers["server"]) and port != _USUAL_PORT:
        plain["PORT"] = str(port)
    ours = {name: before.get(name) or secrets.token_hex(32) for name in SECRETS} | plain
    others = [line for name, line in dotenv_lines(path).items() if name in before.keys() - {*ours, "PORT"}]
    alike = all(before.get(name) == value for name, value in ours.items()) and before.get("PORT") == plain.get("PORT")
    lines = [dotenv_line(name, value) for name, value in ours.items()]
    text = _ENV + "\n".join([*lines, *([_KEPT, *others] if others else [])]) + "\n"
    return _File(path, text, 0o600, alike)


def _instance_file(folder: Path, answers: Answers) -> _File:
    path = folder / "config" / "instance.yaml"
    text = _INSTANCE + _SERVER
    quoted = {name: _quoted(answers[name]) for name in ("name", "domain", "server")}
    text = text.format(source=answers["source"], source_name=answers["source_name"], **quoted)
    return _File(path, text, 0o644, path.exists() and path.read_bytes() == text.encode())


def _quoted(value: str) -> str:
    """Write a text as YAML takes it, where `${` begins a variable."""
    return json.dumps(value.replace("${", "$${"), ensure_ascii=False)


def _write(file: _File) -> str:
    file.path.parent.mkdir(parents=True, exist_ok=True)
    backup = _backed_up(file.path) if file.path.exists() else None
    write_atomically(file.path, file.text, mode=file.mode)
    return f"Wrote {file.path}{f'; what was there is in {backup.name}' if backup else ''}."


def _backed_up(path: Path) -> Path:
    """Keep a file under another name beside it; an earlier backup stays."""
    names = (path.with_name(f"{path.name}.backup{number or ''}") for number in range(1000))
    backup = next(name for name in names if not name.exists())
    try:
        os.link(path, backup)
    except OSError:  # a file system without links
        shutil.copy2(path, backup)
    return backup
