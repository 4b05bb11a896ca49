"""Jira's wiki markup to plain text: marks are removed, words stay. Source: Jira's 'Text formatting notation help'.

Addresses, names of files and people, and monospaced text are set aside first, so that no mark is found in them. The span
between two marks is bounded, so that any text takes linear time.
"""

import re
from collections.abc import Iterator
from operator import itemgetter

from analyst.connectors.jira.issue import adf, documents

_SPAN = 400
"""The maximum number of characters between the two marks of a phrase."""

_SPECIAL = re.compile(r"[*_+^~{\[!|\\?\r#-]|^[ \t]*(?:h[1-6]|bq)\.", re.MULTILINE)
_UNESCAPED = r"(?<!(?<!\\)\\)"
"""No backslash stands before; two of them are a line break."""

_VERBATIM = re.compile(rf"{_UNESCAPED}\{{(code|noformat|adf)(?P<parameters>:[^{{}}\n]*)?\}}")
_TITLE = re.compile(r"(?:^|[:|])title=([^|}\n]*)")
_MACRO = re.compile(
    rf"{_UNESCAPED}(?:\{{(?P<name>quote|color|panel|section|column|anchor|toc|info|note|tip|warning|expand)(?P<parameters>:[^{{}}\n]*)?\}}"
    rf"|\{{\{{(?P<monospace>[^\n]{{1,{_SPAN}}}?)\}}\}}(?!\}})"
    rf"|\{{(?P<mark>[*_+^~-]|\?\?)\}}(?P<marked>[^\n]{{1,{_SPAN}}}?)\{{(?P=mark)\}})"
)
_LINE = re.compile(r"^[ \t]*(?:(?:h[1-6]|bq)\.[ \t]+|([*#-]{1,9})[ \t]+|-{4,}[ \t]*$)")
_LINK = re.compile(
    rf"{_UNESCAPED}\[(?:~(?:accountid:)?(?P<who>[^\[\]|\n]+)"
    r"|(?:(?P<text>[^\[\]|\n]+)\|)?(?P<address>(?:[A-Za-z][A-Za-z0-9+.-]*:|www\.|[#^/])[^\[\]|\n]*)"
    r"(?:\|(?P<tip>[^\[\]\n]*))?)\]"
)
_SMART = re.compile(r"smart-[a-z]+")
_SMART_LINK = re.compile(rf"{_UNESCAPED}\[(?P<address>[A-Za-z][A-Za-z0-9+.-]*:[^\[\]|\n]*)\|{_SMART.pattern}\]")
_URL = re.compile(r"(?<![A-Za-z0-9+.-])(?:[A-Za-z][A-Za-z0-9+.-]{0,20}://|www\.|mailto:)[^\s\[\]|<>\"\ue000\ue001]+")
_IMAGE = re.compile(rf"{_UNESCAPED}!((?:https?://[^!|\s]+)|[^!|\s][^!|\n]*\.[A-Za-z0-9]{{2,5}})(?:\|([^!\n]*))?!")
_ALT = re.compile(r"(?:^|,)\s*(?:alt|title)=\"?([^\",]*)")
_MARK = re.compile(rf"([*_+^~-])(?<![\w\\*_+^~/=&@%$-].)(?=\S)(?!\1)([^\n]{{0,{_SPAN}}}?[^\s\\])\1(?![\w/])")
_CITED = re.compile(rf"\?\?(?=\S)([^\n]{{0,{_SPAN}}}?\S)\?\?")
_INSIDE = itemgetter(2)
_NESTED = 3
_BREAK = re.compile(r"\\\\(?![\w.$-]{1,255}\\(?!\\))[ \t]*\n?")
"""A line break, unless it starts the name of a shared folder."""

_ESCAPED = re.compile(r"\\([*_+^~{}\[\]!|?#-])")
_CELL = re.compile(r"(?<!\\)\|{1,2}")
_STOWED = re.compile("\ue000([0-9]+)\ue001")
_MARKS = "*_+^~-"
_MEANT = re.compile("[\ue000\ue001]")


def plain(markup: str) -> str:
    """Return the text of wiki markup without its marks; code stays as it is."""
    if not _SPECIAL.search(markup):
        return markup.strip()
    return "".join(_pieces(markup.replace("\r\n", "\n").replace("\r", "\n"))).strip()


def _pieces(markup: str) -> Iterator[str]:
    at = 0
    while opening := _VERBATIM.search(markup, at):
        closing = "{" + opening[1] + "}"
        end = markup.find(closing, opening.end())
        yield _Text(markup[at : opening.start()]).plain()
        inside = markup[opening.end() :] if end < 0 else markup[opening.end() : end]
        yield _embedded(inside) if opening[1] == "adf" else _title(opening["parameters"], inside) + inside
        at = len(markup) if end < 0 else end + len(closing)
    yield _Text(markup[at:]).plain()


def _embedded(text: str) -> str:
    """Return the text of an embedded node of the Atlassian Document Format, which is used for what markup can't express."""
    try:
        node = documents.parse(text.encode())
    except ValueError:
        return text
    return adf.plain({"content": [node]}) if isinstance(node, dict) else text


def _title(parameters: str | None, inside: str) -> str:
    """Return the title of a macro as a line of its own."""
    found = _TITLE.search(parameters or "")
    title = found[1].strip() if found else ""
    return f"{title}\n" if title and not inside.startswith("\n") else title


class _Text:
    """Markup without code. `stowed` are texts that must not change any more, by their number in the markup."""

    def __init__(self, markup: str) -> None:
        self._markup = markup
        self._stowed: list[str] = []
        self._places: list[tuple[str, int]] = []

    def plain(self) -> str:
        text = _MEANT.sub(lambda found: self._stow(found[0]), self._markup)
        if "{" in text:
            text = _MACRO.sub(self._macro, text)
        if "!" in text:
            text = _IMAGE.sub(self._image, text)
        if "[" in text:
            text = _SMART_LINK.sub(lambda found: self._stow(found["address"]), text)
            text = _LINK.sub(self._link, text)
        if ":" in text or "www." in text:
            text = _URL.sub(self._url, text)
        if "\\\\" in text:
            text = _BREAK.sub("\n", text)
        text = "\n".join(map(self._line, text.split("\n")))
        if "??" in text:
            text = _CITED.sub(r"\1", text)
        for _ in range(_NESTED):
            text, marks = _MARK.subn(_INSIDE, text)
            if not marks:
                break
        text = _ESCAPED.sub(r"\1", text) if "\\" in text else text
        return self._brought_back(text)

    def _stow(self, text: str) -> str:
        self._stowed.append(self._brought_back(text))
        return f"\ue000{len(self._stowed) - 1}\ue001"

    def _brought_back(self, text: str) -> str:
        if not self._stowed:
            return text
        return _STOWED.sub(lambda found: self._stowed[int(found[1])], text) if "\ue000" in text else text

    def _macro(self, macro: re.Match[str]) -> str:
        if macro["monospace"]:
            return self._stow(_ESCAPED.sub(r"\1", macro["monospace"]))
        if macro["marked"]:
            return macro["marked"]
        name, parameters = macro["name"], macro["parameters"] or ""
        if name == "expand" and parameters and "=" not in parameters:
            parameters = f":title={parameters[1:]}"
        after = macro.string[macro.end() : macro.end() + 1]
        return _title(parameters, after)

    def _image(self, image: re.Match[str]) -> str:
        alt = _ALT.search(image[2] or "")
        name = self._stow(image[1])
        return f"{name} ({alt[1].strip()})" if alt and alt[1].strip() else name

    def _link(self, link: re.Match[str]) -> str:
        if link["who"]:
            return self._stow(f"@{link['who']}")
        text, address = link["text"], link["address"].removeprefix("mailto:")
        tip = link["tip"] or ""
        shown = self._stow(address.lstrip("#^"))
        if text and text.strip() not in (address, link["address"]):
            tip = "" if _SMART.fullmatch(tip) or tip in (text, address) else tip
            return f"{text} ({shown}, {tip})" if tip else f"{text} ({self._stow(address)})"
        return shown if not tip or _SMART.fullmatch(tip) or tip == address else f"{shown} ({tip})"

    def _url(self, found: re.Match[str]) -> str:
        """Set an address aside, without the mark that ends a phrase around it."""
        url, text, begins = found[0], found.string, found.start()
        bare = url.rstrip(".,;:!?)")
        mark, ends = bare[-1:], len(url)
        if mark and mark in _MARKS:
            around = text[max(text.rfind("\n", 0, begins) + 1, begins - _SPAN) : begins]
            if len(re.findall(rf"(?<!\w){re.escape(mark)}(?=\S|$)", around)) % 2:
                ends = len(bare) - 1
        return self._stow(url[:ends]) + url[ends:]

    def _line(self, line: str) -> str:
        """Convert a line of a list, a heading or a row of a table."""
        start = _LINE.match(line)
        marks = start[1] if start else None
        if start is None or marks is None:
            self._places = []
            rest = line[start.end() :] if start else line
            return _cells(rest) if "|" in rest else rest
        level, kind = len(marks), marks[-1]
        del self._places[level:]
        self._places += [("", 0)] * (level - len(self._places))
        before, count = self._places[-1]
        self._places[-1] = (kind, count + 1 if before == kind else 1)
        bullet = f"{self._places[-1][1]}. " if kind == "#" else "- "
        rest = line[start.end() :]
        return "  " * (level - 1) + bullet + (_cells(rest) if "|" in rest else rest)


def _cells(line: str) -> str:
    row = line.strip()
    if not row.startswith("|") or not row.endswith("|") or row.endswith("\\|"):
        return line
    return " | ".join(cell.strip() for cell in _CELL.split(row.strip("|")))
