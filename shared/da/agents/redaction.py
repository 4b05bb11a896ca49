"""Secrets in texts of people: found by their form or by what stands before them, and replaced.

It runs on the laptop before a text leaves it, and at the server before a text is stored, because neither can trust the
other to have done it. What is replaced is named by its kind, so that a reader understands the text. It prefers to replace
too much: a text without an example of a password is still useful.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

_EDGE: Final = r"(?<![A-Za-z0-9_-])"
_NAMED: Final = (
    r"(?:pass(?:word|wd|phrase|code)?|pwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credentials?)"
)


class Redacted(NamedTuple):
    """A text without secrets, and how many of each kind were replaced."""

    text: str
    found: dict[str, int]


_FORMS: Final[tuple[tuple[str, re.Pattern[str]], ...]] = (
    (
        "private key",
        re.compile(
            r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|\Z)",
            re.DOTALL,
        ),
    ),
    ("access token", re.compile(rf"{_EDGE}da_[A-Za-z0-9_-]{{16,}}")),
    ("signed token", re.compile(rf"{_EDGE}eyJ[A-Za-z0-9_-]{{8,}}\.[A-Za-z0-9_-]+\.?[A-Za-z0-9_-]*")),
    ("API key", re.compile(rf"{_EDGE}(?:sk|pk|rk)[-_](?:[A-Za-z0-9]+[-_])*[A-Za-z0-9_-]{{16,}}")),
    ("AWS key", re.compile(rf"{_EDGE}(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{{16}}(?![A-Z0-9])")),
    (
        "Google key",
        re.compile(rf"{_EDGE}(?:AIza[A-Za-z0-9_-]{{30,}}|ya29\.[A-Za-z0-9_-]{{20,}}|GOCSPX-[A-Za-z0-9_-]{{20,}})"),
    ),
    ("GitHub token", re.compile(rf"{_EDGE}(?:gh[pousr]_[A-Za-z0-9]{{20,}}|github_pat_[A-Za-z0-9_]{{20,}})")),
    ("GitLab token", re.compile(rf"{_EDGE}gl(?:pat|ptt|dt|rt|soat)-[A-Za-z0-9_-]{{16,}}")),
    ("Slack token", re.compile(rf"{_EDGE}xox[a-z]-[A-Za-z0-9-]{{10,}}")),
    (
        "Slack webhook",
        re.compile(r"https://hooks\.slack(?:-gov)?\.com/(?:services|workflows|triggers)/[A-Za-z0-9/_-]+"),
    ),
    ("Telegram token", re.compile(rf"{_EDGE}[0-9]{{6,12}}:[A-Za-z0-9_-]{{30,}}")),
    ("Keboola token", re.compile(rf"{_EDGE}[0-9]+-[0-9]+-[A-Za-z0-9]{{20,}}")),
    ("Atlassian token", re.compile(rf"{_EDGE}ATATT[A-Za-z0-9_=-]{{20,}}")),
    ("npm token", re.compile(rf"{_EDGE}npm_[A-Za-z0-9]{{20,}}")),
    ("PyPI token", re.compile(rf"{_EDGE}pypi-[A-Za-z0-9_-]{{20,}}")),
    (
        "signature of a URL",
        re.compile(r"(?<=[?&])(?:X-Amz-|X-Goog-)?(?:Signature|sig)=[A-Za-z0-9%+/=_-]{16,}", re.IGNORECASE),
    ),
)
"""Kinds of secrets that are known by their form."""

_URL: Final = re.compile(r"([a-z][a-z0-9+.-]*://[^\s/:@'\"]*:)([^\s/@'\"]+)(?=@)", re.IGNORECASE)
_HEADER: Final = re.compile(r"(\b(?:bearer|basic|token)\s+)([A-Za-z0-9+/=._~-]{12,})", re.IGNORECASE)
_ASSIGNED: Final = re.compile(
    rf"(?P<name>[\w.-]*{_NAMED}[\w.-]*[\"'`*]*\s{{0,3}}(?:=>|:=|[:=]|\bis\b)\s{{0,3}})"
    r"(?P<value>\"(?:[^\"\\\n]|\\.)+\"|'(?:[^'\\\n]|\\.)+'|`[^`\n]+`|<[^>\n]{0,80}>|[^\s\"'`,;]+)",
    re.IGNORECASE,
)
"""A value with a name that says what it is: `password = …`, `"api_key": "…"`, `DB_PASSWORD: …`, `the password is …`."""

_HARMLESS: Final = re.compile(
    r"[\"'`]?(?:\$\{?\w+\}?|<[a-z _-]*>|\{\{[^}]*\}\}|%\w+%|\*+|x{3,}|\.{3,}|…|none|null|true|false|required|optional|env|"
    r"string|str|text|os\.environ\S*|getenv\S*|\[[a-z A-Z]+ removed\])[\"'`.)]?",
    re.IGNORECASE,
)
"""Values that only stand for a secret."""


def redacted(text: str) -> Redacted:
    """Replace the secrets in a text; texts that were redacted before stay as they are."""
    found: Counter[str] = Counter()

    def replaced(kind: str, keep: int | None = None) -> Callable[[re.Match[str]], str]:
        def replacement(match: re.Match[str]) -> str:
            found[kind] += 1
            return (match[keep] if keep else "") + f"[{kind} removed]"

        return replacement

    for kind, pattern in _FORMS:
        text = pattern.sub(replaced(kind), text)
    text = _URL.sub(replaced("password", keep=1), text)
    text = _HEADER.sub(replaced("credential", keep=1), text)

    def assigned(match: re.Match[str]) -> str:
        if _HARMLESS.fullmatch(match["value"]) or match["value"].startswith(("[", "://")):
            return match[0]
        found["secret"] += 1
        return f"{match['name']}[secret removed]"

    return Redacted(_ASSIGNED.sub(assigned, text), dict(found))


_OPEN: Final = re.compile(r"<!--\s*private\s*-->", re.IGNORECASE)
_CLOSE: Final = re.compile(r"<!--\s*/\s*private\s*-->", re.IGNORECASE)


def without_private(text: str) -> tuple[str, int]:
    """Return a text without what is between `<!-- private -->` and `<!-- /private -->`, and how many parts that were.

    A mark that is not closed holds to the end of the text.
    """
    parts = list(_private(text))
    for start, end in reversed(parts):
        text = text[:start] + text[end:]
    return text, len(parts)


def _private(text: str) -> Iterator[tuple[int, int]]:
    place = 0
    while (opening := _OPEN.search(text, place)) is not None:
        closing = _CLOSE.search(text, opening.end())
        place = len(text) if closing is None else closing.end()
        yield opening.start(), place
