"""The products of the sample data, their orders and payments, and the support tickets about them."""

import duckdb

from da.sample.randomness import END, Size, one_of, weighted

CATEGORIES = {
    "Electronics": (4900, 89900, 60, 80, "Headphones Speaker Monitor Keyboard Camera Router Tablet Charger"),
    "Clothing": (1400, 14900, 30, 50, "Jacket Shirt Jeans Sweater Dress Cap Socks Coat"),
    "Home & Garden": (900, 39900, 40, 60, "Lamp Chair Blanket Planter Kettle Shelf Rug Toolbox"),
    "Sports": (1200, 49900, 45, 65, "Racket Helmet Backpack Dumbbell Tent Bottle Mat Skateboard"),
    "Books": (700, 5900, 50, 70, "Novel Atlas Cookbook Biography Handbook Anthology Guide Notebook"),
    "Beauty": (500, 12900, 20, 40, "Serum Shampoo Perfume Balm Mask Soap Cream Brush"),
}
"""By category: range of prices in cents, range of costs in percent of the price, and kinds of products."""

ADJECTIVES = "Classic Compact Deluxe Essential Modern Natural Premium Smart Urban Vivid"


def create_products(con: duckdb.DuckDBPyConnection, size: Size) -> None:
    """Create the table `products`; all of them exist before the first day of the data."""
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


ORDER_STATUSES = {"delivered": 58, "shipped": 14, "processing": 10, "pending": 6, "cancelled": 7, "returned": 5}
"""Share of each status in percent."""

CHANNELS = {"web": 44, "mobile_app": 27, "marketplace": 12, "sales_rep": 6, "phone": 5, "partner": 4, "store": 2}
"""Share of each sales channel in percent."""

BASKETS = {"b2c": (1, 3, 1, 3), "b2b_small": (1, 5, 1, 6), "b2b_enterprise": (2, 8, 2, 12)}
"""Range of lines per order and of pieces per line, by segment of the customer."""

PAYMENT_METHODS = {"card": 55, "paypal": 18, "bank_transfer": 15, "apple_pay": 7, "google_pay": 5}


def create_sales(con: duckdb.DuckDBPyConnection, size: Size) -> None:
    """Create the tables `orders` and `order_items` and the view `payments`, which nothing else reads."""
    con.execute(_baskets(size))
    con.execute(_order_items(size))
    con.execute(_orders())
    con.execute(_payments())


def _baskets(size: Size) -> str:
    baskets = ", ".join(
        f"('{segment}', {fewest}, {most}, {least}, {greatest})"
        for segment, (fewest, most, least, greatest) in BASKETS.items()
    )
    return f"""
        create table baskets as
        select no, moment, customers._no as customer_no, customers.customer_id, least_pieces, most_pieces,
               fewest + draw('lines', no, most - fewest + 1) as lines
        from (select *, acting_customer('order', no, registered) as customer_no
              from moments('order', {size.orders}) join registrations using (day)) o
        join customers on customers._no = o.customer_no
        join (values {baskets}) b(segment, fewest, most, least_pieces, most_pieces) using (segment);
    """


def _order_items(size: Size) -> str:
    """The lines of an order are different products: a popular one, and others at equal steps from it."""
    products = size.products
    return f"""
        create table order_items as
        with lines as (
            select *, unnest(range(lines)) as line from baskets
        ),
        drawn as (
            select no, line, no * 10 + line as line_no,
                   1 + (4241 + 7919 * skewed('product', no, {products}) + line * (1 + draw('next product', no, {products // 8}))) % {products} as product_no,
                   least_pieces + draw('pieces', no * 10 + line, most_pieces - least_pieces + 1) as quantity
            from lines
        ),
        priced as (
            select *, case when draw('reduced', line_no, 100) < 20 then 5 * (1 + draw('reduction', line_no, 4)) else 0 end as discount_percent
            from drawn join products on products._no = product_no
        )
        select line_no as _no,
               no as _order_no,
               (quantity * _cents * (100 - discount_percent) + 50) // 100 as _line_cents,
               printf('OI-%08d', row_number() over (order by line_no)) as order_item_id,
               printf('ORD-%07d', no) as order_id,
               product_id,
               quantity,
               price as unit_price,
               discount_percent,
               money(_line_cents) as line_total
        from priced;
    """


def _orders() -> str:
    """Every fourth order has a voucher; shipping is free from 100 on."""
    return f"""
        create table orders as
        with summed as (select _order_no as no, sum(_line_cents)::bigint as items from order_items group by no),
        reduced as (
            select *, case when draw('voucher', no, 100) < 25 then items * (5 * (1 + draw('voucher size', no, 3))) // 100 else 0 end as discount,
                   case when items >= 10000 then 0 when draw('express', no, 100) < 20 then 995 else 495 end as shipping
            from summed join baskets using (no)
        )
        select no as _no,
               customer_no as _customer_no,
               items - discount + shipping as _total_cents,
               printf('ORD-%07d', no) as order_id,
               customer_id,
               moment as created_at,
               {weighted("order status", "no", ORDER_STATUSES)} as status,
               money(items) as items_total,
               money(discount) as discount_amount,
               money(shipping) as shipping_amount,
               money(_total_cents) as total_amount,
               {weighted("sales channel", "no", CHANNELS)} as channel
        from reduced;
    """


def _payments() -> str:
    """An order has one payment of its total; every 25th has a failed attempt before it."""
    return f"""
        create view payments as
        with attempts as (
            select *, attempt = attempts - 1 as is_last, _no * 2 + attempt as attempt_no
            from (select *, unnest(range(attempts)) as attempt
                  from (select *, case when draw('failed payment', _no, 100) < 4 then 2 else 1 end as attempts from orders))
        ),
        paid as (
            select *, case when not is_last then 'failed' when status = 'pending' then 'pending'
                      when status in ('cancelled', 'returned') then 'refunded' else 'completed' end as outcome,
                   {weighted("method", "attempt_no", PAYMENT_METHODS)} as method,
                   least(created_at + to_seconds(attempt * 600 + 20 + draw('payment', attempt_no, 500)), timestamp '{END}' - to_seconds(2)) as paid_at
            from attempts
        )
        select attempt_no as _no,
               printf('PAY-%07d', row_number() over (order by attempt_no)) as payment_id,
               order_id,
               customer_id,
               total_amount as amount,
               'USD' as currency,
               method,
               outcome as status,
               paid_at as created_at,
               case when outcome in ('completed', 'refunded')
                    then least(paid_at + to_seconds(5 + draw('settled', attempt_no, case method when 'bank_transfer' then 259200 else 90 end)),
                               timestamp '{END}' - to_seconds(1)) end as completed_at
        from paid;
    """


TICKET_CATEGORIES = {"delivery": 28, "product": 20, "payment": 16, "returns": 16, "account": 12, "other": 8}
PRIORITIES = {"low": 25, "medium": 45, "high": 22, "urgent": 8}
TICKET_CHANNELS = {"email": 42, "chat": 30, "phone": 18, "web_form": 10}
RESPONSE_HOURS = {"low": 48, "medium": 24, "high": 8, "urgent": 2}
"""Maximum hours to the first response, by priority; a ticket is resolved within ten times that."""


def create_support(con: duckdb.DuckDBPyConnection, size: Size) -> None:
    """Create the view `support_tickets`; three in five are about an order of the previous three weeks."""
    con.execute(f"""
        create view support_tickets as
        with drawn as (
            select no, moment,
                   case when draw('about order', no, 100) < 60 then 1 + draw('ticket order', no, {size.orders}) end as order_no,
                   acting_customer('ticket', no, registered) as customer_no
            from moments('ticket', {size.support_tickets}) join registrations using (day)
        ),
        opened as (
            select d.no as drawn_no, order_id, coalesce(_customer_no, customer_no) as customer_no,
                   case when order_id is not null then created_at + to_seconds(1 + draw('complaint', d.no,
                       least(1814400, epoch(timestamp '{END}' - created_at)::bigint - 1))) else moment end as moment
            from drawn d left join orders on _no = order_no
        ),
        numbered as (
            select *, row_number() over (order by moment, drawn_no) as no,
                   {weighted("ticket category", "drawn_no", TICKET_CATEGORIES)} as category,
                   {weighted("priority", "drawn_no", PRIORITIES)} as priority
            from opened
        ),
        answered as (
            select *, moment + to_seconds(60 + draw('response', no, 3600 * hours)) as responded,
                   responded + to_seconds(600 + draw('resolution', no, 36000 * hours)) as resolved
            from numbered join (values {", ".join(map(str, RESPONSE_HOURS.items()))}) h(priority, hours) using (priority)
        ),
        known as (
            select *, case when responded < timestamp '{END}' then responded end as first_response_at,
                   case when resolved < timestamp '{END}' and draw('unresolved', no, 100) >= 4 then resolved end as resolved_at
            from answered
        )
        select no as _no,
               printf('TKT-%06d', no) as ticket_id,
               customer_id,
               order_id,
               category,
               priority,
               case when resolved_at is not null then {one_of("closed", "no", ["closed", "closed", "resolved"])}
                    when first_response_at is not null then 'in_progress' else 'open' end as status,
               {weighted("ticket channel", "no", TICKET_CHANNELS)} as channel,
               concat(case category when 'delivery' then 'Where is my parcel' when 'product' then 'It does not work'
                   when 'payment' then 'Question on a payment' when 'returns' then 'I want to return this'
                   when 'account' then 'I cannot sign in' else 'A question' end, coalesce(' (' || order_id || ')', '')) as subject,
               moment as created_at,
               first_response_at,
               resolved_at,
               case when resolved_at is not null and draw('rated', no, 100) < 60
                    then 5 - skewed('score', no, 5) end as satisfaction_score
        from known join customers on customers._no = customer_no;
    """)
