"""Jira's wiki markup to plain text: marks go, words stay. Source: Jira's 'Text formatting notation help'."""

import re

_SPECIAL = re.compile(r"[*_+^~{\[!|\\?\r#-]|^\s*(?:h[1-6]|bq)\.", re.MULTILINE)
_VERBATIM = re.compile(r"\{(code|noformat)(?::[^}\n]*)?\}(.*?)\{\1\}", re.DOTALL)
_MACRO = re.compile(r"\{(?:quote|color|panel|section|column|anchor|toc|info|note|tip|warning|expand)(?::[^}\n]*)?\}")
_LEADING = re.compile(r"^[ \t]*(?:h[1-6]|bq)\.[ \t]+", re.MULTILINE)
_RULE = re.compile(r"^[ \t]*-{4,}[ \t]*$", re.MULTILINE)
_ITEM = re.compile(r"^[ \t]*([*#-]+)[ \t]+", re.MULTILINE)
_MENTION = re.compile(r"\[~(?:accountid:)?([^\]|\n]+)\]")
_LINK = re.compile(
    r"\[(?:([^\]|\n]+)\|)?((?:[a-z][a-z0-9+.-]*:|www\.|#|\^|/)[^\]|\n]*)(?:\|[^\]\n]*)?\]", re.IGNORECASE
)
_IMAGE = re.compile(r"!([^!|\s][^!|\n]*\.[A-Za-z0-9]{2,5})(?:\|[^!\n]*)?!")
_ROW = re.compile(r"^[ \t]*\|\|?(.*?)\|?\|[ \t]*$", re.MULTILINE)
_MONOSPACE = re.compile(r"\{\{(.+?)\}\}")
_MARKS = [
    re.compile(
        rf"(?<![\w\\{mark}])(?:\{{{mark}\}}|{mark})(?=\S)([^\n]*?[^\s\\{mark}])(?:\{{{mark}\}}|{mark})(?![\w{mark}])"
    )
    for mark in (r"\*", "_", r"\+", r"\^", "~", r"\?\?", "-")
]
_BREAK = re.compile(r"\\\\[ \t]*\n?")
_ESCAPED = re.compile(r"\\([*_+^~{}\[\]!|?#-])")


def plain(markup: str) -> str:
    """Give the text of wiki markup, without its marks; code stays as it is."""
    if not _SPECIAL.search(markup):
        return markup.strip()
    markup = markup.replace("\r\n", "\n").replace("\r", "\n")
    parts: list[str] = []
    at = 0
    for verbatim in _VERBATIM.finditer(markup):
        parts += [_unmarked(markup[at : verbatim.start()]), verbatim[2]]
        at = verbatim.end()
    parts.append(_unmarked(markup[at:]))
    return "".join(parts).strip()


def _unmarked(text: str) -> str:
    text = _BREAK.sub("\n", text)
    text = _MACRO.sub("", text)
    text = _RULE.sub("---", _LEADING.sub("", text))
    text = _ITEM.sub(_bullet, text)
    text = _IMAGE.sub(r"\1", _MENTION.sub(r"@\1", text))
    text = _LINK.sub(_link, text)
    text = _ROW.sub(_cells, text)
    text = _MONOSPACE.sub(r"\1", text)
    for mark in _MARKS:
        text = mark.sub(r"\1", text)
    return _ESCAPED.sub(r"\1", text)


def _bullet(item: re.Match[str]) -> str:
    marks = item[1]
    return "  " * (len(marks) - 1) + ("1. " if marks.endswith("#") else "- ")


def _link(link: re.Match[str]) -> str:
    text, address = link[1], link[2].removeprefix("mailto:")
    return f"{text} ({address})" if text and text != address else address.lstrip("#^")


def _cells(row: re.Match[str]) -> str:
    return " | ".join(cell.strip() for cell in re.split(r"\|\|?", row[1]))
