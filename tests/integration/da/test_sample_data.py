"""Sample data: the same bytes for the same seed, and a web shop that adds up."""

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest

from da.sample.generation import MANIFEST, TABLES, generate
from da.sample.randomness import SIZES

pytestmark = pytest.mark.duckdb

BYTES_OF_XS_42 = "a217d005d470e9d22cd6bc90aaee24963772b6f39680f7d35d1fa6077be78a3d"
"""SHA-256 over all files of size xs, seed 42, in the order of their names: what every machine and DuckDB writes."""

KEYS = [
    ("web_sessions", "customer_id", "customers"),
    ("web_sessions", "campaign_id", "campaigns"),
    ("web_leads", "customer_id", "customers"),
    ("web_leads", "campaign_id", "campaigns"),
    ("orders", "customer_id", "customers"),
    ("order_items", "order_id", "orders"),
    ("order_items", "product_id", "products"),
    ("payments", "order_id", "orders"),
    ("payments", "customer_id", "customers"),
    ("support_tickets", "customer_id", "customers"),
    ("support_tickets", "order_id", "orders"),
]

NOT_AS_IT_SHOULD_BE = {
    "an order's items do not add up": """
        from orders join (select order_id, sum(line_total) as lines from order_items group by all) using (order_id)
        where items_total <> lines""",
    "an order has no items": "from orders anti join order_items using (order_id)",
    "an order's total is not what it is made of": """
        from orders where total_amount <> items_total - discount_amount + shipping_amount""",
    "a line is not its price": """
        from order_items where line_total <> round(quantity * unit_price * (100 - discount_percent) * 0.01, 2)""",
    "a line is not at the product's price": "from order_items join products using (product_id) where unit_price <> price",
    "a product stands twice in an order": "from order_items group by order_id, product_id having count(*) > 1",
    "an order does not have one payment of its total that counts": """
        from orders left join payments p on p.order_id = orders.order_id and p.amount = total_amount and p.status <> 'failed'
        group by orders.order_id having count(payment_id) <> 1""",
    "a payment is not of the order's customer": """
        from payments p join orders o using (order_id) where p.customer_id <> o.customer_id or p.amount <> total_amount""",
    "a payment is settled before it is made": "from payments where completed_at < created_at",
    "an order is older than its customer": "from orders join customers using (customer_id) where created_at < registration_date",
    "a visit is older than its customer": "from web_sessions join customers using (customer_id) where started_at < registration_date",
    "a campaign does not run when it brings a visit": """
        from web_sessions join campaigns using (campaign_id) where started_at::date not between start_date and end_date""",
    "a ticket is not of the order's customer, or older than the order": """
        from support_tickets t join orders o using (order_id) where t.customer_id <> o.customer_id or t.created_at < o.created_at""",
    "a ticket is resolved before it is answered": """
        from support_tickets where resolved_at < first_response_at or first_response_at < created_at""",
    "only converted leads have a customer": """
        from web_leads where (status = 'converted') <> (customer_id is not null) or (converted_at is null) <> (customer_id is null)""",
    "something is newer than the data": """
        from (select created_at as moment from orders union all select completed_at from payments union all select converted_at from web_leads
              union all select resolved_at from support_tickets union all select started_at from web_sessions)
        where moment >= '2026-03-01'""",
    "consumers have a company, or companies have none": "from customers where (segment = 'b2c') <> (company is null)",
    "a product is sold below its cost": "from products where cost >= price",
    "a campaign spends more than it may": "from campaigns where spend > budget or clicks > impressions",
}

SHARES = [
    ("58 % of the orders are delivered", "avg((status = 'delivered')::int) from orders", 0.56, 0.60),
    ("60 % of the tickets are about an order", "count(order_id) / count(*) from support_tickets", 0.57, 0.63),
    ("60 % of the customers are consumers", "avg((segment = 'b2c')::int) from customers", 0.57, 0.63),
    ("25 % are small companies", "avg((segment = 'b2b_small')::int) from customers", 0.23, 0.27),
    ("12 countries", "count(distinct country) from customers", 12, 12),
    ("6 categories", "count(distinct category) from products", 6, 6),
    ("7 channels of campaigns", "count(distinct channel) from campaigns", 7, 7),
    ("7 channels of sales", "count(distinct channel) from orders", 7, 7),
    (
        "a fifth of the customers place about 80 % of the orders",
        """sum(n) filter (r <= 1000) / sum(n)
        from (select n, row_number() over (order by n desc) as r from (select count(*) as n from orders group by customer_id))""",
        0.75,
        0.90,
    ),
    (
        "December has about twice the orders of the January after it",
        """count(*) filter (strftime(created_at, '%Y-%m') = '2024-12') / count(*) filter (strftime(created_at, '%Y-%m') = '2025-01')
        from orders""",
        1.8,
        2.4,
    ),
    (
        "the second year has about a quarter more than the first (half as much again from end to end)",
        "count(*) filter (created_at >= '2025-03-06') / count(*) filter (created_at < '2025-03-06') from orders",
        1.15,
        1.30,
    ),
    (
        "eight in the evening is ten times as busy as three at night",
        "count(*) filter (hour(started_at) = 20) / count(*) filter (hour(started_at) = 3) from web_sessions",
        10,
        80,
    ),
    (
        "Saturdays are busier than Sundays",
        "count(*) filter (isodow(created_at) = 6) / count(*) filter (isodow(created_at) = 7) from orders",
        1.2,
        1.5,
    ),
]


def digest(folder: Path) -> str:
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(folder.iterdir()))).hexdigest()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> duckdb.DuckDBPyConnection:
    folder = tmp_path_factory.mktemp("m")
    generate("m", 7, "parquet", folder)
    con = duckdb.connect()
    for table in TABLES:
        con.read_parquet(str(folder / f"{table}.parquet")).create_view(table)
    return con


def number(con: duckdb.DuckDBPyConnection, sql: str) -> float:
    row = con.execute(sql).fetchone()
    assert row is not None
    return float(row[0])


def test_the_same_seed_yields_the_same_bytes_on_every_machine_and_duckdb(tmp_path: Path) -> None:
    generate("xs", 42, "csv", tmp_path)
    assert digest(tmp_path) == BYTES_OF_XS_42


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system can't hold a process to one core")
def test_the_number_of_threads_does_not_change_a_byte(tmp_path: Path) -> None:
    generate("m", 1, "csv", tmp_path / "many")
    command = (
        "import os, sys; from pathlib import Path; from da.sample.generation import generate;"
        "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
        "generate('m', 1, 'csv', Path(sys.argv[1]))"
    )
    subprocess.run([sys.executable, "-c", command, str(tmp_path / "one")], check=True)
    assert digest(tmp_path / "many") == digest(tmp_path / "one")


def test_another_seed_yields_other_data_of_the_same_size(tmp_path: Path) -> None:
    generate("xs", 1, "csv", tmp_path / "1")
    generate("xs", 2, "csv", tmp_path / "2")
    for table in TABLES:
        assert (tmp_path / "1" / f"{table}.csv").read_bytes() != (tmp_path / "2" / f"{table}.csv").read_bytes()


@pytest.mark.parametrize("size", ["xs", "s"])
def test_the_manifest_describes_the_files(tmp_path: Path, size: str) -> None:
    generate(size, 42, "csv", tmp_path)
    manifest = json.loads((tmp_path / MANIFEST).read_text())
    rows = {table: int(number(duckdb.connect(), f"select count(*) from '{tmp_path}/{table}.csv'")) for table in TABLES}
    assert manifest["tables"] == rows
    assert manifest["total_rows"] == sum(rows.values())
    assert manifest["date_range"]["end"] == "2026-02-28"
    drawn = ["customers", "products", "campaigns", "web_sessions", "web_leads", "orders", "support_tickets"]
    assert {table: rows[table] for table in drawn} == {table: getattr(SIZES[size], table) for table in drawn}


def test_a_row_takes_less_than_20_millionths_of_a_second_of_one_core(tmp_path: Path) -> None:
    began = time.process_time()
    manifest = generate("m", 42, "csv", tmp_path)
    assert (time.process_time() - began) / manifest.total_rows < 20e-6


def test_parquet_and_csv_have_the_same_rows(tmp_path: Path) -> None:
    generate("xs", 42, "csv", tmp_path / "csv")
    generate("xs", 42, "parquet", tmp_path / "parquet")
    for table in TABLES:
        (tmp_path / "again").mkdir(exist_ok=True)
        duckdb.read_parquet(str(tmp_path / "parquet" / f"{table}.parquet")).write_csv(
            str(tmp_path / "again" / table), header=True
        )
        assert (tmp_path / "again" / table).read_bytes() == (tmp_path / "csv" / f"{table}.csv").read_bytes()


def test_parquet_keeps_money_exact(shop: duckdb.DuckDBPyConnection) -> None:
    types = {name: kind for name, kind, *_ in shop.execute("describe orders").fetchall()}
    assert types["total_amount"] == "DECIMAL(12,2)"
    assert types["created_at"] == "TIMESTAMP"


@pytest.mark.parametrize("table", TABLES)
def test_ids_are_unique(shop: duckdb.DuckDBPyConnection, table: str) -> None:
    key = shop.execute(f"describe {table}").fetchall()[0][0]
    assert number(shop, f"select count(*) - count(distinct {key}) from {table}") == 0


@pytest.mark.parametrize(("table", "column", "parent"), KEYS)
def test_foreign_keys_hold(shop: duckdb.DuckDBPyConnection, table: str, column: str, parent: str) -> None:
    lost = f"select count(*) from {table} anti join {parent} using ({column}) where {column} is not null"
    assert number(shop, lost) == 0


@pytest.mark.parametrize("wrong", NOT_AS_IT_SHOULD_BE)
def test_the_data_is_consistent(shop: duckdb.DuckDBPyConnection, wrong: str) -> None:
    assert number(shop, f"select count(*) from (select 1 {NOT_AS_IT_SHOULD_BE[wrong]})") == 0


@pytest.mark.parametrize(("what", "share", "lowest", "highest"), SHARES, ids=[row[0] for row in SHARES])
def test_the_data_has_its_patterns(
    shop: duckdb.DuckDBPyConnection, what: str, share: str, lowest: float, highest: float
) -> None:
    assert lowest <= number(shop, f"select {share}") <= highest, what


def test_new_sample_data_replaces_old(tmp_path: Path) -> None:
    generate("xs", 1, "parquet", tmp_path)
    generate("xs", 42, "csv", tmp_path)
    assert digest(tmp_path) == BYTES_OF_XS_42


def test_a_file_that_is_not_sample_data_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_text("mine")
    with pytest.raises(FileExistsError, match=r"orders\.csv' exists and is not sample data"):
        generate("xs", 42, "csv", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["orders.csv"]
    assert (tmp_path / "orders.csv").read_text() == "mine"


def test_sample_data_can_be_written_to_a_folder_with_a_quote_in_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "o'hara; drop"
    generate("xs", 42, "csv", folder)
    assert digest(folder) == BYTES_OF_XS_42
