"""Metrics in the format of Apache Ossie (formerly Open Semantic Interchange), version 0.2.0.dev0.

Source: apache/ossie, core-spec/osi-schema.json. What the format has no field for is kept in `custom_extensions`, so that
an export and an import lose nothing. Expressions are declared as ANSI SQL, because the format knows no dialect DuckDB.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import yaml

from analyst.catalog import Table
from analyst.errors import InvalidInputError
from analyst.metrics.definition import MetricDefinition, parse
from analyst.metrics.registry import load_yaml

VERSION: Final = "0.2.0.dev0"
_VENDOR: Final = "COMMON"
_OURS: Final = "ai_data_analyst"
_TYPES: Final = {
    **dict.fromkeys(("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT"), "Integer"),
    **dict.fromkeys(("FLOAT", "DOUBLE"), "Float"),
    "VARCHAR": "String",
    "BOOLEAN": "Boolean",
    "DATE": "Date",
    "TIMESTAMP": "DateTime",
    "TIMESTAMP WITH TIME ZONE": "DateTimeTz",
    "TIME": "Time",
}
_TEMPORAL: Final = frozenset({"Date", "Time", "DateTime", "DateTimeTz"})


def export(definitions: Iterable[MetricDefinition], tables: Mapping[str, Table], name: str = "metrics") -> str:
    """Return a document with one semantic model; `tables` are the tables that metrics name, by that name."""
    listed = list(definitions)
    used = {table.id: table for each in listed for name_ in _named(each) if (table := tables.get(name_)) is not None}
    names = _dataset_names(used.values())
    model: dict[str, Any] = {
        "name": name,
        "datasets": [_dataset(table, names[table.id]) for table in used.values()]
        or [{"name": "none", "source": "none"}],
        "metrics": [_metric(each, tables, names) for each in listed],
    }
    document = {"version": VERSION, "semantic_model": [model]}
    text: str = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)
    return text


def read(text: str) -> list[MetricDefinition]:
    """Return the metrics of a document.

    Raises:
        InvalidInputError: it is not such a document, or a metric in it can't be used.
    """
    document = load_yaml(text, "the document")
    if not isinstance(document, Mapping) or not isinstance(document.get("semantic_model"), list):
        raise InvalidInputError("the document has no list 'semantic_model'; it is not in the format of Ossie")
    found: list[MetricDefinition] = []
    for model in document["semantic_model"]:
        if not isinstance(model, Mapping):
            raise InvalidInputError("a semantic model must be a mapping")
        found += _of_model(model)
    return found


def _named(definition: MetricDefinition) -> Iterator[str]:
    yield definition.main_table
    yield from definition.tables
    yield from (join.table for join in definition.joins)


def _dataset_names(tables: Iterable[Table]) -> dict[str, str]:
    """Return a name for each table: its own, or with its source where two share one."""
    listed = list(tables)
    names = [table.name for table in listed]
    return {t.id: t.name if names.count(t.name) == 1 else f"{t.source}_{t.name}" for t in listed}


def _dataset(table: Table, name: str) -> dict[str, Any]:
    made: dict[str, Any] = {"name": name, "source": table.id}
    if table.description:
        made["description"] = table.description
    made["fields"] = [_field(column.name, column.type, column.description) for column in table.columns]
    return made


def _field(name: str, kind: str, description: str | None) -> dict[str, Any]:
    datatype = "Decimal" if kind.startswith("DECIMAL(") and not kind.endswith("]") else _TYPES.get(kind, "Opaque")
    made: dict[str, Any] = {"name": name, "expression": _expression(name), "datatype": datatype}
    if datatype in _TEMPORAL:
        made["dimension"] = {"is_time": True}
    if description:
        made["description"] = description
    return made


def _metric(definition: MetricDefinition, tables: Mapping[str, Table], names: Mapping[str, str]) -> dict[str, Any]:
    made: dict[str, Any] = {"name": definition.name, "expression": _expression(definition.expression)}
    if definition.description:
        made["description"] = definition.description
    context: dict[str, Any] = {}
    if definition.notes:
        context["instructions"] = "\n".join(definition.notes)
    if definition.synonyms:
        context["synonyms"] = list(definition.synonyms)
    if definition.questions:
        context["examples"] = list(definition.questions)
    if context:
        made["ai_context"] = context
    table = tables.get(definition.main_table)
    ours = {"definition": definition.document(), "dataset": names.get(table.id) if table else None}
    data = json.dumps({_OURS: ours}, ensure_ascii=False, sort_keys=True)
    made["custom_extensions"] = [{"vendor_name": _VENDOR, "data": data}]
    return made


def _expression(sql: str) -> dict[str, Any]:
    return {"dialects": [{"dialect": "ANSI_SQL", "expression": sql}]}


def _of_model(model: Mapping[str, Any]) -> Iterator[MetricDefinition]:
    sources = {
        str(each.get("name")): str(each.get("source"))
        for each in model.get("datasets") or ()
        if isinstance(each, Mapping)
    }
    for metric in model.get("metrics") or ():
        if not isinstance(metric, Mapping) or not isinstance(metric.get("name"), str):
            raise InvalidInputError("a metric of the document has no 'name'")
        where = f"the metric {metric['name']!r}"
        document = _kept(metric) or _foreign(metric, sources, where)
        yield from parse(document, where)


def _kept(metric: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the definition that our own export keeps, with what another tool may have changed in the format's fields."""
    for each in metric.get("custom_extensions") or ():
        try:
            found = json.loads(each["data"])[_OURS]["definition"]
        except (ValueError, TypeError, KeyError):
            continue
        if isinstance(found, dict):
            changed = {"name": metric["name"], "expression": _sql(metric, f"the metric {metric['name']!r}")}
            if metric.get("description") is not None:
                changed["description"] = metric["description"]
            return {**found, **changed}
    return None


def _foreign(metric: Mapping[str, Any], sources: Mapping[str, str], where: str) -> dict[str, Any]:
    expression = _sql(metric, where)
    used = [name for name in sources if f"{name}." in expression] or (list(sources) if len(sources) == 1 else [])
    if not used:
        raise InvalidInputError(f"{where} names no dataset of its model; qualify its columns with a dataset's name")
    context = metric.get("ai_context")
    context = context if isinstance(context, Mapping) else {"instructions": context} if context else {}
    notes = str(context["instructions"]).splitlines() if context.get("instructions") else []
    table = ".".join(sources[used[0]].replace('"', "").split(".")[-2:])
    return {
        "name": metric["name"],
        "expression": expression.replace(f"{used[0]}.", f"{table.rpartition('.')[2]}."),
        "table": table,
        "description": metric.get("description"),
        "notes": [note for note in notes if note.strip()],
        "synonyms": _texts(context.get("synonyms")),
        "questions": _texts(context.get("examples")),
    }


def _texts(value: Any) -> list[str]:
    return [str(each) for each in value if each] if isinstance(value, Sequence) and not isinstance(value, str) else []


def _sql(metric: Mapping[str, Any], where: str) -> str:
    try:
        dialects = {each["dialect"]: each["expression"] for each in metric["expression"]["dialects"]}
    except (TypeError, KeyError):
        raise InvalidInputError(f"{where} has no 'expression.dialects'") from None
    for dialect in ("ANSI_SQL", "DATABRICKS", "SNOWFLAKE", "BIGQUERY"):
        if isinstance(dialects.get(dialect), str):
            return str(dialects[dialect])
    raise InvalidInputError(f"{where} has no expression in SQL, only in {', '.join(map(str, dialects))}")
