"""What a setup wants to know: given as an option, remembered from an earlier run, or asked for."""

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from da.config import server_address
from da.errors import UsageError
from da.output import say

AVAILABLE: Final = ("csv",)
"""Kinds of sources that a setup adds."""

AFTERWARDS: Final = {"jira": "set up with files, then connect Jira as README.md tells"}
LATER: Final = ("keboola", "bigquery")

_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN: Final = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*\.(?!\d+$){_LABEL}")
_EMAIL: Final = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,180}")
_NAME: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_DATA_FILE: Final = re.compile(r".+\.(csv|tsv|jsonl|ndjson|json|parquet)(\.(gz|zst))?", re.IGNORECASE)

Answers = Mapping[str, str]
"""By the names of the questions."""


def _domain(text: str) -> str:
    domain = text.removeprefix("@").lower()
    if not text.isascii() or not _DOMAIN.fullmatch(domain):
        raise UsageError(f"{text!r} is no domain; it looks like example.com")
    return domain


def _title(text: str) -> str:
    if not text.isprintable() or not 0 < len(text) <= 200:  # noqa: PLR2004
        raise UsageError(f"{text!r} is no name of one line")
    return text


def _email(text: str) -> str:
    if not _EMAIL.fullmatch(text) or ".." in text:
        raise UsageError(f"{text!r} is no e-mail address; it looks like ann@example.com")
    return text.lower()


def _source(text: str) -> str:
    kind = text.lower()
    if kind in AFTERWARDS:
        raise UsageError(f"{kind} is not added here: {AFTERWARDS[kind]}")
    if kind in LATER:
        raise UsageError(f"{kind} is not available yet: this version reads {', '.join((*AVAILABLE, *AFTERWARDS))}")
    if kind not in AVAILABLE:
        raise UsageError(f"{text!r} is no kind of source; there is {', '.join(AVAILABLE)} here")
    return kind


def _data(text: str) -> str:
    if "://" in text:
        raise UsageError(f"{text} is no folder here; what is elsewhere is added later with: da admin add-source")
    folder = Path(text).expanduser().absolute()
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder; make it, or try sample data: da sample-data --output {text}")
    if re.search(r"[':\"$\\\r\n]", str(folder)):
        raise UsageError(f"{folder} has a quote, a colon or the like in its name, which .env can't hold; rename it")
    if not any(_is_data(path.relative_to(folder)) for path in folder.rglob("*")):
        raise UsageError(f"{folder} holds no .csv, .tsv, .json, .jsonl or .parquet file (also .gz and .zst of them)")
    return str(folder)


def _is_data(path: Path) -> bool:
    return _DATA_FILE.fullmatch(path.name) is not None and not any(part[0] in "._" for part in path.parts)


def _source_name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise UsageError(f"{text!r} is no name of a source; it has small letters, digits and _, as shop_files")
    return text


@dataclass(frozen=True, slots=True)
class Question:
    """One thing to know. `usual` makes a default of the answers before; `check` gives the answer as it is kept.

    `check` raises a `UsageError` when it can't be that.
    """

    name: str
    text: str
    check: Callable[[str], str]
    usual: Callable[[Answers], str | None] = lambda _: None

    @property
    def option(self) -> str:
        """The option that answers it."""
        return f"--{self.name.replace('_', '-')}"


def _usual_title(answers: Answers) -> str:
    return f"{answers['domain'].partition('.')[0].capitalize()} Data Analyst"


def _usual_source_name(answers: Answers) -> str:
    name = re.sub(r"[^a-z0-9]+", "_", Path(answers["data"]).name.lower()).strip("_")[:63]
    return name if _NAME.fullmatch(name) else "files"


QUESTIONS: Final = (
    Question("domain", "Your company's domain, whose people may sign in", _domain),
    Question("name", "What the instance is called", _title, _usual_title),
    Question("email", "Your e-mail; you become the first administrator", _email),
    Question("source", f"Where your data comes from, of {', '.join(AVAILABLE)}", _source, lambda _: "csv"),
    Question("data", "The folder of your files", _data, lambda _: "sources"),
    Question("source_name", "What this source is called in tables' names", _source_name, _usual_source_name),
    Question("server", "Where the server is", server_address, lambda _: "http://localhost:8000"),
)


def gather(
    given: Mapping[str, str | None], kept: dict[str, str], keep: Callable[[], None], *, asking: bool
) -> dict[str, str]:
    """Gather all answers: as they are `given`, else as they were `kept`, else asked for, or as usual.

    Each is remembered (`keep`) as soon as it is there.

    Raises:
        UsageError: an answer can't be meant so, or is missing and can't be asked for.
    """
    answers: dict[str, str] = {}
    missing = [] if asking else [it.option for it in QUESTIONS if not _is_answered(it, given, kept)]
    if missing:
        raise UsageError(f"Without asking, it has to be told {', '.join(missing)}")
    for question in QUESTIONS:
        said = given.get(question.name) or kept.get(question.name)
        answers[question.name] = question.check(said.strip()) if said else _answer(question, answers, asking=asking)
        if kept.get(question.name) != answers[question.name]:
            kept[question.name] = answers[question.name]
            keep()
    return answers


def port_of(server: str) -> int:
    """Tell the port of a server's address."""
    parts = urlsplit(server)
    return parts.port or (443 if parts.scheme == "https" else 80)


def _is_answered(question: Question, given: Mapping[str, str | None], kept: Answers) -> bool:
    has_usual = question.name not in {"domain", "email"}
    return bool(given.get(question.name) or kept.get(question.name)) or has_usual


def _answer(question: Question, answers: Answers, *, asking: bool) -> str:
    usual = question.usual(answers)
    if not asking:
        return question.check(usual or "")
    while True:
        try:
            return question.check(_ask(question, usual))
        except UsageError as error:
            if not sys.stdin.isatty():
                raise
            say(f"{error}.")


def _ask(question: Question, usual: str | None) -> str:
    from rich.prompt import Prompt

    try:
        said = Prompt.ask(question.text, default=usual) if usual else Prompt.ask(question.text)
    except EOFError:
        say()
        raise UsageError(f"No answer came; give {question.option}") from None
    if not sys.stdin.isatty():
        say(said)  # nobody has typed it here
    return (said or "").strip()
