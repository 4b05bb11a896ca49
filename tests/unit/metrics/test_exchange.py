"""A round trip of metrics through Ossie or dbt keeps every field, and so does one of a document of another tool."""

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from analyst.catalog import Column, Table
from analyst.errors import InvalidInputError
from analyst.metrics import dbt, ossie
from analyst.metrics.definition import MetricDefinition, parse
from analyst.metrics.registry import dump_yaml, load_yaml

ORDERS = Table(
    source="shop",
    name="orders",
    view="orders",
    hash="x",
    columns=(Column(name="at", type="TIMESTAMP"), Column(name="total", type="DECIMAL(8,2)")),
)
CUSTOMERS = Table(
    source="shop", name="customers", view="customers", hash="y", columns=(Column(name="id", type="BIGINT"),)
)
TABLES = {"orders": ORDERS, "shop.orders": ORDERS, "shop.customers": CUSTOMERS}

name = st.from_regex(r"[a-z][a-z0-9_]{0,10}", fullmatch=True)
line = st.text(min_size=1, max_size=12).map(str.strip).filter(bool)
text = st.text(max_size=20).map(str.strip)
lines = st.lists(line, max_size=3).map(tuple)
scalar = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8)
)
anything = st.recursive(
    scalar, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
)
unit = st.sampled_from(["hour", "day", "month", "year"])
span = st.builds("{} {}s".format, st.integers(1, 90), unit)


def optional(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


inputs = st.fixed_dictionaries(
    {"metric": name}, optional={"filters": lines, "offset_window": span, "offset_to_grain": unit}
)
of_a_table = st.fixed_dictionaries(
    {"table": st.sampled_from(["orders", "shop.orders", "gone"]), "expression": line},
    optional={
        "type": st.sampled_from(["sum", "count", "percentile", "other"]),
        "time_column": line,
        "joins": st.lists(st.fixed_dictionaries({"table": line, "on": line}, optional={"alias": name}), max_size=2),
        "non_additive_dimension": st.fixed_dictionaries(
            {"name": line}, optional={"window_choice": st.sampled_from(["min", "max"]), "window_groupings": lines}
        ),
        "percentile": st.floats(0, 1),
        "sql": line,
        "sql_variants": st.dictionaries(name, line, max_size=2),
    },
)
cumulative = st.builds(
    lambda table, added: {**table, "time_column": "at", "cumulative": added},
    st.fixed_dictionaries({"table": st.just("orders"), "expression": line}),
    optional(window=span) | optional(grain_to_date=unit) | optional(period_agg=st.sampled_from(["first", "average"])),
)
ratio = st.builds(lambda one, two: {"numerator": one, "denominator": {**two, "alias": "lower"}}, inputs, inputs)
derived = st.builds(
    lambda listed, sql: {"inputs": [{**each, "alias": f"a{i}"} for i, each in enumerate(listed)], "expression": sql},
    st.lists(inputs, min_size=1, max_size=3),
    line,
)
conversion = st.builds(
    lambda fields: {"conversion": fields},
    st.fixed_dictionaries(
        {"entity": line, "base": st.just({"metric": "visits"}), "conversion": st.just({"metric": "buys"})},
        optional={
            "window": span,
            "conversion_entity": line,
            "calculation": st.just("conversions"),
            "constant_properties": st.lists(
                st.fixed_dictionaries({"base_property": line, "conversion_property": line}), max_size=2
            ),
        },
    ),
)
about = optional(
    display_name=line,
    category=line,
    unit=line,
    grain=line,
    description=text,
    dimensions=st.lists(
        st.fixed_dictionaries(
            {"name": line}, optional={"expression": line, "description": text, "type": st.just("time")}
        ),
        max_size=3,
    ),
    filters=lines,
    notes=lines,
    synonyms=lines,
    questions=lines,
    owners=lines,
    tags=lines,
    fill_nulls_with=st.floats(-1e9, 1e9) | st.integers(-9, 9),
    join_to_timespine=st.booleans(),
    validation=text | st.dictionaries(st.text(max_size=5), scalar, max_size=2),
    cost_allocation_guide=st.dictionaries(st.text(max_size=5), anything, max_size=2),
    extensions=st.dictionaries(name.filter(lambda each: each not in {"ossie", "dbt"}), anything, max_size=2),
)
definition = st.builds(
    lambda id_, kind, fields: MetricDefinition.model_validate({"name": id_, **kind, **fields}),
    name,
    of_a_table | cumulative | ratio | derived | conversion,
    about,
)
definitions = st.lists(definition, max_size=4, unique_by=lambda each: each.name)


@given(definitions)
def test_a_definition_survives_a_round_trip_through_yaml(made: list[MetricDefinition]) -> None:
    assert list(parse(load_yaml(dump_yaml([each.document() for each in made]), ""), "")) == made


@given(definitions)
def test_a_round_trip_through_ossie_keeps_every_field(made: list[MetricDefinition]) -> None:
    document = ossie.export(made, TABLES)
    found = ossie.read(document)
    assert (found.definitions, found.models) == (made, {})
    assert ossie.export(found.definitions, TABLES) == document


@given(definitions)
def test_a_round_trip_through_dbt_keeps_every_field(made: list[MetricDefinition]) -> None:
    document = dbt.export(made)
    if made:
        assert dbt.read(document) == made
        assert dbt.export(dbt.read(document)) == document


def expression(sql: str) -> dict[str, Any]:
    return {"dialects": [{"dialect": "ANSI_SQL", "expression": sql}]}


extension = st.builds(
    lambda vendor, data: {"vendor_name": vendor, "data": data},
    st.sampled_from(["COMMON", "SNOWFLAKE"]),
    st.sampled_from(['{"a": 1}', "no JSON", "[]"]),
)
context = line | optional(
    instructions=line, synonyms=st.lists(line, max_size=2), examples=st.lists(line, max_size=2), other=anything
)
more = optional(
    description=line,
    ai_context=context,
    custom_extensions=st.lists(extension, max_size=2),
    label=line,
    unknown=anything,
)
metric = st.builds(
    lambda id_, sql, fields: {"name": id_, "expression": sql, **fields},
    name,
    st.sampled_from(["SUM(o.net)", "COUNT(*) / COUNT(o.total)", "MAX(o.total) - MIN(c.id)"]).map(expression)
    | st.just(
        {"dialects": [{"dialect": "MDX", "expression": "x"}, {"dialect": "BIGQUERY", "expression": "SUM(o.total)"}]}
    ),
    optional(
        datatype=st.just("Decimal"),
        description=line,
        ai_context=context,
        custom_extensions=st.lists(extension, max_size=2),
        unknown=anything,
    ),
)
fields = st.just(
    [{"name": "net", "expression": expression("total - 1"), "label": "x", "dimension": {"is_time": False}}]
)
model = st.builds(
    lambda id_, fields, orders, customers, relation, metrics: {
        "name": id_,
        **fields,
        "datasets": [{"name": "o", "source": "lake.shop.orders", **orders}, {"name": "c", "source": "shop.customers", **customers}],
        "relationships": [
            {"name": "r", "from": "o", "to": "c", "from_columns": ["at"], "to_columns": ["id"], **relation}
        ],
        "metrics": metrics,
    },
    name,
    more,
    optional(fields=fields, primary_key=st.just(["at"]), unique_keys=st.just([["total", "at"]]), description=line),
    more,
    more,
    st.lists(metric, max_size=3, unique_by=lambda each: each["name"]),
)  # fmt: skip


def without_ours(document: Any) -> Any:
    """Return a part of a document without the extensions that this module adds."""
    if isinstance(document, list):
        return [without_ours(each) for each in document]
    if not isinstance(document, dict):
        return document
    made = {key: without_ours(value) for key, value in document.items() if key != "custom_extensions"}
    others = [e for e in document.get("custom_extensions", []) if "ai_data_analyst" not in str(e.get("data"))]
    return {**made, "custom_extensions": others} if others else made


@given(model)
def test_a_document_of_another_tool_is_exported_unchanged(model: dict[str, Any]) -> None:
    found = ossie.read(dump_yaml({"version": ossie.VERSION, "semantic_model": [model]}))
    document = ossie.export(found.definitions, TABLES, found.models)
    (made,) = yaml.safe_load(document)["semantic_model"]
    if not model["metrics"]:  # a model without metrics is kept, and exported with its first metric
        assert without_ours(found.models[model["name"]]) == {
            k: v for k, v in without_ours(model).items() if k != "metrics"
        }
        return
    assert without_ours(made) == without_ours(model)
    again = ossie.read(document)
    assert (again.definitions, ossie.export(again.definitions, TABLES, again.models)) == (found.definitions, document)


FOREIGN = {
    "name": "shop",
    "datasets": [
        {
            "name": "o",
            "source": "lake.shop.orders",
            "fields": [
                {"name": "net", "expression": expression("total - 1")},
                {"name": "ordered", "expression": expression("at"), "dimension": {"is_time": True}},
                {"name": "total", "expression": expression("total"), "dimension": {}},
            ],
        },
        {"name": "c", "source": "shop.customers"},
        {"name": "secret", "source": "hr.pay"},
    ],
    "relationships": [
        {"name": "r", "from": "o", "to": "c", "from_columns": ["customer"], "to_columns": ["id"]},
        {"name": "s", "from": "o", "to": "secret", "from_columns": ["x"], "to_columns": ["y"]},
    ],
    "metrics": [{"name": "net", "expression": expression("SUM(o.net) / COUNT(c.id)")}],
}


def test_fields_and_relationships_become_columns_joins_and_dimensions() -> None:
    (definition,) = ossie.read(yaml.safe_dump({"semantic_model": [FOREIGN]})).definitions
    assert definition.model_copy(update={"extensions": {}}).document() == {
        "name": "net",
        "table": "shop.orders",
        "expression": "SUM((total - 1)) / COUNT(customers.id)",
        "joins": [{"table": "shop.customers", "on": "orders.customer = customers.id"}],
        "time_column": "orders.at",
        "dimensions": [{"name": "total", "expression": "orders.total"}],
    }


def test_a_dataset_that_the_reader_may_not_see_is_not_exported() -> None:
    found = ossie.read(yaml.safe_dump({"semantic_model": [FOREIGN]}))
    hidden = ossie.export(found.definitions, TABLES, found.models)
    assert ("secret" in hidden, "hr.pay" in hidden) == (False, False)
    assert "hr.pay" in ossie.export(found.definitions, TABLES, found.models, lambda source: source == "hr.pay")


def test_changes_by_another_tool_are_imported() -> None:
    made = next(
        parse({"name": "a", "table": "orders", "expression": "total", "type": "sum", "unit": "USD", "notes": ["x"]}, "")
    )
    document = yaml.safe_load(ossie.export([made], TABLES))
    (metric,) = document["semantic_model"][0]["metrics"]
    assert metric["expression"] == expression("sum(orders.total)")
    metric["expression"], metric["description"], metric["ai_context"] = (
        expression("max(orders.total)"),
        "new",
        {"synonyms": ["b"]},
    )
    (found,) = ossie.read(yaml.safe_dump(document)).definitions
    assert (found.expression, found.type, found.description, found.synonyms, found.notes, found.unit) == (
        "max(orders.total)", None, "new", ("b",), (), "USD",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "sql"),
    [
        ({"expression": "total", "type": "sum", "filters": ["total > 0"]}, "sum(orders.total) FILTER (WHERE (orders.total > 0))"),
        ({"expression": "sum(total) / count(*)", "filters": ["at > 'total'"]},
         "sum(orders.total) FILTER (WHERE (orders.at > 'total')) / count(*) FILTER (WHERE (orders.at > 'total'))"),
        ({"expression": "max(orders.total)"}, "max(orders.total)"),
        ({"expression": "total", "type": "percentile", "percentile": 0.9}, "quantile_cont(orders.total, 0.9)"),
    ],
)  # fmt: skip
def test_the_expression_of_an_export_is_an_aggregate_of_fields(fields: dict[str, Any], sql: str) -> None:
    made = next(parse({"name": "a", "table": "orders", **fields}, ""))
    share = next(
        parse(
            {"name": "b", "numerator": {"metric": "a", "filters": ["total > 9"], "alias": "c"}, "denominator": "a"}, ""
        )
    )
    one, two = yaml.safe_load(ossie.export([made, share], TABLES))["semantic_model"][0]["metrics"]
    assert one["expression"] == expression(sql)
    assert two["expression"]["dialects"][0]["expression"].endswith(f" / nullif(({sql}), 0)")


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ([{"name": "a", "expression": expression("sum(z.x)")}], "names no dataset of its model"),
        ([{"name": "a", "expression": expression("sum(o.x + secret.y + c.z)")}], None),
        ([{"name": "a", "expression": expression("sum(c.x + secret.y)")}], "that no relationship connects"),
    ],
)
def test_import_errors_are_explained(metrics: list[dict[str, Any]], message: str | None) -> None:
    document = yaml.safe_dump({"semantic_model": [{**FOREIGN, "metrics": metrics}]})
    if message is None:
        assert len(ossie.read(document).definitions[0].joins) == 2
        return
    with pytest.raises(InvalidInputError, match=message):
        ossie.read(document)
