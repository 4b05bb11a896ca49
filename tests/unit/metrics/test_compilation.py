"""Metrics compile to SQL that gives what SQL written by hand gives."""

from collections.abc import Iterator
from typing import Any

import duckdb
import pytest

from da.errors import DaError
from da.metrics.compilation import Dimension, Join, Metric, aggregate_of, compile_metric, grain_of


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute(
            """
            create schema shop;
            create table shop.orders as select i as id, i % 7 as customer, ['web', 'shop', 'app'][1 + i % 3] as channel,
                (i * 37 % 100)::decimal(8, 2) as total, timestamp '2025-11-15' + to_hours(i::int * 11) as "at",
                i % 5 = 0 as is_gift, case when i % 4 > 0 then 'done' else 'open' end as "the status" from range(300) r(i);
            create table shop.customers as select i as id, ['CZ', 'SK'][1 + i % 2] as country from range(7) r(i)
            """
        )
        yield connection


AT = '"at"'
CHANNEL, COUNTRY = Dimension("channel", "channel"), Dimension("country", "customers.country")
GIFT, BAND = Dimension("is_gift", "is_gift"), Dimension("size band", "case when total > 50 then 'big' else 'small' end")
CUSTOMERS = Join("shop.customers", "customers", "orders.customer = customers.id")


def metric(expression: str, kind: str | None = None, **more: Any) -> Metric:
    base: dict[str, Any] = {"time_column": AT, "dimensions": (CHANNEL, GIFT, BAND)}
    return Metric("m", "shop.orders", "orders", aggregate_of(expression, kind), **{**base, **more})


def joined(expression: str, kind: str | None = None, **more: Any) -> Metric:
    return metric(
        expression, kind, dimensions=(CHANNEL, COUNTRY), joins=(CUSTOMERS,), time_column='orders."at"', **more
    )


FROM = "from shop.orders"
BOTH = "from shop.orders o left join shop.customers c on o.customer = c.id"
DONE = ("\"the status\" = 'done'",)

CASES: dict[str, tuple[Metric, dict[str, Any], str]] = {
    "sum": (metric("total", "sum"), {}, f"select sum(total) {FROM}"),
    "sum written out": (metric("SUM(total)", "sum"), {}, f"select sum(total) {FROM}"),
    "sum without a type": (metric("sum(total)"), {}, f"select sum(total) {FROM}"),
    "count": (metric("id", "count"), {}, f"select count(id) {FROM}"),
    "count of rows": (metric("*", "count"), {}, f"select count(*) {FROM}"),
    "distinct": (metric("customer", "count_distinct"), {}, f"select count(distinct customer) {FROM}"),
    "average": (metric("total", "average"), {}, f"select avg(total) {FROM}"),
    "mean": (metric("total", "mean"), {}, f"select avg(total) {FROM}"),
    "least": (metric("total", "min"), {}, f"select min(total) {FROM}"),
    "greatest": (metric("total", "max"), {}, f"select max(total) {FROM}"),
    "median": (metric("total", "median"), {}, f"select median(total) {FROM}"),
    "ratio": (metric("sum(total) / nullif(count(*), 0)", "ratio"), {}, f"select sum(total) / count(*) {FROM}"),
    "ends with a semicolon": (metric("sum(total) ;"), {}, f"select sum(total) {FROM}"),
    "arithmetic": (metric("total * 2 + 1", "sum"), {}, f"select sum(total * 2 + 1) {FROM}"),
    "conditional": (metric("count_if(total > 50)"), {}, f"select count(*) {FROM} where total > 50"),
    "filtered": (metric("total", "sum", filters=DONE), {}, f"select sum(total) {FROM} where {DONE[0]}"),
    "two filters": (metric("total", "sum", filters=("total > 10 or is_gift", "id < 200")), {}, f"select sum(total) {FROM} where (total > 10 or is_gift) and id < 200"),
    "where": (metric("total", "sum"), {"where": ["id < 50 or id > 250"]}, f"select sum(total) {FROM} where id < 50 or id > 250"),
    "where and filter": (metric("total", "sum", filters=("id < 50 or id > 250",)), {"where": ["is_gift or id = 1"]}, f"select sum(total) {FROM} where (id < 50 or id > 250) and (is_gift or id = 1)"),
    "where with a comment": (metric("total", "sum"), {"where": ["id < 50 -- the first", "is_gift"]}, f"select sum(total) {FROM} where id < 50 and is_gift"),
    "by a column": (metric("total", "sum"), {"by": ["channel"]}, f"select channel, sum(total) {FROM} group by 1 order by 1"),
    "by two": (metric("total", "sum"), {"by": ["channel", "is_gift"]}, f"select channel, is_gift, sum(total) {FROM} group by 1, 2 order by 1, 2"),
    "by one twice": (metric("total", "sum"), {"by": ["channel", "Channel", "channel"]}, f"select channel, channel, sum(total) {FROM} group by 1 order by 1"),
    "by an expression": (metric("total", "sum"), {"by": ["size band"]}, f"select case when total > 50 then 'big' else 'small' end, sum(total) {FROM} group by 1 order by 1"),
    "by month": (metric("total", "sum"), {"grain": "month"}, f"select date_trunc('month', \"at\"), sum(total) {FROM} group by 1 order by 1"),
    "monthly": (metric("total", "sum"), {"grain": "monthly"}, f"select date_trunc('month', \"at\"), sum(total) {FROM} group by 1 order by 1"),
    "by week and column": (metric("total", "sum"), {"grain": "week", "by": ["channel"]}, f"select date_trunc('week', \"at\"), channel, sum(total) {FROM} group by 1, 2 order by 1, 2"),
    "by hour": (metric("id", "count"), {"grain": "hour"}, f"select date_trunc('hour', \"at\"), count(id) {FROM} group by 1 order by 1"),
    "by quarter": (metric("id", "count"), {"grain": "QUARTER"}, f"select date_trunc('quarter', \"at\"), count(id) {FROM} group by 1 order by 1"),
    "by year": (metric("id", "count"), {"grain": "yearly"}, f"select date_trunc('year', \"at\"), count(id) {FROM} group by 1 order by 1"),
    "by day, filtered": (metric("id", "count", filters=DONE), {"grain": "day"}, f"select date_trunc('day', \"at\"), count(id) {FROM} where {DONE[0]} group by 1 order by 1"),
    "joined": (joined("total", "sum"), {"by": ["country"]}, f"select c.country, sum(total) {BOTH} group by 1 order by 1"),
    "joined by month": (joined("total", "sum"), {"by": ["country"], "grain": "month"}, f"select date_trunc('month', o.\"at\"), c.country, sum(total) {BOTH} group by 1, 2 order by 1, 2"),
    "joined, filtered": (joined("total", "sum", filters=("customers.country = 'CZ'",)), {}, f"select sum(total) {BOTH} where c.country = 'CZ'"),
    "of nothing": (metric("total", "sum"), {"where": ["false"]}, f"select sum(total) {FROM} where false"),
    "quantile": (metric("quantile_cont(total, 0.9)"), {"by": ["channel"]}, f"select channel, quantile_cont(total, 0.9) {FROM} group by 1 order by 1"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_compiled_metric_equals_sql_written_by_hand(con: duckdb.DuckDBPyConnection, name: str) -> None:
    compiled, asked, by_hand = CASES[name]
    rows = con.execute(compile_metric(compiled, **asked)).fetchall()
    wanted = con.execute(by_hand).fetchall()
    assert [row[: len(rows[0])] for row in wanted] == rows if name != "by one twice" else len(rows) == len(wanted)


def test_result_columns_are_named_after_their_grain_dimension_or_metric(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(compile_metric(metric("total", "sum"), by=["channel", "size band"], grain="month"))
    assert [each[0] for each in con.description or ()] == ["month", "channel", "size band", "m"]
    month = Dimension("month", 'month("at")')
    con.execute(compile_metric(metric("total", "sum", dimensions=(month,)), by=["month"], grain="month"))
    assert [each[0] for each in con.description or ()] == ["time_month", "month", "m"]


@pytest.mark.parametrize(
    ("compiled", "asked", "message"),
    [
        (metric("total", "sum"), {"by": ["chanel"]}, "has no dimension 'chanel'; did you mean 'channel'?"),
        (metric("total", "sum"), {"by": ["xyz"]}, "it has channel, is_gift, size band"),
        (metric("total", "sum", dimensions=()), {"by": ["x"]}, "it has none"),
        (metric("total", "sum"), {"grain": "decade"}, "there is no grain 'decade'; use one of hour, day, week"),
        (metric("total", "sum", time_column=None), {"grain": "month"}, "has no time column"),
    ],
)
def test_compilation_errors_are_explained(compiled: Metric, asked: dict[str, Any], message: str) -> None:
    with pytest.raises(DaError, match=message.replace("?", r"\?")):
        compile_metric(compiled, **asked)


def test_a_metric_survives_json() -> None:
    metric = joined("total", "sum", filters=DONE, grain=grain_of("monthly"))
    assert Metric.from_json(metric.to_json()) == metric
