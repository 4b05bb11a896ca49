"""Secrets in texts of people: found by their form or by what stands before them, and replaced.

It runs on the laptop before a text leaves it, and at the server before a text is stored, because neither can trust the
other to have done it. What is replaced is named by its kind, so that a reader understands the text. It prefers to replace
too much: a text without an example of a password is still useful.
"""

import base64
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

_EDGE: Final = r"(?<![A-Za-z0-9_-])"
_NAMED: Final = (
    r"(?:pass(?:word|wd|phrase|code|wort)?|pwd?|pw|psk|secret|token|credentials?|heslo|senha|contrase\u00f1a|contrasena|kennwort|"
    r"wachtwoord|has\u0142o|mot de passe|parola|l\u00f6senord|\u043f\u0430\u0440\u043e\u043b\u044c|\u5bc6\u7801|\u5bc6\u78bc|"
    r"\u30d1\u30b9\u30ef\u30fc\u30c9|(?:api|access|account|aes|app|auth|client|consumer|encryption|hmac|license|master|private|"
    r"service|shared|signing|ssh[\w-]{0,30}|storage|subscription)[ _-]?key|(?:recovery|backup|security)[ _-]?codes?)"
)
_CONNECTED: Final = r"(?:=>|:=|[:=]|%3D|&#58;|&#61;|\b(?:is|was|will be|est|lautet|ist|je|jest|es)\b:?)"
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
    (
        "signed token",
        re.compile(
            rf"{_EDGE}eyJ[A-Za-z0-9_-]{{8,}}(?:[A-Za-z0-9_.-]|\\+r?n|\\?\r?\n[ \t>]{{0,8}}(?=[A-Za-z0-9_.-]{{12,}}))*"
        ),
    ),
    (
        "private key",
        re.compile(
            rf"{_EDGE}b3BlbnNzaC1rZXk[A-Za-z0-9+/=]*(?:\\n|\s{{1,10}}(?=[A-Za-z0-9+/=]{{16,}})|[A-Za-z0-9+/=])*"
        ),
    ),
    ("Airtable token", re.compile(rf"{_EDGE}pat[A-Za-z0-9]{{14}}\.[0-9a-f]{{32,}}")),
    ("Alibaba key", re.compile(rf"{_EDGE}LTAI[A-Za-z0-9]{{12,}}")),
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
        re.compile(r"(?<=[?&])(?:X-Amz-|X-Goog-)?(?:Signature|sig)=[A-Za-z0-9%+/=_-]{8,}", re.IGNORECASE),
    ),
)
"""Kinds of secrets that are known by their form."""

_URL: Final = re.compile(
    r"((?<![a-z0-9+.-])[a-z][a-z0-9+.-]{0,30}://[^\s/:@'\"]*:)((?!\d{1,5}(?:[/?#]|\b(?!@)))[^\s'\"<>]{1,200})(?=@)"
    r"|((?:%3A|:)(?:%2F|/){2}(?:(?!%3A|%40)[^\s:/@'\"]){0,100}%3A)(?:(?!%40)[^\s@'\"]){1,200}(?=%40)",
    re.IGNORECASE,
)
"""The password of an address, which may have a slash or an @ itself; also where the address is encoded."""
_HEADER: Final = re.compile(r"(\b(?:bearer|basic|token)\s+)([A-Za-z0-9+/=._~-]{12,})", re.IGNORECASE)
_VALUE: Final = (
    r"(?P<value>\\{1,30}[\"'](?:(?!\\{1,30}[\"'])[^\n]){1,2000}?\\{1,30}[\"']|\"(?:[^\"\\\n]|\\.)+\"|'(?:[^'\\\n]|\\.)+'|"
    r"`[^`\n]+`|<[^>\n]{0,80}>|[^\s\"'`,;]+)"
)
"""A value as languages and formats write it: in quotes, which have backslashes where a document is a text of another one."""
_STRING: Final = r"(?P<value>\\{0,30}[\"'](?:(?!\\{0,30}[\"'])[^\n]){1,2000}?\\{0,30}[\"'])"
_NAME: Final = rf"(?<![\w.-])[\w.-]{{0,64}}{_NAMED}[\w.-]{{0,64}}"
_ASSIGNED: Final = re.compile(
    rf"(?P<name>{_NAME}[\\\"'`*]*(?::[ \t]{{0,3}}[&\w\[\]., |]{{1,40}}?(?=[ \t]{{0,3}}=))?[ \t]{{0,40}}\n?[ \t]{{0,3}}{_CONNECTED}"
    r"(?:[ \t]{0,40}(?:[|>][+-]?[ \t]*)?\n[ \t]{1,40}(?:-[ \t]+)?|[ \t]{4,40}|\s{0,3}(?:\"\"(?=\")|[\"']{3}\n[ \t]{0,40})?))"
    rf"{_VALUE}",
    re.IGNORECASE,
)
"""A value with a name that says what it is: `password = …`, `"api_key": "…"`, `DB_PASSWORD: …`, `the password is …`."""

_NEARBY: Final = re.compile(
    rf"(?P<name>{_NAMED}(?:'s)?[^\w\n]{{0,6}}(?:\n\s{{0,4}})?[^\w\n]{{0,6}})(?P<value>{_LOOKS_RANDOM})", re.IGNORECASE
)
"""A value right after such a name, however the two are connected: a cell of a table, an element, an option, an argument."""
_WORD_VALUE: Final = r"(?P<value>(?![\[<$*-])(?!\d{1,6}(?:[:\s]|$))[^\s\"']{3,})"
"""A word on a command line that is neither an option, nor a number or a mapping of ports, nor stands for a value."""
_COMMANDS: Final = (
    (
        r"mysql\w*|mariadb\S*|sshpass|mongo\w*|(?:docker|podman|helm|skopeo|buildah)\b[^\n]{0,30}\blogin|7z\w?|rar|unrar",
        "p",
    ),
    (r"zip|unzip|sqlcmd|bcp|isql|tsql", "P"),
    (r"ldap\w+|ipmitool", "[wP]"),
    (r"redis-cli", "a"),
    (r"openssl", "[kK]"),
)
"""Commands, and their options for passwords, which are too short to say so themselves."""
_CONTEXTS: Final = tuple(
    re.compile(rf"(?P<name>{name}){value}", flags)
    for name, value, flags in (
        *(
            (rf"\b(?:{commands})\b[^\n;|&]{{0,200}}?\s-{option} ?[\"']?", _WORD_VALUE, re.NOFLAG)
            for commands, option in _COMMANDS
        ),
        (r"(?<!\S)(?:-u|--user|--proxy-user|-a|--auth|-U)[ =]?[\"']?[^\s:%/\"']{1,100}[:%]", _WORD_VALUE, re.NOFLAG),
        (r"\blftp\b[^\n]{0,60}?\s-u\s[^\s,]{1,100},", _WORD_VALUE, re.NOFLAG),
        (r"\bhtpasswd\s{1,3}-\w{0,5}b\w{0,5}\s{1,3}\S{1,200}\s{1,3}\S{1,100}\s{1,3}", _WORD_VALUE, re.NOFLAG),
        (r"\bnet use\b[^\n]{0,120}?/user:\S{1,100}\s", _WORD_VALUE, re.IGNORECASE),
        (r"(?<!\S)/p(?:ass(?:word)?)?:", r"(?P<value>[^\s=\[]{3,})(?!\S)", re.NOFLAG),
        (
            r"\becho [\"']?[\w.-]{1,60}:",
            r"(?P<value>[^\s\"']{3,})(?=[\"']?\s{0,3}\|\s{0,3}(?:sudo )?chpasswd)",
            re.NOFLAG,
        ),
        (
            rf"(?<!\S)--?(?![\w-]{{0,80}}(?:file|path|stdin|name|command)\b)[\w-]{{0,40}}{_NAMED}[\w-]{{0,40}}[ =]\s{{0,3}}[\"']?",
            _WORD_VALUE,
            re.IGNORECASE,
        ),
        (rf"\bconfig(?:ure)?\s{{1,3}}set\s{{1,3}}{_NAME}\s{{1,3}}", _WORD_VALUE, re.IGNORECASE),
        (r"\b(?:login|user|machine)\s{1,20}\S{1,200}\s{1,20}(?:password|passwd)\s{1,20}", _WORD_VALUE, re.IGNORECASE),
        (r"^[\w.*-]{1,200}:(?:\d{2,5}|\*):[\w*-]{1,60}:[\w*-]{1,60}:", r"(?P<value>[^\s\[]{3,})$", re.MULTILINE),
        (
            r"\b(?:sqlplus|sqlldr|expdp|impdp|rman)\s{1,3}[\"']?[\w.$-]{1,60}/|jdbc:oracle:\w{2,6}:[\w.$-]{1,60}/",
            r"(?P<value>[^\s@\"'\[]{3,})(?=@)",
            re.IGNORECASE,
        ),
        # A name in one place, and its value in the next: attributes, environments of containers, pairs, calls.
        (
            rf"{_NAME}[^\n]{{0,60}}?(?:\n[^\n]{{0,60}}?)?\b(?:value|default)\b[\\\"']{{0,30}}\s{{0,3}}[:=]\s{{0,3}}",
            r"(?!\d{1,5}\b)" + _VALUE,
            re.IGNORECASE,
        ),
        (
            rf"[(\[]\s{{0,3}}\\{{0,30}}[\"']{_NAME}\\{{0,30}}[\"']\s{{0,3}},\s{{0,3}}",
            _STRING + r"(?=\s{0,3}[)\]])",
            re.IGNORECASE,
        ),
        (
            r"\b\w{0,40}(?:auth\w{0,20}|login|connect)\s{0,3}=?\s{0,3}\(\s{0,3}[\"'][^\"'\n]{0,100}[\"']\s{0,3},\s{0,3}",
            _STRING,
            re.IGNORECASE,
        ),
        (
            rf"\b(?:{_NAMED}|identified(?: with \S{{1,60}})? by)\s{{1,4}}",
            r"(?P<value>'(?:[^'\n]|'')+'|\"[^\"\n]+\")",
            re.IGNORECASE,
        ),
        # Headers and cookies.
        (
            r"\bauthorization[\"'\\]{0,30}\s{0,3}[:=]\s{0,3}[\"'\\]{0,30}digest\s",
            r"(?P<value>[^\n\[]{8,})",
            re.IGNORECASE,
        ),
        (
            r"\bauthorization[\"'\\]{0,30}\s{0,3}[:=]\s{0,3}[\"'\\]{0,30}basic\s",
            r"(?P<value>[\w+/=]{4,})",
            re.IGNORECASE,
        ),
        (
            r"\bauthorization[\"'\\]{0,30}\s{0,3}[:=]\s{0,3}[\"'\\]{0,30}(?:\w{2,20}\s{1,3})?",
            r"(?P<value>[A-Za-z0-9+/=_.~:-]{12,})",
            re.IGNORECASE,
        ),
        (
            r"cookie[\"'\\]{0,30}\s{0,3}[:=]\s{0,3}[\[\\\"']{0,30}",
            r"(?P<value>[^\s\"'\\;=\[]{1,100}=[^\n\"'\\]{6,})",
            re.IGNORECASE,
        ),
        (r"(?<!\S)(?:-b|--cookie)[ =][\"']?", r"(?P<value>[^\s\"'=\[]{1,60}=[^\s\"']{6,})", re.NOFLAG),
        (
            r"\b(?:\w{0,30}sess(?:ion)?_?id|sid)\b[\"'\\]{0,30}[^\w\n]{0,8}(?:value\W{1,8})?",
            r"(?P<value>[A-Za-z0-9%+/=-]{16,})",
            re.IGNORECASE,
        ),
        # What is no secret by its form, but by what stands beside it.
        (
            r"\b(?:[\w-]{0,40}key|appid|api|auth|sign|signature|hmac|secret|seed|csrf|xsrf)\b[\"'\\]{0,30}[^\w\n]{0,6}(?:\b(?:is|was)\b[^\w\n]{0,4})?",
            r"(?P<value>[0-9a-f]{32,})(?![a-z0-9])",
            re.IGNORECASE,
        ),
        (
            "",
            r"(?P<value>(?<![a-z0-9])[0-9a-f]{32,})(?=\s{1,3}(?:as|is)\s{1,3}(?:the|my|our|an?)\s{1,3}(?:\w{1,20}\s){0,2}(?:key|secret|token)\b)",
            re.IGNORECASE,
        ),
        (
            r"\b(?:pin(?: code)?|otp|[2m]fa(?: code)?|one[ -]time (?:code|password)|verification code)\W{0,3}(?:\bis\b)?\W{0,3}",
            r"(?P<value>[0-9]{4,8})\b",
            re.IGNORECASE,
        ),
        (r"\b(?:t?otp|[2m]fa)\s{1,3}(?:seed|secret|key)\W{0,4}", r"(?P<value>[A-Z2-7]{16,})", re.IGNORECASE),
        (
            r"\b(?:seed|recovery|mnemonic)\s{1,3}(?:phrase|words?)\W{0,4}(?:\bis\b)?\W{0,3}",
            r"(?P<value>(?:[a-z]{3,10}\s{1,3}){7,30}[a-z]{3,10})",
            re.IGNORECASE,
        ),
        (
            r"\b(?:creds?|credentials|login|account)\W{1,4}[\w.@+-]{1,60}\s{1,2}/\s{1,2}|\buser(?:name)?:pass(?:word)?\W{1,4}[\w.@-]{1,60}:",
            r"(?P<value>[^\s\[]{3,})",
            re.IGNORECASE,
        ),
        (
            r"\blog(?:ged|ging)? ?in (?:as|with|using) [\w.@+-]{1,60} (?:with|and|using|/) ",
            rf"(?P<value>{_LOOKS_RANDOM})",
            re.IGNORECASE,
        ),
    )
)
"""A name, a command or a form that says that a secret follows. Each is bounded, so the time grows with the text only."""
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

_ESCAPED: Final = re.compile(r"\\u00((?:[3-7][0-9a-f]|2[0-9a-f])(?<!22|27|5c))", re.IGNORECASE)
"""Letters that a document in JSON writes by their numbers."""

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

    text = _ESCAPED.sub(lambda match: chr(int(match[1], 16)), text.translate(_DISGUISES))
    for kind, pattern in _FORMS:
        text = pattern.sub(replaced(kind), text)
    text = _URL.sub(lambda match: _counted(found, "password", match[1] or match[3]), text)
    text = _HEADER.sub(replaced("credential", keep=1), text)

    def assigned(match: re.Match[str]) -> str:
        if _HARMLESS.fullmatch(match["value"]) or match["value"].lstrip("\\\"'").startswith(("[", "://")):
            return match[0]
        found["secret"] += 1
        return f"{match['name']}[secret removed]"

    for pattern in (*_CONTEXTS, _ASSIGNED, _NEARBY):
        text = pattern.sub(assigned, text)
    text = _QUERY.sub(replaced("secret", keep=1), text)
    text = _INSERTED.sub(
        lambda match: match["name"] + _TEXT.sub(lambda _: _counted(found, "secret"), match["values"]), text
    )
    text = _without_cells(text, found)

    def likely(match: re.Match[str]) -> str:
        word = match[0]
        return _counted(found, "likely key") if _is_random(word) or _is_encoded_secret(word) else word

    text = _WORD.sub(likely, text)
    text = _PATH_LIKE.sub(lambda match: _counted(found, "likely key") if _is_aws_secret(match[0]) else match[0], text)
    text = _CARD.sub(lambda match: _counted(found, "card number") if _is_card(match[0]) else match[0], text)
    return Redacted(text, dict(found))


def _counted(found: Counter[str], kind: str, before: str = "") -> str:
    found[kind] += 1
    return f"{before}[{kind} removed]"


_INSERTED: Final = re.compile(
    rf"(?P<name>\binsert\s{{1,3}}into\s[^()\n]{{1,200}}\([^()\n]{{0,300}}{_NAMED}[^()\n]{{0,300}}\)\s{{0,3}}values\s{{0,3}})(?P<values>[^\n;]{{1,2000}})",
    re.IGNORECASE,
)
_TEXT: Final = re.compile(r"'(?!\[)(?:[^'\n]|'')+'")
_CELL: Final = re.compile(rf"[\"'`*\s]*[\w-]{{0,20}}{_NAMED}[\"'`*\s]*", re.IGNORECASE)


def _without_cells(text: str, found: Counter[str]) -> str:
    """Replace the cells of columns that are called after a secret, in tables of Markdown and in CSV."""
    lines, columns, delimiter, width = text.split("\n"), list[int](), "", 0
    for number, line in enumerate(lines):
        cells = line.split(delimiter) if delimiter else []
        if columns and len(cells) == width:
            for place in columns:
                value = cells[place].strip()
                if value and not set(value) <= set("-: ") and not _HARMLESS.fullmatch(value) and value[0] != "[":
                    cells[place] = cells[place].replace(value, _counted(found, "secret"))
            lines[number] = delimiter.join(cells)
            continue
        columns = []
        for delimiter in ("|", ",", ";", "\t"):
            cells = line.split(delimiter) if len(line) <= _LONGEST_HEAD else []
            if len(cells) > 1 and all(len(cell) <= _LONGEST_CELL for cell in cells):
                columns = [place for place, cell in enumerate(cells) if _CELL.fullmatch(cell)]
            if columns:
                width = len(cells)
                break
        else:
            delimiter = ""
    return "\n".join(lines)


_LONGEST_HEAD, _LONGEST_CELL = 1000, 60


def _is_encoded_secret(word: str) -> bool:
    """Return whether a word is the base64 of `user:password`, or of a text that names a secret."""
    if len(word) % 4 or not set(word) - _DIGITS:
        return False
    try:
        plain = base64.b64decode(word, validate=True).decode("ascii")
    except ValueError:
        return False
    return plain.isprintable() and (_PAIR.fullmatch(plain) is not None or _SAYS_SECRET.search(plain) is not None)


_DIGITS: Final = frozenset("0123456789")
_PAIR: Final = re.compile(r"[\w.@+-]{1,60}:\S{3,}")
_SAYS_SECRET: Final = re.compile(rf"{_NAMED}\W{{0,4}}{_CONNECTED}", re.IGNORECASE)
_PATH_LIKE: Final = re.compile(r"(?<![A-Za-z0-9+/=._~-])[A-Za-z0-9+/]{40}(?![A-Za-z0-9+/=._~-])")


def _is_aws_secret(word: str) -> bool:
    """Return whether 40 characters are a secret of AWS: letters of both cases take turns, which they do in no path."""
    turns = len(re.findall("[A-Z]+|[a-z]+|[0-9]+", word))
    classes = [any(map(test, word)) for test in (str.isdigit, str.isupper, str.islower)]
    return all(classes) and turns >= _FEWEST_TURNS


_FEWEST_TURNS: Final = 14
_CARD: Final = re.compile(r"(?<![\w-])[3-6]\d{3}([ -])\d{4}\1\d{4}\1\d{4}(?![\w-])")


def _is_card(text: str) -> bool:
    """Return whether the digits of a number are those of a card (Luhn's check)."""
    digits = [int(each) for each in text if each.isdigit()]
    doubled = (sum(divmod(2 * each, 10)) for each in digits[-2::-2])
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


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
