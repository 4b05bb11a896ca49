"""Reading YAML as what it says: keys, lists and texts, with the line of each, and nothing else.

Texts stay texts (`no`, `007` and `12:30` too): the settings know which of them are numbers or switches.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from analyst.settings.findings import Finding, Path, dotted

_LONGEST: Final = 256 * 1024
_DEEPEST: Final = 20
_NULL: Final = "tag:yaml.org,2002:null"
_MERGE: Final = "tag:yaml.org,2002:merge"
_PLAIN: Final = frozenset(
    f"tag:yaml.org,2002:{kind}"
    for kind in ("map", "seq", "str", "null", "bool", "int", "float", "timestamp", "merge", "value")
)


@dataclass(slots=True)
class Document:
    """What a file says. `values` are nested mappings, lists, texts and `None`; `lines` are counted from 1."""

    values: dict[str, Any] = field(default_factory=dict)
    lines: dict[Path, int] = field(default_factory=dict)
    problems: list[Finding] = field(default_factory=list)

    def line(self, path: Path) -> int | None:
        """Tell where a value stands, or the nearest thing around it."""
        while path:
            if path in self.lines:
                return self.lines[path]
            path = path[:-1]
        return None

    def problem(self, path: Path, message: str, line: int | None = None) -> None:
        """Note what is wrong."""
        self.problems.append(Finding(path=dotted(path), line=line or self.line(path), message=message))


def parse(text: str) -> Document:
    """Read a text. What is wrong with it is among the `problems`, the rest is read all the same."""
    document = Document()
    if len(text) > _LONGEST:
        document.problem((), f"has more than {_LONGEST // 1024} kB; that is no file of settings")
        return document
    try:
        _refuse_knots(text)
        root = yaml.compose(text, yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        what = getattr(error, "problem", None) or getattr(error, "reason", None) or "it can't be read"
        line = mark.line + 1 if mark else None
        hint = (
            "; put quotes around what has ${…} in it"
            if line and "${" in "".join(text.splitlines()[line - 1 : line])
            else ""
        )
        document.problem((), f"this is no YAML: {what}{hint}", line)
        return document
    if isinstance(root, yaml.MappingNode):
        document.values = _Reading(document).mapping(root, ())
    elif root is not None and root.tag != _NULL:
        document.problem(
            (), "must be made of keys with values, as: instance: {name: Example}", root.start_mark.line + 1
        )
    return document


class _Knot(yaml.YAMLError):
    def __init__(self, problem: str, event: yaml.Event) -> None:
        super().__init__(problem)
        self.problem = problem
        self.problem_mark = event.start_mark


def _refuse_knots(text: str) -> None:
    """Refuse what could make a small text a huge value.

    Raises:
        yaml.YAMLError: there is an alias, or things stand in each other too deeply.
    """
    depth = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise _Knot(f"*{event.anchor} is an alias; write it out", event)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise _Knot("too much is nested here", event)


@dataclass(frozen=True, slots=True)
class _Reading:
    document: Document

    def mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key, value in self._pairs(node, path):
            if key in values:
                first = self.document.lines[*path, key]
                line = value.start_mark.line + 1
                self.document.problem((*path, key), f"stands here and in line {first}; leave one of them out", line)
            else:
                values[key] = self._value(value, (*path, key))
        return values

    def _pairs(self, node: yaml.MappingNode, path: Path) -> Iterator[tuple[str, yaml.Node]]:
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
                self.document.problem(path, "has something for a key that is no text", line)
                continue
            self.document.lines.setdefault((*path, key.value), line)
            yield key.value, value

    def _value(self, node: yaml.Node, path: Path) -> Any:
        self.document.lines.setdefault(path, node.start_mark.line + 1)
        if node.tag not in _PLAIN:
            self.document.problem(path, f"has the tag {node.tag}, which means nothing here; leave it out")
            return None
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, (*path, number)) for number, item in enumerate(node.value)]
        return None if node.tag == _NULL else node.value
