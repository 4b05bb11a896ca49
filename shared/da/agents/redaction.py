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
    r"(?:pass(?:word|wd|phrase|code|wort)?|pwd?|pw|secret|token|credentials?|heslo|senha|contrase\u00f1a|contrasena|kennwort|"
    r"wachtwoord|has\u0142o|mot de passe|(?:api|access|account|encryption|license|master|private|shared|signing|ssh[\w-]{0,30}|storage)"
    r"[ _-]?key|(?:recovery|backup|security)[ _-]?codes?)"
)
_CONNECTED: Final = r"(?:=>|:=|[:=]|%3D|&#58;|&#61;|\b(?:is|was|will be)\b:?)"
_LOOKS_RANDOM: Final = r"(?=[^\s\"'`<>|,;()]{0,99}[0-9])(?=[^\s\"'`<>|,;()]{0,99}[A-Za-z])[^\s\"'`<>|,;()\[\]]{8,}"
"""A word of letters and digits, which is no word of a language."""


class Redacted(NamedTuple):
    """A text without secrets, and how many of each kind were replaced."""

    text: str
    found: dict[str, int]


_FORMS: Final[tuple[tuple[str, re.Pattern[str]], ...]] = (
    (
        "private key",
        re.compile(
            r"-{0,5}BEGIN [A-Z0-9 ]{0,60}PRIVATE KEY(?: BLOCK)?-{1,5}.*?(?:-----END [A-Z0-9 ]{0,60}PRIVATE KEY(?: BLOCK)?-----|\Z)"
            r"|^Private-Lines:.*\Z",
            re.DOTALL | re.MULTILINE,
        ),
    ),
    ("age key", re.compile(rf"{_EDGE}AGE-SECRET-KEY-1[A-Z0-9]{{30,}}", re.IGNORECASE)),
    (
        "key with a prefix",
        re.compile(
            rf"{_EDGE}(?!(?:sha(?:1|224|256|384|512)?|md5|blob|commit|tree|etag|rev|hash|id|km|uuid)[-_])"
            r"(?:[A-Za-z][A-Za-z0-9]{1,15}[-_](?:[A-Za-z0-9]{1,32}[-_])*|dapi|AC|SK)[0-9a-f]{32,}"
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

_URL: Final = re.compile(r"((?<![a-z0-9+.-])[a-z][a-z0-9+.-]{0,30}://[^\s/:@'\"]*:)([^\s/@'\"]+)(?=@)", re.IGNORECASE)
_HEADER: Final = re.compile(r"(\b(?:bearer|basic|token)\s+)([A-Za-z0-9+/=._~-]{12,})", re.IGNORECASE)
_ASSIGNED: Final = re.compile(
    rf"(?P<name>(?<![\w.-])[\w.-]{{0,64}}{_NAMED}[\w.-]{{0,64}}[\\\"'`*]*\s{{0,3}}{_CONNECTED}\s{{0,3}}(?:\"\"(?=\"))?)"
    r"(?P<value>\\\"[^\"\\\n]+\\\"|\"(?:[^\"\\\n]|\\.)+\"|'(?:[^'\\\n]|\\.)+'|`[^`\n]+`|<[^>\n]{0,80}>|[^\s\"'`,;]+)",
    re.IGNORECASE,
)
"""A value with a name that says what it is: `password = …`, `"api_key": "…"`, `DB_PASSWORD: …`, `the password is …`."""

_NEARBY: Final = re.compile(
    rf"(?P<name>{_NAMED}(?:'s)?[^\w\n]{{0,6}}(?:\n\s{{0,4}})?[^\w\n]{{0,6}})(?P<value>{_LOOKS_RANDOM})", re.IGNORECASE
)
"""A value right after such a name, however the two are connected: a cell of a table, an element, an option, an argument."""
_ARGUMENT: Final = re.compile(
    r"((?<!\S)(?:-u|--user|--proxy-user)[ =]\S+?:|\b(?:mysql\w*|mariadb|sshpass|mongo\w*)\b[^\n]{0,200}?\s-p ?)((?!\[)\S{3,})"
)
_PIN: Final = re.compile(r"(\bpin(?: code)?\W{0,3}(?:\bis\b)?\W{0,3})([0-9]{4,8})\b", re.IGNORECASE)
_COOKIE: Final = re.compile(r"((?:set-)?cookie\s{0,3}:\s{0,3}[^=\s;]{1,100}=)((?!\[)[^;\s]{8,})", re.IGNORECASE)
_QUERY: Final = re.compile(r"(?<=[?&#])((?:code|auth|key|session|sid)=)([A-Za-z0-9%+/=_.~-]{8,})", re.IGNORECASE)
_WORD: Final = re.compile(r"(?<![A-Za-z0-9+])[A-Za-z0-9+]{16,}={0,2}(?![A-Za-z0-9+])")


def _is_random(word: str) -> bool:
    """Return whether a word looks like a key: small and capital letters and digits take turns, as in no identifier."""
    runs = [len(re.findall(each, word)) for each in ("[0-9]+", "[A-Z]+", "[a-z]+")]
    return min(runs) >= _FEWEST_RUNS and sum(runs) * _LONGEST_RUN >= len(word)


_FEWEST_RUNS: Final = 2
_LONGEST_RUN: Final = 2
"""Characters of one class in a row, on average: random words have 1.6, and identifiers more than 2."""


_INVISIBLE: Final = dict.fromkeys([0xAD, *range(0x200B, 0x2010), *range(0x2060, 0x2065), 0xFEFF])
_FULL_WIDTH: Final = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
_DISGUISES: Final = {**_INVISIBLE, **_FULL_WIDTH}
"""Characters that make a word look like another one to a program, and the same to a reader."""

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

    text = text.translate(_DISGUISES)
    for kind, pattern in _FORMS:
        text = pattern.sub(replaced(kind), text)
    text = _URL.sub(replaced("password", keep=1), text)
    text = _HEADER.sub(replaced("credential", keep=1), text)

    def assigned(match: re.Match[str]) -> str:
        if _HARMLESS.fullmatch(match["value"]) or match["value"].startswith(("[", "://")):
            return match[0]
        found["secret"] += 1
        return f"{match['name']}[secret removed]"

    text = _ASSIGNED.sub(assigned, text)
    text = _NEARBY.sub(assigned, text)
    for pattern in (_ARGUMENT, _PIN, _COOKIE, _QUERY):
        text = pattern.sub(replaced("secret", keep=1), text)

    def random_word(match: re.Match[str]) -> str:
        if not _is_random(match[0]):
            return match[0]
        found["likely key"] += 1
        return "[likely key removed]"

    return Redacted(_WORD.sub(random_word, text), dict(found))


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
