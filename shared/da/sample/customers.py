"""The customers of the sample data, and which of them act on a day."""

import duckdb

from da.sample.randomness import Size, one_of, weighted

COUNTRIES = {
    "United States": (30, ["New York", "Chicago", "Austin", "Seattle"]),
    "United Kingdom": (14, ["London", "Manchester", "Leeds"]),
    "Germany": (13, ["Berlin", "Munich", "Hamburg", "Cologne"]),
    "France": (9, ["Paris", "Lyon", "Nantes"]),
    "Czechia": (7, ["Prague", "Brno", "Ostrava"]),
    "Canada": (6, ["Toronto", "Montreal", "Vancouver"]),
    "Netherlands": (5, ["Amsterdam", "Utrecht", "Rotterdam"]),
    "Spain": (4, ["Madrid", "Barcelona", "Valencia"]),
    "Italy": (4, ["Milan", "Rome", "Turin"]),
    "Poland": (3, ["Warsaw", "Krakow", "Gdansk"]),
    "Australia": (3, ["Sydney", "Melbourne", "Perth"]),
    "Sweden": (2, ["Stockholm", "Gothenburg"]),
}
"""Share in percent and cities of each country."""

SEGMENTS = {"b2c": 60, "b2b_small": 25, "b2b_enterprise": 15}
"""Share of each segment in percent."""

FIRST_NAMES = """
    Adam Alice Anna Ben Carla Chen Clara Daniel Diego Elena Emma Eva Felix Grace Hana Hugo Ida Ivan Jan
    Julia Karel Laura Leo Lucas Maria Marta Max Mia Nina Noah Olga Oscar Paul Petra Sara Sofia Tom Vera
"""
LAST_NAMES = """
    Adams Bauer Bell Brown Carter Clark Costa Davis Dubois Evans Fischer Garcia Green Hansen Hill Horak
    Jansen Kim King Kovac Lopez Martin Meyer Miller Moore Novak Olsen Patel Reed Rossi Silva Smith Svoboda
    Tanaka Taylor Turner Walker Weber Wilson Wong Young Zeman
"""
COMPANY_STARTS = "Alpine Apex Atlas Blue Cedar Delta Echo Falcon Harbor Iron Lumen North Orbit Pine Quartz River Solar"
COMPANY_ENDS = "Analytics Foods Group Industries Labs Logistics Media Partners Retail Systems Trading Works"

REGISTERED_BEFORE = 730
"""Days before the first day of the data in which older customers registered."""


def create(con: duckdb.DuckDBPyConnection, size: Size) -> None:
    """Create the table `customers`, and the table and macros that draw a customer for other tables.

    Three in five registered before the first day of the data. A fifth of all, spread over these, are key customers.
    """
    older, keys = size.customers * 3 // 5, size.customers // 5
    con.execute(f"""
        create macro country(what, id) as {weighted("country", "concat(what, id)", {c: w for c, (w, _) in COUNTRIES.items()})};

        create table customers as
        with registered as (
            select no, date '{size.start}' - ({REGISTERED_BEFORE} * (1 - (no - 1) / {older}::double))::integer as day
            from range(1, {older} + 1) r(no)
            union all
            select {older} + no, day from moments('customer', {size.customers - older})
        ),
        named as (
            select no, day, country('customers', no) as country,
                   {one_of("first name", "no", FIRST_NAMES)} as first_name,
                   {one_of("last name", "no", LAST_NAMES)} as last_name,
                   {weighted("segment", "no", SEGMENTS)} as segment
            from registered
        )
        select no as _no,
               printf('C-%06d', no) as customer_id,
               printf('%s.%s%d@example.com', lower(first_name), lower(last_name), no) as email,
               first_name,
               last_name,
               case when segment <> 'b2c' then concat_ws(' ',
                   {one_of("company start", "no", COMPANY_STARTS)}, {one_of("company end", "no", COMPANY_ENDS)}) end as company,
               country,
               list_extract(cities, 1 + draw('city', no, len(cities))) as city,
               segment,
               day as registration_date,
               draw('active', no, 100) < 85 as is_active
        from named join (values {_cities()}) c(country, cities) using (country);

        -- the number of customers registered before each day
        create table registrations as
        select day, count(registration_date) as registered
        from (select distinct day from hours) left join customers on registration_date < day
        group by day;

        -- four acts in five are by a key customer, some of whom act far more often than others
        create macro acting_customer(what, id, registered) as
            case when draw(concat(what, ' by key customer'), id, 100) < 80
            then 1 + 3 * ((4241 + 7919 * skewed(concat(what, ' key customer'), id, {keys})) % {keys})
            else 1 + draw(concat(what, ' customer'), id, registered) end;
    """)


def _cities() -> str:
    return ", ".join(f"('{country}', {cities})" for country, (_, cities) in COUNTRIES.items())
