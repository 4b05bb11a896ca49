"""The types of the values of settings."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, SecretStr, StringConstraints
from pydantic_core import PydanticCustomError

from analyst.addresses import ServerUrl
from analyst.errors import InvalidInputError
from analyst.names import Name
from analyst.schedule import Schedule, what_to_write
from analyst.validation import Matching

_SECRET_LENGTH = 32


def _split(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _long_enough(value: SecretStr) -> SecretStr:
    if len(value.get_secret_value()) < _SECRET_LENGTH:
        raise ValueError("must have at least 32 characters; create one with: openssl rand -hex 32")
    return value


def _provider(name: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise PydanticCustomError(
            "provider", '"{value}" is not a sign-in method (expected something like password)', {"value": name}
        )
    return name


def _schedule(text: str) -> str:
    try:
        return Schedule.parse(text).text
    except InvalidInputError as error:
        plain = f"is not a valid schedule; write {what_to_write('')}"
        raise PydanticCustomError("schedule", "{said}", {"said": str(error), "value": text, "plain": plain}) from None


def _word(text: str) -> str:
    if not text.isprintable() or len(text.split()) != 1:
        raise PydanticCustomError("word", '"{value}" contains spaces; write it as one word', {"value": text})
    return text.strip()


def _project(key: str) -> str:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,254}", key):
        raise PydanticCustomError(
            "project", '"{value}" is not a valid project key (expected something like SHOP)', {"value": key}
        )
    return key.upper()


Commas = BeforeValidator(_split)
"""Several values, separated by commas in a string."""

Secret = Annotated[SecretStr, AfterValidator(_long_enough)]
"""A secret; at least 32 characters."""

Word = Annotated[str, AfterValidator(_word)]


def _spark_remote(text: str) -> str:
    if not re.fullmatch(r"sc://[^\s/;@]+(?::[0-9]+)?(?:/;(?!.*token=)\S*)?/?", text):
        raise ValueError(
            "expected the address of a Spark Connect server, such as sc://spark.internal:15002, without a token, which belongs "
            "into SPARK_CONNECT_AUTHENTICATE_TOKEN"
        )
    return text


SparkRemote = Annotated[str, AfterValidator(_spark_remote)]
"""A secret shared by machines."""

QueueName = Annotated[
    str,
    Matching(
        r"^projects/[^/\s]+/locations/[^/\s]+/queues/[^/\s]+$", "projects/<project>/locations/<region>/queues/<name>"
    ),
]
"""The name of a queue of Cloud Tasks."""

When = Annotated[str, AfterValidator(_schedule)]
"""A schedule."""

Line = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200),
    Matching(r"^[^\x00-\x1f\x7f]*$", "one line of text"),
]
"""One line of text for people."""


def _logo(text: str) -> str:
    if not re.fullmatch(r"data:image/(svg\+xml|png);base64,[A-Za-z0-9+/=]{1,90000}|[^:?#]+\.(?i:svg|png)", text):
        raise PydanticCustomError(
            "logo",
            '"{value}" is not the path of an SVG or PNG file (expected something like config/logo.svg)',
            {"value": text},
        )
    return text


Logo = Annotated[str, AfterValidator(_logo)]
"""An image: the path of a file, or a `data:` URL."""

Size = Annotated[
    str,
    StringConstraints(strip_whitespace=True),
    Matching(r"^[0-9]+(\.[0-9]+)? ?(?i:[kmgt]i?b)$", "an amount of memory such as 300MB"),
]
"""An amount of memory in DuckDB's syntax, such as `300MB`."""

_UNITS = {"k": 1, "m": 2, "g": 3, "t": 4}


def bytes_of(size: str) -> int:
    """Return the number of bytes of a `Size`: `MB` are millions, `MiB` are 1024 times 1024."""
    number, unit = size.lower().rstrip("b").strip(), 1000
    if number.endswith("i"):
        number, unit = number[:-1], 1024
    return int(float(number[:-1]) * unit ** _UNITS[number[-1]])


Provider = Annotated[str, AfterValidator(_provider)]
"""A sign-in method, by the name of its module."""

ProjectKey = Annotated[str, AfterValidator(_project)]
"""The key of a project in Jira, in capitals."""

SourceKind = Literal["csv", "keboola", "bigquery", "jira", "materialized", "external"]
"""The type of a source. The tables of a `materialized` one are computed from others; an `external` one is a folder of the
bucket that an external program writes."""


def _stack(text: object) -> object:
    """Accept the address of a stack as people copy it: without https://, or with the path of a project in it."""
    if not isinstance(text, str) or not text.strip():
        return text
    plain = text.strip() if "://" in text else f"https://{text.strip()}"
    return re.sub(r"(/(admin|v2)(/.*)?)?/*$", "", plain)


KeboolaStack = Annotated[ServerUrl, BeforeValidator(_stack)]
"""The address of a Keboola stack."""


Colour = Annotated[str, Matching(r"^#[0-9A-Fa-f]{6}$", "a colour such as #1a56c4")]
"""A colour of the pages."""

Fonts = Annotated[
    str, Matching(r"^[A-Za-z0-9 ,\"'_-]{1,200}$", "names of fonts separated by commas, such as Inter, sans-serif")
]
"""Fonts of the pages, which must be installed where pages are read: they are fetched from nowhere."""

Length = Annotated[str, Matching(r"^[0-9]{1,2}(\.[0-9]{1,3})?(px|rem|em)?$", "a length such as 8px")]
"""A length in CSS."""


class DeclaredSource(BaseModel):
    """A source declared in the file of an instance. Without a `type`, it has the type of the instance."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    type: SourceKind | None = None
    config: Mapping[str, Any] = {}


CustomFieldType = Literal[
    "text",
    "option",
    "options",
    "user",
    "users",
    "number",
    "integer",
    "date",
    "instant",
    "sla",
    "request_type",
    "json",
]
"""The kind of a custom field of Jira, which determines the type of its column."""


class CustomField(BaseModel):
    """A custom field of Jira, by name or id (`customfield_10004`), and its column of `issues`.

    If several fields have the name, the first one with a value is used. `sla` and `request_type` fill several columns.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    field: Line
    column: Name
    type: CustomFieldType = "text"
