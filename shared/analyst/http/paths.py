"""Templates of paths: `/api/catalog/tables/{id}`, and `/files/{path:path}`, which spans slashes."""

import re
from dataclasses import dataclass

_PART = re.compile(r"\{(?P<name>[a-z_][a-z0-9_]*)(?P<spans>:path)?\}")
_LITERAL = re.compile(r"[A-Za-z0-9._~\-/]*")


@dataclass(frozen=True, slots=True)
class Template:
    """A path with named parts."""

    text: str
    """As OpenAPI writes it: `{path}` also where the part spans slashes."""
    names: tuple[str, ...]
    spanning: frozenset[str]
    """The names of parts that span slashes."""
    shape: str
    """The path without the names: two templates of one shape match the same paths."""
    pattern: re.Pattern[str]

    @classmethod
    def parse(cls, text: str) -> "Template":
        """Parse a template.

        Raises:
            ValueError: it does not begin with a slash, a brace is wrong, or a name comes twice.
        """
        names = tuple(part["name"] for part in _PART.finditer(text))
        literals = _PART.split(text)[:: _PART.groups + 1]
        if not text.startswith("/") or len(set(names)) < len(names) or not all(map(_LITERAL.fullmatch, literals)):
            raise ValueError(f"{text!r} is no template of a path")
        spanning = frozenset(part["name"] for part in _PART.finditer(text) if part["spans"])
        shape = _PART.sub(lambda part: "{*}" if part["spans"] else "{}", text)
        return cls(text.replace(":path}", "}"), names, spanning, shape, re.compile(_expression(text)))

    def match(self, path: str) -> dict[str, str] | None:
        """Take the named parts out of a path, `None` if it is none of this template."""
        found = self.pattern.fullmatch(path)
        return None if found is None else found.groupdict()

    @property
    def order(self) -> tuple[tuple[int, str], ...]:
        """Sort templates so that the most literal one comes first."""
        return tuple((2 if "{*}" in part else 1 if "{}" in part else 0, part) for part in self.shape.split("/"))


def _expression(text: str) -> str:
    escaped = re.sub(r"[.~\-]", lambda found: "\\" + found[0], text)
    return _PART.sub(lambda part: f"(?P<{part['name']}>{'.+' if part['spans'] else '[^/]+'})", escaped)
