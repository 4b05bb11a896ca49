"""Thirty questions on the sample shop and the flights of New York, answered as a script would by calling the tools.

A script knows the question alone. It finds tables and metrics with it, describes those whose columns it has not been shown, and
then computes. It may use only names that an answer has shown. DuckDB computes what is right from the files themselves.
"""

import json
import math
import os
import re
import shutil
import statistics
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pytest

from da.sample.generation import generate
from tests.clouds import FileCloud
from tests.integration.agents.mcp import META, send
from tests.integration.world import World
from tests.processes import BIN, ROOT, Host, da, served

DATA = Path(os.environ.get("SHARED_DATA", ROOT.parent / "shared/data")).resolve() / "nycflights13"

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"the flights are not in {DATA}; set SHARED_DATA")


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, and how it is computed: SQL over `tables`, or a metric. `right` is SQL over the files."""

    text: str
    sql: str = ""
    metric: str = ""
    how: dict[str, Any] = field(default_factory=dict)
    right: str = ""

    @property
    def tables(self) -> list[str]:
        return sorted(set(re.findall(r"\b(?:shop|nyc)\.[a-z_]+", self.sql)))


_SOLD = "status in ('delivered', 'shipped')"

QUESTIONS = [
    Asked("How many orders are there?", "select count(*) from shop.orders"),
    Asked(
        "What is our total revenue?", metric="total_revenue", right=f"select sum(total_amount) from orders where {_SOLD}"
    ),
    Asked(
        "How much revenue did each channel make?",
        metric="total_revenue",
        how={"by": ["channel"]},
        right=f"select channel, sum(total_amount) from orders where {_SOLD} group by channel",
    ),
    Asked(
        "Revenue by country of the customer?",
        metric="total_revenue",
        how={"by": ["country"]},
        right=f"select country, sum(total_amount) from orders join customers using (customer_id) where {_SOLD} group by country",
    ),
    Asked(
        "What is the average order value by channel?",
        metric="average_order_value",
        how={"by": ["channel"]},
        right="select channel, avg(total_amount) from orders where status <> 'cancelled' group by channel",
    ),
    Asked(
        "Which payments did we receive by method?",
        metric="payments_received",
        how={"by": ["method"]},
        right="select method, sum(amount) from payments where status = 'completed' group by method",
    ),
    Asked("How many customers do we have in each country?", "select country, count(*) from shop.customers group by country"),
    Asked("How many orders are 'cancelled'?", "select count(*) from shop.orders where status = 'cancelled'"),
    Asked(
        "Which five products sold the most units?",
        "select name, sum(quantity) as units from shop.order_items join shop.products using (product_id) group by product_id, name "
        "order by units desc, name limit 5",
    ),
    Asked(
        "What did we sell per product category?",
        "select category, sum(line_total) from shop.order_items join shop.products using (product_id) group by category",
    ),
    Asked("Average satisfaction score of support tickets?", "select avg(try_cast(satisfaction_score as double)) from shop.support_tickets"),
    Asked("How many support tickets are there by priority?", "select priority, count(*) from shop.support_tickets group by priority"),
    Asked(
        "What share of web sessions bounced, per device?",
        "select device_type, avg(is_bounce::int) from shop.web_sessions group by device_type",
    ),
    Asked("Which campaign spent the most?", "select name from shop.campaigns order by spend desc, name limit 1"),
    Asked(
        "Which customers never placed an order?",
        "select customer_id from shop.customers where customer_id not in (select customer_id from shop.orders) order by customer_id",
    ),
    Asked(
        "How many leads of each campaign, by the campaign's name?",
        "select name, count(*) from shop.web_leads join shop.campaigns using (campaign_id) group by name",
    ),
    Asked("How many flights were there in each month?", "select month, count(*) from nyc.flights group by month"),
    Asked(
        "Which airline had the most flights?",
        "select name from nyc.flights join nyc.airlines using (carrier) group by name order by count(*) desc limit 1",
    ),
    Asked(
        "What is the average departure delay of each airline?",
        "select name, avg(dep_delay) from nyc.flights join nyc.airlines using (carrier) group by name",
    ),
    Asked("How many flights were cancelled, that is have no departure time?", "select count(*) from nyc.flights where dep_time is null"),
    Asked(
        "Which ten destinations are the most popular, by the name of the airport?",
        "select name, count(*) as n from nyc.flights join nyc.airports on dest = faa group by name order by n desc, name limit 10",
    ),
    Asked("What is the longest distance flown?", "select max(distance) from nyc.flights"),
    Asked(
        "How many flights left from each origin?", "select origin, count(*) from nyc.flights group by origin"
    ),
    Asked(
        "Which manufacturers built the planes that flew most often?",
        "select manufacturer, count(*) as n from nyc.flights join nyc.planes using (tailnum) group by manufacturer "
        "order by n desc, manufacturer limit 3",
    ),
    Asked("How many planes have seats for more than 300?", "select count(*) from nyc.planes where seats > 300"),
    Asked("What was the highest wind speed in the weather, and where?", "select origin, max(wind_speed) from nyc.weather group by origin"),
    Asked(
        "What was the mean temperature of each month at 'JFK'?",
        "select month, avg(temp) from nyc.weather where origin = 'JFK' group by month",
    ),
    Asked("What are the median and the 90th percentile of the arrival delay?", "select median(arr_delay), quantile_cont(arr_delay, 0.9) from nyc.flights"),
    Asked("Which airport is the highest, by altitude?", "select name, alt from nyc.airports order by alt desc, name limit 1"),
    Asked(
        "How much later do flights leave in rain, that is with precipitation in the weather?",
        "select precip > 0 as rain, avg(dep_delay) from nyc.flights join nyc.weather using (origin, time_hour) group by rain",
    ),
]  # fmt: skip


@dataclass
class Script:
    """Answers questions with the tools, and counts the calls."""

    call: Callable[[str, dict[str, Any]], dict[str, Any]]
    calls: int = 0
    shown: set[str] = field(default_factory=set)

    def use(self, tool: str, **arguments: Any) -> dict[str, Any]:
        self.calls += 1
        found = self.call(tool, arguments)
        self.shown |= set(re.findall(r"\w+", json.dumps(found)))
        return found

    def answer(self, asked: Asked, columns: dict[str, set[str]]) -> dict[str, Any]:
        self.shown = set(re.findall(r"\w+", asked.text))
        found = self.use("find", text=asked.text)
        hits = {(hit["kind"], hit["id"]): hit for hit in found["hits"]}
        if asked.metric:
            assert ("metric", asked.metric) in hits, "the metric is not found by the question"
            by = asked.how.get("by", [])
            if not set(by) <= set(hits["metric", asked.metric]["dimensions"]):
                assert set(by) <= set(self.use("describe_metric", name=asked.metric)["metric"]["dimensions"])
            return self.use("run_metric", name=asked.metric, **asked.how)
        used = set(re.findall(r"\w+", asked.sql))
        for table in asked.tables:
            if ("table", table) not in hits:
                word = table.split(".")[1].replace("_", " ")
                assert any(hit["id"] == table for hit in self.use("find", text=word)["hits"]), table
            listed = {name.split()[0] for name in hits.get(("table", table), {}).get("columns", [])}
            if not columns[table] & used <= listed:
                self.use("describe_table", table=table)
        texts = {word for text in re.findall(r"'([^']*)'", asked.sql) for word in re.findall(r"\w+", text)}
        assert texts | {name for table in asked.tables for name in columns[table] & used} <= self.shown
        return self.use("query", sql=asked.sql)


@dataclass(frozen=True, slots=True)
class Company:
    world: World
    server: Host
    laptop: Path
    files: duckdb.DuckDBPyConnection
    columns: dict[str, set[str]]

    def at_the_server(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        answer = send(self.world, "tools/call", {"name": tool, "arguments": arguments}).get_json()["result"]
        assert not answer["isError"], answer
        found: dict[str, Any] = answer["structuredContent"]
        return found

    def right(self, asked: Asked) -> list[tuple[Any, ...]]:
        return self.files.execute(asked.right or asked.sql).fetchall()


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    folder = tmp_path_factory.mktemp("company")
    variables = {"METRICS_DIR": str(ROOT / "config/metrics.example")}
    (folder / "bucket").mkdir()
    world = World(folder, FileCloud(folder / "bucket"), base_url="", variables=variables)
    generate("xs", 1, "csv", folder / "sources/shop")
    (folder / "sources/nyc").mkdir()
    for path in DATA.glob("*.csv*"):
        shutil.copyfile(path, folder / "sources/nyc" / path.name)
    files = duckdb.connect(config={"threads": 1})
    columns: dict[str, set[str]] = {}
    for source, options in (("shop", {}), ("nyc", {"nullstr": "NA"})):
        config = {"path": str(folder / "sources" / source), **options}
        world.ask("POST", f"/api/admin/sources/{source}", {"type": "csv", "config": config})
        world.ask("POST", "/extract/csv", {"source": source})
        files.execute(f"create schema {source}")
        for path in sorted((folder / "sources" / source).glob("*.csv*")):
            name = path.name.split(".")[0]
            read = f"from read_csv('{path}', nullstr = '{options.get('nullstr', '')}')"
            files.execute(f"create table {source}.{name} as {read}; create view {name} as from {source}.{name}")
            found = files.execute(f"select column_name from (describe {source}.{name})").fetchall()
            columns[f"{source}.{name}"] = {column for (column,) in found}
    world.ask("POST", "/check-metrics", {})
    with served(world.app) as server:
        object.__setattr__(world.process.settings, "base_url", server.url)
        da(folder / "laptop", "sync", server=server, token=world.admin)
        yield Company(world, server, folder / "laptop", files, columns)
    world.process.close()


@pytest.fixture(scope="module")
def mirror(company: Company) -> Iterator[Callable[[str, dict[str, Any]], dict[str, Any]]]:
    environ = {
        **os.environ,
        "DA_SERVER": company.server.url,
        "DA_TOKEN": company.world.admin,
        "DA_LOCAL_DIR": str(company.laptop),
        "DA_CONFIG_DIR": str(company.laptop / ".config"),
    }
    with subprocess.Popen([BIN / "da", "mcp"], env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        spoken = process.stdin, process.stdout

        def call(tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
            params = {"_meta": META, "name": tool, "arguments": arguments}
            message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
            spoken[0].write(json.dumps(message).encode() + b"\n")
            spoken[0].flush()
            answer = json.loads(spoken[1].readline())["result"]
            assert not answer["isError"], answer
            found: dict[str, Any] = answer["structuredContent"]
            return found

        yield call
        process.stdin.close()
        assert process.wait(60) == 0


@pytest.mark.parametrize("place", ["server", "mirror"])
def test_thirty_questions_are_answered_correctly_with_few_calls(
    company: Company, place: str, request: pytest.FixtureRequest
) -> None:
    call = company.at_the_server if place == "server" else request.getfixturevalue("mirror")
    assert len(QUESTIONS) == 30
    calls: list[int] = []
    wrong: list[str] = []
    for asked in QUESTIONS:
        script = Script(call)
        answer = script.answer(asked, company.columns)
        calls.append(script.calls)
        if not same(answer["rows"], company.right(asked)):
            wrong.append(f"{asked.text}: {answer['rows'][:3]}, expected {company.right(asked)[:3]}")
        assert not answer["truncated"]
        assert answer["receipt"] is not None, asked.text
        assert call("verify_receipt", {"receipt": answer["receipt"]})["verdict"] == "equal", asked.text
    assert wrong == []
    assert statistics.median(calls) <= 3


def same(rows: list[Any], right: list[tuple[Any, ...]]) -> bool:
    one, other = (sorted(([plain(value) for value in row] for row in each), key=str) for each in (rows, right))
    return len(one) == len(other) and all(
        len(a) == len(b) and all(x == y or is_close(x, y) for x, y in zip(a, b, strict=True))
        for a, b in zip(one, other, strict=True)
    )


def plain(value: Any) -> Any:
    if isinstance(value, str):
        value = re.sub(r"</?data-[0-9a-f]{8}>", "", value)
    return value if isinstance(value, bool | int | str | None) else round(float(value), 6)


def is_close(one: Any, other: Any) -> bool:
    numbers = all(isinstance(each, int | float) for each in (one, other))
    return numbers and math.isclose(one, other, rel_tol=1e-6)
