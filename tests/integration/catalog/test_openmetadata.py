"""OpenMetadata: its descriptions of tables show where people wrote none, and its metrics become files."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from analyst.metrics.definition import MetricDefinition
from analyst.metrics.registry import from_files
from analyst.openmetadata.entities import metric_of, text_of
from da.commands.admin_openmetadata import write
from da.errors import DaError
from tests.doubles.openmetadata import TOKEN, OpenMetadataDouble, id_of, label, openmetadata, owner, reference, table
from tests.integration.world import SERVICE_TOKEN, Begun, World


@pytest.fixture
def catalog() -> Iterator[OpenMetadataDouble]:
    with openmetadata() as double:
        yield double


@pytest.fixture
def world(begun: Begun, tmp_path: Path, at_once: None, catalog: OpenMetadataDouble) -> World:  # noqa: ARG001
    variables = {"OPENMETADATA_URL": catalog.url, "OPENMETADATA_TOKEN": TOKEN}
    return begun.filled(stocked)[0].world(tmp_path, profiles=True, variables=variables)


def stocked(world: World, folder: Path) -> None:
    """Publish and profile two tables."""
    (folder / "sources/shop").mkdir()
    (folder / "sources/shop/orders.csv").write_text("id,total\n1,10\n")
    (folder / "sources/shop/people.csv").write_text("id,nick\n1,planted\n")
    world.ask("POST", "/api/admin/sources/shop", {"type": "csv", "config": {"path": "shop"}})
    world.ask("POST", "/extract/csv", {"source": "shop"})
    for name in ("orders", "people"):
        world.ask("POST", f"/api/admin/tables/shop.{name}/profile")


ORDERS = table(
    "bigquery.company.shop.orders",
    description="<p>Orders of the <b>shop</b></p><ul><li>net</li><li>of tax &amp; returns</li></ul>",
    owners=[owner("eve")],
    tags=[label("Tier.Tier1"), label("Core"), label("Guess", state="Suggested")],
    columns=[{"name": "Total", "dataType": "NUMERIC", "description": "In EUR", "tags": [label("Money")]}],
)


def test_descriptions_by_people_override_imported_ones(world: World, catalog: OpenMetadataDouble) -> None:
    catalog.tables = [table(f"bigquery.company.other.t{n}") for n in range(25)] + [ORDERS]
    catalog.largest = 10
    made = world.ask("POST", "/api/admin/openmetadata/import", {})
    assert (made["tables"], made["ambiguous"]) == (1, [])
    assert len(catalog.asked) == 3
    found = world.ask("GET", "/api/catalog/tables/shop.orders")
    assert found["description"] == "Orders of the shop\n\n- net\n- of tax & returns"
    assert (found["tier"], found["tags"], found["owners"]) == ("Tier1", ["Core"], ["eve"])
    assert found["url"] == f"{catalog.url}/table/bigquery.company.shop.orders"
    assert found["columns"][1]["description"] == "In EUR"
    assert [each["id"] for each in world.ask("GET", "/api/catalog/search?q=returns")["hits"]] == ["shop.orders"]
    world.ask("PUT", "/api/admin/tables/shop.orders/description", {"description": "Ours", "owners": ["ann"]})
    world.ask("POST", "/api/admin/openmetadata/import", {})
    found = world.ask("GET", "/api/catalog/tables/shop.orders")
    assert (found["description"], found["owners"], found["tags"]) == ("Ours", ["ann"], ["Core"])
    status = world.ask("GET", "/api/admin/openmetadata")
    assert (status["tables"], status["is_configured"], status["age_seconds"] >= 0) == (["shop.orders"], True, True)
    assert TOKEN not in str(status)


def test_tags_of_openmetadata_hide_values(world: World, catalog: OpenMetadataDouble) -> None:
    column = {"name": "nick", "dataType": "STRING", "tags": [label("PII.Sensitive")]}
    catalog.tables = [table("x.y.shop.people", columns=[column])]
    assert "planted" in world.send("GET", "/api/tables/shop.people/profile").text
    world.ask("POST", "/api/admin/openmetadata/import", {})
    assert "planted" not in world.send("GET", "/api/tables/shop.people/profile").text


def test_a_name_that_matches_several_tables_is_skipped(world: World, catalog: OpenMetadataDouble) -> None:
    catalog.tables = [table("a.b.c.orders"), table("a.b.d.orders"), table("a.b.c.people")]
    assert world.ask("POST", "/api/admin/openmetadata/import", {})["ambiguous"] == ["shop.orders"]


@pytest.mark.parametrize(
    ("wrong", "status", "reason"),
    [
        ({"status": 403}, 422, "refuses the token"),
        ({"status": 500}, 503, "status 500"),
        ({"status": 429}, 503, "status 429"),
        ({"status": 302}, 422, "does not answer like OpenMetadata"),
        ({"body": b"<html>"}, 422, "does not answer like OpenMetadata"),
        ({"body": b"[]"}, 422, "does not answer like OpenMetadata"),
        ({"body": b'{"data": 1}'}, 422, "does not answer like OpenMetadata"),
        ({"is_looping": True}, 422, "repeats a page"),
    ],
)
def test_a_failed_import_keeps_the_last_one(
    world: World, catalog: OpenMetadataDouble, wrong: dict[str, Any], status: int, reason: str
) -> None:
    catalog.tables = [ORDERS]
    world.ask("POST", "/api/admin/openmetadata/import", {})
    for name, value in wrong.items():
        setattr(catalog, name, value)
    answer = world.send("POST", "/api/admin/openmetadata/import", {})
    assert (answer.status_code, reason in answer.get_json()["detail"], TOKEN in answer.text) == (status, True, False)
    assert world.ask("GET", "/api/catalog/tables/shop.orders")["tier"] == "Tier1"


PEOPLE = table("x.y.shop.people", columns=[{"name": "nick", "dataType": "STRING", "tags": [label("PII.Sensitive")]}])


@pytest.mark.parametrize(
    "left",
    [
        [],
        [table("a.b.c.other")],
        [table("x.y.shop.people"), table(ORDERS["fullyQualifiedName"])],
    ],
    ids=["nothing", "nothing of ours", "no tags"],
)
def test_values_stay_hidden_when_a_bot_loses_sight_of_their_tags(
    world: World, catalog: OpenMetadataDouble, left: list[Any]
) -> None:
    """A bot that lost a right gets an answer like that of a server from which everything was removed."""
    catalog.tables = [ORDERS, PEOPLE]
    world.ask("POST", "/api/admin/openmetadata/import", {})
    catalog.tables = left
    for path, token in (("/import-openmetadata", SERVICE_TOKEN), ("/api/admin/openmetadata/import", None)):
        answer = world.send("POST", path, {}, **({"token": token} if token else {}))
        assert (answer.status_code, "--losses 2" in answer.get_json()["detail"]) == (422, True), answer.text
    assert "planted" not in world.send("GET", "/api/tables/shop.people/profile").text
    world.ask("POST", "/api/admin/openmetadata/import", {"losses": 2})
    assert "planted" in world.send("GET", "/api/tables/shop.people/profile").text


METRIC: dict[str, Any] = {
    "id": id_of("m1"),
    "name": "Net Revenue",
    "fullyQualifiedName": "Net Revenue",
    "description": "<p>Sold</p>",
    "metricExpression": {"language": "SQL", "code": "sum(total)"},
    "metricType": "SUM",
    "granularity": "MONTH",
    "unitOfMeasurement": "DOLLARS",
    "owners": [owner("eve")],
    "tags": [label("MetricCategory.Finance"), label("Dimension.channel"), label("Certified")],
    "assets": [reference("table", "bigquery.company.shop.orders")],
    "dataProducts": [reference("dataProduct", "sales")],
}

MEASURED: dict[str, Any] = {
    "id": id_of("m3"),
    "name": "spend",
    "metricType": "SIMPLE",
    "measures": [{"name": "spend", "aggregation": "SUM", "expression": "cost + tax"}],
    "dimensions": [
        {"name": "day", "type": "TIME", "expression": "paid_at"},
        {"name": "channel", "type": "CATEGORICAL"},
        {"name": "size", "type": "CATEGORICAL", "expression": "cost > 100"},
    ],
    "filters": [{"where": "cost > 0"}],
    "assets": [reference("table", "bigquery.company.shop.spending")],
}
"""A metric of dbt, with a measure in place of an expression."""


def test_a_measure_becomes_an_expression_and_a_time_dimension_the_time_column() -> None:
    made = metric_of(MEASURED, "http://om")
    definition = MetricDefinition.model_validate(made)
    assert (definition.type, definition.expression, definition.time_column) == ("sum", "cost + tax", "paid_at")
    assert [(each.name, each.expression) for each in definition.dimensions] == [
        ("channel", None),
        ("size", "cost > 100"),
    ]
    assert (definition.table, definition.filters) == ("spending", ("cost > 0",))


def test_exported_metrics_can_be_read_as_definitions(world: World, catalog: OpenMetadataDouble, tmp_path: Path) -> None:
    catalog.metrics = [METRIC, {**METRIC, "name": "net-revenue", "id": id_of("m2")}]
    made = world.ask("POST", "/api/admin/openmetadata/export", {})
    assert set(made["files"]) == {
        "metrics/finance/net_revenue.yml",
        "metrics/finance/net_revenue_2.yml",
        "metrics/metrics.yml",
    }
    write(tmp_path / "config", {name: text for name, text in made["files"].items() if not name.endswith("_2.yml")})
    found, problems = from_files(tmp_path / "config/metrics")
    assert problems == []
    definition = found["net_revenue"].definition
    assert (definition.table, definition.expression, definition.grain, definition.type) == (
        "orders",
        "sum(total)",
        "month",
        "sum",
    )
    assert ([each.name for each in definition.dimensions], definition.owners, definition.tags) == (
        ["channel"],
        ("eve",),
        ("Certified",),
    )
    text = made["files"]["metrics/finance/net_revenue.yml"]
    assert text.startswith("# AUTO-GENERATED")
    assert yaml.safe_load(text)[0]["description"] == "Sold"


def test_files_written_by_people_are_kept_and_stale_exports_removed(tmp_path: Path) -> None:
    mark = "# AUTO-GENERATED from OpenMetadata\n"
    old = {"metrics/a/one.yml": mark, "metrics/a/two.yml": mark, "tables/orders.yml": mark}
    assert write(tmp_path, old) == {"written": sorted(old), "removed": [], "kept": []}
    (tmp_path / "metrics/a/mine.yml").write_text("name: mine\n")
    (tmp_path / "metrics/a/two.yml").write_text("name: now mine\n")
    again = write(tmp_path, {"metrics/a/one.yml": mark + "x", "metrics/a/two.yml": mark})
    assert again == {"written": ["metrics/a/one.yml"], "removed": ["tables/orders.yml"], "kept": ["metrics/a/two.yml"]}
    assert (tmp_path / "metrics/a/mine.yml").read_text() == "name: mine\n"
    assert (tmp_path / "metrics/a/two.yml").read_text() == "name: now mine\n"
    assert write(tmp_path, {}) == {"written": [], "removed": [], "kept": []}
    many = {f"metrics/a/m{number}.yml": mark for number in range(20)}
    write(tmp_path, {**many, "metrics/a/one.yml": mark})
    with pytest.raises(
        DaError, match=r"no longer has 20 of the 21 files.*at most 4, so nothing was written.*--losses 20"
    ):
        write(tmp_path, {"metrics/a/one.yml": mark, "tables/new.yml": mark})
    assert not (tmp_path / "tables/new.yml").exists()
    assert len(write(tmp_path, {"metrics/a/one.yml": mark}, 20)["removed"]) == 20
    assert (tmp_path / "metrics/a/one.yml").is_file()
    for path in ("../x.yml", "metrics/../../x.yml", "/etc/x.yml", "metrics/a/b/c.yml", "metrics/a.txt"):
        with pytest.raises(DaError, match="is not one of"):
            write(tmp_path, {path: mark})


@pytest.mark.parametrize(
    ("html", "wanted"),
    [
        ("plain", "plain"),
        ("<p>a</p><p>b</p>", "a\n\nb"),
        ("a<br/>b", "a\nb"),
        ("<ul><li>x</li><li>y &lt; z</li></ul>", "- x\n- y < z"),
        ("<script>x</script>", "x"),
        ("", None),
        (None, None),
        (7, None),
        ("  \n ", None),
    ],
)
def test_html_is_removed_from_descriptions(html: object, wanted: str | None) -> None:
    assert text_of(html) == wanted


def test_a_metric_without_details_is_exported_too() -> None:
    assert metric_of({"name": "x"}, "http://om") == {
        "name": "x",
        "display_name": "x",
        "category": "general",
        "notes": ["Source: http://om/metric/x"],
    }
