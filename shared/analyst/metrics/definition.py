"""The definition of a metric, as in a file of `config/metrics` or in the registry."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from analyst.errors import InvalidInputError
from analyst.names import Name, did_you_mean

Text = Annotated[str, StringConstraints(strip_whitespace=True, max_length=20_000)]
Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]
Sql = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=50_000)]

MOST: Final = 10_000


def _listed(value: Any) -> Any:
    """Return a list for a single text: YAML is written by people."""
    return (value,) if isinstance(value, str) else () if value is None else value


Lines = Annotated[tuple[Line, ...], BeforeValidator(_listed), Field(max_length=1000)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class MetricDimension(_Part):
    """What a metric can be grouped by: a column, or an expression under a name."""

    name: Line
    expression: Sql | None = None
    description: Text | None = None
    type: Literal["categorical", "time"] = "categorical"


class MetricJoin(_Part):
    """A table whose columns expressions and dimensions use, by its view name; `on` is the condition in SQL."""

    table: Line
    on: Sql
    alias: Name | None = None


def _dimensions(value: Any) -> Any:
    return tuple({"name": each} if isinstance(each, str) else each for each in _listed(value))


class MetricDefinition(_Part):
    """A metric. `sql_variants` are its fields `sql_<variant>`; `table` is a view name or `<source>.<table>`.

    `type` is how an expression without an aggregate function is aggregated: `sum`, `count`, `average`, `count_distinct`, …
    """

    name: Name
    display_name: Line | None = None
    category: Line = "other"
    type: Line | None = None
    unit: Line | None = None
    grain: Line | None = None
    time_column: Line | None = None
    table: Line | None = None
    tables: Lines = ()
    expression: Sql
    description: Text | None = None
    dimensions: Annotated[tuple[MetricDimension, ...], BeforeValidator(_dimensions), Field(max_length=1000)] = ()
    joins: Annotated[tuple[MetricJoin, ...], Field(max_length=100)] = ()
    filters: Lines = ()
    notes: Lines = ()
    synonyms: Lines = ()
    questions: Lines = ()
    """Sample questions that it answers."""
    owners: Lines = ()
    tags: Lines = ()
    sql: Sql | None = None
    sql_variants: Annotated[dict[Name, Sql], Field(max_length=100)] = {}
    validation: str | dict[str, Any] | None = None
    cost_allocation_guide: dict[str, Any] | None = None

    @model_validator(mode="before")
    @classmethod
    def _variants(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        made: dict[str, Any] = {}
        variants = dict(value.get("sql_variants") or {})
        for name, each in value.items():
            if isinstance(name, str) and name.startswith("sql_") and name != "sql_variants":
                variants[name.removeprefix("sql_")] = each
            elif name != "sql_variants":
                made[name] = each
        return {**made, "sql_variants": variants} if variants else made

    @model_validator(mode="after")
    def _has_a_table(self) -> "MetricDefinition":
        if self.table is None and not self.tables:
            raise ValueError("names no table; set 'table'")
        return self

    @property
    def main_table(self) -> str:
        """The table that the expression is about, as it is named."""
        return self.table or self.tables[0]

    def document(self) -> dict[str, Any]:
        """Return the definition as it is written in a file: without fields that are not set."""
        made = self.model_dump(mode="json", exclude_defaults=True)
        variants = made.pop("sql_variants", {})
        if "dimensions" in made:
            made["dimensions"] = [each["name"] if each.keys() == {"name"} else each for each in made["dimensions"]]
        return {**made, **{f"sql_{name}": sql for name, sql in variants.items()}}


def parse(document: Any, where: str) -> Iterator[MetricDefinition]:
    """Yield the metrics of a document: one mapping, a list of them, or a mapping with `metrics`.

    Raises:
        InvalidInputError: one is invalid; the message names the field and `where` it is.
    """
    if isinstance(document, Mapping) and isinstance(document.get("metrics"), list):
        document = document["metrics"]
    listed = document if isinstance(document, list) else [document]
    for each in listed:
        if not isinstance(each, Mapping):
            raise InvalidInputError(f"{where}: a metric must be a mapping with 'name', 'table' and 'expression'")
        try:
            yield MetricDefinition.model_validate(each)
        except ValidationError as error:
            raise InvalidInputError(f"{where}: {_explained(error, each)}") from None


def _explained(error: ValidationError, document: Mapping[str, Any]) -> str:
    # a misspelt field is both unknown and missing; the first says more
    first = min(error.errors(include_url=False), key=lambda each: each["type"] != "extra_forbidden")
    field = ".".join(map(str, first["loc"]))
    name = document.get("name")
    about = f"the metric {name!r}" if isinstance(name, str) else "a metric"
    if first["type"] == "extra_forbidden":
        known = [*MetricDefinition.model_fields, "sql_<variant>"]
        return f"{about} has the unknown field {field!r}{did_you_mean(field, known)}"
    if first["type"] == "missing":
        return f"{about} has no {field!r}"
    reason = str(first.get("ctx", {}).get("error", first["msg"]))
    return f"{about}: {field + ': ' if field else ''}{reason[0].lower()}{reason[1:]}"
