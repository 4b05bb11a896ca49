"""Jira's wiki markup to plain text: marks go, words stay. Source: Jira's 'Text formatting notation help'.

What stands between two marks is looked for so far only that no text, whatever is in it, takes more than linear time.
"""

import re
from collections.abc import Iterator
from operator import itemgetter

_SPAN = 400
"""Between the two marks of a phrase are at most so many characters."""

_SPECIAL = re.compile(r"[*_+^~{\[!|\\?\r#-]|^[ \t]*(?:h[1-6]|bq)\.", re.MULTILINE)
_VERBATIM = re.compile(r"\{(code|noformat)(?::[^{}\n]*)?\}")
_MACRO = re.compile(
    r"\{(?:quote|color|panel|section|column|anchor|toc|info|note|tip|warning|expand)(?::[^{}\n]*)?\}"
    rf"|\{{\{{(?P<monospace>[^\n]{{1,{_SPAN}}}?)\}}\}}"
    rf"|\{{(?P<mark>[*_+^~-]|\?\?)\}}(?P<marked>[^\n]{{1,{_SPAN}}}?)\{{(?P=mark)\}}"
)
_LINE = re.compile(r"^[ \t]*(?:(?:h[1-6]|bq)\.[ \t]+|([*#-]{1,9})[ \t]+|-{4,}[ \t]*$)", re.MULTILINE)
_LINK = re.compile(
    r"\[(?:~(?:accountid:)?(?P<who>[^\[\]|\n]+)"
    r"|(?:(?P<text>[^\[\]|\n]+)\|)?(?P<address>(?:[A-Za-z][A-Za-z0-9+.-]*:|www\.|[#^/])[^\[\]|\n]*)(?:\|[^\[\]\n]*)?)\]"
)
_IMAGE = re.compile(r"!([^!|\s][^!|\n]*\.[A-Za-z0-9]{2,5})(?:\|[^!\n]*)?!")
_MARK = re.compile(rf"([*_+^~-])(?<![\w\\*_+^~-].)(?=\S)(?!\1)([^\n]{{0,{_SPAN}}}?[^\s\\])\1(?!\w)")
_CITED = re.compile(rf"\?\?(?=\S)([^\n]{{0,{_SPAN}}}?\S)\?\?")
_INSIDE = itemgetter(2)
_NESTED = 3
_BREAK = re.compile(r"\\\\[ \t]*\n?")
_ESCAPED = re.compile(r"\\([*_+^~{}\[\]!|?#-])")


def plain(markup: str) -> str:
    """Give the text of wiki markup, without its marks; code stays as it is."""
    if not _SPECIAL.search(markup):
        return markup.strip()
    return "".join(_pieces(markup.replace("\r\n", "\n").replace("\r", "\n"))).strip()


def _pieces(markup: str) -> Iterator[str]:
    at = 0
    while opening := _VERBATIM.search(markup, at):
        closing = "{" + opening[1] + "}"
        end = markup.find(closing, opening.end())
        yield _unmarked(markup[at : opening.start()])
        yield markup[opening.end() :] if end < 0 else markup[opening.end() : end]
        at = len(markup) if end < 0 else end + len(closing)
    yield _unmarked(markup[at:])


def _unmarked(text: str) -> str:
    if "\\\\" in text:
        text = _BREAK.sub("\n", text)
    if "{" in text:
        text = _MACRO.sub(_inner, text)
    text = _LINE.sub(_line, text)
    if "!" in text:
        text = _IMAGE.sub(r"\1", text)
    if "[" in text:
        text = _LINK.sub(_link, text)
    if "|" in text:
        text = "\n".join(map(_cells, text.split("\n")))
    if "??" in text:
        text = _CITED.sub(r"\1", text)
    for _ in range(_NESTED):
        text, marks = _MARK.subn(_INSIDE, text)
        if not marks:
            break
    return _ESCAPED.sub(r"\1", text) if "\\" in text else text


def _inner(macro: re.Match[str]) -> str:
    return macro["monospace"] or macro["marked"] or ""


def _line(start: re.Match[str]) -> str:
    marks = start[1]
    if marks is None:
        return ""
    return "  " * (len(marks) - 1) + ("1. " if marks.endswith("#") else "- ")


def _link(link: re.Match[str]) -> str:
    if link["who"]:
        return f"@{link['who']}"
    text, address = link["text"], link["address"].removeprefix("mailto:")
    return f"{text} ({address})" if text and text != address else address.lstrip("#^")


def _cells(line: str) -> str:
    row = line.strip()
    if not row.startswith("|") or not row.endswith("|"):
        return line
    return " | ".join(cell.strip() for cell in row.replace("||", "|").strip("|").split("|"))
