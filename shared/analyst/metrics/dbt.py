"""Metrics in the YAML of dbt: the semantic layer, with `semantic_models` or within `models`, and the `metrics` before dbt 1.6.

Source: docs.getdbt.com, "Build your metrics", "Semantic models", and the pages of the types of metrics. What dbt has no
field for is kept in `meta`, and what this format has no field for in `extensions`.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from analyst.errors import InvalidInputError
from analyst.json_values import mappings
from analyst.metrics.definition import MetricDefinition, MetricInput, parse
from analyst.metrics.registry import dump_yaml, load_yaml
from da.metrics.compilation import unwrapped

_OURS: Final = "ai_data_analyst"
_REF: Final = re.compile(r"ref\(\s*['\"](?:[^'\"]+['\"]\s*,\s*['\"])?([^'\"]+)['\"]\s*\)")
_TEMPLATE: Final = re.compile(
    r"\{\{\s*(?:Dimension|TimeDimension|Entity)\(\s*['\"]([^'\"]+)['\"]\s*(?:,\s*['\"](\w+)['\"])?[^)]*\)"
    r"(?:\.grain\(\s*['\"](\w+)['\"]\s*\))?\s*\}\}"
)
_QUANTILE: Final = re.compile(r"quantile_(cont|disc) (.+),\s*(\d*\.?\d+)", re.DOTALL)
_AGGREGATES: Final = {
    "sum": "sum",
    "count": "count",
    "count_distinct": "count_distinct",
    "average": "average",
    "avg": "average",
    "mean": "average",
    "min": "min",
    "max": "max",
    "median": "median",
    "percentile": "percentile",
    "sum_boolean": "sum_boolean",
}
_TRANSLATED: Final = frozenset(
    {
        *(
            "name",
            "label",
            "description",
            "type",
            "type_params",
            "filter",
            "meta",
            "agg",
            "expr",
            "percentile",
            "window",
        ),
        *("percentile_type", "non_additive_dimension", "agg_time_dimension", "fill_nulls_with", "join_to_timespine"),
        *("input_metric", "input_metrics", "numerator", "denominator", "grain_to_date", "period_agg", "entity"),
        *("calculation", "base_metric", "conversion_metric", "constant_properties", "calculation_method", "expression"),
        *("sql", "model", "timestamp", "dimensions", "filters"),
    }
)
"""The fields of a metric that have a meaning here; others are kept as they are."""


def export(definitions: Iterable[MetricDefinition]) -> str:
    """Return the YAML of a semantic model for each table, and of metrics on measures."""
    listed = list(definitions)
    by_table: dict[str, list[MetricDefinition]] = {}
    for each in listed:
        if each.main_table is not None and not each.used:
            by_table.setdefault(each.main_table, []).append(each)
    known, entities = {each.name: each for each in listed}, dict[str, dict[str, str]]()
    for conversion in (each.conversion for each in listed if each.conversion is not None):
        sides = (
            (conversion.base, conversion.entity),
            (conversion.conversion, conversion.conversion_entity or conversion.entity),
        )
        for side, column in sides:
            if (other := known.get(side.metric)) is not None and other.main_table is not None:
                entities.setdefault(other.main_table, {})[_name(conversion.entity)] = column
    document = {
        "semantic_models": [_model(table, each, entities.get(table, {})) for table, each in by_table.items()],
        "metrics": [_metric(each) for each in listed],
    }
    return dump_yaml(document)


def read(text: str) -> list[MetricDefinition]:
    """Return the metrics of a document.

    Raises:
        InvalidInputError: it has no metrics, or one can't be translated; the message names it.
    """
    document = load_yaml(text, "the document")
    if not isinstance(document, Mapping) or not _has_metrics(document):
        raise InvalidInputError("the document has no list 'metrics'; it is not a metrics file of dbt")
    return _Document.of(document).definitions()


def _has_metrics(document: Mapping[str, Any]) -> bool:
    return isinstance(document.get("metrics"), list) or any(
        isinstance(each.get("metrics"), list) for each in mappings(document.get("models"))
    )


def _model(table: str, listed: list[MetricDefinition], shared: Mapping[str, str]) -> dict[str, Any]:
    name = table.rpartition(".")[2]
    usual = list({each.time_column: None for each in listed if each.time_column})
    others = [last.name for each in listed if (last := each.non_additive_dimension) is not None]
    groups = [group for each in listed if (last := each.non_additive_dimension) for group in last.window_groupings]
    dimensions: dict[str, dict[str, Any]] = {
        _name(time): {"name": _name(time), "type": "time", "expr": time, "type_params": {"time_granularity": "day"}}
        for time in [*usual, *others]
    }
    for each in listed:
        for one in each.dimensions:
            dimensions.setdefault(
                _name(one.name), {"name": _name(one.name), "type": "categorical", "expr": one.expression or one.name}
            )
    made: dict[str, Any] = {"name": name, "model": f"ref('{name}')", "primary_entity": name}
    if usual:
        made["defaults"] = {"agg_time_dimension": _name(usual[0])}
    if entities := {_name(group): group for group in groups if _name(group) not in dimensions} | dict(shared):
        made["entities"] = [{"name": entity, "type": "foreign", "expr": expr} for entity, expr in entities.items()]
    made["dimensions"] = list(dimensions.values())
    made["measures"] = [_exported_measure(each, usual) for each in listed]
    return made


def _exported_measure(definition: MetricDefinition, usual: list[str]) -> dict[str, Any]:
    expression, kind = definition.expression or "", (definition.type or "").lower()
    share: dict[str, Any] = {} if definition.percentile is None else {"percentile": definition.percentile}
    if (call := unwrapped(expression)) is not None and call[0] in _AGGREGATES:
        kind, expression = call
    elif call is not None and (found := _QUANTILE.fullmatch(f"{call[0]} {call[1]}")) is not None:
        kind, expression, share = "percentile", found[2], {"percentile": float(found[3])}
        if found[1] == "disc":
            share["use_discrete_percentile"] = True
    made: dict[str, Any] = {
        "name": f"{definition.name}_measure",
        "agg": _AGGREGATES.get(kind, "sum"),
        "expr": "1" if expression == "*" else expression,
    }
    if share:
        made["agg_params"] = share
    if definition.time_column and definition.time_column != usual[0]:
        made["agg_time_dimension"] = _name(definition.time_column)
    if (last := definition.non_additive_dimension) is not None:
        made["non_additive_dimension"] = {"name": _name(last.name), "window_choice": last.window_choice}
        if last.window_groupings:
            made["non_additive_dimension"]["window_groupings"] = [_name(each) for each in last.window_groupings]
    return made


def _name(text: str) -> str:
    return re.sub(r"\W+", "_", text.rpartition(".")[2]).strip("_").lower() or "dimension"


def _metric(definition: MetricDefinition) -> dict[str, Any]:
    kind, parameters = _typed(definition)
    kept = definition.document()
    others = kept.get("extensions", {}).pop("dbt", {})
    if not kept.get("extensions"):
        kept.pop("extensions", None)
    made: dict[str, Any] = {
        "name": definition.name,
        "label": definition.display_name or definition.name,
        "type": kind,
        "type_params": parameters,
        "meta": {**others.get("meta", {}), _OURS: kept},
    }
    if definition.description:
        made["description"] = definition.description
    if definition.filters:
        made["filter"] = " and ".join(f"({each})" for each in definition.filters)
    return {**{name: value for name, value in others.items() if name != "meta"}, **made}


def _typed(definition: MetricDefinition) -> tuple[str, dict[str, Any]]:
    """Return the type of a metric and its parameters."""
    if definition.conversion is not None:
        conversion = definition.conversion
        made: dict[str, Any] = {
            "entity": _name(conversion.entity),
            "calculation": conversion.calculation,
            "base_measure": {**_exported_input(conversion.base), "name": f"{conversion.base.metric}_measure"},
            "conversion_measure": {
                **_exported_input(conversion.conversion),
                "name": f"{conversion.conversion.metric}_measure",
            },
        }
        if conversion.window:
            made["window"] = conversion.window
        if conversion.constant_properties:
            made["constant_properties"] = [each.model_dump() for each in conversion.constant_properties]
        return "conversion", {"conversion_type_params": made}
    if definition.numerator is not None:
        upper, lower = map(_exported_input, definition.used)
        return "ratio", {"numerator": upper, "denominator": lower}
    if definition.inputs:
        return "derived", {"expr": definition.expression, "metrics": [*map(_exported_input, definition.inputs)]}
    measure: dict[str, Any] = {"name": f"{definition.name}_measure"}
    if definition.fill_nulls_with is not None:
        measure["fill_nulls_with"] = int(definition.fill_nulls_with)
    if definition.join_to_timespine:
        measure["join_to_timespine"] = True
    parameters: dict[str, Any] = {"measure": measure if len(measure) > 1 else measure["name"]}
    if definition.cumulative is None:
        return "simple", parameters
    return "cumulative", {**parameters, "cumulative_type_params": definition.cumulative.model_dump(exclude_none=True)}


def _exported_input(given: MetricInput) -> dict[str, Any]:
    made: dict[str, Any] = {"name": given.metric}
    if given.alias:
        made["alias"] = given.alias
    if given.filters:
        made["filter"] = " and ".join(f"({each})" for each in given.filters)
    return made | {
        name: value for name in ("offset_window", "offset_to_grain") if (value := getattr(given, name)) is not None
    }


@dataclass(frozen=True, slots=True)
class _Model:
    """A semantic model: its table, the expressions of its dimensions and entities by name, and its usual time."""

    table: str
    columns: Mapping[str, str]
    dimensions: tuple[Mapping[str, str], ...]
    time: str | None
    grains: Mapping[str, str] = field(default_factory=dict)
    """The granularity of the dimensions of time by name."""

    def column(self, name: str) -> str:
        """Return the expression of a dimension or an entity, as `order__status` or `status`."""
        short = name.rpartition("__")[2]
        if short == "metric_time" and self.time is not None:
            short = self.time
        return self.columns.get(short, short)

    def truncated(self, name: str, grain: str | None = None) -> str:
        """Return the expression of a dimension of time, truncated to a grain, or to its own."""
        column, grain = self.column(name), grain or self.grains.get(name.rpartition("__")[2])
        return column if grain is None or column.startswith("date_trunc(") else f"date_trunc('{grain}', {column})"

    def filters(self, given: Any) -> list[str]:
        """Return filters in SQL: `{{ Dimension('order__status') }}` becomes the column of that dimension."""
        listed = given if isinstance(given, list) else [given] if given else []
        return [_TEMPLATE.sub(self._in_filter, str(each)).strip() for each in listed]

    def _in_filter(self, found: re.Match[str]) -> str:
        grain = found[2] or found[3]
        return self.column(found[1]) if grain is None else self.truncated(found[1], grain)

    def aggregate(self, measure: Mapping[str, Any], name: str) -> dict[str, Any]:
        """Return the fields of a definition that a measure, or a simple metric with an aggregation, sets."""
        parameters = measure.get("agg_params") or {}
        kind, expression = (
            _AGGREGATES.get(str(measure.get("agg")), measure.get("agg")),
            str(measure.get("expr") or name),
        )
        share = measure.get("percentile", parameters.get("percentile"))
        if kind == "percentile":
            is_discrete = parameters.get("use_discrete_percentile") or measure.get("percentile_type") == "discrete"
            function = "quantile_disc" if is_discrete else "quantile_cont"
            expression, share = f"{function}({expression}, {share})", None
        time = measure.get("agg_time_dimension") or self.time
        made: dict[str, Any] = {
            "table": self.table,
            "type": kind,
            "expression": expression,
            "time_column": self.column(str(time)) if time else None,
            "dimensions": list(self.dimensions),
        }
        if isinstance(last := measure.get("non_additive_dimension"), Mapping):
            groups = last.get("window_groupings") or last.get("group_by") or ()
            made["non_additive_dimension"] = {
                "name": self.truncated(str(last.get("name"))),
                "window_choice": last.get("window_choice") or last.get("window_agg") or "max",
                "window_groupings": [self.column(str(each)) for each in groups],
            }
        return made


@dataclass(frozen=True, slots=True)
class _Document:
    """A document: its metrics by name, and its measures, each with its model."""

    metrics: Mapping[str, Mapping[str, Any]]
    measures: Mapping[str, tuple[_Model, Mapping[str, Any]]]
    homes: Mapping[str, _Model]
    """The models of the metrics that are defined within one."""
    used: set[str] = field(default_factory=set)
    """The measures that other metrics use as if they were metrics."""

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "_Document":
        metrics = dict[str, Mapping[str, Any]]()
        measures = dict[str, tuple[_Model, Mapping[str, Any]]]()
        homes = dict[str, _Model]()
        for each in mappings(document.get("semantic_models")):
            model = _legacy_model(each)
            measures |= {str(one.get("name")): (model, one) for one in mappings(each.get("measures"))}
        for each in mappings(document.get("models")):
            model = _newer_model(each)
            for metric in _named_metrics(each.get("metrics")):
                homes[str(metric["name"])] = model
                metrics[str(metric["name"])] = metric
        for metric in _named_metrics(document.get("metrics")):
            metrics[str(metric["name"])] = metric
        return cls(metrics, measures, homes)

    def definitions(self) -> list[MetricDefinition]:
        """Return the metrics; measures count that are metrics themselves, or that other metrics use as such."""
        made = [each for name, metric in self.metrics.items() for each in parse(self._definition(metric), _where(name))]
        wanted = {name for name, (_, measure) in self.measures.items() if measure.get("create_metric")} | self.used
        for name in sorted(wanted - self.metrics.keys()):
            model, measure = self.measures[name]
            labels = {"display_name": measure.get("label"), "description": measure.get("description")}
            made += parse({"name": name, **labels, **model.aggregate(measure, name)}, _where(name))
        return made

    def _definition(self, metric: Mapping[str, Any]) -> dict[str, Any]:
        meta = metric.get("meta") or (metric.get("config") or {}).get("meta") or {}
        ours = meta.get(_OURS)
        others = {name: value for name, value in metric.items() if name not in _TRANSLATED}
        if more := {name: value for name, value in (metric.get("meta") or {}).items() if name != _OURS}:
            others["meta"] = more
        if isinstance(ours, Mapping):
            made = dict(ours)
            if metric.get("description") is not None:
                made["description"] = metric["description"]
        else:
            made = self._translated(metric)
        return made if not others else {**made, "extensions": {**made.get("extensions", {}), "dbt": others}}

    def _translated(self, metric: Mapping[str, Any]) -> dict[str, Any]:
        name, where = str(metric["name"]), _where(str(metric["name"]))
        plain = {"name": name, "display_name": metric.get("label"), "description": metric.get("description")}
        if "calculation_method" in metric or "sql" in metric or ("model" in metric and "type_params" not in metric):
            return {**plain, **_old(metric, where)}
        kind, given = str(metric.get("type", "simple")), {**metric, **(metric.get("type_params") or {})}
        match kind:
            case "simple":
                return {**plain, **self._simple(metric, given)}
            case "cumulative":
                return {**plain, **self._cumulative(metric, given)}
            case "ratio":
                sides = {side: self._input(given.get(side), where) for side in ("numerator", "denominator")}
                filters = self._model_of(sides["numerator"]["metric"]).filters(metric.get("filter"))
                return {**plain, "type": "ratio", **sides, "filters": filters}
            case "derived":
                inputs = [self._input(each, where) for each in given.get("metrics") or given.get("input_metrics") or ()]
                if not inputs:
                    raise InvalidInputError(f"{where} is derived from no metrics; list them in 'metrics'")
                filters = self._model_of(inputs[0]["metric"]).filters(metric.get("filter"))
                return {
                    **plain,
                    "type": "derived",
                    "expression": given.get("expr"),
                    "inputs": inputs,
                    "filters": filters,
                }
            case "conversion":
                return {**plain, "type": "conversion", **self._conversion(metric, given)}
            case _:
                known = "simple, ratio, derived, cumulative and conversion"
                raise InvalidInputError(f"{where} has the type {kind!r}; only {known} metrics can be imported")

    def _simple(self, metric: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        name = str(metric["name"])
        if given.get("measure") is None and given.get("agg") is not None and name in self.homes:
            model, measure, more = self.homes[name], given, given
        else:
            model, measure = self._measure(given.get("measure"), _where(name))
            more = given["measure"] if isinstance(given["measure"], Mapping) else {}
        made = model.aggregate(measure, str(measure.get("name") or name))
        filters = [
            *model.filters(metric.get("filter")),
            *(model.filters(more.get("filter")) if more is not given else ()),
        ]
        return {**made, "filters": filters, **_missing(more)}

    def _cumulative(self, metric: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        name, where = str(metric["name"]), _where(str(metric["name"]))
        inner = given.get("cumulative_type_params") or {}
        inputs = given.get("input_metric") or inner.get("metric")
        if inputs is None:
            made = self._simple({**metric, "type": "simple"}, given)
        else:
            source = self.metrics.get(_name_of(inputs))
            if source is None or str(source.get("type", "simple")) != "simple":
                raise InvalidInputError(
                    f"{where} adds up {_name_of(inputs)!r}, which is not a simple metric of the document"
                )
            made = self._simple(source, {**source, **(source.get("type_params") or {})})
            model = self._model_of(_name_of(inputs))
            more = model.filters(inputs.get("filter")) if isinstance(inputs, Mapping) else []
            made["filters"] = [*made["filters"], *more, *model.filters(metric.get("filter"))]
        window = inner.get("window", given.get("window"))
        until = inner.get("grain_to_date", given.get("grain_to_date"))
        period = inner.get("period_agg", given.get("period_agg")) or "first"
        cumulative = {"window": _span(window) if window else None, "grain_to_date": until, "period_agg": period}
        if made["time_column"] is None:
            raise InvalidInputError(f"{where} is cumulative, and the model of {name!r} has no 'agg_time_dimension'")
        return {**made, "cumulative": {key: value for key, value in cumulative.items() if value is not None}}

    def _conversion(self, metric: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        where, parameters = _where(str(metric["name"])), given.get("conversion_type_params") or given
        base, conversion = (
            self._input(parameters.get(f"{side}_measure") or parameters.get(f"{side}_metric"), where)
            for side in ("base", "conversion")
        )
        one, other = self._model_of(base["metric"]), self._model_of(conversion["metric"])
        entity = str(parameters.get("entity"))
        made: dict[str, Any] = {"entity": one.column(entity), "base": base, "conversion": conversion}
        made |= {
            "conversion_entity": other.column(entity),
            "calculation": parameters.get("calculation") or "conversion_rate",
        }
        if parameters.get("window"):
            made["window"] = _span(parameters["window"])
        made["constant_properties"] = [
            {
                "base_property": one.column(str(each.get("base_property"))),
                "conversion_property": other.column(str(each.get("conversion_property"))),
            }
            for each in mappings(parameters.get("constant_properties"))
        ]
        return {"conversion": made, "filters": one.filters(metric.get("filter"))}

    def _input(self, given: Any, where: str) -> dict[str, Any]:
        name = _name_of(given)
        if name not in self.metrics:
            by_measure = [each for each, metric in self.metrics.items() if _is_just(metric, name)]
            if by_measure:
                name = by_measure[0]
            elif name in self.measures:
                self.used.add(name)
            else:
                raise InvalidInputError(f"{where} uses {name!r}, which is not a metric or measure of the document")
        more = given if isinstance(given, Mapping) else {}
        made: dict[str, Any] = {"metric": name, "filters": self._model_of(name).filters(more.get("filter"))}
        made |= {key: more[key] for key in ("alias", "offset_to_grain") if more.get(key)}
        if more.get("offset_window"):
            made["offset_window"] = _span(more["offset_window"])
        return made

    def _model_of(self, name: str) -> _Model:
        """Return the model whose dimensions the filters of a metric name."""
        if name in self.homes:
            return self.homes[name]
        if name in self.measures:
            return self.measures[name][0]
        metric = self.metrics.get(name) or {}
        given = metric.get("type_params") or {}
        if (measure := _name_of(given.get("measure"))) in self.measures:
            return self.measures[measure][0]
        return _Model("", {}, (), None)

    def _measure(self, given: Any, where: str) -> tuple[_Model, Mapping[str, Any]]:
        if (name := _name_of(given)) not in self.measures:
            raise InvalidInputError(f"{where} uses the measure {name!r}, which no semantic model of the document has")
        return self.measures[name]


def _where(name: str) -> str:
    return f"the metric {name!r}"


def _named_metrics(value: Any) -> Iterator[Mapping[str, Any]]:
    for each in value if isinstance(value, list) else ():
        if not isinstance(each, Mapping) or not isinstance(each.get("name"), str):
            raise InvalidInputError("a metric of the document has no 'name'")
        yield each


def _name_of(reference: Any) -> str:
    return str(reference.get("name") if isinstance(reference, Mapping) else reference)


def _is_just(metric: Mapping[str, Any], measure: str) -> bool:
    """Return whether a metric is a measure without conditions."""
    reference = (metric.get("type_params") or {}).get("measure")
    plain = not isinstance(reference, Mapping) or not reference.get("filter")
    return metric.get("type") == "simple" and _name_of(reference) == measure and plain and not metric.get("filter")


def _missing(parameters: Mapping[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if parameters.get("fill_nulls_with") is not None:
        made["fill_nulls_with"] = parameters["fill_nulls_with"]
    if parameters.get("join_to_timespine"):
        made["join_to_timespine"] = True
    return made


def _span(value: Any) -> str:
    """Return a span of time as a string: dbt writes `7 days`, and its manifest `{count: 7, granularity: day}`."""
    if isinstance(value, Mapping):
        return f"{value.get('count')} {value.get('granularity')}"
    return str(value)


def _legacy_model(document: Mapping[str, Any]) -> _Model:
    listed = [each for each in mappings(document.get("dimensions")) if "name" in each]
    columns = {
        str(each["name"]): str(each.get("expr") or each["name"])
        for each in [*mappings(document.get("entities")), *listed]
        if "name" in each
    }
    dimensions = tuple(
        {"name": str(each["name"]), **({"expression": str(each["expr"])} if each.get("expr") else {})}
        for each in listed
        if each.get("type") != "time"
    )
    usual = (document.get("defaults") or {}).get("agg_time_dimension")
    grains = {
        str(each["name"]): str(grain)
        for each in listed
        if (grain := (each.get("type_params") or {}).get("time_granularity")) is not None
    }
    return _Model(
        _table(document.get("model"), f"the semantic model {document.get('name')!r}"),
        columns,
        dimensions,
        usual,
        grains,
    )


def _newer_model(document: Mapping[str, Any]) -> _Model:
    """Return a model of the newer format, whose columns say what they are."""
    columns, dimensions, grains = dict[str, str](), list[Mapping[str, str]](), dict[str, str]()
    for column in mappings(document.get("columns")):
        for role in ("entity", "dimension"):
            role_fields = column.get(role)
            if role_fields is None:
                continue
            role_fields = role_fields if isinstance(role_fields, Mapping) else {"type": role_fields}
            name = str(role_fields.get("name") or column.get("name"))
            columns[name] = str(column.get("name"))
            if role == "dimension" and role_fields.get("type") == "time" and column.get("granularity"):
                grains[name] = str(column["granularity"])
            if role == "dimension" and role_fields.get("type") != "time":
                dimensions.append({"name": name, **({"expression": columns[name]} if name != columns[name] else {})})
    derived = document.get("derived_semantics") or {}
    for each in [*mappings(derived.get("entities")), *mappings(derived.get("dimensions"))]:
        columns[str(each.get("name"))] = str(each.get("expr") or each.get("name"))
        if each.get("type") == "time" and each.get("granularity"):
            grains[str(each.get("name"))] = str(each["granularity"])
    for each in mappings(derived.get("dimensions")):
        if each.get("type") != "time":
            dimensions.append({"name": str(each.get("name")), "expression": columns[str(each.get("name"))]})
    return _Model(str(document.get("name")), columns, tuple(dimensions), document.get("agg_time_dimension"), grains)


def _table(reference: Any, where: str) -> str:
    found = _REF.search(str(reference or ""))
    if found is None:
        raise InvalidInputError(f"{where} has no 'model' of the form ref('orders')")
    return found[1]


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
