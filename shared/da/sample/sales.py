"""Orders, their items and their payments of the sample data."""

import duckdb

from da.sample.randomness import weighted
from da.sample.sizes import END, Size

ORDER_STATUSES = {"delivered": 58, "shipped": 14, "processing": 10, "pending": 6, "cancelled": 7, "returned": 5}
"""Share of each status in percent."""

CHANNELS = {"web": 44, "mobile_app": 27, "marketplace": 12, "sales_rep": 6, "phone": 5, "partner": 4, "store": 2}
"""Share of each sales channel in percent."""

BASKETS = {"b2c": (1, 3, 1, 3), "b2b_small": (1, 5, 1, 6), "b2b_enterprise": (2, 8, 2, 12)}
"""Fewest and most lines of an order, fewest and most pieces of a line, by segment of the customer."""

PAYMENT_METHODS = {"card": 55, "paypal": 18, "bank_transfer": 15, "apple_pay": 7, "google_pay": 5}


def create(con: duckdb.DuckDBPyConnection, size: Size) -> None:
    """Make `orders` and `order_items`, and `payments` as a view, for nothing else reads it."""
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
    """Lines of an order are different products: a popular one, and some others in equal steps from it."""
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
    """Every fourth order has a voucher; the carriage is paid by us from 100 on."""
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
    """An order has one payment of its total; every 25th was tried once before, in vain."""
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
