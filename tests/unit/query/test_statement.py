"""What the check finds in a statement."""

from collections.abc import Iterator

import duckdb
import pytest

from analyst.query.statement import Statement, StatementError, check, position

pytestmark = pytest.mark.duckdb


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        yield connection


@pytest.mark.parametrize(
    ("sql", "tables", "volatile", "ordered"),
    [
        ("select 1", [], False, False),
        ("from orders", ["orders"], False, False),
        ("from shop.orders o join x on o.a = x.a order by 1", ["shop.orders", "x"], False, True),
        ("with a as (from b) from a, c order by all", ["a", "b", "c"], False, True),
        ("select (select max(x) from t) from u where exists (from v)", ["t", "u", "v"], False, False),
        ("pivot t on a using sum(b)", ["t"], False, False),
        ("pivot s.t on a, b || c using sum(b) group by d order by d", ["s.t"], False, True),
        ("from (pivot t on a using sum(b)) join (pivot u on c using sum(d)) on true", ["t", "u"], False, False),
        ("describe t", ["t"], False, False),
        ("summarize s.t", ["s.t"], False, False),
        ("select now()", [], True, False),
        ("select current_date", [], True, False),
        ("select a, user from t", ["t"], True, False),
        ("select random() from t", ["t"], True, False),
        ("from t using sample 3", ["t"], True, False),
        ("from t tablesample 10%", ["t"], True, False),
        ("select uuid()", [], True, False),
        ("from (from t order by 1)", ["t"], False, False),
    ],
)
def test_a_statement_lists_its_tables_and_what_its_result_depends_on(
    con: duckdb.DuckDBPyConnection, sql: str, tables: list[str], volatile: bool, ordered: bool
) -> None:
    found = check(con, sql, frozenset({"now", "random", "uuid"}))
    assert (sorted(each.text for each in found.tables), found.volatile, found.ordered) == (tables, volatile, ordered)
    assert Statement.from_json(found.to_json()) == found


@pytest.mark.parametrize(
    ("sql", "text"),
    [
        ("select 1;", "select 1"),
        ("select 1 ; ; -- done;", "select 1"),
        ("select ';' as \"é;\" ; /* ; */ -- x", "select ';' as \"é;\""),
        ("select $$;$$", "select $$;$$"),
        ("select 1 -- ;", "select 1 -- ;"),
    ],
)
def test_the_text_of_a_statement_has_no_semicolon_at_the_end(
    con: duckdb.DuckDBPyConnection, sql: str, text: str
) -> None:
    assert check(con, sql, frozenset()).text == text


@pytest.mark.parametrize(
    "sql",
    [
        "pivot t on a using sum(b), (from duckdb_settings())",
        "pivot (from read_csv('x')) on a using sum(b)",
        "pivot (from \"read_csv\" ('x')) on a using sum(b)",
        "pivot t on (select current_setting('x')) using sum(b)",
        "pivot t on a using sum(b); select 1",
        "create table x as pivot t on a using sum(b)",
        "copy (pivot t on a using sum(b)) to 'x'",
    ],
)
def test_a_pivot_does_not_hide_a_forbidden_statement(con: duckdb.DuckDBPyConnection, sql: str) -> None:
    with pytest.raises(StatementError):
        check(con, sql, frozenset())


def test_a_position_counts_characters_and_lines() -> None:
    assert position("select 'č',\n  x", len("select 'č',\n  ".encode())) == {"line": 2, "column": 3}
