"""The support tickets of the sample data."""

import duckdb

from da.sample.randomness import one_of, weighted
from da.sample.sizes import END, Size

CATEGORIES = {"delivery": 28, "product": 20, "payment": 16, "returns": 16, "account": 12, "other": 8}
PRIORITIES = {"low": 25, "medium": 45, "high": 22, "urgent": 8}
CHANNELS = {"email": 42, "chat": 30, "phone": 18, "web_form": 10}
RESPONSE_HOURS = {"low": 48, "medium": 24, "high": 8, "urgent": 2}
"""The longest time to the first response; a ticket is resolved within ten times that."""


def create(con: duckdb.DuckDBPyConnection, size: Size) -> None:
    """Make the view `support_tickets`: three in five are about an order, of the three weeks before."""
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
                   {weighted("ticket category", "drawn_no", CATEGORIES)} as category,
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
               {weighted("ticket channel", "no", CHANNELS)} as channel,
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
