"""The Atlassian Document Format to plain text: a block becomes a line or more, inline nodes are joined.

Of nodes of unknown types, the content is kept. Source: the format's reference, 'Document structure', and REST v3.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from analyst.connectors.jira.issue.times import EPOCH

Node = dict[str, Any]
_MOST_DIGITS = 9
_TITLES: Final = ("title", "label")
_ENTRIES: Final = frozenset({"listItem", "taskItem", "blockTaskItem", "decisionItem"})
_CELLS: Final = frozenset({"tableCell", "tableHeader"})
_LEAVES: Final = frozenset({"rule", "media", "blockCard", "embedCard"})
_FILES: Final = ("alt", "__fileName", "fileName", "url")


def is_document(value: Any) -> bool:
    """Return whether a JSON value is a document of the format."""
    return isinstance(value, dict) and (value.get("type") == "doc" or isinstance(value.get("content"), list))


def plain(document: Node) -> str:
    """Return the text of a document, without blanks at the ends of lines."""
    return "\n".join([line.rstrip() for line in _lines(document)]).strip("\n")


def _lines(node: Node) -> list[str]:
    """Return the lines of a node's content; adjacent inline nodes share a line."""
    lines: list[str] = []
    inline: list[str] = []
    for child in _children(node):
        kind = child.get("type")
        if kind == "text" and "content" not in child:
            inline.append(_words(child) if "marks" in child else _text(child))
            continue
        if not isinstance(kind, str):
            kind = ""
        if write := _INLINE.get(kind):
            inline.append(
                " ".join(filter(None, [write(child), *_lines(child)])) if "content" in child else write(child)
            )
            continue
        block = _BLOCKS.get(kind)
        if block is None and (not _children(child) or "text" in child) and (words := _unknown(child)):
            inline.append(words)
            continue
        if inline:
            lines += "".join(inline).split("\n")
            inline = []
        lines += _titled(child) if block is None else block(child)
        if kind in _LEAVES:
            lines += _lines(child)
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
    return str(found) if isinstance(found, str | int | float) and not isinstance(found, bool) else ""


def _unknown(node: Node) -> str:
    """Return the text of a node of an unknown type, or that of an attribute."""
    if text := _words(node):
        return text
    attributes = node.get("attrs")
    original = attributes.get("originalValue") if isinstance(attributes, dict) else None
    if isinstance(original, dict):
        return "\n".join(_lines({"content": [original]}))
    text = _attribute(
        node, "text", *_TITLES, "alt", "name", "value", "shortName", "summary", "displayName"
    ) or _macro_title(node)
    return _with_address(text, _attribute(node, "url", "href"))


def _with_address(text: str, address: str) -> str:
    """Return a text with the address that it links to, unless it contains the address."""
    if not address or address.removeprefix("mailto:") in text:
        return text
    return f"{text} ({address})" if text else address


def _card(node: Node) -> str:
    """Return the name and address of a card; older ones have a description in JSON-LD instead of an address."""
    attributes = node.get("attrs")
    attributes = attributes if isinstance(attributes, dict) else {}
    data, source = attributes.get("data"), attributes.get("datasource")
    if isinstance(data, str):
        return _with_address(data, _attribute(node, "url"))
    described = {"attrs": data if isinstance(data, dict) else {}}
    address = (
        _attribute(node, "url")
        or _attribute(described, "url", "@id")
        or _attribute({"attrs": _member(data, "url")}, "@value", "url", "@id", "href")
    )
    text = _with_address(_attribute(described, "name", "title", "summary"), address)
    return text or _attribute({"attrs": _member(source, "parameters")}, "jql", "cql", "query")


def _member(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _macro_title(node: Node) -> str:
    """Return the title of a Confluence macro."""
    parameters = _member(node.get("attrs"), "parameters")
    title = _member(_member(parameters, "macroParams"), "title")
    return _attribute({"attrs": title}, "value") or _attribute({"attrs": _member(parameters, "macroMetadata")}, "title")


def _linked(node: Node, text: str) -> str:
    """Return the text of a node, with the address of a link mark."""
    return _words({"text": text, "marks": node.get("marks")}) or _words({"marks": node.get("marks")})


def _words(node: Node) -> str:
    """Return a text, with its address if it is a link that does not show it."""
    text, marks = _text(node), node.get("marks")
    for mark in marks if isinstance(marks, list) else ():
        if isinstance(mark, dict) and mark.get("type") == "link":
            address = _attribute(mark, "href")
            return _with_address(text, address)
    return text


def _date(node: Node) -> str:
    timestamp = _attribute(node, "timestamp")
    try:
        return str((EPOCH + timedelta(milliseconds=int(timestamp))).date())
    except (ValueError, OverflowError):
        return timestamp


_INLINE: Final[dict[str, Callable[[Node], str]]] = {
    "hardBreak": lambda _node: "\n",
    "mention": lambda node: _attribute(node, "text", "id"),
    "emoji": lambda node: _attribute(node, "text", "shortName", "fallback", "id"),
    "inlineCard": _card,
    "inlineExtension": _unknown,
    "date": _date,
    "status": lambda node: _attribute(node, "text"),
    "mediaInline": lambda node: _linked(node, _attribute(node, *_FILES)),
    "placeholder": lambda node: _attribute(node, "text"),
}


def _marked(node: Node, mark: str) -> list[str]:
    """Return the lines of a list's entry, those after the first indented."""
    lines = _inside(node, _ENTRIES)
    return [(" " * len(mark) if number else mark) + line for number, line in enumerate(lines)]


def _inside(node: Node, kinds: frozenset[str]) -> list[str]:
    """Return the lines of an entry or a cell; any other node is kept as it is."""
    return _lines(node) if node.get("type") in kinds else _lines({"content": [node]})


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
        if item.get("type") in ("taskItem", "blockTaskItem"):
            lines += _marked(item, "[x] " if _attribute(item, "state") == "DONE" else "[ ] ")
        else:
            lines += ["    " + line for line in _lines({"content": [item]})]
    return lines


def _row(node: Node) -> list[str]:
    return [" | ".join(" ".join(filter(None, _inside(cell, _CELLS))) for cell in _children(node))]


def _titled(node: Node) -> list[str]:
    if "attrs" not in node:  # the usual case
        return _lines(node)
    title = _attribute(node, *_TITLES) or _macro_title(node)
    return [title, *_lines(node)] if title else _lines(node)


def _extended(node: Node) -> list[str]:
    text = _unknown(node)
    return [*([text] if text else ()), *_lines(node)]


def _media(node: Node) -> list[str]:
    return [text] if (text := _linked(node, _attribute(node, *_FILES))) else []


def _carded(node: Node) -> list[str]:
    return [text] if (text := _card(node)) else []


_BLOCKS: Final[dict[str, Callable[[Node], list[str]]]] = {
    "bulletList": _bullets,
    "orderedList": _numbers,
    "taskList": _tasks,
    "decisionList": _bullets,
    "tableRow": _row,
    "expand": _titled,
    "nestedExpand": _titled,
    "rule": lambda _node: ["---"],
    "media": _media,
    "blockCard": _carded,
    "embedCard": _carded,
    **dict.fromkeys(("extension", "bodiedExtension", "multiBodiedExtension"), _extended),
}
