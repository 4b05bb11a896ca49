"""Derived, ratio, cumulative, semi-additive and conversion metrics compile to SQL that gives what SQL by hand gives."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import duckdb
import pytest
import yaml

from analyst.catalog import Column, Table
from analyst.errors import InvalidInputError
from analyst.metrics import dbt, ossie
from analyst.metrics.check import Compilation
from analyst.metrics.definition import MetricDefinition, parse
from analyst.metrics.registry import load_yaml
from da.errors import DaError
from da.metrics.compilation import Metric, compile_metric
from da.sample.generation import generate
from tests.processes import ROOT

DEFINITIONS = """
- {name: revenue, table: orders, expression: total, type: sum, time_column: day, dimensions: [channel, {name: customer, expression: user}]}
- {name: orders, table: orders, expression: "*", type: count, time_column: day, dimensions: [channel], fill_nulls_with: 0}
- {name: spend, table: spending, expression: cost, type: sum, time_column: spent, dimensions: [channel], fill_nulls_with: 0}
- {name: buyers, table: orders, expression: user, type: count_distinct, time_column: day, dimensions: [channel]}
- {name: late, table: orders, expression: total, type: percentile, percentile: 0.9, time_column: day}
- {name: gifts, table: orders, expression: is_gift, type: sum_boolean, time_column: day, dimensions: [channel]}

- {name: mean_order, numerator: revenue, denominator: orders}
- {name: gift_share, numerator: {metric: revenue, filters: [is_gift]}, denominator: revenue}
- {name: margin, expression: revenue - spend, inputs: [revenue, spend]}
- {name: web_margin, expression: revenue - spend, inputs: [revenue, spend], filters: ["channel = 'web'"]}
- name: growth
  expression: revenue - earlier
  inputs: [revenue, {metric: revenue, alias: earlier, offset_window: 1 month}]
- name: since_start
  expression: revenue - start
  inputs: [revenue, {metric: revenue, alias: start, offset_to_grain: year}]
- {name: growth_of_orders, expression: orders - earlier, inputs: [orders, {metric: orders, alias: earlier, offset_window: 1 month}]}
- {name: order, table: orders, expression: total, type: sum, time_column: day}
- {name: end, table: orders, expression: "*", type: count, time_column: day}
- {name: of_words, numerator: order, denominator: end}
- {name: visitors, table: visits, expression: "*", type: count, time_column: seen, filters: ["visitor in (select user from orders where is_gift)"]}
- {name: of_tables, expression: visitors - orders, inputs: [orders, visitors]}
- {name: of_the_day, table: visits, expression: visitor, type: sum, time_column: seen, non_additive_dimension: {name: "date_trunc('day', seen)"}}
- {name: nested, numerator: margin, denominator: mean_order}
- {name: growth_of_margin, expression: a - b, inputs: [{metric: margin, alias: a}, {metric: margin, alias: b, offset_window: 1 month}]}

- {name: running, table: orders, expression: total, type: sum, time_column: day, cumulative: {}, dimensions: [channel]}
- {name: running_first, table: orders, expression: total, type: sum, time_column: day, cumulative: {period_agg: first}}
- {name: running_mean, table: orders, expression: total, type: sum, time_column: day, cumulative: {period_agg: average}}
- {name: last_week, table: orders, expression: user, type: count_distinct, time_column: day, cumulative: {window: 7 days}, dimensions: [channel]}
- {name: to_date, table: orders, expression: total, type: sum, time_column: day, cumulative: {grain_to_date: month}, filters: [is_gift]}
- {name: share_of_all, numerator: running, denominator: orders}

- {name: balance, table: balances, expression: amount, type: sum, time_column: day, non_additive_dimension: {name: day}, dimensions: [kind]}
- {name: balance_of_each, table: balances, expression: amount, type: sum, time_column: day, dimensions: [kind],
   non_additive_dimension: {name: day, window_groupings: [account]}}
- {name: opening, table: balances, expression: amount, type: sum, time_column: day, non_additive_dimension: {name: day, window_choice: min}}
- {name: per_account, numerator: balance, denominator: balance_of_each}

- {name: visits, table: visits, expression: "*", type: count, time_column: seen, dimensions: [page]}
- {name: buys, table: orders, expression: "*", type: count, time_column: day}
- {name: conversion, conversion: {entity: visitor, conversion_entity: user, base: visits, conversion: buys, window: 7 days}}
- {name: converted, conversion: {entity: visitor, conversion_entity: user, base: visits, conversion: buys, calculation: conversions}}
- name: converted_gifts
  conversion:
    {entity: visitor, conversion_entity: user, base: {metric: visits, filters: ["page <> 'x'"]}, conversion: {metric: buys, filters: [is_gift]},
     calculation: conversions, window: 30 days, constant_properties: [{base_property: source, conversion_property: channel}]}
- {name: spined, table: spending, expression: cost, type: sum, time_column: spent, join_to_timespine: true, fill_nulls_with: 0}
"""

MONTH: Final = "date_trunc('month', day)"
SPEND: Final = "(select date_trunc('month', spent) m, channel c, sum(cost) s from shop.spending group by all)"
REVENUE: Final = f"(select {MONTH} m, channel c, sum(total) r from shop.orders group by all)"
DAYS: Final = "(select distinct day d from shop.orders)"
LAST: Final = "select max(day) from shop.balances"
CONVERTED: Final = """
    (select o.rowid, arg_max(v.rowid, v.seen) v from shop.orders o join shop.visits v on o.user = v.visitor and v.seen <= o.day {} group by 1)
"""
GIFTS: Final = "and o.day < v.seen + interval 30 days and v.page <> 'x' and o.is_gift and v.source = o.channel"

CASES: dict[str, tuple[str, dict[str, Any], str]] = {
    "percentile": ("late", {}, "select quantile_cont(total, 0.9) from shop.orders"),
    "count of true": ("gifts", {"by": ["channel"]}, "select channel, count(*) filter (where is_gift) from shop.orders group by 1 order by 1"),
    "ratio": ("mean_order", {}, "select sum(total) / count(*) from shop.orders"),
    "ratio by month": ("mean_order", {"grain": "month"}, f"select {MONTH}, sum(total) / count(*) from shop.orders group by 1 order by 1"),
    "ratio of some": ("gift_share", {"by": ["channel"]}, "select channel, sum(total) filter (where is_gift) / sum(total) from shop.orders group by 1 order by 1"),
    "two tables": ("margin", {}, "select (select sum(total) from shop.orders) - (select sum(cost) from shop.spending)"),
    "two tables by a dimension": ("margin", {"by": ["channel"]}, f"select c, sum(r) - coalesce(sum(s), 0) from {REVENUE} full join {SPEND} using (m, c) group by 1 order by 1"),
    "two tables by month": ("margin", {"grain": "month", "by": ["channel"]}, f"select m, c, r - coalesce(s, 0) from {REVENUE} full join {SPEND} using (m, c) order by 1, 2"),
    "two tables, where": ("margin", {"where": ["channel = 'web'"]}, "select (select sum(total) from shop.orders where channel = 'web') - (select sum(cost) from shop.spending where channel = 'web')"),
    "a filter of all inputs": ("web_margin", {}, "select (select sum(total) from shop.orders where channel = 'web') - (select sum(cost) from shop.spending where channel = 'web')"),
    "a month ago": ("growth", {"grain": "month"}, f"select a.m, a.r - b.r from (select m, sum(r) r from {REVENUE} group by 1) a left join (select m, sum(r) r from {REVENUE} group by 1) b on b.m = a.m - interval 1 month order by 1"),
    "a month ago, by default": ("growth", {}, f"select a.m, a.r - b.r from (select m, sum(r) r from {REVENUE} group by 1) a left join (select m, sum(r) r from {REVENUE} group by 1) b on b.m = a.m - interval 1 month order by 1"),
    "a month ago by day": ("growth_of_orders", {"grain": "day"}, "with x as (select day d, count(*) n from shop.orders group by 1) select a.d, a.n - coalesce(b.n, 0) from x a left join x b on b.d = a.d - interval 1 month order by 1"),
    "metrics named by words of SQL": ("of_words", {}, "select sum(total) / count(*) from shop.orders"),
    "metrics named as tables": ("of_tables", {}, "select count(*) - (select count(*) from shop.orders) from shop.visits where visitor in (select user from shop.orders where is_gift)"),
    "the last day of times": ("of_the_day", {}, "select sum(visitor) from shop.visits where seen::date = (select max(seen)::date from shop.visits)"),
    "a month ago by a dimension": ("growth", {"by": ["channel"]}, f"select a.m, a.c, a.r - b.r from {REVENUE} a left join {REVENUE} b on b.m = a.m - interval 1 month and a.c is not distinct from b.c order by 1, 2"),
    "the start of the year": ("since_start", {"grain": "month", "by": ["channel"]}, f"select a.m, a.c, a.r - b.r from {REVENUE} a left join {REVENUE} b on b.m = date_trunc('year', a.m) and a.c is not distinct from b.c order by 1, 2"),
    "of derived ones": ("nested", {}, "select ((select sum(total) from shop.orders) - (select sum(cost) from shop.spending)) / (select avg(total) from shop.orders)"),
    "derived, a month ago": ("growth_of_margin", {"grain": "month"}, f"with x as (select m, sum(r) - coalesce(sum(s), 0) v from {REVENUE} full join {SPEND} using (m, c) group by 1) select a.m, a.v - b.v from x a left join x b on b.m = a.m - interval 1 month order by 1"),
    "all so far": ("running", {}, "select sum(total) from shop.orders"),
    "all so far by day": ("running", {"grain": "day"}, "with x as (select day d, sum(total) t from shop.orders group by 1), s as (select unnest(generate_series((select min(day) from shop.orders), (select max(day) from shop.orders), interval 1 day)) d) select s.d, (select sum(t) from x where x.d <= s.d) from s order by 1"),
    "all so far by month": ("running", {"grain": "month"}, f"select m, sum(sum(r)) over (order by m) from {REVENUE} group by 1 order by 1"),
    "all so far at the start": ("running_first", {"grain": "month"}, f"with x as (select {MONTH} m, min(day) d, (select min(day) from shop.orders) f from shop.orders group by 1) select m, (select sum(total) from shop.orders where day <= greatest(m, f)) from x order by 1"),
    "all so far on average": ("running_mean", {"grain": "month"}, "with s as (select unnest(generate_series((select min(day) from shop.orders), (select max(day) from shop.orders), interval 1 day)) d), v as (select d, (select sum(total) from shop.orders where day <= d) t from s) select date_trunc('month', d), avg(t) from v group by 1 order by 1"),
    "a window": ("last_week", {"grain": "month", "by": ["channel"]}, f"with p as (select distinct {MONTH} m, least({MONTH} + interval 1 month - interval 1 day, (select max(day) from shop.orders)) d from shop.orders) select m, channel, count(distinct user) from p join shop.orders o on o.day <= p.d and o.day > p.d - interval 7 days group by 1, 2 order by 1, 2"),
    "a window until now": ("last_week", {}, "select count(distinct user) from shop.orders where day > (select max(day) from shop.orders) - interval 7 days"),
    "month to date by day": ("to_date", {"grain": "day"}, "with s as (select unnest(generate_series((select min(day) from shop.orders where is_gift), (select max(day) from shop.orders where is_gift), interval 1 day)) d), v as (select d, (select sum(total) from shop.orders where is_gift and day <= d and day >= date_trunc('month', d)) t from s) from v where t is not null order by 1"),
    "month to date by month": ("to_date", {"grain": "month"}, f"select {MONTH}, sum(total) from shop.orders where is_gift group by 1 order by 1"),
    "a ratio of a running one": ("share_of_all", {"grain": "month"}, f"select m, sum(sum(r)) over (order by m) / any_value(n) from {REVENUE} join (select {MONTH} m, count(*) n from shop.orders group by 1) using (m) group by 1 order by 1"),
    "the last balance": ("balance", {}, f"select sum(amount) from shop.balances where day = ({LAST})"),
    "the last balance by kind": ("balance", {"by": ["kind"]}, f"select kind, sum(amount) from shop.balances where day = ({LAST}) group by 1 order by 1"),
    "the last balance of months": ("balance", {"grain": "month"}, f"select {MONTH}, sum(amount) from shop.balances where day in (select max(day) from shop.balances group by {MONTH}) group by 1 order by 1"),
    "the last balance, where": ("balance", {"where": ["account = 1"]}, "select arg_max(amount, day) from shop.balances where account = 1"),
    "of each account": ("balance_of_each", {}, "select sum(a) from (select arg_max(amount, day) a from shop.balances group by account)"),
    "of each account by month": ("balance_of_each", {"grain": "month"}, f"select m, sum(a) from (select {MONTH} m, arg_max(amount, day) a from shop.balances group by account, 1) group by 1 order by 1"),
    "the first balance": ("opening", {"grain": "month"}, f"select {MONTH}, sum(amount) from shop.balances where day in (select min(day) from shop.balances group by {MONTH}) group by 1 order by 1"),
    "a ratio of balances": ("per_account", {}, f"select (select sum(amount) from shop.balances where day = ({LAST})) / (select sum(a) from (select arg_max(amount, day) a from shop.balances group by account))"),
    "conversions": ("converted", {}, f"select count(*) from {CONVERTED.format('')}"),
    "conversion rate": ("conversion", {}, f"select count(*) / (select count(*) from shop.visits) from {CONVERTED.format('and o.day < v.seen + interval 7 days')}"),
    "conversions by page": ("converted", {"by": ["page"]}, f"select page, count(c.v) from shop.visits v left join {CONVERTED.format('')} c on c.v = v.rowid group by 1 order by 1"),
    "conversions by month": ("converted", {"grain": "month"}, f"select date_trunc('month', seen), count(c.v) from shop.visits v left join {CONVERTED.format('')} c on c.v = v.rowid group by 1 order by 1"),
    "conversions with a property": ("converted_gifts", {}, f"select count(*) from {CONVERTED.format(GIFTS)}"),
    "months without rows": ("spined", {"grain": "month"}, f"select s, coalesce(sum(cost), 0) from (select unnest(generate_series((select min(m) from {SPEND}), (select max(m) from {SPEND}), interval 1 month)) s) left join shop.spending on date_trunc('month', spent) = s group by 1 order by 1"),
}  # fmt: skip


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute(
            """
            create schema shop;
            create table shop.orders as select i as id, i * 7 % 13 as "user", ['web', 'app', null][1 + i % 3] as channel,
                (i * 37 % 100)::decimal(8, 2) as total, i % 5 = 0 as is_gift, date '2025-11-15' + (i * 5 % 150)::int as "day"
                from range(90) r(i);
            create table shop.spending as select ['web', 'tv'][1 + i % 2] as channel, (i % 9)::double as cost,
                timestamp '2025-11-20' + to_hours(i::int * 50) as spent from range(60) r(i) where i % 20 < 9;
            create table shop.balances as select a as account, ['a', 'b'][1 + a % 2] as kind, a * 100 + d as amount,
                date '2026-01-01' + d::int as "day" from range(5) r(a), range(70) s(d) where (a + d) % 4 > 0 and d < 60 + a;
            create view main.orders as from shop.orders;
            create table shop.visits as select i * 7 % 13 as visitor, ['x', 'y'][1 + i % 2] as page,
                ['web', 'app'][1 + i % 2] as source, timestamp '2025-11-10 07:00:00' + to_hours(i::int * 31) as seen from range(90) r(i)
            """
        )
        yield connection


def compilation(con: duckdb.DuckDBPyConnection, definitions: Mapping[str, MetricDefinition]) -> Compilation:
    columns = con.execute("select table_name, column_name, data_type from duckdb_columns() where schema_name = 'shop'")
    by_table: dict[str, list[Column]] = {}
    for table, column, kind in columns.fetchall():
        by_table.setdefault(table, []).append(Column(name=column, type=kind))
    tables = {n: Table(source="shop", name=n, view=n, hash="x", columns=tuple(c)) for n, c in by_table.items()}
    return Compilation(lambda name: tables[name.removeprefix("shop.")], definitions)


def known(text: str = DEFINITIONS) -> dict[str, MetricDefinition]:
    return {each.name: each for each in parse(load_yaml(text, ""), "")}


def close(one: list[tuple[Any, ...]], other: list[tuple[Any, ...]]) -> bool:
    def plain(value: Any) -> Any:
        return (
            pytest.approx(float(value)) if isinstance(value, float) or hasattr(value, "as_tuple") else str(value)[:10]
        )

    return [[plain(v) for v in row] for row in other] == [
        [float(v) if isinstance(v, float) or hasattr(v, "as_tuple") else str(v)[:10] for v in row] for row in one
    ]


@pytest.mark.parametrize("name", CASES)
def test_each_kind_of_metric_equals_sql_written_by_hand(con: duckdb.DuckDBPyConnection, name: str) -> None:
    metric, asked, by_hand = CASES[name]
    definitions = known()
    compiled = compilation(con, definitions).metric(definitions[metric])
    again = Metric.from_json(json.loads(json.dumps(compiled.to_json())))
    assert again == compiled
    found, wanted = con.execute(compile_metric(again, **asked)).fetchall(), con.execute(by_hand).fetchall()
    assert wanted
    assert any(row[-1] is not None for row in wanted)
    assert close(found, wanted), (found, wanted)


SHOP: dict[str, tuple[dict[str, Any], str]] = {
    "active_customers": ({"by": ["channel"]}, "select channel, count(distinct customer_id) from shop.orders group by 1 order by 1"),
    "new_customers": ({"grain": "month"}, "select date_trunc('month', registration_date), count(customer_id) from shop.customers group by 1 order by 1"),
    "cost_per_click": ({"by": ["channel"]}, "select channel, sum(spend) / sum(clicks) from shop.campaigns group by 1 order by 1"),
    "lead_conversion_rate": ({"by": ["source"]}, "select source, count(converted_at) / count(*) from shop.web_leads group by 1 order by 1"),
    "average_order_value": ({"by": ["channel", "status"]}, "select channel, status, avg(total_amount) from shop.orders where status <> 'cancelled' group by 1, 2 order by 1, 2"),
    "payments_received": ({"grain": "day"}, "select date_trunc('day', completed_at), sum(amount) from shop.payments where status = 'completed' group by 1 order by 1"),
    "total_revenue": ({"by": ["country"], "grain": "month"}, "select date_trunc('month', o.created_at), country, sum(total_amount) from shop.orders o left join shop.customers c using (customer_id) where status in ('delivered', 'shipped') group by 1, 2 order by 1, 2"),
    "resolution_hours": ({"grain": "week"}, "select date_trunc('week', created_at), avg(date_diff('minute', created_at, resolved_at)) / 60 from shop.support_tickets where resolved_at is not null group by 1 order by 1"),
}  # fmt: skip


def test_the_metrics_of_the_sample_shop_equal_sql_written_by_hand(tmp_path: Path) -> None:
    generate("xs", 1, "parquet", tmp_path)
    paths = sorted((ROOT / "config/metrics.example").rglob("*.yml"))
    definitions = {
        each.name: each for path in paths for each in parse(load_yaml(path.read_text(), path.name), path.name)
    }
    assert definitions.keys() == SHOP.keys()
    with duckdb.connect() as con:
        con.execute("create schema shop")
        for path in tmp_path.glob("*.parquet"):
            con.execute(f"create view shop.{path.stem} as from read_parquet('{path}')")
        for name, (asked, by_hand) in SHOP.items():
            compiled = compilation(con, definitions).metric(definitions[name])
            found, wanted = con.execute(compile_metric(compiled, **asked)).fetchall(), con.execute(by_hand).fetchall()
            assert len(wanted) > 1, name
            assert close(found, wanted), name


LEGACY = """
semantic_models:
- name: orders
  model: ref('shop', 'orders')
  defaults: {agg_time_dimension: ordered}
  entities: [{name: order, type: primary, expr: id}, {name: person, type: foreign, expr: user}]
  dimensions: [{name: ordered, type: time, expr: day}, {name: channel, type: categorical}]
  measures:
  - {name: total, agg: sum}
  - {name: n, agg: count, expr: "1", create_metric: true, label: Orders}
  - {name: high, agg: percentile, expr: total, agg_params: {percentile: 0.9}}
- name: balances
  model: ref('balances')
  defaults: {agg_time_dimension: as_of}
  entities: [{name: account, type: primary, expr: account}]
  dimensions: [{name: as_of, type: time, expr: day}, {name: kind, type: categorical}]
  measures: [{name: amount, agg: sum, non_additive_dimension: {name: as_of, window_choice: max, window_groupings: [account]}}]
- name: visits
  model: ref('visits')
  defaults: {agg_time_dimension: seen}
  entities: [{name: person, type: foreign, expr: visitor}]
  dimensions: [{name: seen, type: time}, {name: page, type: categorical}]
  measures: [{name: visited, agg: sum, expr: "1"}]
metrics:
- {name: revenue, type: simple, type_params: {measure: total}}
- {name: late, type: simple, type_params: {measure: high}}
- {name: mean_order, type: ratio, type_params: {numerator: revenue, denominator: n}}
- {name: gift_share, type: ratio, type_params: {numerator: {name: revenue, filter: "is_gift"}, denominator: {name: revenue}}}
- {name: growth, type: derived, type_params: {expr: revenue - earlier, metrics: [{name: revenue}, {name: revenue, alias: earlier, offset_window: 1 month}]}}
- {name: since_start, type: derived, type_params: {expr: revenue - start, metrics: [revenue, {name: revenue, alias: start, offset_to_grain: year}]}}
- {name: running, type: cumulative, type_params: {measure: total, cumulative_type_params: {period_agg: last}}}
- {name: running_first, type: cumulative, type_params: {measure: total}}
- {name: running_mean, type: cumulative, type_params: {measure: {name: total}, cumulative_type_params: {period_agg: average}}}
- {name: to_date, type: cumulative, filter: is_gift, type_params: {measure: total, cumulative_type_params: {grain_to_date: month, period_agg: last}}}
- {name: balance_of_each, type: simple, type_params: {measure: amount}}
- {name: conversion, type: conversion, type_params: {conversion_type_params: {entity: person, base_measure: {name: visited}, conversion_measure: {name: n}, window: 7 days}}}
- {name: converted, type: conversion, type_params: {conversion_type_params: {entity: person, calculation: conversions, base_measure: visited, conversion_measure: n}}}
"""

NEWER = """
models:
- name: orders
  semantic_model: {enabled: true}
  agg_time_dimension: ordered
  columns:
  - {name: id, entity: primary}
  - {name: user, entity: {type: foreign, name: person}}
  - {name: day, granularity: day, dimension: {type: time, name: ordered}}
  - {name: channel, dimension: categorical}
  metrics:
  - {name: revenue, type: simple, agg: sum, expr: total}
  - {name: n, type: simple, agg: count, expr: 1}
  - {name: late, type: simple, agg: percentile, expr: total, percentile: 0.9, percentile_type: continuous}
  - {name: mean_order, type: ratio, numerator: revenue, denominator: n}
  - {name: growth, type: derived, expr: revenue - earlier, input_metrics: [{name: revenue}, {name: revenue, alias: earlier, offset_window: 1 month}]}
  - {name: since_start, type: derived, expr: revenue - start, input_metrics: [{name: revenue}, {name: revenue, alias: start, offset_to_grain: year}]}
  - {name: running, type: cumulative, input_metric: revenue, period_agg: last}
  - {name: running_first, type: cumulative, input_metric: revenue}
  - {name: running_mean, type: cumulative, input_metric: {name: revenue}, period_agg: average}
  - {name: to_date, type: cumulative, input_metric: {name: revenue, filter: is_gift}, grain_to_date: month, period_agg: last}
- name: balances
  semantic_model: {enabled: true}
  agg_time_dimension: as_of
  columns:
  - {name: account, entity: primary}
  - {name: day, granularity: day, dimension: {type: time, name: as_of}}
  - {name: kind, dimension: {type: categorical}}
  metrics: [{name: balance_of_each, type: simple, agg: sum, expr: amount, non_additive_dimension: {name: as_of, window_agg: max, group_by: [account]}}]
- name: visits
  semantic_model: {enabled: true}
  agg_time_dimension: seen
  columns: [{name: visitor, entity: {type: foreign, name: person}}, {name: seen, granularity: day, dimension: {type: time}}]
  derived_semantics: {dimensions: [{name: page, type: categorical, expr: lower(page)}]}
  metrics: [{name: visited, type: simple, agg: sum, expr: 1}]
metrics:
- {name: gift_share, type: ratio, numerator: {name: revenue, filter: "is_gift", alias: gifts}, denominator: revenue}
- {name: conversion, type: conversion, entity: person, calculation: conversion_rate, base_metric: visited, conversion_metric: n, window: 7 days}
- {name: converted, type: conversion, entity: person, calculation: conversions, base_metric: visited, conversion_metric: n}
"""


@pytest.mark.parametrize("text", [LEGACY, NEWER], ids=["semantic_models", "models"])
@pytest.mark.parametrize("is_ours", [False, True], ids=["imported", "exported and imported"])
def test_metrics_of_dbt_equal_sql_written_by_hand(con: duckdb.DuckDBPyConnection, text: str, is_ours: bool) -> None:
    found = dbt.read(text)
    if is_ours:  # by what dbt reads, not by our own extension of it
        document = load_yaml(dbt.export(found), "")
        for metric in document["metrics"]:
            metric.pop("meta")
        found = dbt.read(yaml.safe_dump(document))
    definitions = {each.name: each for each in found}
    compared = 0
    for metric, asked, by_hand in CASES.values():
        if metric in definitions and asked.get("by") != ["page"]:
            compiled = compilation(con, definitions).metric(definitions[metric])
            assert close(con.execute(compile_metric(compiled, **asked)).fetchall(), con.execute(by_hand).fetchall()), (
                metric
            )
            compared += 1
    assert compared >= 18


def test_all_kinds_survive_ossie_which_gets_their_expressions_where_it_has_any() -> None:
    definitions = list(known().values())
    document = ossie.export(definitions, {})
    assert ossie.read(document).definitions == definitions
    metrics = {
        each["name"]: each["expression"]["dialects"][0]["expression"]
        for each in load_yaml(document, "")["semantic_model"][0]["metrics"]
    }
    assert metrics["gift_share"] == "(sum(total) FILTER (WHERE (is_gift))) / nullif((sum(total)), 0)"
    assert metrics["nested"] == "((sum(total)) - (sum(cost))) / nullif(((sum(total)) / nullif((count(*)), 0)), 0)"


BROKEN: dict[str, tuple[str, str]] = {
    "an input that does not exist": ("{name: x, numerator: revenue, denominator: gone}", "its input 'gone' is not a metric"),
    "itself": ("{name: x, expression: x + 1, inputs: [x]}", "it depends on itself: x → x"),
    "each other": ("[{name: x, expression: y, inputs: [y]}, {name: y, expression: x, inputs: [x]}]", "it depends on itself: x → y → x"),
    "only the past": ("{name: x, expression: revenue, inputs: [{metric: revenue, offset_window: 1 day}]}", "all its inputs have an offset"),
    "a span": ("{name: x, expression: revenue - b, inputs: [revenue, {metric: revenue, alias: b, offset_window: soon}]}", "there is no span 'soon'"),
    "a unit": ("{name: x, expression: revenue - b, inputs: [revenue, {metric: revenue, alias: b, offset_to_grain: era}]}", "there is no grain 'era'"),
    "a window": ("{name: x, table: orders, expression: total, type: sum, time_column: day, cumulative: {window: 3 eras}}", "there is no span '3 eras'"),
    "a dimension": ("{name: x, numerator: revenue, denominator: orders, dimensions: [customer]}", "the dimension 'customer' is not one of all its inputs"),
    "a conversion of a balance": ("{name: x, conversion: {entity: e, base: balance, conversion: buys}}", "does not count rows of a table"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_metric_that_cannot_be_compiled_is_refused_with_the_reason(con: duckdb.DuckDBPyConnection, name: str) -> None:
    text, message = BROKEN[name]
    definitions = {**known(), **known(text)}
    with pytest.raises((InvalidInputError, DaError), match=message):
        compilation(con, definitions).metric(definitions["x"])


INVALID: dict[str, tuple[str, str]] = {
    "only half of a ratio": ("numerator: a", "has only one of 'numerator' and 'denominator'"),
    "two kinds": ("{numerator: a, denominator: b, inputs: [a], expression: a}", "has both 'inputs' and 'numerator'"),
    "inputs without an expression": ("inputs: [a]", "has no 'expression'"),
    "an expression too many": ("{numerator: a, denominator: b, expression: a}", "has an expression besides 'numerator'"),
    "a table too many": ("{inputs: [a], expression: a, time_column: at}", "has 'time_column', which a metric with 'inputs' takes"),
    "one input twice": ("{inputs: [a, a], expression: a}", "has two inputs of the same name"),
    "two windows": ("{table: t, expression: x, time_column: at, cumulative: {window: 1 day, grain_to_date: month}}", "both 'window' and 'grain_to_date'"),
    "no time": ("{table: t, expression: x, cumulative: {}}", "is cumulative and has no 'time_column'"),
    "cumulative and semi-additive": ("{table: t, expression: x, time_column: at, cumulative: {}, non_additive_dimension: {name: at}}", "keep one of them"),
    "a percentile": ("{table: t, expression: x, percentile: 90}", "percentile"),
    "a misspelt field": ("{table: t, expression: x, time_column: at, cumulative: {windw: 1 day}}", "unknown field 'cumulative.windw'"),
}  # fmt: skip


@pytest.mark.parametrize("name", INVALID)
def test_an_invalid_definition_is_refused_with_the_reason(name: str) -> None:
    text, message = INVALID[name]
    with pytest.raises(InvalidInputError, match=message):
        list(parse({"name": "x", **load_yaml(text, "")}, "the definition"))


FILTERS: dict[str, tuple[str, str]] = {
    "a dimension": ("{{ Dimension('order__channel') }} = 'web'", "channel = 'web'"),
    "a time": ("{{ TimeDimension('order__ordered') }} > '2026-01-01'", "day > '2026-01-01'"),
    "a time by its grain": ("{{ TimeDimension('order__ordered', 'month') }} = '2026-01-01'", "date_trunc('month', day) = '2026-01-01'"),
    "a grain as a method": ("{{ Dimension('order__ordered').grain('week') }} = '2026-01-05'", "date_trunc('week', day) = '2026-01-05'"),
    "the usual time": ("{{ TimeDimension('metric_time', 'year') }} = '2026-01-01'", "date_trunc('year', day) = '2026-01-01'"),
    "an entity": ("{{ Entity('person') }} > 3", "user > 3"),
}  # fmt: skip


@pytest.mark.parametrize("text", [LEGACY, NEWER], ids=["semantic_models", "models"])
@pytest.mark.parametrize("name", FILTERS)
def test_filters_of_dbt_are_conditions_on_columns(text: str, name: str) -> None:
    condition, wanted = FILTERS[name]
    document = load_yaml(text, "")
    homes = document["metrics"] if "semantic_models" in document else document["models"][0]["metrics"]
    homes[0]["filter"] = condition
    (revenue,) = (each for each in dbt.read(yaml.safe_dump(document)) if each.name == "revenue")
    assert revenue.filters == (wanted,)


def test_non_additive_metrics_of_dbt_use_the_last_unit_of_their_time_dimension() -> None:
    document = load_yaml(LEGACY, "")
    document["semantic_models"][1]["dimensions"][0]["type_params"] = {"time_granularity": "day"}
    found = {each.name: each for each in dbt.read(yaml.safe_dump(document))}["balance_of_each"].non_additive_dimension
    assert found is not None
    assert found.name == "date_trunc('day', day)"
