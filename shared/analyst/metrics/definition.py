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


def _input(value: Any) -> Any:
    return {"metric": value} if isinstance(value, str) else value


def _inputs(value: Any) -> Any:
    return tuple(map(_input, _listed(value)))


class MetricInput(_Part):
    """A metric that another one computes with: its name, the alias in the expression, and conditions of its own.

    `offset_window` is a span such as `1 month`: its value of that much earlier. `offset_to_grain` is a unit of time: its
    value at the start of that unit.
    """

    metric: Name
    alias: Name | None = None
    filters: Lines = ()
    offset_window: Line | None = None
    offset_to_grain: Line | None = None

    @property
    def name(self) -> str:
        """The name by which the expression knows it."""
        return self.alias or self.metric


class Cumulative(_Part):
    """What is added up: a `window` such as `7 days`, the unit of time up to now (`grain_to_date`), else everything before.

    `period_agg` is the day of a longer unit of time whose value counts, or the average of all its days.
    """

    window: Line | None = None
    grain_to_date: Line | None = None
    period_agg: Literal["first", "last", "average"] = "last"


class NonAdditive(_Part):
    """The time over which values can't be added, such as the day of a balance; only its last or first rows count.

    `window_groupings` are the columns of which each combination has a last row of its own.
    """

    name: Line
    window_choice: Literal["min", "max"] = "max"
    window_groupings: Lines = ()


class ConstantProperty(_Part):
    """Columns that must be equal for a conversion."""

    base_property: Line
    conversion_property: Line


class MetricConversion(_Part):
    """How many events of one metric are followed by events of another one, of the same entity, within a window."""

    entity: Line
    base: Annotated[MetricInput, BeforeValidator(_input)]
    conversion: Annotated[MetricInput, BeforeValidator(_input)]
    conversion_entity: Line | None = None
    """The column of the entity in the table of conversions, if its name differs."""
    window: Line | None = None
    calculation: Literal["conversion_rate", "conversions"] = "conversion_rate"
    constant_properties: Annotated[tuple[ConstantProperty, ...], Field(max_length=100)] = ()


def _dimensions(value: Any) -> Any:
    return tuple({"name": each} if isinstance(each, str) else each for each in _listed(value))


_OF_A_TABLE: Final = ("table", "tables", "time_column", "joins", "cumulative", "non_additive_dimension", "percentile")


class MetricDefinition(_Part):
    """A metric. `sql_variants` are its fields `sql_<variant>`; `table` is a view name or `<source>.<table>`.

    `type` is how an expression without an aggregate function is aggregated: `sum`, `count`, `average`, `count_distinct`, …
    Instead of a table, a metric can have `inputs` with which its expression computes, a `numerator` and a `denominator`, or
    a `conversion`. `extensions` has what other formats say that this one has no field for.
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
    expression: Sql | None = None
    inputs: Annotated[tuple[MetricInput, ...], BeforeValidator(_inputs), Field(max_length=100)] = ()
    numerator: Annotated[MetricInput | None, BeforeValidator(_input)] = None
    denominator: Annotated[MetricInput | None, BeforeValidator(_input)] = None
    conversion: MetricConversion | None = None
    cumulative: Cumulative | None = None
    non_additive_dimension: NonAdditive | None = None
    percentile: Annotated[float, Field(ge=0, le=1)] | None = None
    fill_nulls_with: Annotated[float, Field(allow_inf_nan=False)] | None = None
    join_to_timespine: bool = False
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
    extensions: dict[str, Any] = {}

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
    def _is_of_one_kind(self) -> "MetricDefinition":
        kinds = {
            "inputs": bool(self.inputs),
            "numerator": self.numerator is not None,
            "conversion": self.conversion is not None,
        }
        found = [name for name, is_set in kinds.items() if is_set]
        if len(found) > 1:
            raise ValueError(f"has both {found[0]!r} and {found[1]!r}; keep one of them")
        if (self.numerator is None) != (self.denominator is None):
            raise ValueError("has only one of 'numerator' and 'denominator'; set both")
        if self.expression is None and not (found and found != ["inputs"]):
            raise ValueError("has no 'expression'")
        if not found and self.table is None and not self.tables:
            raise ValueError("names no table; set 'table'")
        own = [name for name in _OF_A_TABLE if getattr(self, name)]
        if found and own:
            raise ValueError(f"has {own[0]!r}, which a metric with {found[0]!r} takes from its inputs; remove it")
        if found and found != ["inputs"] and self.expression is not None:
            raise ValueError(f"has an expression besides {found[0]!r}; remove one of them")
        names = [each.name for each in self.used]
        if len(set(names)) < len(names):
            raise ValueError("has two inputs of the same name; give one of them another 'alias'")
        return self

    @model_validator(mode="after")
    def _adds_up_one_way(self) -> "MetricDefinition":
        if self.cumulative is None:
            return self
        if self.non_additive_dimension is not None:
            raise ValueError("has both 'cumulative' and 'non_additive_dimension'; keep one of them")
        if self.cumulative.window and self.cumulative.grain_to_date:
            raise ValueError("cumulative has both 'window' and 'grain_to_date'; keep one of them")
        if not self.time_column:
            raise ValueError("is cumulative and has no 'time_column'; set it")
        return self

    @property
    def main_table(self) -> str | None:
        """The table that the expression is about, as it is named; none if it computes with other metrics."""
        return self.table or next(iter(self.tables), None)

    @property
    def used(self) -> tuple[MetricInput, ...]:
        """The metrics that it computes with."""
        if self.numerator is not None and self.denominator is not None:
            # one metric with and without conditions is usual: a share
            lower = self.denominator
            if lower.name == self.numerator.name:
                lower = lower.model_copy(update={"alias": f"{lower.name}_of_all"})
            return (self.numerator, lower)
        if self.conversion is not None:
            return (self.conversion.base, self.conversion.conversion)
        return self.inputs

    @property
    def formula(self) -> str | None:
        """The expression as it is shown."""
        if self.numerator is not None and self.denominator is not None:
            return f"{self.used[0].name} / nullif({self.used[1].name}, 0)"
        return self.expression

    def document(self) -> dict[str, Any]:
        """Return the definition as it is written in a file: without fields that are not set."""
        made = self.model_dump(mode="json", exclude_defaults=True)
        variants = made.pop("sql_variants", {})
        for name in ("numerator", "denominator"):
            if name in made and made[name].keys() == {"metric"}:
                made[name] = made[name]["metric"]
        if "inputs" in made:
            made["inputs"] = [each["metric"] if each.keys() == {"metric"} else each for each in made["inputs"]]
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
    subject = f"the metric {name!r}" if isinstance(name, str) else "a metric"
    if first["type"] == "extra_forbidden":
        known = [*MetricDefinition.model_fields, "sql_<variant>"]
        return f"{subject} has the unknown field {field!r}{did_you_mean(field, known)}"
    if first["type"] == "missing":
        return f"{subject} has no {field!r}"
    reason = str(first.get("ctx", {}).get("error", first["msg"]))
    return f"{subject}: {field + ': ' if field else ''}{reason[0].lower()}{reason[1:]}"
