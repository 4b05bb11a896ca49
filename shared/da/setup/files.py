"""The two files of an instance: `.env` with secrets, `config/instance.yaml` with all other settings."""

import json
import os
import re
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from da.atomic import write_atomically
from da.config import is_loopback
from da.dotenv import dotenv_line, dotenv_lines, read_dotenv
from da.errors import DaError
from da.setup.answers import QUESTIONS, SOURCES, Answers, Kept, port_of

SECRETS: Final = ("SERVICE_TOKEN", "BOOTSTRAP_SECRET", "SECRET_KEY")

_USUAL_PORT: Final = 8000
_ENV: Final = """\
# Written by `da setup`. See config/.env.template for every variable. Contains secrets: never commit it.
"""
_KEPT: Final = "\n# Kept from the previous file"
_INSTANCE: Final = """\
# Written by `da setup`. See config/instance.yaml.example for every key; validate with `da admin config check`.
instance:
  name: {name}

auth:
  # Everyone with an email address in these domains can sign in; others must be added first.
  allowed_domains: [{domain}]

data_source:
  type: {source}

sources:
  {source_name}:
    config:
"""
_FOLDER: Final = """\
      # in the folder that .env calls SOURCES, where each source has a folder of its own
      path: {path}
"""
_BUCKETS: Final = """\
      # each sync registers the tables that are new in these buckets
      discover: true
      buckets: {buckets}
"""
_DATASETS: Final = """\
      # each sync registers the tables that are new in these datasets
      discover: true
      datasets: {datasets}
"""
_CONFIGS: Final = {"csv": _FOLDER, "keboola": _BUCKETS, "bigquery": _DATASETS}
_SERVER: Final = """
server:
  # public URL; used for links in emails
  base_url: {server}
"""


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    text: str
    mode: int
    is_there_alike: bool
    keeps_all: bool = False
    """Whether it only adds to the file that is there."""


def write_files(folder: Path, answers: Answers, kept: Kept, *, force: bool) -> list[str]:
    """Write both files and return one sentence for each. Files already written by this setup are kept.

    Raises:
        DaError: a different file exists, and `force` is not set.
    """
    files = (_env_file(folder, answers), _instance_file(folder, answers))
    changed = [file for file in files if not file.is_there_alike and (force or not _stays(file, answers, kept))]
    in_the_way = [f"'{file.path}'" for file in changed if file.path.exists() and not file.keeps_all and not force]
    if in_the_way:
        why = (
            "written by da setup with different answers"
            if kept.written
            else "the file already exists with other content"
        )
        raise DaError(f"can't write {' and '.join(in_the_way)}: {why}; use --force to overwrite it and keep a backup")
    written = [_write(file) for file in changed]
    if kept.written != _public(answers):
        kept.written = _public(answers)
        kept.save()
    return written or [f"{files[0].path} and {files[1].path} are unchanged."]


def _stays(file: _File, answers: Answers, kept: Kept) -> bool:
    """Return whether a file was written by this setup, even if it has been edited since."""
    return file.path.exists() and kept.written == _public(answers)


def _public(answers: Answers) -> dict[str, str]:
    """Return the answers that may be saved outside of `.env`."""
    secret = {question.name for question in QUESTIONS if question.is_secret}
    return {name: value for name, value in answers.items() if name not in secret}


def _env_file(folder: Path, answers: Answers) -> _File:
    path = folder / ".env"
    before = read_dotenv(path)
    plain = dict[str, str]()
    if "data" in answers:
        above = Path(answers["data"]).parent
        plain["SOURCES"] = f"./{SOURCES}" if above == folder / SOURCES else str(above)
    elif answers["source"] == "keboola":
        plain |= {"KEBOOLA_STACK_URL": answers["stack"], "KEBOOLA_STORAGE_TOKEN": answers["token"]}
    else:
        plain["BIGQUERY_PROJECT"] = answers["project"]
    port = port_of(answers["server"])
    if is_loopback(answers["server"]) and port != _USUAL_PORT:
        plain["PORT"] = str(port)
    ours = {name: before.get(name) or secrets.token_hex(32) for name in SECRETS} | plain
    named = ("SOURCES", "PORT", "KEBOOLA_STACK_URL", "KEBOOLA_STORAGE_TOKEN", "BIGQUERY_PROJECT")
    if path.exists() and all(
        before.get(name) in (None, "", plain.get(name)) or name not in {*plain, "PORT"} for name in named
    ):
        missing = {name: value for name, value in ours.items() if not before.get(name)}
        return _File(path, _completed(path.read_text(encoding="utf-8"), missing), 0o600, not missing, keeps_all=True)
    others = [line for name, line in dotenv_lines(path).items() if name in before.keys() - {*ours, "PORT"}]
    alike = all(before.get(name) == value for name, value in ours.items()) and before.get("PORT") == plain.get("PORT")
    lines = [dotenv_line(name, value) for name, value in ours.items()]
    text = _ENV + "\n".join([*lines, *([_KEPT, *others] if others else [])]) + "\n"
    return _File(path, text, 0o600, alike)


def _completed(text: str, missing: Mapping[str, str]) -> str:
    """Fill in the lines of a file that have no value, as in one of `make configure`, and append the others."""
    for name, value in missing.items():
        line, empty = dotenv_line(name, value), re.search(rf"^{name}=[ \t]*$", text, re.MULTILINE)
        before, after = (text[: empty.start()], text[empty.end() :]) if empty else (f"{text.rstrip()}\n".lstrip(), "\n")
        text = before + line + after
    return text


def _instance_file(folder: Path, answers: Answers) -> _File:
    path = folder / "config" / "instance.yaml"
    text = _INSTANCE + _CONFIGS[answers["source"]] + _SERVER
    quoted = {name: _quoted(answers[name]) for name in ("name", "domain", "server")}
    if "data" in answers:
        quoted["path"] = _quoted(Path(answers["data"]).name)
    quoted |= {name: _quoted(answers[name]) for name in ("buckets", "datasets") if name in answers}
    text = text.format(source=answers["source"], source_name=answers["source_name"], **quoted)
    return _File(path, text, 0o644, path.exists() and path.read_bytes() == text.encode())


def _quoted(value: str) -> str:
    """Quote a text for YAML, escaping `${`, which starts a variable."""
    return json.dumps(value.replace("${", "$${"), ensure_ascii=False)


def _write(file: _File) -> str:
    file.path.parent.mkdir(parents=True, exist_ok=True)
    backup = _backed_up(file.path) if file.path.exists() else None
    write_atomically(file.path, file.text, mode=file.mode)
    return f"Wrote {file.path}{f'; the previous file is kept as {backup.name}' if backup else ''}."


def _backed_up(path: Path) -> Path:
    """Back up a file next to it, keeping earlier backups."""
    names = (path.with_name(f"{path.name}.backup{number or ''}") for number in range(1000))
    backup = next(name for name in names if not name.exists())
    try:
        os.link(path, backup)
    except OSError:  # a file system without links
        shutil.copy2(path, backup)
    return backup
