"""Metrics in the format of Apache Ossie (formerly Open Semantic Interchange), version 0.2.0.dev0.

Source: apache/ossie, core-spec/osi-schema.json. What the format has no field for is kept in `custom_extensions`, so
that an export and an import lose nothing; and what an imported document says besides is kept with the metrics and with
their models, and exported again. Expressions are declared as ANSI SQL, because the format knows no dialect DuckDB.
"""

import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from analyst.access import AccessList, Caller
from analyst.catalog import Table
from analyst.errors import InvalidInputError
from analyst.json_values import mappings
from analyst.metrics.definition import MetricDefinition, parse
from analyst.metrics.registry import dump_yaml, load_yaml
from analyst.snapshots import Snapshot
from analyst.visible_tables import visible
from da.metrics.compilation import aggregate_of, calls_of

VERSION: Final = "0.2.0.dev0"
DEFAULT: Final = "metrics"
"""The name of the semantic model of metrics that belong to none."""

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


@dataclass(frozen=True, slots=True)
class Imported:
    """The metrics of a document, and the rest of its semantic models, by their names."""

    definitions: list[MetricDefinition] = field(default_factory=list)
    models: dict[str, dict[str, Any]] = field(default_factory=dict)


def export(
    definitions: Iterable[MetricDefinition],
    tables: Mapping[str, Table],
    models: Mapping[str, Mapping[str, Any]] | None = None,
    shows: Callable[[str], bool] = lambda _: False,
) -> str:
    """Return a document of metrics; `tables` are the tables that the reader may see, by id and by view name.

    `models` are those of imported documents. Their datasets of other tables are left out, with the relationships that
    refer to them, unless `shows` returns true for the source.
    """
    by_model: dict[str, list[MetricDefinition]] = {}
    listed = list(definitions)
    for each in listed:
        by_model.setdefault(_model_name(each), []).append(each)
    known = {each.name: each for each in listed}
    made = [
        _Export(name, members, tables, (models or {}).get(name, {}), known, shows).model()
        for name, members in (by_model or {DEFAULT: []}).items()
    ]
    return dump_yaml({"version": VERSION, "semantic_model": made})


def export_visible(
    definitions: Iterable[MetricDefinition],
    models: Mapping[str, Mapping[str, Any]],
    snapshot: Snapshot,
    access: AccessList,
    caller: Caller,
) -> str:
    """Return a document of metrics with the tables that a caller can read.

    Datasets of imported documents that are not published here are shown to those who could read a table of that name.
    """
    tables: dict[str, Table] = {}
    for table in visible(snapshot, access, caller):
        tables[table.id] = tables[table.view] = table

    def shows(source: str) -> bool:
        return source not in snapshot.by_id and access.may_read(caller, source)

    return export(definitions, tables, models, shows)


def read(text: str) -> Imported:
    """Return the metrics of a document.

    Raises:
        InvalidInputError: it is not such a document, or a metric in it can't be used.
    """
    document = load_yaml(text, "the document")
    if not isinstance(document, Mapping) or not isinstance(document.get("semantic_model"), list):
        raise InvalidInputError("the document has no list 'semantic_model'; it is not in the format of Ossie")
    found = Imported()
    for model in document["semantic_model"]:
        if not isinstance(model, Mapping):
            raise InvalidInputError("a semantic model must be a mapping")
        name = str(model.get("name") or DEFAULT)
        found.definitions.extend(_Import(name, model).definitions())
        if about := _about_model(model):
            found.models[name] = about
    return found


def _model_name(definition: MetricDefinition) -> str:
    extension = definition.extensions.get("ossie")
    name = extension.get("model") if isinstance(extension, Mapping) else None
    return name if isinstance(name, str) else DEFAULT


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _digests(definition: MetricDefinition) -> dict[str, str]:
    """Return digests of what the fields of a metric in the format depend on."""
    document = definition.document()
    context = ("notes", "synonyms", "questions")
    shown = {*context, "description", "extensions", "owners", "tags", "category", "display_name", "unit"}
    return {
        "expression": _digest({name: value for name, value in document.items() if name not in shown}),
        "description": _digest(document.get("description")),
        "ai_context": _digest([document.get(name) for name in context]),
    }


def _extensions(document: Mapping[str, Any], *, ours: bool) -> list[Any]:
    """Return the extensions of an object: ours, or those of others."""
    listed = document.get("custom_extensions")
    return [each for each in listed if (_our_data(each) is not None) is ours] if isinstance(listed, list) else []


def _our_data(extension: Any) -> Mapping[str, Any] | None:
    try:
        found = json.loads(extension["data"])[_OURS]
    except (ValueError, TypeError, KeyError):
        return None
    return found if isinstance(found, Mapping) else None


def _without_ours(document: Mapping[str, Any]) -> dict[str, Any]:
    made = {name: value for name, value in document.items() if name != "custom_extensions"}
    others = _extensions(document, ours=False)
    if others:
        made["custom_extensions"] = others
    return made


def _extension(data: Mapping[str, Any]) -> dict[str, str]:
    return {"vendor_name": _VENDOR, "data": json.dumps({_OURS: data}, ensure_ascii=False, sort_keys=True)}


def _about_model(model: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is kept of a model: all but its metrics and the datasets that are as this module wrote them."""
    written: dict[str, str] = {}
    for each in _extensions(model, ours=True):
        written |= (_our_data(each) or {}).get("datasets") or {}
    made = {name: value for name, value in _without_ours(model).items() if name != "metrics"}
    made["datasets"] = [
        each
        for each in mappings(model.get("datasets"))
        if written.get(str(each.get("name"))) != _digest(each) and each != _NO_DATASET
    ]
    is_plain = not made["datasets"] and made.keys() <= {"name", "datasets"}
    return {} if is_plain else made


def _named(definition: MetricDefinition, known: Mapping[str, MetricDefinition]) -> Iterator[str]:
    """Yield the tables that a definition names, also by the metrics that it computes with."""
    yield from filter(None, (definition.table, *definition.tables))
    yield from (join.table for join in definition.joins)
    for each in definition.used:
        if (other := known.get(each.metric)) is not None and not other.used:
            yield from _named(other, known)


def _table_of(source: Any, tables: Mapping[str, Table]) -> Table | None:
    """Return the table of a dataset's source, `db.schema.table`."""
    return tables.get(_source({"source": source}))


@dataclass(frozen=True)
class _Export:
    """A semantic model as it is written: its metrics, and what is known of it from an import."""

    name: str
    definitions: list[MetricDefinition]
    tables: Mapping[str, Table]
    about: Mapping[str, Any]
    known: Mapping[str, MetricDefinition]
    shows: Callable[[str], bool]

    def model(self) -> dict[str, Any]:
        used = {t.id: t for each in self.definitions for n in _named(each, self.known) if (t := self.tables.get(n))}
        imported = [
            each
            for each in mappings(self.about.get("datasets"))
            if _table_of(each.get("source"), self.tables) is not None or self.shows(_source(each))
        ]
        names = {t.id: str(each.get("name")) for each in imported if (t := _table_of(each.get("source"), self.tables))}
        taken = {str(each.get("name")) for each in imported}
        names |= _dataset_names([table for table in used.values() if table.id not in names], taken)
        generated = [_dataset(t, names[t.id]) for t in used.values() if names[t.id] not in taken]
        made: dict[str, Any] = {"name": self.name, **{n: v for n, v in self.about.items() if n != "metrics"}}
        made["datasets"] = [*imported, *generated] or [_NO_DATASET]
        shown = {each["name"] for each in made["datasets"]}
        if "relationships" in made:
            made["relationships"] = [
                each
                for each in mappings(made["relationships"])
                if {str(each.get("from")), str(each.get("to"))} <= shown
            ]
        made["metrics"] = [self._metric(each, names) for each in self.definitions]
        if generated:
            ours = _extension({"datasets": {each["name"]: _digest(each) for each in generated}})
            made["custom_extensions"] = [*(self.about.get("custom_extensions") or ()), ours]
        return made

    def _metric(self, definition: MetricDefinition, names: Mapping[str, str]) -> dict[str, Any]:
        extension = definition.extensions.get("ossie")
        kept = extension if isinstance(extension, Mapping) else {}
        found = kept.get("metric")
        base: Mapping[str, Any] = found if isinstance(found, Mapping) else {}
        digests, before = _digests(definition), kept.get("as")
        made: dict[str, Any] = {**base, "name": definition.name}
        for name, value in self._fields(definition, names).items():
            if name in base and isinstance(before, Mapping) and before.get(name) == digests[name]:
                continue
            if value is None:
                made.pop(name, None)
            else:
                made[name] = value
        others = {name: value for name, value in definition.extensions.items() if name != "ossie"}
        document = {name: value for name, value in definition.document().items() if name != "extensions"}
        ours = {
            "definition": {**document, "extensions": others} if others else document,
            "dataset": names.get(table.id) if (table := self.tables.get(definition.main_table or "")) else None,
            "exported": {name: _digest(made.get(name)) for name in digests},
            "is_plain": not kept,
        }
        made["custom_extensions"] = [*(base.get("custom_extensions") or ()), _extension(ours)]
        return made

    def _fields(self, definition: MetricDefinition, names: Mapping[str, str]) -> dict[str, Any]:
        """Return the fields of a metric that this module writes; null if it has none."""
        context: dict[str, Any] = {}
        if definition.notes:
            context["instructions"] = "\n".join(definition.notes)
        if definition.synonyms:
            context["synonyms"] = list(definition.synonyms)
        if definition.questions:
            context["examples"] = list(definition.questions)
        return {
            "expression": _expression(self._aggregate(definition, names)),
            "description": definition.description,
            "ai_context": context or None,
        }

    def _aggregate(
        self, definition: MetricDefinition, names: Mapping[str, str], conditions: tuple[str, ...] = (), depth: int = 0
    ) -> str:
        """Return a metric as an aggregate of fields of datasets, as far as one expression can say it."""
        if not definition.used:
            sql = self._qualified(definition, names)
            aggregate = aggregate_of(sql(definition.expression or ""), definition.type, definition.percentile)
            return _filtered(aggregate, [sql(each) for each in (*definition.filters, *conditions)])
        formula = definition.formula or " / ".join(each.name for each in definition.used)
        parts = dict[str, str]()
        for each in definition.used:
            if (other := self.known.get(each.metric)) is not None and depth < _DEEPEST:
                more = (*definition.filters, *each.filters, *conditions)
                parts[each.name] = f"({self._aggregate(other, names, more, depth + 1)})"
        return _IDENTIFIER.sub(lambda found: parts.get(found[0], found[0]), formula)

    def _qualified(self, definition: MetricDefinition, names: Mapping[str, str]) -> Callable[[str], str]:
        """Return a function that qualifies the columns of the main table with the name of its dataset."""
        table = self.tables.get(definition.main_table or "")
        if table is None or table.id not in names:
            return lambda text: text
        prefix = names[table.id]
        columns = {column.name.lower() for column in table.columns}

        def qualify(found: re.Match[str]) -> str:
            quoted, before, name, after = found.groups()
            if quoted is not None:
                return quoted
            if before == f"{table.name}." and prefix != table.name:
                return f"{prefix}.{name}{after}"
            return found[0] if before or after or name.lower() not in columns else f"{prefix}.{name}"

        return lambda text: _QUALIFIABLE.sub(qualify, text)


_DEEPEST: Final = 10
_NO_DATASET: Final = {"name": "none", "source": "none"}
_IDENTIFIER: Final = re.compile(r"'(?:[^']|'')*'|\b[A-Za-z_]\w*\b")
_QUALIFIABLE: Final = re.compile(r"""('(?:[^']|'')*'|"(?:[^"]|"")*")|(\b\w+\.)?\b([A-Za-z_]\w*)\b(\s*[(.])?""")


def _filtered(aggregate: str, conditions: Sequence[str]) -> str:
    """Return an aggregate expression of the rows for which conditions hold."""
    if not conditions:
        return aggregate
    condition, past, made = " AND ".join(f"({each})" for each in conditions), 0, ""
    for _, end, _, _ in calls_of(aggregate):
        if re.match(r"\s*(filter|over)\b", aggregate[end:], re.IGNORECASE) is None:
            made += f"{aggregate[past:end]} FILTER (WHERE {condition})"
            past = end
    return made + aggregate[past:]


def _dataset_names(tables: Collection[Table], taken: Collection[str]) -> dict[str, str]:
    """Return a name for each table: its own, or with its source where two share one."""
    names = [*taken, *(table.name for table in tables)]
    return {t.id: t.name if names.count(t.name) == 1 else f"{t.source}_{t.name}" for t in tables}


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


def _expression(sql: str) -> dict[str, Any]:
    return {"dialects": [{"dialect": "ANSI_SQL", "expression": sql}]}


@dataclass(frozen=True, slots=True)
class _Import:
    """A semantic model as it is read."""

    name: str
    model: Mapping[str, Any]

    def definitions(self) -> Iterator[MetricDefinition]:
        for metric in self.model.get("metrics") or ():
            if not isinstance(metric, Mapping) or not isinstance(metric.get("name"), str):
                raise InvalidInputError("a metric of the document has no 'name'")
            where = f"the metric {metric['name']!r}"
            document, is_plain = self._document(metric, where)
            for each in parse(document, where):
                if is_plain and self.name == DEFAULT:
                    yield each
                    continue
                kept: dict[str, Any] = {} if self.name == DEFAULT else {"model": self.name}
                if not is_plain:
                    kept |= {"metric": _without_ours(metric), "as": _digests(each)}
                yield each.model_copy(update={"extensions": {**each.extensions, "ossie": kept}})

    def _document(self, metric: Mapping[str, Any], where: str) -> tuple[dict[str, Any], bool]:
        """Return the definition of a metric, and whether the document says nothing else of it."""
        ours = next(map(_our_data, _extensions(metric, ours=True)), None)
        if ours is None or not isinstance(ours.get("definition"), dict):
            return self._foreign(metric, where), False
        document = {**ours["definition"], "name": metric["name"]}
        exported = ours.get("exported")
        if not isinstance(exported, Mapping):  # of an older version, which wrote the expression of the definition
            exported = {"expression": _digest(_expression(str(document.get("expression"))))}
            exported |= {name: _digest(metric.get(name)) for name in ("description", "ai_context")}
        changed = {name for name, digest in exported.items() if _digest(metric.get(name)) != digest}
        if "expression" in changed:
            document = {name: value for name, value in document.items() if name not in _COMPUTED}
            document |= self._computed(metric, where, document.get("table"))
        if "description" in changed:
            document["description"] = metric.get("description")
        if "ai_context" in changed:
            document |= _context(metric)
        unknown = _without_ours(metric).keys() - {"name", "expression", "description", "ai_context"}
        return document, not changed and not unknown and bool(ours.get("is_plain", True))

    def _foreign(self, metric: Mapping[str, Any], where: str) -> dict[str, Any]:
        made = {"name": metric["name"], "description": metric.get("description"), **_context(metric)}
        return {**made, **self._computed(metric, where, None)}

    def _computed(self, metric: Mapping[str, Any], where: str, table: str | None) -> dict[str, Any]:
        """Return table, joins, expression and dimensions of a metric, from the datasets that its expression names."""
        expression = _sql(metric, where)
        datasets = {str(each.get("name")): each for each in mappings(self.model.get("datasets"))}
        used = [name for name in datasets if re.search(rf"\b{re.escape(name)}\.", expression)]
        if not used and len(datasets) == 1:
            used = list(datasets)
        if not used:
            if table is not None:
                return {"table": table, "expression": expression}
            raise InvalidInputError(f"{where} names no dataset of its model; qualify its columns with a dataset's name")
        joins = list(self._joins(used, where))
        main = next(name for name in used if name not in {each[0] for each in joins})
        alias = {name: _source(datasets[name]).rpartition(".")[2] for name in used}
        made: dict[str, Any] = {
            "table": _source(datasets[main]),
            "expression": _substituted(expression, datasets, alias),
        }
        if joins:
            made["joins"] = [
                {"table": _source(datasets[name]), "on": _substituted(on, datasets, alias)} for name, on in joins
            ]
        prefix = f"{alias[main]}." if joins else ""
        return made | _dimensions(datasets[main], prefix)

    def _joins(self, used: list[str], where: str) -> Iterator[tuple[str, str]]:
        """Yield the datasets that are joined, with the condition; relationships lead from many rows to one."""
        relations = [
            each
            for each in mappings(self.model.get("relationships"))
            if {str(each.get("from")), str(each.get("to"))} <= set(used)
        ]
        targets = {str(each.get("to")) for each in relations}
        reached = {name for name in used if name not in targets}
        if len(reached) > 1 or (not reached and len(used) > 1):
            raise InvalidInputError(f"{where} uses datasets that no relationship connects: {', '.join(used)}")
        while len(reached) < len(used):
            found = next((r for r in relations if str(r["from"]) in reached and str(r["to"]) not in reached), None)
            if found is None:
                raise InvalidInputError(f"{where} uses datasets that no relationship connects: {', '.join(used)}")
            pairs = zip(found.get("from_columns") or (), found.get("to_columns") or (), strict=False)
            yield str(found["to"]), " and ".join(f"{found['from']}.{one} = {found['to']}.{two}" for one, two in pairs)
            reached.add(str(found["to"]))


_COMPUTED: Final = frozenset(
    {"expression", "type", "filters", "inputs", "numerator", "denominator", "conversion", "cumulative", "percentile"}
    | {"non_additive_dimension", "tables", "joins"}
)
"""Fields that the expression of another tool replaces."""


def _source(dataset: Mapping[str, Any]) -> str:
    return ".".join(str(dataset.get("source")).replace('"', "").split(".")[-2:])


def _substituted(text: str, datasets: Mapping[str, Mapping[str, Any]], alias: Mapping[str, str]) -> str:
    """Return SQL with the columns of tables in place of the fields of datasets."""

    def column(found: re.Match[str]) -> str:
        quoted, before, name, after = found.groups()
        dataset = (before or "")[:-1]
        if quoted is not None or dataset not in alias:
            return found[0]
        column_field = next(
            (each for each in mappings(datasets[dataset].get("fields")) if each.get("name") == name), None
        )
        sql = name if column_field is None else _sql(column_field, f"the field {name!r}")
        term = f"{alias[dataset]}.{sql}" if re.fullmatch(r"\w+", sql) else f"({sql})"
        return term + (after or "")

    return _QUALIFIABLE.sub(column, text)


def _dimensions(dataset: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Return the dimensions that the fields of a dataset declare, and its time if there is one."""
    declared = [each for each in mappings(dataset.get("fields")) if isinstance(each.get("dimension"), Mapping)]
    times = [each for each in declared if each["dimension"].get("is_time")]
    listed = []
    for each in declared:
        if each not in times:
            sql = _sql(each, f"the field {each.get('name')!r}")
            term = f"{prefix}{sql}" if re.fullmatch(r"\w+", sql) else sql
            listed.append({"name": str(each.get("name")), **({"expression": term} if term != each.get("name") else {})})
    made: dict[str, Any] = {"dimensions": listed} if listed else {}
    if len(times) == 1:
        sql = _sql(times[0], f"the field {times[0].get('name')!r}")
        made["time_column"] = f"{prefix}{sql}" if re.fullmatch(r"\w+", sql) else sql
    return made


def _context(metric: Mapping[str, Any]) -> dict[str, Any]:
    context = metric.get("ai_context")
    context = context if isinstance(context, Mapping) else {"instructions": context} if context else {}
    notes = str(context["instructions"]).splitlines() if context.get("instructions") else []
    return {
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
