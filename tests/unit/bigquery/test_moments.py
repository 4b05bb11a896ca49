"""What the rows of a condition or query depend on besides the tables."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from analyst.connectors.bigquery.options import moment_of

NOW = datetime(2026, 1, 2, 23, 30, tzinfo=timezone(timedelta(hours=-3)))
DAY, TIME = datetime(2026, 1, 3, tzinfo=UTC).date().isoformat(), NOW.isoformat()


@pytest.mark.parametrize(
    ("sql", "moment"),
    [
        (None, None),
        ("day = '2026-01-01'", None),
        ("day = CURRENT_DATE", DAY),
        ("day >= DATE_SUB(current_date( ), INTERVAL 7 DAY)", DAY),
        ("day = CURRENT_DATE('Europe/Prague')", TIME),
        ("day = CURRENT_DATE () AND at < current_timestamp()", TIME),
        ("x < CURRENT_DATETIME", TIME),
        ("rand() < 0.1", TIME),
        ("v = 'CURRENT_DATE' OR v = \"it's CURRENT_DATE\" OR v = '''CURRENT_DATE'''", None),
        (r"v = 'it\'s' AND w < CURRENT_DATE -- that's all", DAY),
        ("`current_date` = 1 # CURRENT_DATE\n/* CURRENT_TIME\n */ -- RAND()", None),
        ("my_current_date = 1 and current_date_of = 2", None),
    ],
)
def test_a_condition_depends_on_the_day_or_the_time_that_it_names(sql: str | None, moment: str | None) -> None:
    assert moment_of(sql, NOW) == moment
