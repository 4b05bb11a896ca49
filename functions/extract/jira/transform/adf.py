"""The Atlassian Document Format to plain text: blocks become lines, what is in them stands in one line.

Nodes of unknown types are what is in them. Source: the format's reference, 'Document structure', and what REST v3 gives.
"""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, Final

from functions.extract.jira.transform.times import EPOCH

Node = dict[str, Any]

_INLINE: Final = frozenset(
    {"text", "hardBreak", "mention", "emoji", "inlineCard", "date", "status", "mediaInline", "placeholder"}
)


def is_document(value: Any) -> bool:
    """Tell whether a JSON value is a document of the format."""
    return isinstance(value, dict) and (value.get("type") == "doc" or isinstance(value.get("content"), list))


def plain(document: Node) -> str:
    """Give the text of a document, its lines without blanks at their ends."""
    return "\n".join(line.rstrip() for line in _lines(document)).strip("\n")


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


def _lines(node: Node) -> Iterator[str]:
    """Give the lines of a block; inline nodes side by side make lines of their own."""
    if block := _BLOCKS.get(_type(node)):
        yield from block(node)
        return
    inline: list[str] = []
    for child in _children(node):
        if _is_inline(child):
            inline.append(_text(child))
            continue
        if inline:
            yield from "".join(inline).split("\n")
            inline = []
        yield from _lines(child)
    if inline:
        yield from "".join(inline).split("\n")


def _type(node: Node) -> str:
    found = node.get("type")
    return found if isinstance(found, str) else ""


def _is_inline(node: Node) -> bool:
    kind = _type(node)
    return kind in _INLINE or (kind not in _BLOCKS and isinstance(node.get("text"), str))


def _text(node: Node) -> str:
    written = _WRITTEN.get(_type(node))
    return written(node) if written else _linked(node)


def _linked(node: Node) -> str:
    """Give a text; where it is a link that does not show its address, with the address."""
    found = node.get("text")
    text = found if isinstance(found, str) else ""
    marks = node.get("marks")
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


_WRITTEN: Final[dict[str, Callable[[Node], str]]] = {
    "hardBreak": lambda _node: "\n",
    "mention": lambda node: _attribute(node, "text", "id"),
    "emoji": lambda node: _attribute(node, "text", "shortName"),
    "inlineCard": lambda node: _attribute(node, "url"),
    "date": _date,
    "status": lambda node: _attribute(node, "text"),
    "mediaInline": lambda node: _attribute(node, "alt"),
    "placeholder": lambda node: _attribute(node, "text"),
}


def _marked(node: Node, mark: str) -> Iterator[str]:
    """Give the lines of an entry of a list, those after the first indented below it."""
    for number, line in enumerate(_lines({"content": node.get("content")})):
        yield (mark if number == 0 else " " * len(mark)) + line


def _bullets(node: Node) -> Iterator[str]:
    for item in _children(node):
        yield from _marked(item, "- ")


def _numbers(node: Node) -> Iterator[str]:
    order = _attribute(node, "order")
    first = int(order) if order.isdecimal() and len(order) < 10 else 1  # noqa: PLR2004  # beyond that it is no number of a list
    for number, item in enumerate(_children(node), start=first):
        yield from _marked(item, f"{number}. ")


def _tasks(node: Node) -> Iterator[str]:
    for item in _children(node):
        if _type(item) == "taskItem":
            yield from _marked(item, "[x] " if _attribute(item, "state") == "DONE" else "[ ] ")
        else:
            yield from _marked({"content": [item]}, "")


def _row(node: Node) -> Iterator[str]:
    yield " | ".join(" ".join(line for line in _lines(cell) if line) for cell in _children(node))


def _titled(node: Node) -> Iterator[str]:
    if title := _attribute(node, "title"):
        yield title
    yield from _lines({"content": node.get("content")})


def _attributed(*names: str) -> Callable[[Node], Iterator[str]]:
    def lines(node: Node) -> Iterator[str]:
        if told := _attribute(node, *names):
            yield told

    return lines


_BLOCKS: Final[dict[str, Callable[[Node], Iterator[str]]]] = {
    "bulletList": _bullets,
    "orderedList": _numbers,
    "taskList": _tasks,
    "decisionList": _bullets,
    "tableRow": _row,
    "expand": _titled,
    "nestedExpand": _titled,
    "rule": lambda _node: iter(("---",)),
    "media": _attributed("alt", "url"),
    "blockCard": _attributed("url"),
    "embedCard": _attributed("url"),
    "extension": _attributed("text"),
}
