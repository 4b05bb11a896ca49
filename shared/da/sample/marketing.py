"""Campaigns, website sessions and leads of the sample data."""

import duckdb

from da.sample.randomness import END, Size, one_of, weighted

CHANNELS = {
    "paid_search": (1200, 320),
    "paid_social": (800, 110),
    "display": (300, 40),
    "email": (150, 450),
    "affiliate": (600, 180),
    "influencer": (1500, 130),
    "video": (900, 70),
}
"""Price of 1,000 impressions in cents, and clicks per 10,000 impressions, by channel."""

THEMES = "Spring Summer Autumn Winter Holiday Welcome Loyalty Launch"
LANDING_PAGES = {"/": 38, "/products": 22, "/sale": 14, "/blog": 10, "/new": 8, "/business": 5, "/help": 3}
DEVICES = {"mobile": 50, "desktop": 42, "tablet": 8}
BROWSERS = {"Chrome": 58, "Safari": 24, "Edge": 9, "Firefox": 7, "Other": 2}
LEAD_SOURCES = {"web_form": 40, "newsletter": 22, "webinar": 14, "referral": 12, "event": 7, "partner": 5}
LEAD_STATUSES = {"new": 25, "contacted": 25, "qualified": 18, "converted": 20, "lost": 12}


def create(con: duckdb.DuckDBPyConnection, size: Size) -> None:
    """Create the table `campaigns` and the views `web_sessions` and `web_leads`, which nothing else reads."""
    con.execute(_campaigns(size))
    con.execute(_web_sessions(size))
    con.execute(_web_leads(size))


def _campaigns(size: Size) -> str:
    prices = ", ".join(f"('{name}', {price}, {clicks})" for name, (price, clicks) in CHANNELS.items())
    return f"""
        create table campaigns as
        with drawn as (
            select no, {one_of("campaign channel", "no", CHANNELS)} as channel,
                   date '{size.start}' + ((no - 1) * {size.days} // {size.campaigns})::integer as start_date,
                   100000 * (2 + draw('budget', no, 49)) as budget
            from range(1, {size.campaigns} + 1) r(no)
        ),
        dated as (
            select *, start_date + (2 * {size.days} // {size.campaigns} + 1 + draw('campaign days', no, 30))::integer as end_date
            from drawn
        ),
        spent as (
            select *, budget * (case when end_date < date '{END}' then 70 + draw('spend', no, 31)
                                else 20 + draw('spend', no, 41) end) // 100 as spend
            from dated
        ),
        seen as (select *, spend * 1000 // price as impressions from spent join (values {prices}) p(channel, price, ctr) using (channel))
        select no as _no,
               printf('CMP-%04d', no) as campaign_id,
               concat_ws(' ', {one_of("campaign theme", "no", THEMES)},
                   strftime(start_date, '%Y-%m'), replace(channel, '_', ' ')) as name,
               channel,
               case when end_date < date '{END}' then 'completed' when draw('paused', no, 100) < 15 then 'paused' else 'active' end as status,
               money(budget) as budget,
               money(spend) as spend,
               impressions,
               impressions * (ctr + draw('ctr', no, ctr)) // 10000 as clicks,
               start_date,
               end_date,
               {weighted("target", "no", {"all": 40, "b2c": 30, "b2b_small": 18, "b2b_enterprise": 12})} as target_segment
        from seen;

        -- one of the two campaigns that started last before the end of a day; both are still running
        create macro running_campaign(what, id, day) as greatest(1, ((day - date '{size.start}' + 1) * {size.campaigns}
            + {size.days} - 1) // {size.days} - draw(concat(what, ' campaign'), id, 2));
    """


def _web_sessions(size: Size) -> str:
    return f"""
        create view web_sessions as
        with drawn as (
            select no, day, moment,
                   case when draw('known visitor', no, 100) < 35 then acting_customer('session', no, registered) end as customer_no,
                   case when draw('by campaign', no, 100) < 30 then running_campaign('session', no, day) end as campaign_no,
                   draw('bounce', no, 100) < 38 as is_bounce
            from moments('session', {size.web_sessions}) join registrations using (day)
        ),
        viewed as (select *, case when is_bounce then 1 else 2 + skewed('pages', no, 18) end as pages_viewed from drawn)
        select no as _no,
               printf('S-%08d', no) as session_id,
               printf('V-%08d', coalesce(customer_no,
                   {size.customers} + 1 + draw('visitor', no, {size.web_sessions // 3}))) as visitor_id,
               printf('C-%06d', customer_no) as customer_id,
               printf('CMP-%04d', campaign_no) as campaign_id,
               moment as started_at,
               pages_viewed * (5 + draw('seconds', no, case when is_bounce then 25 else 90 end)) as duration_seconds,
               pages_viewed,
               {weighted("device", "no", DEVICES)} as device_type,
               {weighted("browser", "no", BROWSERS)} as browser,
               coalesce(customers.country, country('session', no)) as country,
               {weighted("page", "no", LANDING_PAGES)} as landing_page,
               is_bounce
        from viewed left join customers on customers._no = customer_no;
    """


def _web_leads(size: Size) -> str:
    return f"""
        create view web_leads as
        with drawn as (
            select no, day, moment, {weighted("lead status", "no", LEAD_STATUSES)} as status, registered,
                   {one_of("lead", "no", ["team", "office", "info", "hello", "buying"])} as mailbox
            from moments('lead', {size.web_leads}) join registrations using (day)
        ),
        converted as (
            select *, case when status = 'converted' then 1 + draw('lead customer', no, registered) end as customer_no from drawn
        )
        select no as _no,
               printf('L-%06d', no) as lead_id,
               customer_id,
               coalesce(email, printf('%s%d@lead.example', mailbox, no)) as email,
               {weighted("lead source", "no", LEAD_SOURCES)} as source,
               case when draw('lead by campaign', no, 100) < 45
                    then printf('CMP-%04d', running_campaign('lead', no, day)) end as campaign_id,
               moment as created_at,
               status,
               case when status = 'converted'
                    then least(moment + to_minutes(60 + draw('conversion', no, 28800)), timestamp '{END}' - to_seconds(1)) end as converted_at
        from converted left join customers on customers._no = customer_no;
    """
