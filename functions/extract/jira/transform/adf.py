"""The Atlassian Document Format to plain text: blocks become lines, what is in them stands in one line.

Nodes of unknown types are what is in them. Source: the format's reference, 'Document structure', and what REST v3 gives.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from functions.extract.jira.transform.times import EPOCH

Node = dict[str, Any]
_MOST_DIGITS = 9


def is_document(value: Any) -> bool:
    """Tell whether a JSON value is a document of the format."""
    return isinstance(value, dict) and (value.get("type") == "doc" or isinstance(value.get("content"), list))


def plain(document: Node) -> str:
    """Give the text of a document, its lines without blanks at their ends."""
    return "\n".join([line.rstrip() for line in _lines(document)]).strip("\n")


def _lines(node: Node) -> list[str]:
    """Give the lines of what is in a node; inline nodes side by side stand in one line."""
    lines: list[str] = []
    inline: list[str] = []
    for child in _children(node):
        kind = child.get("type")
        if kind == "text":
            inline.append(_words(child) if "marks" in child else _text(child))
            continue
        if not isinstance(kind, str):
            kind = ""
        if write := _INLINE.get(kind):
            inline.append(write(child))
            continue
        block = _BLOCKS.get(kind)
        if block is None and isinstance(child.get("text"), str):
            inline.append(_words(child))
            continue
        if inline:
            lines += "".join(inline).split("\n")
            inline = []
        lines += _lines(child) if block is None else block(child)
    if inline:
        lines += "".join(inline).split("\n")
    return lines


def _children(node: Node) -> list[Node]:
    content = node.get("content")
    return [child for child in content if isinstance(child, dict)] if isinstance(content, list) else []


def _attribute(node: Node, *names: str) -> str:
    attributes = node.get("attrs")
    if isinstance(attributes, dict):
        for name in names:
            found = attributes.get(name)
            if isinstance(found, str | int) and not isinstance(found, bool) and found != "":
                return str(found)
    return ""


def _text(node: Node) -> str:
    found = node.get("text")
    return found if isinstance(found, str) else ""


def _words(node: Node) -> str:
    """Give a text; where it is a link that does not show its address, with the address."""
    text, marks = _text(node), node.get("marks")
    for mark in marks if isinstance(marks, list) else ():
        if isinstance(mark, dict) and mark.get("type") == "link":
            address = _attribute(mark, "href")
            return text if not address or address.removeprefix("mailto:") in text else f"{text} ({address})"
    return text


def _date(node: Node) -> str:
    told = _attribute(node, "timestamp")
    try:
        return str((EPOCH + timedelta(milliseconds=int(told))).date())
    except (ValueError, OverflowError):
        return told


_INLINE: Final[dict[str, Callable[[Node], str]]] = {
    "hardBreak": lambda _node: "\n",
    "mention": lambda node: _attribute(node, "text", "id"),
    "emoji": lambda node: _attribute(node, "text", "shortName"),
    "inlineCard": lambda node: _attribute(node, "url"),
    "date": _date,
    "status": lambda node: _attribute(node, "text"),
    "mediaInline": lambda node: _attribute(node, "alt"),
    "placeholder": lambda node: _attribute(node, "text"),
}


def _marked(node: Node, mark: str) -> list[str]:
    """Give the lines of an entry of a list, those after the first indented below it."""
    return [(" " * len(mark) if number else mark) + line for number, line in enumerate(_lines(node))]


def _bullets(node: Node) -> list[str]:
    return [line for item in _children(node) for line in _marked(item, "- ")]


def _numbers(node: Node) -> list[str]:
    order = _attribute(node, "order")
    first = int(order) if order.isdecimal() and len(order) <= _MOST_DIGITS else 1
    items = enumerate(_children(node), start=first)
    return [line for number, item in items for line in _marked(item, f"{number}. ")]


def _tasks(node: Node) -> list[str]:
    lines: list[str] = []
    for item in _children(node):
        if item.get("type") == "taskItem":
            lines += _marked(item, "[x] " if _attribute(item, "state") == "DONE" else "[ ] ")
        else:
            lines += ["    " + line for line in _lines({"content": [item]})]
    return lines


def _row(node: Node) -> list[str]:
    return [" | ".join(" ".join(filter(None, _lines(cell))) for cell in _children(node))]


def _titled(node: Node) -> list[str]:
    return [title, *_lines(node)] if (title := _attribute(node, "title")) else _lines(node)


def _told_by(*names: str) -> Callable[[Node], list[str]]:
    return lambda node: [told] if (told := _attribute(node, *names)) else []


_BLOCKS: Final[dict[str, Callable[[Node], list[str]]]] = {
    "bulletList": _bullets,
    "orderedList": _numbers,
    "taskList": _tasks,
    "decisionList": _bullets,
    "tableRow": _row,
    "expand": _titled,
    "nestedExpand": _titled,
    "rule": lambda _node: ["---"],
    "media": _told_by("alt", "url"),
    "blockCard": _told_by("url"),
    "embedCard": _told_by("url"),
    "extension": _told_by("text"),
}
