"""The answers that a setup needs: given as options, saved by an earlier run, or asked for."""

import json
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlsplit

from da.atomic import write_atomically
from da.config import server_address
from da.errors import DaError, UsageError
from da.output import say


@dataclass(slots=True)
class Kept:
    """The `answers` so far, those the files were `written` with, and the `token` being requested."""

    path: Path
    answers: dict[str, str] = field(default_factory=dict)
    written: dict[str, str] | None = None
    token: str | None = None

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the progress of an earlier run in a folder, if any.

        Raises:
            DaError: the file is damaged.
        """
        path = folder / ".setup.json"
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            return cls(path, dict(document["answers"]), document["written"], document["token"])
        except FileNotFoundError:
            return cls(path)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise DaError(
                f"can't read '{path}': {error}; delete it and run da setup again to answer all questions again"
            ) from None

    def save(self) -> None:
        """Save the progress."""
        document = {name: value for name, value in asdict(self).items() if name != "path"}
        write_atomically(self.path, json.dumps(document, indent=2), mode=0o600)


AVAILABLE: Final = ("csv", "keboola", "bigquery")
"""Source types that a setup can add."""

AFTERWARDS: Final = {
    "jira": "set up a csv source first, then connect Jira as described in README.md",
    "materialized": "set up the source of its inputs first, then add it with: da admin sources add",
}

_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN: Final = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*\.(?!\d+$){_LABEL}")
_EMAIL: Final = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,180}")
_NAME: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_DATA_FILE: Final = re.compile(r".+\.(csv|tsv|jsonl|ndjson|json|parquet)(\.(gz|zst))?", re.IGNORECASE)

Answers = Mapping[str, str]
"""Answers by the name of their question."""


def _domain(text: str) -> str:
    domain = text.removeprefix("@").lower()
    if not text.isascii() or not _DOMAIN.fullmatch(domain):
        raise UsageError(f"{text!r} is not a valid domain name (expected something like example.com)")
    return domain


def _title(text: str) -> str:
    if not text.isprintable() or not 0 < len(text) <= 200:  # noqa: PLR2004
        raise UsageError(f"{text!r} is not a valid name (expected one line of 1 to 200 printable characters)")
    return text


def _email(text: str) -> str:
    if not _EMAIL.fullmatch(text) or ".." in text:
        raise UsageError(f"{text!r} is not a valid email address (expected something like ann@example.com)")
    return text.lower()


def _source(text: str) -> str:
    kind = text.lower()
    if kind in AFTERWARDS:
        raise UsageError(f"{kind!r} can't be added by da setup: {AFTERWARDS[kind]}")
    if kind not in AVAILABLE:
        raise UsageError(f"{text!r} is not a valid source type (expected {', '.join(AVAILABLE)})")
    return kind


def _data(text: str) -> str:
    if "://" in text:
        raise UsageError(
            f"{text!r} is not a local folder; add remote sources after the setup with: da admin sources add"
        )
    folder = Path(text).expanduser().absolute()
    if not folder.is_dir():
        raise UsageError(
            f"'{folder}' is not a folder; create it, or generate sample data: da sample-data --output {text}"
        )
    if re.search(r"[':\"$\\\r\n]", str(folder)):
        raise UsageError(
            f"'{folder}' can't be written to .env: its path has a quote, colon, $, backslash or line break; rename it"
        )
    _require_room(folder)
    if not any(_is_data(path.relative_to(folder)) for path in folder.rglob("*")):
        raise UsageError(
            f"'{folder}' has no data files (.csv, .tsv, .json, .jsonl, .ndjson or .parquet, optionally .gz or .zst); add some"
        )
    return str(folder)


SOURCES: Final = "sources"
"""The folder in the project with a folder for each source, unless SOURCES in .env names another one."""


def _require_room(folder: Path) -> None:
    """Check that the folder above can hold the folders of all sources: the functions see everything in it.

    Raises:
        UsageError: it contains the project, whose .env has secrets, or the home folder.
    """
    above, project = folder.parent, Path.cwd()
    if folder == project / SOURCES:
        inner = next((path for path in sorted(folder.iterdir()) if path.is_dir() and path.name[0] not in "._"), None)
        if inner is not None:
            raise UsageError(
                f"'{folder}' has a folder for each source; give one of these, such as {SOURCES}/{inner.name}"
            )
        raise UsageError(
            f"'{folder}' has a folder for each source, and your files are not in one; move them into one, such as "
            f"{SOURCES}/shop, and give that"
        )
    if project.is_relative_to(above) or Path.home().is_relative_to(above):
        raise UsageError(
            f"'{folder}' can't be a source where it is: the functions would see everything else in '{above}'; copy it "
            f"with: mkdir -p {SOURCES} && cp -r '{folder}' {SOURCES}/, then give {SOURCES}/{folder.name}"
        )


def _usual_data() -> str:
    """Return the first folder of sources that has data files."""
    folders = sorted(path for path in Path(SOURCES).glob("[!._]*") if path.is_dir())
    found = (path for path in folders if any(_is_data(inner.relative_to(path)) for inner in path.rglob("*")))
    return str(next(found, Path(SOURCES) / "shop"))


def _is_data(path: Path) -> bool:
    return _DATA_FILE.fullmatch(path.name) is not None and not any(part[0] in "._" for part in path.parts)


def _source_name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise UsageError(
            f"{text!r} is not a valid source name (expected lowercase letters, digits and _, e.g. shop_files)"
        )
    return text


_STACK: Final = "https://connection.keboola.com"
_BUCKET: Final = re.compile(r"[A-Za-z0-9_.*?\[\]-]{1,200}")


def _token(text: str) -> str:
    if not text.isascii() or not text.isprintable() or len(text.split()) != 1:
        raise UsageError("that is not a valid Storage API token (expected one word, such as 1234-56789-AbC…)")
    return text


def _buckets(text: str) -> str:
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if not _BUCKET.fullmatch(name):
            raise UsageError(f"{name!r} is not a bucket or a pattern of buckets (expected something like in.c-crm)")
    if not names:
        raise UsageError("no bucket is given (expected something like in.c-crm, or * for all)")
    return ",".join(names)


_PROJECT: Final = re.compile(r"(?:[a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]")
_DATASET: Final = re.compile(r"[A-Za-z0-9_*?\[\]-]{1,200}")


def _project(text: str) -> str:
    if not _PROJECT.fullmatch(text):
        raise UsageError(f"{text!r} is not the id of a Google Cloud project (expected something like my-project-123)")
    return text


def _datasets(text: str) -> str:
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if not _DATASET.fullmatch(name):
            raise UsageError(f"{name!r} is not a dataset or a pattern of datasets (expected something like sales)")
    if not names:
        raise UsageError("no dataset is given (expected something like sales, or * for all)")
    return ",".join(names)


@dataclass(frozen=True, slots=True)
class Question:
    """One question. `usual` derives a default from the earlier answers; `check` returns the normalized answer.

    `check` raises a `UsageError` for an invalid answer.
    """

    name: str
    text: str
    check: Callable[[str], str]
    usual: Callable[[Answers], str | None] = lambda _: None
    only_for: str | None = None
    """The type of source that it is asked for; all if `None`."""
    is_secret: bool = False
    """Whether the answer is not shown, and is saved only in `.env`."""

    @property
    def option(self) -> str:
        """The option that answers the question."""
        return f"--{self.name.replace('_', '-')}"


def _usual_title(answers: Answers) -> str:
    return f"{answers['domain'].partition('.')[0].capitalize()} Data Analyst"


_USUAL_NAMES: Final = {"keboola": "kbc", "bigquery": "bq"}


def _usual_source_name(answers: Answers) -> str:
    if answers["source"] in _USUAL_NAMES:
        return _USUAL_NAMES[answers["source"]]
    name = re.sub(r"[^a-z0-9]+", "_", Path(answers["data"]).name.lower()).strip("_")[:63]
    return name if _NAME.fullmatch(name) else "files"


QUESTIONS: Final = (
    Question("domain", "Email domain of your company; everyone with such an address can sign in", _domain),
    Question("name", "Name of the instance", _title, _usual_title),
    Question("email", "Your email; you become the first administrator", _email),
    Question("source", f"Type of your data source ({', '.join(AVAILABLE)})", _source, lambda _: "csv"),
    Question("data", "Folder with your data files", _data, lambda _: _usual_data(), only_for="csv"),
    Question("stack", "Address of your Keboola stack", server_address, lambda _: _STACK, only_for="keboola"),
    Question("token", "Storage API token of the project", _token, only_for="keboola", is_secret=True),
    Question("buckets", "Buckets to mirror, such as in.c-crm,out.c-sales or *", _buckets, only_for="keboola"),
    Question("project", "Id of the Google Cloud project with your tables", _project, only_for="bigquery"),
    Question("datasets", "Datasets to mirror, such as sales,crm_* or *", _datasets, only_for="bigquery"),
    Question("source_name", "Name of the source, used in table names", _source_name, _usual_source_name),
    Question("server", "URL of the server", server_address, lambda _: "http://localhost:8000"),
)


_NO_DEFAULTS: Final = frozenset({"domain", "email", "token", "buckets", "project", "datasets"})


def gather(
    given: Mapping[str, str | None], kept: dict[str, str], keep: Callable[[], None], *, asking: bool
) -> dict[str, str]:
    """Gather all answers: those `given`, otherwise those `kept`, otherwise asked for, or the defaults.

    Each is saved (`keep`) immediately.

    Raises:
        UsageError: an answer is invalid, or is missing and can't be asked for.
    """
    answers: dict[str, str] = {}
    source = (given.get("source") or kept.get("source") or AVAILABLE[0]).strip().lower()
    missing = [] if asking else [_how(it) for it in QUESTIONS if not _is_answered(it, given, kept, source)]
    if missing:
        raise UsageError(f"--yes needs answers without a default: give {', '.join(missing)}")
    for question in QUESTIONS:
        if question.only_for not in (None, answers.get("source")):
            continue
        known = given.get(question.name) or kept.get(question.name)
        answers[question.name] = question.check(known.strip()) if known else _answer(question, answers, asking=asking)
        if not question.is_secret and kept.get(question.name) != answers[question.name]:
            kept[question.name] = answers[question.name]
            keep()
    return answers


def port_of(server: str) -> int:
    """Return the port of a server's address."""
    parts = urlsplit(server)
    return parts.port or (443 if parts.scheme == "https" else 80)


def _how(question: Question) -> str:
    return "KEBOOLA_STORAGE_TOKEN" if question.is_secret else question.option


def _is_answered(question: Question, given: Mapping[str, str | None], kept: Answers, source: str) -> bool:
    has_usual = question.name not in _NO_DEFAULTS or question.only_for not in (None, source)
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
        if question.is_secret:
            return (Prompt.ask(question.text, password=sys.stdin.isatty()) or "").strip()
        answer = Prompt.ask(question.text, default=usual) if usual else Prompt.ask(question.text)
    except EOFError:
        say()
        raise UsageError(f"no answer to '{question.text}': the input ended; give {_how(question)}") from None
    if not sys.stdin.isatty():
        say(answer)  # show the answer that was not typed in a terminal
    return (answer or "").strip()
