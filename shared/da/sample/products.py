"""The products of the sample data."""

import duckdb

from da.sample.randomness import one_of
from da.sample.sizes import Size

CATEGORIES = {
    "Electronics": (4900, 89900, 60, 80, "Headphones Speaker Monitor Keyboard Camera Router Tablet Charger"),
    "Clothing": (1400, 14900, 30, 50, "Jacket Shirt Jeans Sweater Dress Cap Socks Coat"),
    "Home & Garden": (900, 39900, 40, 60, "Lamp Chair Blanket Planter Kettle Shelf Rug Toolbox"),
    "Sports": (1200, 49900, 45, 65, "Racket Helmet Backpack Dumbbell Tent Bottle Mat Skateboard"),
    "Books": (700, 5900, 50, 70, "Novel Atlas Cookbook Biography Handbook Anthology Guide Notebook"),
    "Beauty": (500, 12900, 20, 40, "Serum Shampoo Perfume Balm Mask Soap Cream Brush"),
}
"""Lowest and highest price in cents, lowest and highest cost in percent of the price, and the kinds of each category."""

ADJECTIVES = "Classic Compact Deluxe Essential Modern Natural Premium Smart Urban Vivid"


def create(con: duckdb.DuckDBPyConnection, size: Size) -> None:
    """Make the table `products`; all of them are on offer before the data begins."""
    con.execute(f"""
        create table products as
        with kinds(category_no, category, lowest, highest, cost_from, cost_to, kinds) as (values {_categories()}),
        drawn as (
            select no, kinds.*, lowest + draw('price', no, highest - lowest) as price_drawn
            from range(1, {size.products} + 1) r(no)
            join kinds on category_no = draw('category', no, {len(CATEGORIES)})
        ),
        priced as (select *, price_drawn // 100 * 100 + 99 as cents from drawn)
        select no as _no,
               cents as _cents,
               printf('P-%05d', no) as product_id,
               printf('%s-%05d', upper(category[1:3]), 10000 + no) as sku,
               concat_ws(' ', {one_of("adjective", "no", ADJECTIVES)},
                   list_extract(kinds, 1 + draw('kind', no, len(kinds))), 100 * (1 + draw('model', no, 9))) as name,
               category,
               money(cents) as price,
               money(cents * (cost_from + draw('cost', no, cost_to - cost_from + 1)) // 100) as cost,
               ((50 + draw('weight', no, 7950)) * 0.001::decimal(4, 3))::decimal(8, 3) as weight_kg,
               draw('on offer', no, 100) < 92 as is_active,
               timestamp '{size.start}' - to_hours(1 + draw('offered', no, 17520)) as created_at
        from priced;
    """)


def _categories() -> str:
    rows = enumerate(CATEGORIES.items())
    return ", ".join(str((no, name, *numbers, kinds.split())) for no, (name, (*numbers, kinds)) in rows)
