"""Metrics: from files and from the registry, checked at every rebuild, shown to those who may read their tables."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from analyst.catalog import Column, Table
from analyst.context import Process
from analyst.metrics import dbt, ossie
from analyst.metrics.definition import MetricDefinition, MetricInput
from analyst.store import Store
from tests.integration.world import Begun, OneByOne, World
from tests.processes import ROOT

REVENUE: dict[str, Any] = {
    "name": "revenue",
    "table": "orders",
    "expression": "total",
    "type": "sum",
    "time_column": "at",
    "dimensions": ["channel"],
}


@pytest.fixture
def world(begun: Begun, tmp_path: Path, at_once: None) -> World:  # noqa: ARG001
    """Two published tables, and an empty folder of metrics."""

    def process(environ: Mapping[str, str], store: Store) -> Process:
        return Process({**environ, "METRICS_DIR": str(tmp_path / "metrics"), "ACCESS_MAX_AGE": "0"}, store=store)

    (tmp_path / "metrics").mkdir()
    made = begun.filled(stocked)[0].world(tmp_path, process=process)
    made.process._made["background"] = OneByOne()
    return made


def stocked(world: World, folder: Path) -> None:
    (folder / "sources/shop").mkdir()
    (folder / "sources/shop/orders.csv").write_text("id,total,channel,at\n1,1.5,web,2024-01-01\n2,2.5,app,2024-02-01\n")
    (folder / "sources/shop/pay.csv").write_text("id,salary\n1,1000\n")
    world.ask("POST", "/api/admin/sources/shop", {"type": "csv", "config": {"path": "shop"}})


def extract(world: World) -> None:
    world.ask("POST", "/extract/csv", {"source": "shop"})
    background = world.process.background
    assert isinstance(background, OneByOne)
    background.wait()


def write(tmp_path: Path, name: str, document: Any) -> None:
    path = tmp_path / "metrics" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(document if isinstance(document, str) else yaml.safe_dump(document))


def metrics(world: World, token: str = "") -> dict[str, Any]:
    return {each["name"]: each for each in world.ask("GET", "/api/metrics", token=token)["metrics"]}


def ann(world: World, *tables: str) -> str:
    world.ask("POST", "/api/users", {"email": "ann@example.com", "role": "analyst"})
    for table in tables:
        world.ask("POST", "/api/admin/permissions", {"user": "ann@example.com", "table": table})
    return str(world.ask("POST", "/auth/tokens", {"name": "x", "user": "ann@example.com"})["token"])


def test_files_are_checked_at_a_rebuild_and_compile(world: World, tmp_path: Path) -> None:
    write(tmp_path, "sales/revenue.yml", [REVENUE])
    extract(world)
    assert metrics(world)["revenue"] | {"compiled": None} == {
        "name": "revenue",
        "display_name": "Revenue",
        "category": "other",
        "type": "sum",
        "unit": None,
        "grain": None,
        "description": None,
        "table": "orders",
        "tables": ["shop.orders"],
        "dimensions": ["channel"],
        "status": "ok",
        "problem": None,
        "origin": "sales/revenue.yml",
        "compiled": None,
    }
    sql = world.ask("GET", "/api/metrics/revenue/sql?by=channel&grain=month&where=total%20%3E%201")["sql"]
    assert sql.splitlines()[-3:] == ["where (total > 1)", "group by all", "order by 1, 2"]
    assert world.send("GET", "/api/metrics/revenue/sql?by=nope").status_code == 422


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "no table": ({"table": "ordres"}, "the table 'ordres' does not exist"),
    "no column": ({"expression": "sum(nope)"}, 'Referenced column "nope" not found'),
    "not SQL": ({"expression": "sum(total"}, "its expression fails"),
    "two statements": ({"expression": "1; select 2"}, "its expression fails"),
    "a text": ({"expression": "max(channel)", "type": None}, "its result is VARCHAR, and a metric must be a number"),
    "no aggregate": ({"expression": "total", "type": "ratio", "dimensions": ["channel"]}, ""),
    "a time that is none": ({"time_column": "channel"}, "the time column 'channel'"),
    "a dimension": ({"dimensions": ["nope"]}, "the dimension 'nope' fails"),
    "a variant": ({"sql_by_x": "select nope from orders"}, "sql_by_x fails"),
    "a variant that writes": ({"sql": "drop table orders"}, "must be one SELECT"),
    "a file of the server": ({"expression": "(select count(*) from read_csv('/etc/passwd'))"}, "fails"),
    "another table": ({"expression": "(select sum(salary) from pay)"}, "fails"),
    "a grain": ({"grain": "decade"}, "there is no grain 'decade'"),
}


def test_a_broken_metric_has_a_reason(world: World, tmp_path: Path) -> None:
    for what, (change, _) in BROKEN.items():
        definition = {**REVENUE, **change, "name": named(what)}
        write(tmp_path, f"{named(what)}.yml", {key: value for key, value in definition.items() if value is not None})
    extract(world)
    found = metrics(world)
    for what, (_, message) in BROKEN.items():
        metric, at = found[named(what)], f"/api/metrics/{named(what)}"
        if message:
            assert (metric["status"], message in metric["problem"]) == ("broken", True), (what, metric["problem"])
            assert world.send("GET", f"{at}/sql").status_code == 422
            assert world.ask("GET", at)["problem"] == metric["problem"]


def test_a_near_table_is_suggested_only_to_whoever_defines_the_metric(world: World) -> None:
    extract(world)
    world.ask("POST", "/api/admin/tables/shop.pays", {"source_table": "pays.csv"})
    token = ann(world, "shop.pays")
    definition = {"table": "shop.pays", "expression": "count(*)"}
    made = world.ask("PUT", "/api/admin/metrics/count", {"definition": definition})
    assert made["problem"] == "the table 'shop.pays' does not exist; did you mean 'shop.pay'?"
    assert metrics(world, token)["count"]["problem"] == "the table 'shop.pays' does not exist"


def named(what: str) -> str:
    return what.lower().replace(" ", "_")


INVALID: dict[str, tuple[str, str]] = {
    "not YAML": ("a: [", "is not valid YAML"),
    "not a mapping": ("- text", "a metric must be a mapping"),
    "misspelt": ("{name: a, table: orders, expresion: x}", "unknown field 'expresion'; did you mean 'expression'?"),
    "no expression": ("{name: a, table: orders}", "has no 'expression'"),
    "no table": ("{name: a, expression: x}", "names no table"),
    "a name": ("{name: A b, table: orders, expression: x}", "name: "),
}


def test_an_invalid_file_is_reported_and_the_others_are_used(world: World, tmp_path: Path) -> None:
    messages = {f"{named(what)}.yml": message for what, (_, message) in INVALID.items()}
    for what, (text, _) in INVALID.items():
        write(tmp_path, f"{named(what)}.yml", text)
    write(tmp_path, "good.yml", REVENUE)
    extract(world)
    assert list(metrics(world)) == ["revenue"]
    answer = world.ask("POST", "/api/admin/metrics/import", {"format": "yaml", "text": yaml.safe_dump(REVENUE)})
    assert sorted(each["file"] for each in answer["problems"]) == sorted(messages)
    assert [each for each in answer["problems"] if messages[each["file"]] not in each["message"]] == []
    for text, message in INVALID.values():
        refused = world.send("POST", "/api/admin/metrics/import", {"format": "yaml", "text": text})
        assert (refused.status_code, message in refused.get_json()["detail"]) == (422, True)


def test_a_metric_whose_table_changed_shape_is_broken_until_it_fits_again(world: World, tmp_path: Path) -> None:
    write(tmp_path, "revenue.yml", REVENUE)
    extract(world)
    orders = tmp_path / "sources/shop/orders.csv"
    before = orders.read_text()
    orders.write_text(before.replace("total", "amount"))
    extract(world)
    assert metrics(world)["revenue"]["status"] == "broken"
    orders.write_text(before.replace("web", "phone"))
    extract(world)
    assert metrics(world)["revenue"]["status"] == "ok"


def test_the_registry_overrides_files(world: World, tmp_path: Path) -> None:
    write(tmp_path, "revenue.yml", REVENUE)
    extract(world)
    made = world.ask("PUT", "/api/admin/metrics/revenue", {"definition": {**REVENUE, "unit": "EUR"}})
    assert (made["metadata"]["unit"], made["origin"], made["status"]) == ("EUR", "registry", "ok")
    assert world.send("DELETE", "/api/admin/metrics/revenue").status_code == 204
    assert metrics(world)["revenue"]["origin"] == "revenue.yml"
    refused = world.send("DELETE", "/api/admin/metrics/revenue")
    assert (refused.status_code, "is defined in 'revenue.yml'; remove it there" in refused.text) == (404, True)
    assert world.send("DELETE", "/api/admin/metrics/nothing").status_code == 404


def test_a_metric_is_visible_only_to_readers_of_all_its_tables(world: World, tmp_path: Path) -> None:
    write(tmp_path, "a.yml", REVENUE)
    write(tmp_path, "b.yml", {"name": "payroll", "table": "pay", "expression": "sum(salary)"})
    join = {"table": "pay", "on": "orders.id = pay.id"}
    write(
        tmp_path,
        "c.yml",
        {**REVENUE, "name": "joined", "expression": "sum(orders.total)", "time_column": "orders.at", "joins": [join]},
    )
    write(tmp_path, "d.yml", {**REVENUE, "name": "variant", "sql_x": "select sum(salary) from pay"})
    write(tmp_path, "e.yml", {**REVENUE, "name": "lost", "table": "payroll_of_all"})
    extract(world)
    assert set(metrics(world)) == {"revenue", "payroll", "joined", "variant", "lost"}
    token = ann(world, "shop.orders")
    assert set(metrics(world, token)) == {"revenue"}
    text = json.dumps(world.ask("GET", "/api/catalog/metrics?format=dbt", token=token)) + json.dumps(
        world.ask("GET", "/api/catalog/metrics?format=ossie", token=token)
    )
    assert "salary" not in text
    for path in ("/api/metrics/payroll", "/api/metrics/payroll/sql", "/api/metrics/lost"):
        answer = world.send("GET", path, token=token)
        assert (answer.status_code, "did you mean" in answer.text) == (404, False)
    assert world.send("PUT", "/api/admin/metrics/x", {"definition": REVENUE}, token=token).status_code == 403


def test_metrics_are_found_by_synonyms_and_questions(world: World, tmp_path: Path) -> None:
    write(tmp_path, "a.yml", {**REVENUE, "synonyms": ["turnover"], "questions": ["How much did we sell?"]})
    extract(world)
    for text, count in (("turnover", 1), ("SELL much", 1), ("nothing", 0)):
        assert len(world.ask("GET", f"/api/metrics?q={text}")["metrics"]) == count


FULL: dict[str, Any] = {
    **REVENUE,
    "display_name": "Revenue — total",
    "category": "sales",
    "unit": "USD",
    "grain": "monthly",
    "description": "What we sold.\nIn two lines.",
    "dimensions": ["channel", {"name": "big", "expression": "total > 2", "description": "Large orders"}],
    "filters": ["total > 0"],
    "notes": ["join to pay via id", "two", "three", "four", "five", "six"],
    "synonyms": ["turnover", "sales"],
    "questions": ["How much?"],
    "owners": ["ann@example.com"],
    "tags": ["finance"],
    "sql": "select sum(total) from orders",
    "sql_by_channel": "with x as (from orders) select channel, sum(total) from x group by all",
    "validation": {"method": "by hand", "result": "99.5 % on 2026-01-31"},
    "cost_allocation_guide": {"a": {"b": [1, 2]}},
}


def test_the_structured_view_has_every_field_of_a_metric(world: World, tmp_path: Path) -> None:
    write(tmp_path, "a.yml", FULL)
    extract(world)
    found = world.ask("GET", "/api/metrics/revenue")
    assert found["overview"] == {"description": FULL["description"], "key_insights": FULL["notes"][:5]}
    assert found["validation"] == {
        "status": "validated",
        "accuracy": "99.5%",
        "method": "by hand",
        "result": "99.5 % on 2026-01-31",
        "last_updated": "2026-01-31",
    }
    examples = {name: (each["title"], each["complexity"]) for name, each in found["sql_examples"].items()}
    assert examples == {
        "sql": ("Base query", "simple"),
        "sql_by_channel": ("By channel", "advanced"),
        "compiled": ("Compiled", "simple"),
    }
    assert found["special_sections"] == {"cost_allocation_guide": FULL["cost_allocation_guide"]}
    assert found["definition"] == FULL


@pytest.mark.parametrize("form", ["ossie", "dbt"])
def test_a_round_trip_through_another_format_keeps_every_field(world: World, tmp_path: Path, form: str) -> None:
    write(tmp_path, "a.yml", FULL)
    extract(world)
    text = world.ask("GET", f"/api/catalog/metrics?format={form}")["text"]
    (tmp_path / "metrics/a.yml").unlink()
    made = world.ask("POST", "/api/admin/metrics/import", {"format": form, "text": text})
    assert [(each["name"], each["status"]) for each in made["metrics"]] == [("revenue", "ok")]
    assert world.ask("GET", "/api/metrics/revenue")["definition"] == FULL


def test_the_metrics_of_the_sample_shop_are_complete() -> None:
    paths = sorted((ROOT / "config/metrics.example").rglob("*.yml"))
    found = [
        MetricDefinition.model_validate(each)
        for path in paths
        for each in yaml.safe_load(path.read_text().replace(" on:", " 'on':"))
    ]
    assert len(found) == len(paths) == 8


FOREIGN_OSSIE = """
version: 0.2.0.dev0
semantic_model:
- name: shop
  datasets: [{name: o, source: lake.shop.orders}, {name: c, source: lake.shop.customers}]
  metrics:
  - name: revenue
    description: net
    expression: {dialects: [{dialect: SNOWFLAKE, expression: x}, {dialect: ANSI_SQL, expression: SUM(o.total)}]}
    ai_context: {instructions: "one\\ntwo", synonyms: [sales], examples: [how much]}
"""

FOREIGN_DBT = """
semantic_models:
- name: orders
  model: ref('orders')
  defaults: {agg_time_dimension: ordered}
  dimensions:
  - {name: ordered, type: time, expr: at}
  - {name: channel, type: categorical}
  measures: [{name: total, agg: sum}, {name: n, agg: count, expr: "1"}]
metrics:
- {name: revenue, label: Revenue, type: simple, type_params: {measure: total}, filter: "{{ Dimension('order__channel') }} = 'web'"}
- {name: mean, type: ratio, type_params: {numerator: revenue, denominator: n}}
"""

OLD_DBT = """
metrics:
- {name: revenue, label: R, model: ref('orders'), calculation_method: sum, expression: total, timestamp: at, dimensions: [channel],
   filters: [{field: channel, operator: '=', value: "'web'"}]}
"""


def test_documents_of_other_tools_are_imported() -> None:
    (definition,) = ossie.read(FOREIGN_OSSIE).definitions
    assert (definition.table, definition.expression, definition.notes, definition.synonyms, definition.questions) == (
        "shop.orders",
        "SUM(orders.total)",
        ("one", "two"),
        ("sales",),
        ("how much",),
    )
    revenue, mean, n = dbt.read(FOREIGN_DBT)
    assert (revenue.table, revenue.type, revenue.expression, revenue.time_column, revenue.filters) == (
        "orders",
        "sum",
        "total",
        "at",
        ("channel = 'web'",),
    )
    assert (mean.numerator, mean.denominator) == (MetricInput(metric="revenue"), MetricInput(metric="n"))
    assert (n.table, n.type, n.expression) == ("orders", "count", "1")
    (old,) = dbt.read(OLD_DBT)
    assert (old.table, old.type, old.time_column, old.filters) == ("orders", "sum", "at", ("channel = 'web'",))


@pytest.mark.parametrize(
    ("form", "text", "message"),
    [
        ("ossie", "metrics: []", "has no list 'semantic_model'"),
        ("ossie", "semantic_model: [{name: x, metrics: [{name: a}]}]", "has no 'expression.dialects'"),
        (
            "ossie",
            "semantic_model: [{name: x, metrics: [{name: a, expression: {dialects: [{dialect: MDX, expression: x}]}}]}]",
            "no expression in SQL",
        ),
        ("dbt", "models: []", "has no list 'metrics'"),
        ("dbt", "metrics: [{name: a, type: derived, type_params: {expr: x}}]", "is derived from no metrics"),
        ("dbt", "metrics: [{name: a, type: other}]", "only simple, ratio, derived, cumulative and conversion metrics"),
        (
            "dbt",
            "metrics: [{name: a, type: ratio, type_params: {numerator: x}}]",
            "uses 'x', which is not a metric or measure",
        ),
        ("dbt", "metrics: [{name: a, type: simple, type_params: {measure: m}}]", "uses the measure 'm'"),
        ("yaml", "{name: a}", "has no 'expression'"),
    ],
)
def test_a_document_that_cannot_be_imported_is_explained(world: World, form: str, text: str, message: str) -> None:
    answer = world.send("POST", "/api/admin/metrics/import", {"format": form, "text": text})
    assert (answer.status_code, message in answer.get_json()["detail"]) == (422, True), answer.text


def test_an_export_has_the_shape_of_ossie() -> None:
    table = Table(
        source="shop",
        name="orders",
        view="orders",
        hash="x",
        columns=(Column(name="at", type="TIMESTAMP"), Column(name="m", type="DECIMAL(8,2)")),
    )
    document = yaml.safe_load(ossie.export([MetricDefinition.model_validate(REVENUE)], {"orders": table}))
    (model,) = document["semantic_model"]
    assert document.keys() == {"version", "semantic_model"}
    assert model["datasets"][0] == {
        "name": "orders",
        "source": "shop.orders",
        "fields": [
            {
                "name": "at",
                "expression": {"dialects": [{"dialect": "ANSI_SQL", "expression": "at"}]},
                "datatype": "DateTime",
                "dimension": {"is_time": True},
            },
            {
                "name": "m",
                "expression": {"dialects": [{"dialect": "ANSI_SQL", "expression": "m"}]},
                "datatype": "Decimal",
            },
        ],
    }
    assert model["metrics"][0].keys() == {"name", "expression", "custom_extensions"}


@pytest.mark.parametrize(
    "definition",
    [
        {"table": "TABLE", "expression": "sum(salry)"},
        {"table": "orders", "expression": "sum(pay.salry)", "joins": [{"table": "TABLE", "on": "orders.id = pay.id"}]},
        {"table": "orders", "expression": "count(*)", "sql_of_all": "select salry from TABLE"},
        {"inputs": ["METRIC"], "expression": "METRIC * 2"},
    ],
)
def test_whoever_defines_a_metric_learns_nothing_of_tables_that_they_cannot_read(
    world: World, definition: dict[str, Any]
) -> None:
    extract(world)
    world.ask("POST", "/api/users", {"email": "kim@example.com", "role": "km_admin"})
    world.ask("POST", "/api/admin/permissions", {"user": "kim@example.com", "table": "shop.orders"})
    new = {"name": "x", "user": "kim@example.com", "scopes": ["read", "admin"]}
    kim = world.ask("POST", "/auth/tokens", new)["token"]
    wages = {"table": "shop.pay", "expression": "sum(salary)"}
    assert world.ask("PUT", "/api/admin/metrics/wages", {"definition": wages})["status"] == "ok"

    def answers(table: str, metric: str) -> list[str]:
        text = json.dumps(definition).replace("TABLE", table).replace("METRIC", metric)
        named = yaml.safe_dump([{"name": "mine", **json.loads(text)}])
        found = [
            world.send("PUT", "/api/admin/metrics/mine", {"definition": json.loads(text)}, token=kim),
            world.send(
                "POST", "/api/admin/metrics/import", {"format": "yaml", "text": named, "dry_run": True}, token=kim
            ),
            world.send("POST", "/api/admin/metrics/import", {"format": "yaml", "text": named}, token=kim),
        ]
        assert [each.status_code for each in found] == [200, 200, 200]
        found += [world.send("GET", path, token=kim) for path in ("/api/metrics/mine", "/api/metrics")]
        plain = [each.text.replace(table, "T").replace(metric, "M").replace(kim, "") for each in found]
        return [re.sub(r'"(changed|checked)_at":"[^"]*"', "", each) for each in plain]

    assert answers("shop.pay", "wages") == answers("shop.paz", "wagen")
    assert "salary" not in "".join(answers("shop.pay", "wages"))
    assert "wages" not in world.send("DELETE", "/api/admin/metrics/wage", token=kim).text
