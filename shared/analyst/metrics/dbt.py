"""Metrics in the YAML of dbt: the semantic layer (`semantic_models` and `metrics`), and the `metrics` of dbt before 1.6.

Source: docs.getdbt.com, "Build your metrics" and "Semantic models". What dbt has no field for is kept in `meta`.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import yaml

from analyst.errors import InvalidInputError
from analyst.metrics.definition import MetricDefinition, parse
from analyst.metrics.registry import load_yaml

_OURS: Final = "ai_data_analyst"
_REF: Final = re.compile(r"ref\(\s*['\"](?:[^'\"]+['\"]\s*,\s*['\"])?([^'\"]+)['\"]\s*\)")
_TEMPLATE: Final = re.compile(r"\{\{\s*(?:Dimension|TimeDimension|Entity)\(\s*['\"]([^'\"]+)['\"][^)]*\)\s*\}\}")
_AGGREGATES: Final = {
    "sum": "sum",
    "count": "count",
    "count_distinct": "count_distinct",
    "average": "average",
    "avg": "average",
    "min": "min",
    "max": "max",
    "median": "median",
    "sum_boolean": "sum",
}


def export(definitions: Iterable[MetricDefinition]) -> str:
    """Return the YAML of a semantic model for each table, and of metrics on measures."""
    by_table: dict[str, list[MetricDefinition]] = {}
    for each in definitions:
        by_table.setdefault(each.main_table, []).append(each)
    models = [_model(table, listed) for table, listed in by_table.items()]
    metrics = [_metric(each) for listed in by_table.values() for each in listed]
    text: str = yaml.safe_dump(
        {"semantic_models": models, "metrics": metrics}, sort_keys=False, allow_unicode=True, width=120
    )
    return text


def read(text: str) -> list[MetricDefinition]:
    """Return the metrics of a document.

    Raises:
        InvalidInputError: it has no metrics, or one can't be translated; the message names it.
    """
    document = load_yaml(text, "the document")
    if not isinstance(document, Mapping) or not isinstance(document.get("metrics"), list):
        raise InvalidInputError("the document has no list 'metrics'; it is not a metrics file of dbt")
    measures = dict(_measures(document.get("semantic_models") or ()))
    by_name = {each.get("name"): each for each in document["metrics"] if isinstance(each, Mapping)}
    found: list[MetricDefinition] = []
    for metric in document["metrics"]:
        if not isinstance(metric, Mapping) or not isinstance(metric.get("name"), str):
            raise InvalidInputError("a metric of the document has no 'name'")
        where = f"the metric {metric['name']!r}"
        ours = (metric.get("meta") or metric.get("config", {}).get("meta") or {}).get(_OURS)
        document_ = ours if isinstance(ours, Mapping) else _translated(metric, measures, by_name, where)
        found += parse(document_, where)
    return found


def _model(table: str, listed: list[MetricDefinition]) -> dict[str, Any]:
    name = table.rpartition(".")[2]
    times = list({_name(each.time_column): each.time_column for each in listed if each.time_column}.values())
    dimensions: dict[str, dict[str, Any]] = {
        _name(time): {"name": _name(time), "type": "time", "expr": time, "type_params": {"time_granularity": "day"}}
        for time in times
    }
    for each in listed:
        for one in each.dimensions:
            dimensions.setdefault(
                _name(one.name), {"name": _name(one.name), "type": "categorical", "expr": one.expression or one.name}
            )
    made: dict[str, Any] = {"name": name, "model": f"ref('{name}')"}
    if times:
        made["defaults"] = {"agg_time_dimension": _name(times[0])}
    made["dimensions"] = list(dimensions.values())
    made["measures"] = [
        {
            "name": f"{each.name}_measure",
            "agg": _AGGREGATES.get((each.type or "").lower(), "sum"),
            "expr": each.expression,
        }
        for each in listed
    ]
    return made


def _name(text: str) -> str:
    return re.sub(r"\W+", "_", text.rpartition(".")[2]).strip("_").lower() or "dimension"


def _metric(definition: MetricDefinition) -> dict[str, Any]:
    made: dict[str, Any] = {
        "name": definition.name,
        "label": definition.display_name or definition.name,
        "type": "simple",
        "type_params": {"measure": f"{definition.name}_measure"},
        "meta": {_OURS: definition.document()},
    }
    if definition.description:
        made["description"] = definition.description
    if definition.filters:
        made["filter"] = " and ".join(f"({each})" for each in definition.filters)
    return made


def _measures(models: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the measures of semantic models: table, aggregate, expression, time column and dimensions."""
    for model in models:
        if not isinstance(model, Mapping):
            continue
        table = _table(model.get("model"), f"the semantic model {model.get('name')!r}")
        dimensions = [each for each in model.get("dimensions") or () if isinstance(each, Mapping)]
        columns = {str(each["name"]): str(each.get("expr") or each["name"]) for each in dimensions if "name" in each}
        usual = (model.get("defaults") or {}).get("agg_time_dimension")
        for measure in model.get("measures") or ():
            time = measure.get("agg_time_dimension") or usual
            yield (
                str(measure.get("name")),
                {
                    "table": table,
                    "type": _AGGREGATES.get(str(measure.get("agg")), measure.get("agg")),
                    "expression": str(measure.get("expr") or measure.get("name")),
                    "time_column": columns.get(str(time)) if time else None,
                    "columns": columns,
                    "dimensions": [
                        {"name": str(each["name"]), **({"expression": str(each["expr"])} if each.get("expr") else {})}
                        for each in dimensions
                        if each.get("type") != "time"
                    ],
                },
            )


def _table(reference: Any, where: str) -> str:
    found = _REF.search(str(reference or ""))
    if found is None:
        raise InvalidInputError(f"{where} has no 'model' of the form ref('orders')")
    return found[1]


def _translated(
    metric: Mapping[str, Any], measures: Mapping[str, dict[str, Any]], by_name: Mapping[Any, Any], where: str
) -> dict[str, Any]:
    plain = {
        "name": metric["name"],
        "display_name": metric.get("label"),
        "description": metric.get("description"),
    }
    if "calculation_method" in metric or "sql" in metric or ("model" in metric and "type_params" not in metric):
        return {**plain, **_old(metric, where)}
    kind, given = metric.get("type", "simple"), metric.get("type_params") or {}
    if kind == "simple":
        measure = _measure(given.get("measure"), measures, where)
        made = {name: measure[name] for name in ("table", "type", "expression", "time_column", "dimensions")}
        return {**plain, **made, "filters": _filters(metric.get("filter"), measure["columns"])}
    if kind == "ratio":
        upper, lower = (_part(given.get(part), measures, by_name, where) for part in ("numerator", "denominator"))
        if upper["table"] != lower["table"]:
            raise InvalidInputError(f"{where} divides measures of two tables, which is not supported")
        ratio = f"({upper['aggregate']}) / nullif({lower['aggregate']}, 0)"
        shared = {name: upper[name] for name in ("table", "time_column", "dimensions")}
        return {
            **plain,
            **shared,
            "type": "ratio",
            "expression": ratio,
            "filters": _filters(metric.get("filter"), upper["columns"]),
        }
    raise InvalidInputError(f"{where} has the type {kind!r}; only simple and ratio metrics can be imported")


def _part(said: Any, measures: Mapping[str, dict[str, Any]], by_name: Mapping[Any, Any], where: str) -> dict[str, Any]:
    from da.metrics.compilation import aggregate_of

    name = said.get("name") if isinstance(said, Mapping) else said
    inner = by_name.get(name)
    measure = _measure(
        (inner.get("type_params") or {}).get("measure") if isinstance(inner, Mapping) else name, measures, where
    )
    return {**measure, "aggregate": aggregate_of(measure["expression"], measure["type"])}


def _measure(said: Any, measures: Mapping[str, dict[str, Any]], where: str) -> dict[str, Any]:
    name = said.get("name") if isinstance(said, Mapping) else said
    if name not in measures:
        raise InvalidInputError(f"{where} uses the measure {name!r}, which no semantic model of the document has")
    return measures[str(name)]


def _filters(said: Any, columns: Mapping[str, str]) -> list[str]:
    """Return filters in SQL: `{{ Dimension('order__status') }}` becomes the column of that dimension."""
    listed = said if isinstance(said, list) else [said] if said else []

    def column(found: re.Match[str]) -> str:
        name = found[1].rpartition("__")[2]
        return columns.get(name, name)

    return [_TEMPLATE.sub(column, str(each)).strip() for each in listed]


def _old(metric: Mapping[str, Any], where: str) -> dict[str, Any]:
    method = str(metric.get("calculation_method") or metric.get("type") or "")
    expression = str(metric.get("expression") or metric.get("sql") or "")
    if method not in _AGGREGATES:
        raise InvalidInputError(f"{where} has the calculation method {method!r}, which can't be imported")
    filters = []
    for each in metric.get("filters") or ():
        if not isinstance(each, Mapping) or not {"field", "operator", "value"} <= each.keys():
            raise InvalidInputError(f"{where} has a filter without 'field', 'operator' and 'value'")
        filters.append(f"{each['field']} {each['operator']} {each['value']}")
    return {
        "table": _table(metric.get("model"), where),
        "type": _AGGREGATES[method],
        "expression": expression,
        "time_column": metric.get("timestamp"),
        "dimensions": [str(each) for each in metric.get("dimensions") or ()],
        "filters": filters,
    }
