"""Fields of a form made from a model: what a type of source accepts, as inputs with the descriptions of the model.

A form sends two lists that belong together: the names of the options, and their texts. `read` makes values of them; the
model checks them.
"""

import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from analyst.errors import InvalidInputError
from analyst.validation import by_current_names

Kind = Literal["text", "long", "number", "choice", "lines", "json"]

_YES: Final = ("true", "false")
_LONG: Final = 10_000
"""Characters from which a text has an input of several lines."""

_SENTENCE: Final = re.compile(r"(?<=\.) (?=[A-Z`])")
"""Between two sentences of a docstring."""


@dataclass(frozen=True, slots=True)
class Field:
    """An input. `value` is its text, `choices` are those of a `choice`, `hint` says what it is for."""

    name: str
    kind: Kind
    value: str
    required: bool
    choices: tuple[str, ...] = ()
    hint: str = ""
    default: str = ""


def fields_of(model: type[BaseModel], values: Mapping[str, Any], *, without: Collection[str] = ()) -> list[Field]:
    """Return the fields of a model with values, but for some; the required ones come first."""
    made, values = [], by_current_names(model, values)
    for name, info in model.model_fields.items():
        if name in without:
            continue
        kind, choices = _kind(info.annotation)
        if kind == "text" and any((getattr(each, "max_length", None) or 0) > _LONG for each in info.metadata):
            kind = "long"
        usual = None if info.default is PydanticUndefined else info.default
        made.append(
            Field(
                name,
                kind,
                _text(values[name], kind) if name in values else "",
                info.is_required(),
                choices,
                info.description or _sentence_of(model, name),
                _text(usual, kind),
            )
        )
    return sorted(made, key=lambda field: not field.required)


def _sentence_of(model: type[BaseModel], name: str) -> str:
    """Return the text of the sentence "`name`: text." in the docstring of a model, or of one that it extends."""
    opening = f"`{name}`: "
    for each in model.__mro__:
        for sentence in _SENTENCE.split(" ".join((each.__doc__ or "").split())):
            if sentence.startswith(opening):
                text = sentence.removeprefix(opening)
                return f"{text[:1].upper()}{text[1:]}"
    return ""


def read(model: type[BaseModel], names: Iterable[str], texts: Iterable[str]) -> dict[str, Any]:
    """Return the values of the options that were filled in.

    Raises:
        InvalidInputError: an option does not exist, or its text is not JSON where it must be.
    """
    made: dict[str, Any] = {}
    for name, text in zip(names, texts, strict=False):
        info = model.model_fields.get(name)
        if info is None:
            raise InvalidInputError(f"there is no option {name!r}")
        if text.strip():
            made[name] = _value(name, text, _kind(info.annotation)[0], info.annotation)
    return made


def _kind(annotation: Any) -> tuple[Kind, tuple[str, ...]]:
    plain = _plain(annotation)
    if plain is bool:
        return "choice", _YES
    if get_origin(plain) is Literal:
        return "choice", tuple(map(str, get_args(plain)))
    if plain in {int, float}:
        return "number", ()
    if get_origin(plain) in {tuple, list, set, frozenset} and get_args(plain)[0] is str:
        return "lines", ()
    return ("text" if _is_text(plain) else "json"), ()


def _is_text(plain: Any) -> bool:
    """Return whether values are written as they are: texts, or one of some texts."""
    if get_origin(plain) is Literal:
        return all(isinstance(each, str) for each in get_args(plain))
    if get_origin(plain) in {Union, UnionType}:
        return all(_is_text(_plain(each)) for each in get_args(plain) if each is not NoneType)
    return plain is str


def _plain(annotation: Any) -> Any:
    """Return a type without `None` and without its metadata."""
    while True:
        members = [each for each in get_args(annotation) if each is not NoneType]
        if hasattr(annotation, "__metadata__"):
            annotation = annotation.__origin__
        elif len(members) == 1 and len(get_args(annotation)) == 2 and NoneType in get_args(annotation):  # noqa: PLR2004
            annotation = members[0]
        else:
            return annotation


def _text(value: Any, kind: Kind) -> str:
    if value in (None, (), {}):
        return ""
    if kind == "lines" and isinstance(value, tuple | list):
        return "\n".join(map(str, value))
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)


def _value(name: str, text: str, kind: Kind, annotation: Any) -> Any:
    if kind == "lines":
        return [line.strip() for line in text.splitlines() if line.strip()]
    if kind in {"json", "number"} or _plain(annotation) is bool:
        try:
            return json.loads(text)
        except ValueError:
            raise InvalidInputError(
                f'the option {name!r} must be written as JSON, such as {{"id": "VARCHAR"}}'
            ) from None
    return text
