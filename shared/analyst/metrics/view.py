"""A metric as it is shown: what it measures, how to use it, examples of SQL, and where its data comes from."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict

from analyst.metrics.checked_metrics import CheckedMetric
from analyst.metrics.definition import MetricDefinition, MetricDimension
from da.metrics.compilation import Metric, compile_metric

COLORS: Final[Mapping[str, str]] = {
    "revenue": "#059669",
    "customers": "#2563EB",
    "marketing": "#D97706",
    "support": "#DC2626",
}
_GREY: Final = "#6B7280"
_KEY_INSIGHTS: Final = 5
_LONG_SQL: Final = 20
_ADVANCED: Final = re.compile(
    r"\bwith\b|\bover\s*\(|\bpartition\s+by\b|\bqualify\b|\bwindow\b|\brow_number\b|\brecursive\b", re.IGNORECASE
)
_JOINED: Final = re.compile(
    r"\bjoins?\s+(?:to\s+|with\s+)?[`'\"]?([A-Za-z_][\w.]*)[`'\"]?\s+(?:via|on|using|by)\s+([^.;,]+)", re.IGNORECASE
)
_ACCURACY: Final = re.compile(r"(\d{1,3}(?:\.\d+)?)\s*%")
_PERFECT: Final = re.compile(r"\b(exact(ly)?|perfect(ly)?|match(es|ed)?)\b", re.IGNORECASE)
_DAY: Final = re.compile(r"\b\d{4}-\d{2}-\d{2}\b")


class MetricSummary(BaseModel):
    """A metric in a list. `problem` says why it is broken."""

    model_config = ConfigDict(frozen=True)

    name: str
    display_name: str
    category: str
    type: str | None
    unit: str | None
    grain: str | None
    description: str | None
    table: str
    tables: tuple[str, ...]
    dimensions: tuple[str, ...]
    status: Literal["ok", "broken"]
    problem: str | None = None
    origin: str
    compiled: dict[str, Any] | None = None
    """What `da metrics` compiles to SQL; null if the table is not known."""


class MetricDetail(BaseModel):
    """A metric in full; `definition` is what its file or the registry says."""

    model_config = ConfigDict(frozen=True)

    name: str
    display_name: str
    category: str
    category_color: str
    status: Literal["ok", "broken"]
    problem: str | None
    metadata: dict[str, Any]
    overview: dict[str, Any]
    validation: dict[str, Any] | None
    dimensions: tuple[dict[str, Any], ...]
    notes: dict[str, Any]
    questions: tuple[str, ...]
    sql_examples: dict[str, dict[str, str]]
    technical: dict[str, Any]
    special_sections: dict[str, Any]
    owners: tuple[str, ...]
    tags: tuple[str, ...]
    origin: str
    definition: dict[str, Any]
    compiled: dict[str, Any] | None


def summary(metric: CheckedMetric) -> MetricSummary:
    """Return a metric as it is listed."""
    definition = metric.defined.definition
    return MetricSummary(
        name=definition.name,
        display_name=display_name(definition),
        category=definition.category,
        type=definition.type,
        unit=definition.unit,
        grain=definition.grain,
        description=definition.description,
        table=definition.main_table or ", ".join(metric.tables),
        tables=metric.tables,
        dimensions=dimension_names(metric),
        status=metric.status,
        problem=metric.problem,
        origin=metric.defined.origin,
        compiled=metric.compiled,
    )


def detail(metric: CheckedMetric) -> MetricDetail:
    """Return a metric in full."""
    definition = metric.defined.definition
    insights = list(definition.notes[:_KEY_INSIGHTS])
    return MetricDetail(
        name=definition.name,
        display_name=display_name(definition),
        category=definition.category,
        category_color=COLORS.get(definition.category.lower(), _GREY),
        status=metric.status,
        problem=metric.problem,
        metadata={
            "type": definition.type,
            "unit": definition.unit,
            "grain": definition.grain,
            "time_column": definition.time_column,
            "result_type": metric.result_type,
        },
        overview={"description": definition.description, "key_insights": insights},
        validation=_validation(definition.validation),
        dimensions=tuple(each.model_dump(mode="json") for each in definition.dimensions)
        or tuple(MetricDimension(name=name).model_dump(mode="json") for name in dimension_names(metric)),
        notes={"all": list(definition.notes), "key_insights": insights},
        questions=definition.questions,
        sql_examples=dict(_examples(metric)),
        technical={
            "table": definition.main_table or ", ".join(metric.tables),
            "expression": definition.formula,
            "inputs": [each.model_dump(mode="json", exclude_defaults=True) for each in definition.used],
            "filters": list(definition.filters),
            "synonyms": list(definition.synonyms),
            "data_sources": _sources(metric),
        },
        special_sections={"cost_allocation_guide": definition.cost_allocation_guide}
        if definition.cost_allocation_guide
        else {},
        owners=definition.owners,
        tags=definition.tags,
        origin=metric.defined.origin,
        definition=definition.document(),
        compiled=metric.compiled,
    )


def display_name(definition: MetricDefinition) -> str:
    """Return the name for people."""
    return definition.display_name or definition.name.replace("_", " ").title()


def dimension_names(metric: CheckedMetric) -> tuple[str, ...]:
    """Return the names of a metric's dimensions; one that computes with others has those that all of these have."""
    listed = tuple(each.name for each in metric.defined.definition.dimensions)
    if listed or metric.compiled is None:
        return listed
    return tuple(each.name for each in Metric.from_json(metric.compiled).dimensions)


def _examples(metric: CheckedMetric) -> Iterator[tuple[str, dict[str, str]]]:
    definition = metric.defined.definition
    if definition.sql:
        yield "sql", _example("Base query", definition.sql)
    for name, sql in definition.sql_variants.items():
        yield f"sql_{name}", _example(name.replace("_", " ").capitalize(), sql)
    if metric.compiled is not None:
        compiled = Metric.from_json(metric.compiled)
        sql = compile_metric(compiled, grain=compiled.grain if compiled.time_column else None)
        yield "compiled", _example("Compiled", sql)


def _example(title: str, sql: str) -> dict[str, str]:
    is_advanced = _ADVANCED.search(sql) is not None or len(sql.strip().splitlines()) > _LONG_SQL
    return {"title": title, "query": sql, "complexity": "advanced" if is_advanced else "simple"}


def _sources(metric: CheckedMetric) -> list[dict[str, str | None]]:
    definition = metric.defined.definition
    if definition.main_table is None:
        return [{"table": table, "type": "input", "via": None} for table in metric.tables]
    found: list[dict[str, str | None]] = [{"table": definition.main_table, "type": "primary", "via": None}]
    found += [{"table": join.table, "type": "join", "via": join.on} for join in definition.joins]
    named = {each["table"] for each in found}
    readable = {*metric.tables, *(table.rpartition(".")[2] for table in metric.tables)}
    for note in definition.notes:
        for table, via in _JOINED.findall(note):
            if table not in named and table in readable:
                named.add(table)
                found.append({"table": table, "type": "join", "via": via.strip()})
    return found


def _validation(validation: str | dict[str, Any] | None) -> dict[str, Any] | None:
    """Return what is known of a validation; a text is searched for an accuracy and a date."""
    if not validation:
        return None
    text = validation if isinstance(validation, str) else " ".join(str(each) for each in validation.values())
    accuracy = _ACCURACY.search(text)
    updated = _DAY.search(text)
    known = validation if isinstance(validation, dict) else {"result": validation}
    return {
        "status": "validated",
        "accuracy": f"{accuracy[1]}%" if accuracy else "100%" if _PERFECT.search(text) else None,
        "method": known.get("method"),
        "result": known.get("result"),
        "last_updated": updated[0] if updated else None,
    }
