"""Variables in the texts of a file: `${NAME}`, `${NAME:-what to take otherwise}`, and `$${` for the characters `${`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path as Filesystem
from typing import Any, Final

from analyst.errors import SettingsError
from analyst.settings.document import Document
from analyst.settings.findings import Path

_PLACE: Final = re.compile(r"\$\$\{|\$\{(?P<inside>[^}]*)(?P<end>\})?")
_FILE: Final = "_FILE"
_INSIDE: Final = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(:-(?P<default>.*))?", re.DOTALL)


def variable(name: str, environ: Mapping[str, str]) -> str:
    """Return the value of a variable: what the file holds that `NAME_FILE` names, else that of `NAME`, else nothing.

    So a secret need not stand in an environment. A line end at the end of the file is not part of the value, and an empty
    file, such as /dev/null, counts as none.

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
    """The values of a document with their variables filled in, `None` for those that lack one.

    `written` has the texts, as they stand in the file, of values that hold something of a variable: what that is may
    be a secret. `lacking` are the ways to the values that lack one.
    """

    values: dict[str, Any]
    written: dict[Path, str] = field(default_factory=dict)
    lacking: set[Path] = field(default_factory=set)


def fill_in(document: Document, environ: Mapping[str, str]) -> Filled:
    """Fill in the variables. One that is not set, or is empty, is a problem of the document."""
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
            self.document.problem(path, f"{place[0]} is no variable; write ${{NAME}}, or $${{ for the characters ${{")
            return None
        found = variable(inside["name"], self.environ) or inside["default"]
        if found is None:
            name = inside["name"]
            what = f"the variable {name} is not set; set it, or write ${{{name}:-something}} for when it is not"
            self.document.problem(path, what)
        return found
