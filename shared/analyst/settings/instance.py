"""Reading config/instance.yaml: the settings in it, its problems and its warnings."""

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path as Filesystem
from types import MappingProxyType
from typing import Any, Final, get_args

import yaml
from pydantic import BaseModel, ValidationError

from analyst.errors import InvalidInputError, SettingsError
from analyst.settings.findings import FileContent, Finding, Path, dotted, errors_of, wording
from analyst.settings.model import KEYS, SECRETS, Settings

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
    """A parsed file. `values` are nested mappings, lists, texts and `None`; `lines` are counted from 1."""

    values: dict[str, Any] = field(default_factory=dict)
    lines: dict[Path, int] = field(default_factory=dict)
    problems: list[Finding] = field(default_factory=list)

    def line(self, path: Path) -> int | None:
        """Return the line of a value, or of what contains it."""
        while path:
            if path in self.lines:
                return self.lines[path]
            path = path[:-1]
        return None

    def problem(self, path: Path, message: str, line: int | None = None) -> None:
        """Record a problem."""
        self.problems.append(Finding(path=dotted(path), line=line or self.line(path), message=message))


def parse(text: str) -> Document:
    """Parse the text of a file. Its `problems` do not prevent the rest from being read."""
    document = Document()
    if len(text) > _LONGEST:
        document.problem((), f"the file is larger than {_LONGEST // 1024} kB; it can't be a configuration file")
        return document
    try:
        _refuse_knots(text)
        root = yaml.compose(text, yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        what = getattr(error, "problem", None) or getattr(error, "reason", None) or "it can't be read"
        line = mark.line + 1 if mark else None
        written = "".join(text.splitlines()[line - 1 : line]) if line else ""
        document.problem((), f"the file is not valid YAML: {what}{_yaml_advice(str(what), written)}", line)
        return document
    if isinstance(root, yaml.MappingNode):
        document.values = _NodeReader(document).mapping(root, ())
    elif root is not None and root.tag != _NULL:
        document.problem(
            (), "must be a mapping of keys to values, such as: instance: {name: Example}", root.start_mark.line + 1
        )
    return document


def _yaml_advice(problem: str, line: str) -> str:
    """Return what to do about a line that the parser refuses."""
    if ";" in problem or not line:
        return ""
    if "${" in line:
        return "; put quotes around values that contain ${…}"
    if "'\\t'" in problem:
        return "; indent with spaces instead of tabs"
    return "; check the brackets, quotes and indentation on this line and before it"


class _Knot(yaml.YAMLError):
    def __init__(self, problem: str, event: yaml.Event) -> None:
        super().__init__(problem)
        self.problem = problem
        self.problem_mark = event.start_mark


def _refuse_knots(text: str) -> None:
    """Reject constructs that could expand a small text to a huge value.

    Raises:
        yaml.YAMLError: it contains an alias, or is nested too deeply.
    """
    depth = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise _Knot(f"*{event.anchor} is an alias, which is not supported; repeat the value instead", event)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise _Knot("the value is nested too deeply", event)


@dataclass(frozen=True, slots=True)
class _NodeReader:
    document: Document

    def mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key, value in self._pairs(node, path):
            if key in values:
                first = self.document.lines[*path, key]
                line = value.start_mark.line + 1
                self.document.problem((*path, key), f"is set twice, here and in line {first}; remove one of them", line)
            else:
                values[key] = self._value(value, (*path, key))
        return values

    def _pairs(self, node: yaml.MappingNode, path: Path) -> Iterator[tuple[str, yaml.Node]]:
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
                self.document.problem(path, "has a key that is not text", line)
                continue
            self.document.lines.setdefault((*path, key.value), line)
            yield key.value, value

    def _value(self, node: yaml.Node, path: Path) -> Any:
        self.document.lines.setdefault(path, node.start_mark.line + 1)
        if node.tag not in _PLAIN:
            self.document.problem(path, f"has the tag {node.tag}, which is not supported; remove the tag")
            return None
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, (*path, number)) for number, item in enumerate(node.value)]
        return None if node.tag == _NULL else node.value


_PLACE: Final = re.compile(r"\$\$\{|\$\{(?P<inside>[^}]*)(?P<end>\})?")
_FILE: Final = "_FILE"
_INSIDE: Final = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(:-(?P<default>.*))?", re.DOTALL)


def variable(name: str, environ: Mapping[str, str]) -> str:
    """Return the value of a variable: the content of the file `NAME_FILE`, or the value of `NAME`, or an empty text.

    With a file, a secret need not be in the environment. A trailing line end is not part of the value, and an empty file,
    such as /dev/null, is ignored.

    Raises:
        SettingsError: the file can't be read.
    """
    if not (file := environ.get(name + _FILE)):
        return environ.get(name, "")
    try:
        text = Filesystem(file).read_text(encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"{name}{_FILE}: {file!r} can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{name}{_FILE}: {file!r} is not text in UTF-8") from error
    return text.strip("\r\n") or environ.get(name, "")


@dataclass(slots=True)
class Filled:
    """The values of a document with their variables filled in; `None` if a variable is missing.

    `written` has the original texts of values that contain variables, which may be secrets. `lacking` are the paths of
    values whose variable is missing.
    """

    values: dict[str, Any]
    written: dict[Path, str] = field(default_factory=dict)
    lacking: set[Path] = field(default_factory=set)


def fill_in(document: Document, environ: Mapping[str, str]) -> Filled:
    """Fill in the variables. A variable that is not set, or is empty, is a problem of the document."""
    filling = _Filling(document, environ, Filled({}))
    filling.filled.values = filling.value(document.values, ())
    return filling.filled


@dataclass(frozen=True, slots=True)
class _Filling:
    document: Document
    environ: Mapping[str, str]
    filled: Filled

    def value(self, value: Any, path: Path) -> Any:
        if isinstance(value, dict):
            return {key: self.value(one, (*path, key)) for key, one in value.items()}
        if isinstance(value, list):
            return [self.value(one, (*path, number)) for number, one in enumerate(value)]
        return self._text(value, path) if isinstance(value, str) else value

    def _text(self, text: str, path: Path) -> str | None:
        def put(place: re.Match[str]) -> str:
            if place["inside"] is None:
                return "${"
            self.filled.written[path] = text
            found = self._look_up(place, path)
            if found is None:
                self.filled.lacking.add(path)
            return found or ""

        made = _PLACE.sub(put, text)
        return None if path in self.filled.lacking else made

    def _look_up(self, place: re.Match[str], path: Path) -> str | None:
        inside = _INSIDE.fullmatch(place["inside"])
        if inside is None or not place["end"]:
            self.document.problem(
                path, f"{place[0]} is not a valid variable reference; write ${{NAME}}, or $${{ for a literal ${{"
            )
            return None
        found = variable(inside["name"], self.environ) or inside["default"]
        if found is None:
            name = inside["name"]
            what = f"the variable {name} is not set; set it, or give a default: ${{{name}:-value}}"
            self.document.problem(path, what)
        return found


_PATHS: Final[dict[Path, str]] = {tuple(key.split(".")): name for key, name in KEYS.items()}
_PATH_OF: Final = {name: path for path, name in _PATHS.items()}
_SECTIONS: Final = {path[:length] for path in _PATHS for length in range(len(path))}
_KNOWN: Final = sorted({dotted(path[:length]) for path in _PATHS for length in range(1, len(path) + 1)})
_SECRET: Final = re.compile(r"(^|_)(token|secret|password|api_key|private_key)$")
_PLACEHOLDER: Final = "file:///"

Configs = Mapping[str, type[BaseModel]]
"""The schemas of a source's config, by kind; a kind without one accepts anything."""


def read_instance(text: str, environ: Mapping[str, str], configs: Configs = MappingProxyType({})) -> FileContent:
    """Read a file, fill in its variables, and check each setting by itself."""
    document = parse(text)
    reading = _Reading(document, fill_in(document, environ), FileContent(problems=document.problems))
    reading.section(reading.filled.values, ())
    reading.check()
    reading.check_sources(configs)
    reading.content.problems.sort(key=lambda problem: problem.line or 0)
    return reading.content


@dataclass(frozen=True, slots=True)
class _Reading:
    document: Document
    filled: Filled
    content: FileContent

    def section(self, values: Mapping[str, Any], path: Path) -> None:
        for key, value in values.items():
            here = (*path, key)
            if setting := _PATHS.get(here):
                self.setting(setting, value, here)
            elif here not in _SECTIONS:
                self.warn(here, f"is not a known key and is ignored{_did_you_mean(here)}")
            elif isinstance(value, dict):
                self.section(value, here)
            elif value is not None:
                inside = next(key for key in KEYS if key.startswith(f"{dotted(here)}."))
                self.document.problem(here, f"is a section; put its keys below it, such as {inside.rpartition('.')[2]}")

    def setting(self, setting: str, value: Any, path: Path) -> None:
        if value in (None, "") and path not in self.filled.lacking:
            return
        self.content.lines[setting] = self.document.line(path)
        if path in self.filled.lacking:
            return
        self.content.values[setting] = value
        if setting in SECRETS:
            for place in _texts(value, path):
                if _is_literal(self.filled.written.get(place)):
                    self.warn(
                        place, f"is a secret; write ${{{setting.upper()}}} here and put the value in that variable"
                    )
        self.members(Settings.model_fields[setting].annotation, value, path)

    def members(self, kind: Any, value: Any, path: Path) -> None:
        """Find warnings in a section that is one setting as a whole."""
        if not isinstance(value, dict):
            return
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            for key, member in value.items():
                if key not in kind.model_fields:
                    near = difflib.get_close_matches(key, kind.model_fields, 1, 0.5)
                    known = f"did you mean {near[0]}?" if near else f"the known keys are {', '.join(kind.model_fields)}"
                    self.warn((*path, key), f"is not a known key and is ignored; {known}")
                else:
                    self.members(kind.model_fields[key].annotation, member, (*path, key))
        elif (members := get_args(kind)) and members[-1] is not Any:
            for key, member in value.items():
                self.members(members[-1], member, (*path, key))
        else:
            self.secrets(value, path)

    def secrets(self, value: Any, path: Path) -> None:
        for place in _texts(value, path):
            if _SECRET.search(str(place[-1]).lower()):
                self.warn(place, "looks like a secret, which all administrators would see; refer to a variable instead")

    def warn(self, path: Path, message: str) -> None:
        self.content.warnings.append(Finding(path=dotted(path), line=self.document.line(path), message=message))

    def check(self) -> None:
        try:
            Settings.model_validate({"data_url": _PLACEHOLDER, **self.content.values})
        except ValidationError as error:
            for each in errors_of(error):
                setting = str(each["loc"][0])
                path = (*_PATH_OF[setting], *(part for part in each["loc"][1:] if part != "[key]"))
                default = Settings.model_fields[setting].default
                self.problem(path, wording(each, default=default, hidden=self.hidden(setting, path)))

    def check_sources(self, configs: Configs) -> None:
        sources = self.content.values.get("sources")
        for name, source in sources.items() if isinstance(sources, dict) else ():
            kind, config = _kind_and_config(source, self.content.values.get("data_source"))
            if kind in configs and isinstance(config, dict):
                self.check_config(configs[kind], config, ("sources", name, "config"))

    def check_config(self, model: type[BaseModel], config: dict[str, Any], path: Path) -> None:
        """Check the config of a source. Messages of its connector may contain values."""
        try:
            model.model_validate(config)
        except InvalidInputError as error:
            hidden = self.hidden("sources", path)
            self.problem(path, f"is not valid: {error}" if hidden is None else f"{hidden} is not valid here")
        except ValidationError as error:
            for each in errors_of(error):
                place = (*path, *each["loc"])
                hidden = self.hidden("sources", place)
                is_shown = hidden is None or each["type"] in {"missing", "extra_forbidden"}
                known = model.model_fields
                self.problem(place, wording(each, known=known) if is_shown else f"{hidden} is not valid here")

    def problem(self, path: Path, message: str) -> None:
        if path not in self.filled.lacking:  # already reported
            self.document.problem(path, message)

    def hidden(self, setting: str, path: Path) -> str | None:
        """Return the replacement for a value that is a secret, or contains or is part of a variable's value."""
        if setting in SECRETS:
            return "this"
        near = (place for place in self.filled.written if place[: len(path)] == path or path[: len(place)] == place)
        return next((f"what {self.filled.written[place]} stands for" for place in near), None)


def _kind_and_config(source: Any, kind: Any) -> tuple[str, Any]:
    members = source if isinstance(source, dict) else {}
    usual = Settings.model_fields["data_source"].default
    return str(members.get("type") or kind or usual), members.get("config") or {}


def _texts(value: Any, path: Path) -> Iterator[Path]:
    """Find the paths of all texts in a value."""
    if isinstance(value, dict):
        for key, one in value.items():
            yield from _texts(one, (*path, key))
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from _texts(one, (*path, number))
    elif isinstance(value, str):
        yield path


def _is_literal(written: str | None) -> bool:
    return written is None or re.search(r"\$\{\w+:-[^}]", written) is not None


def _did_you_mean(path: Path) -> str:
    """Suggest the nearest known key, in the same section or anywhere."""
    section, _, key = dotted(path).rpartition(".")
    for known in ([name for name in _KNOWN if name.rpartition(".")[0] == section], _KNOWN):
        last = {name.rpartition(".")[2]: name for name in known}
        if near := difflib.get_close_matches(key, last, 1, 0.7):
            return f"; did you mean {last[near[0]]}?"
    nearest = difflib.get_close_matches(dotted(path), _KNOWN, 1, 0.6)
    return f"; the nearest known key is {nearest[0]}" if nearest else ""
