"""The specification of a function, from which routing, OpenAPI and auditing are derived."""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from types import MappingProxyType
from typing import Any, Required, TypedDict, Unpack, get_args, get_type_hints

from pydantic import BaseModel, ConfigDict, SecretStr, create_model

from analyst.access import Role, Scope
from analyst.http.answers import Page, View
from analyst.http.problems import ErrorShape

_PART = re.compile(r"\{(?P<name>[a-z_][a-z0-9_]*)(?P<spans>:path)?\}")
_LITERAL = re.compile(r"[A-Za-z0-9._~\-/]*")


@dataclass(frozen=True, slots=True)
class Template:
    """A path with named parts."""

    text: str
    """The OpenAPI form: `{path}` even if the part spans slashes."""
    names: tuple[str, ...]
    spanning: frozenset[str]
    """The names of parts that span slashes."""
    shape: str
    """The path without the names: two templates of the same shape match the same paths."""
    pattern: re.Pattern[str]

    @classmethod
    def parse(cls, text: str) -> "Template":
        """Parse a template.

        Raises:
            ValueError: it does not begin with a slash, a brace is wrong, or a name is repeated.
        """
        names = tuple(part["name"] for part in _PART.finditer(text))
        literals = _PART.split(text)[:: _PART.groups + 1]
        if not text.startswith("/") or len(set(names)) < len(names) or not all(map(_LITERAL.fullmatch, literals)):
            raise ValueError(f"{text!r} is not a valid path template")
        spanning = frozenset(part["name"] for part in _PART.finditer(text) if part["spans"])
        shape = _PART.sub(lambda part: "{*}" if part["spans"] else "{}", text)
        return cls(text.replace(":path}", "}"), names, spanning, shape, re.compile(_expression(text)))

    def match(self, path: str) -> dict[str, str] | None:
        """Return the named parts of a path, `None` if it does not match."""
        found = self.pattern.fullmatch(path)
        return None if found is None else found.groupdict()

    @property
    def order(self) -> tuple[tuple[int, int, str], ...]:
        """The sort key that puts the most literal template first: `/x` before `/{}.json`, that before `/{}`."""
        return tuple(
            (2 if "{*}" in part else 1 if "{}" in part else 0, -len(part), part) for part in self.shape.split("/")
        )


def _expression(text: str) -> str:
    escaped = re.sub(r"[.~\-]", lambda found: "\\" + found[0], text)
    return _PART.sub(lambda part: f"(?P<{part['name']}>{'.+' if part['spans'] else '[^/]+'})", escaped)


Json = dict[str, Any]
"""A JSON object."""

BODY_LIMIT = 1 << 20
"""The default maximum size of a body in bytes."""

BINARY = "application/octet-stream"
"""The media type of a binary body."""

Answers = Mapping[int, str | type[BaseModel]]
"""Further documented responses by status: a description, or the model of the body."""


class Allow(Enum):
    """Who may call a function, where that is not a matter of roles."""

    ANYBODY = "anybody"
    """No credentials are required."""
    CALLER = "caller"
    """Any authenticated caller: a user of any role, or a service."""
    SERVICE = "service"
    """Another function or a scheduler with the service token; or an administrator."""


class Options(TypedDict, total=False):
    """The options of a function besides its method and path."""

    allow: Required[Role | Allow]
    """The lowest role that may call it, or an `Allow`."""
    scope: Scope
    """The scope that a token needs: `read` by default, and `admin` for roles above analyst."""
    any_scope: bool
    """Any scope is sufficient; the function itself checks what the token may do."""
    status: int
    """The status of a successful response."""
    answers: Answers
    """Further documented responses by status: a description, or the model of the body."""
    body_limit: int
    """Size limit of the body, in bytes."""
    hidden: bool
    """Omitted from the OpenAPI document and, unless it fails, from the log."""
    audit: str
    """The action under which calls are audited; `ctx.audited` adds details.

    Failed authorization is audited for every function.
    """
    audit_success: bool
    """Whether successful calls are audited too; not needed if an edit records them."""
    binary: bool
    """The body is binary; the function reads it in pieces from `blocks(ctx.request)`."""
    own_eyes: bool
    """It always acts for the caller, even while an administrator views pages as another user."""
    foreign: bool
    """Another system defines the calls: unknown query parameters and any content type of a binary body are accepted."""
    reads: bool
    """It changes nothing although its method is not GET, so callers who may only read can call it."""
    decides: bool
    """Its form is a decision about what its page shows, so it is not kept for later when the session has ended."""
    resource: str
    """The path under which agents know it as a protected resource of OAuth: their tokens are valid for nothing else."""
    accepts: str
    """The setting with a token that is sufficient for this function, and valid for no other."""
    errors: ErrorShape
    """How failures are reported below a path, where a protocol prescribes it; by default, as problem documents."""


@dataclass(frozen=True, slots=True)
class FunctionSpec:
    """One function as its decorator (see `Options`) and signature describe it."""

    name: str
    module: str
    description: str
    method: str
    path: Template
    allow: Role | Allow
    scope: Scope | None
    """The scope that a token needs; `None` if any is sufficient."""
    call: Callable[..., Any]
    input: type[BaseModel] | None = None
    output: Any = None
    """The annotated return type."""
    status: int = 200
    answers: Answers = field(default_factory=lambda: MappingProxyType({}))
    body_limit: int = BODY_LIMIT
    hidden: bool = False
    audit: str | None = None
    audit_success: bool = True
    binary: bool = False
    own_eyes: bool = False
    foreign: bool = False
    reads: bool = False
    decides: bool = False
    resource: str | None = None
    accepts: str | None = None
    errors: ErrorShape | None = None
    is_twin: bool = False
    """It returns the data of a page as JSON."""

    @property
    def keeps_form(self) -> bool:
        """Return whether the fields of its form can be shown, to be sent again: it is no decision, and has no secrets."""
        fields = () if self.input is None else self.input.model_fields.values()
        return not self.decides and not any(SecretStr.__name__ in str(field.annotation) for field in fields)

    @property
    def action(self) -> str:
        """The action in the audit log."""
        return self.audit or f"{self.tag}.{self.name}"

    @property
    def takes_body(self) -> bool:
        """Return whether the input, except its parts in the path, is the body; else it is the query."""
        return self.method in {"POST", "PUT", "PATCH"} and not self.binary

    @property
    def is_read(self) -> bool:
        """Return whether it is part of the API and changes nothing."""
        return (self.method == "GET" or self.reads) and self.path.text.startswith("/api/") and not self.is_page

    @property
    def is_page(self) -> bool:
        """Return whether it serves people with a browser.

        Then it takes forms, fails with pages, and is not in the API document.
        """
        return not self.is_twin and bool({Page, View} & {self.output, *get_args(self.output)})

    @property
    def twin(self) -> "FunctionSpec | None":
        """The function that returns the data of a page as JSON, to the same callers: its path ends in `.json`.

        It is derived, so it can't have other rights than the page. It is not part of the documented API.
        """
        if self.method != "GET" or self.is_twin or View not in (self.output, *get_args(self.output)):
            return None
        path = "/index" if self.path.text == "/" else self.path.text
        return replace(self, name=f"{self.name}_json", path=Template.parse(f"{path}.json"), is_twin=True)

    @property
    def tag(self) -> str:
        """The group of functions in the documentation: its module."""
        return self.module.rpartition(".")[2]


def describe(call: Callable[..., Any], method: str, path: str, **options: Unpack[Options]) -> FunctionSpec:
    """Return the specification of a function; see `analyst.http.function.function`.

    Raises:
        TypeError: its signature can't be served.
    """
    hints = get_type_hints(call, include_extras=True)
    output = hints.pop("return", None)
    template = Template.parse(path)
    fields: dict[str, Any] = {"scope": _usual_scope(options["allow"]), **options}
    if fields.pop("any_scope", False):
        fields["scope"] = None
    if output is None or output is type(None):
        fields["status"] = 204
    model, called = _input(call, hints, template)
    return FunctionSpec(
        name=call.__name__,
        module=call.__module__,
        description=inspect.getdoc(call) or "",
        method=method.upper(),
        path=template,
        call=called,
        input=model,
        output=output,
        **fields,
    )


def _usual_scope(allow: Role | Allow) -> Scope:
    is_plain = allow in {Allow.ANYBODY, Allow.CALLER} or (isinstance(allow, Role) and Role.ANALYST.includes(allow))
    return Scope.READ if is_plain else Scope.ADMIN


def _input(
    call: Callable[..., Any], hints: Mapping[str, Any], template: Template
) -> tuple[type[BaseModel] | None, Callable[..., Any]]:
    """Return the input model of a function, after checking it, and the function that takes this model."""
    *names, _ctx = inspect.signature(call).parameters
    if not names and not template.names:
        return None, call
    model = hints[names[0]] if len(names) == 1 else None
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return _path_model(call, names, hints, template)
    if not set(model.model_fields).issuperset(template.names):
        raise TypeError(f"{call.__name__}: its model must have the fields {template.names} of its path")
    if model.model_config.get("extra") != "forbid":
        raise TypeError(f"{call.__name__}: {model.__name__} must forbid extra fields: ConfigDict(extra='forbid')")
    return model, call


def _path_model(
    call: Callable[..., Any], names: Sequence[str], hints: Mapping[str, Any], template: Template
) -> tuple[type[BaseModel], Callable[..., Any]]:
    """Return the model of a function that takes the parts of its path as arguments, and the function that takes this model."""
    if set(names) != set(template.names):
        raise TypeError(f"{call.__name__} must take ([model,] ctx), or the parts {template.names} of its path and ctx")
    fields: dict[str, Any] = {name: (hints[name], ...) for name in names}
    config = ConfigDict(frozen=True, extra="forbid")
    model = create_model(call.__name__, __config__=config, __module__=call.__module__, **fields)
    return model, lambda given, ctx: call(*(getattr(given, name) for name in names), ctx)
